"""Whole BS-RoFormer separations: desmezcla beside the `audio-separator` package, in one run.

Both separate the same file with the same random weights and write vocals and what is left, each in
a process of its own. The programs take turns, and ratios are of neighbouring runs. The network has
the sizes of the model that the package takes by default (the width, heads, bands, one stem, 8 s at
once), but only `--depth` of its 12 blocks, which all cost the same.

The package runs as its users run it, `Separator`, `load_model`, `separate`, with these exceptions:
the lists and models that it would download lie in its folder, and its options are such that both do
the same work. Segments do not overlap (its `num_overlap` 1, desmezcla's `overlap` 0), and the song
is a whole number of them, because the two fade from one to the next by different windows. Peaks are
not lowered to 0.9, and soundfile writes floats instead of FFmpeg 16 bits. The last variant has the
overlap that desmezcla has by default: a third more work than the package does beside it, and less
agreement, since that has hard seams.

    python benchmarks/roformer.py [--segments 8] [--runs 3] [--depth 2]
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml
from imageio_ffmpeg import get_ffmpeg_exe
from side_by_side import RATE, agreement, import_checkpoint, medians, ratios, run, write_song

from desmezcla.models.bs_roformer import BANDS

# What must be installed, and how its version must begin. Newer rotary embeddings than 0.6 come with
# an empty cache, which the package takes for a full one, so that it knows of no positions.
NEEDED = dict.fromkeys(
    (
        *("audio-separator", "absl-py", "audioread", "cloudpickle", "joblib", "lazy_loader"),
        *("librosa", "llvmlite", "ml_collections", "numba", "pooch", "pydub", "six"),
    ),
    "",
) | {"rotary-embedding-torch": "0.6."}
# The lists of models that it reads when it loads one.
LISTS = (
    *("vr_download_list", "demucs_download_list", "roformer_download_list"),
    *("mdx_download_list", "mdx_download_vip_list"),
    *("mdx23c_download_list", "mdx23c_download_vip_list"),
)
MODEL = "bench_roformer"
HOP_SAMPLES, FRAMES = 441, 801
SEGMENT_SAMPLES = HOP_SAMPLES * (FRAMES - 1)
# By label: the precision and the overlap of desmezcla.
VARIANTS = {
    "float32": ("float32", 0.0),
    "bfloat16": ("bfloat16", 0.0),
    "float32, overlap 0.25": ("float32", 0.25),
}

CHECKPOINT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, yaml
from audio_separator.separator.uvr_lib_v5.roformer.bs_roformer import BSRoformer
settings, path = sys.argv[1:]
with open(settings) as file:
    options = yaml.safe_load(file)["model"]
torch.manual_seed(0)
model = BSRoformer(**options | {"freqs_per_bands": tuple(options["freqs_per_bands"])})
torch.save(model.state_dict(), path)
"""

PEER = """
import sys, time
start = time.perf_counter()
import logging
import librosa
from audio_separator.separator import Separator
models, model, song, out = sys.argv[1:]
librosa.load  # which is imported when it is first asked for
separator = Separator(log_level=logging.ERROR, model_file_dir=models, output_dir=out,
                      normalization_threshold=1.0, use_soundfile=True)
separator.load_model(model)
loaded = time.perf_counter()
separator.separate(song, {"vocals": "vocals", "other": "residual"})
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""

OURS = """
import sys, time
start = time.perf_counter()
from desmezcla import Separator
song, out, precision, overlap = sys.argv[1:]
separator = Separator("bench", precision=precision, overlap=float(overlap))
loaded = time.perf_counter()
separator.separate_file(song, out, filename="{stem}.{ext}", bit_depth="32f", residual=True)
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=8, help="of 8 s, 2 or more")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--depth", type=int, default=2, help="blocks of the network")
    parser.add_argument("--dim", type=int, default=512, help="features of a band")
    arguments = parser.parse_args()
    if arguments.segments < 2:  # to songs of less than 10 s the package gives shorter segments
        parser.error(f"--segments={arguments.segments} must be at least 2")
    check_installed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home, song = str(folder / "home"), folder / "song.wav"
        seconds = arguments.segments * SEGMENT_SAMPLES / RATE
        models = model_folder(folder / "models", dim=arguments.dim, depth=arguments.depth)
        import_checkpoint(models / f"{MODEL}.ckpt", home)
        write_song(song, seconds, subtype="FLOAT")
        results: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.runs):
            for label, (precision, overlap) in VARIANTS.items():
                out = {who: folder / who for who in ("peer", label)}
                for path in out.values():
                    path.mkdir(exist_ok=True)
                peer = run(
                    PEER,
                    *(str(models), f"{MODEL}.ckpt", str(song), str(out["peer"])),
                    PATH=path_with_ffmpeg(folder / "bin"),
                    TQDM_DISABLE="1",
                )
                ours = run(
                    OURS,
                    *(str(song), str(out[label]), precision, str(overlap)),
                    DESMEZCLA_HOME=home,
                )
                ours |= ratios(ours, peer) | agreement(
                    out[label], out["peer"], ("vocals", "residual")
                )
                results.setdefault("audio-separator", []).append(peer)
                results.setdefault(label, []).append(ours)
        print(json.dumps({"seconds": seconds, "medians": medians(results)}, indent=2))


def check_installed() -> None:
    """End the program if something that the package needs is not there."""
    missing = []
    for package, start in NEEDED.items():
        try:
            fits = version(package).startswith(start)
        except PackageNotFoundError:
            fits = False
        if not fits:
            missing.append(f"{package} {start}".strip())
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}; `make bench` installs them")


def model_folder(folder: Path, *, dim: int, depth: int) -> Path:
    """Make the folder that the package keeps its models in, with one model and no other known."""
    folder.mkdir()
    known: dict[str, dict[str, dict[str, str]]] = {key: {} for key in LISTS}
    known["roformer_download_list"]["bench"] = {f"{MODEL}.ckpt": f"{MODEL}.yaml"}
    (folder / "download_checks.json").write_text(json.dumps(known))
    settings = {
        "audio": {"chunk_size": SEGMENT_SAMPLES, "hop_length": HOP_SAMPLES, "sample_rate": RATE},
        "model": {
            "dim": dim,
            "depth": depth,
            "stereo": True,
            "num_stems": 1,
            "time_transformer_depth": 1,
            "freq_transformer_depth": 1,
            "freqs_per_bands": list(BANDS),
            "dim_head": 64,
            "heads": 8,
            "flash_attn": True,
            "stft_n_fft": 2048,
            "stft_hop_length": HOP_SAMPLES,
            "stft_win_length": 2048,
            "mask_estimator_depth": 2,
        },
        "training": {"instruments": ["vocals", "other"], "target_instrument": "vocals"},
        "inference": {"batch_size": 1, "dim_t": FRAMES, "num_overlap": 1},
    }
    (folder / f"{MODEL}.yaml").write_text(yaml.safe_dump(settings))
    run(CHECKPOINT, str(folder / f"{MODEL}.yaml"), str(folder / f"{MODEL}.ckpt"))
    return folder


def path_with_ffmpeg(folder: Path) -> str:
    """Return a search path with the program `ffmpeg`, which the package asks for as it starts."""
    link = folder / "ffmpeg"
    if not link.exists():
        folder.mkdir()
        link.symlink_to(get_ffmpeg_exe())
    return os.pathsep.join((str(folder), os.environ["PATH"]))


if __name__ == "__main__":
    main()
