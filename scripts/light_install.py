"""Build the wheel without PyTorch, install it into an empty environment, and separate a song there.

    python scripts/light_install.py [--keep FOLDER]

It needs the package registry. It checks that PyTorch is not there, that what was fetched is under
150 MB, and that the stems are those of the same release here to 40 dB; it prints what was fetched
and what lies on disk, package by package.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 150_000_000
RATE = 44100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder for the environment; a temporary one")
    with _folder(parser.parse_args().keep) as folder:
        wheels = folder / "wheels"
        _run(
            sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", wheels, ROOT / "packaging/onnx"
        )
        (own,) = wheels.glob("desmezcla_onnx-*.whl")
        _run(sys.executable, "-m", "pip", "download", "--only-binary=:all:", "-d", wheels, own)
        fetched = sum(path.stat().st_size for path in wheels.iterdir())
        home = folder / "environment"
        venv.create(home, with_pip=True)
        python = home / "bin" / "python"
        _run(python, "-m", "pip", "install", "--no-compile", "--no-index", "-f", wheels, own)
        _run(python, "-m", "pip", "uninstall", "--yes", "pip", "setuptools")
        sizes = _sizes(next(home.glob("lib/python*/site-packages")))
        print(f"\nfetched: {fetched / 1e6:.0f} MB in {len(list(wheels.iterdir()))} packages")
        print(f"on disk: {sum(sizes.values()) / 1e6:.0f} MB")
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
            print(f"  {name:24s} {size / 1e6:6.1f} MB")
        _separate(folder, home / "bin" / "desmezcla")
        missing = subprocess.run([python, "-c", "import torch"], capture_output=True)
        assert b"ModuleNotFoundError" in missing.stderr, "PyTorch is there"
        assert fetched < MOST_BYTES, f"more than {MOST_BYTES / 1e6:.0f} MB were fetched"


def _separate(folder: Path, desmezcla: Path) -> None:
    """Separate a song in the new environment and here, and compare."""
    from desmezcla import Separator

    time_s = np.arange(10 * RATE) / RATE
    tones = 0.2 * np.sin(2 * np.pi * np.array([[220.0], [277.2]]) * time_s)
    noise = 0.1 * np.random.default_rng(0).standard_normal(tones.shape) * (time_s % 0.5 < 0.1)
    mix = (tones + noise).astype(np.float32)
    soundfile.write(folder / "song.wav", mix.T, RATE, subtype="FLOAT")
    _run(desmezcla, "separate", folder / "song.wav", "-o", folder / "stems")
    for stem, expected in Separator("default", engine="torch").separate(mix, RATE).items():
        (path,) = (folder / "stems").rglob(f"{stem}.wav")
        got = soundfile.read(path, dtype="float32")[0].T
        level_db = 10 * np.log10(np.square(expected).sum() / np.square(expected - got).sum())
        print(f"{stem}: agrees with PyTorch's to {level_db:.1f} dB")
        assert level_db > 40, f"{stem} is another"


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of everything in a folder of packages, by its first part of the name."""
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).parts[0].partition("-")[0].removesuffix(".libs")
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    main()
