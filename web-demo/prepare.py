"""Put into `vendor/` what the page needs and the repository has not: ONNX Runtime and a model.

    python web-demo/prepare.py [RELEASE]

ONNX Runtime for browsers comes from npm, in the version and with the checksum below. The model is
the release's `model-float16.onnx` or, where there is none, `model.onnx`.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from desmezcla.errors import DesmezclaError
from desmezcla.releases.store import find_release

PACKAGE = "onnxruntime-web@1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = (
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
VENDOR = Path(__file__).with_name("vendor")


def main() -> None:
    """Read the arguments and fill the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="?", default="default", help="name of a release")
    release = parser.parse_args().release
    VENDOR.mkdir(exist_ok=True)
    try:
        copy_model(release, VENDOR)
        if not all((VENDOR / name).is_file() for name in FILES):
            fetch_runtime(VENDOR)
    except DesmezclaError as error:
        sys.exit(f"error: {error}")
    print(f"ready; serve the folder with: python -m http.server -d {VENDOR.parent}")


def copy_model(name: str, folder: Path) -> None:
    """Copy the smaller one of a release's model files."""
    release = find_release(name)
    for file in ("model-float16.onnx", "model.onnx"):
        if (release.folder / file).is_file():
            shutil.copyfile(release.folder / file, folder / "model.onnx")
            return
    raise DesmezclaError(
        f"release {name!r} has no model file; make it with: "
        f"desmezcla export {name} --precision float16"
    )


def fetch_runtime(folder: Path) -> None:
    """Fetch ONNX Runtime with npm, check it, and unpack what the page needs."""
    with tempfile.TemporaryDirectory() as name:
        if shutil.which("npm") is None:
            raise DesmezclaError("npm is not installed; it comes with Node.js")
        command = ["npm", "pack", "--silent", "--pack-destination", name, PACKAGE]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            raise DesmezclaError(f"npm could not fetch {PACKAGE}; `{' '.join(command)}` says why")
        (archive,) = Path(name).glob("*.tgz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise DesmezclaError(f"{PACKAGE} has the sha256 {found}, but must have {SHA256}")
        with tarfile.open(archive) as content:
            for file in FILES:
                member = content.extractfile(f"package/dist/{file}")
                assert member is not None
                (folder / file).write_bytes(member.read())
            licence = content.extractfile("package/README.md")
            assert licence is not None
            (folder / "onnxruntime-web.md").write_bytes(licence.read())


if __name__ == "__main__":
    main()
