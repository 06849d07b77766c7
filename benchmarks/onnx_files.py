"""A release with PyTorch and as ONNX files: SDR, agreement and time, in one run.

    python benchmarks/onnx_files.py [--release default] [--real FOLDER] [--songs 4] [--threads N]

The songs are those of a dataset with true stems (--real), or rendered ones. SDR is that of BSS
Eval v4, the median of frames of a second, and then of the songs; agreement is the power of
PyTorch's stems over that of the difference, over all songs. Time is that of separating arrays, the
best of --repeats runs over all songs, the engines in turn; scoring has warmed them up.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_songs import STEMS, score

from desmezcla.datasets.demo import render_song
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import read_stem
from desmezcla.exporting.model import export_model
from desmezcla.inference.device import set_threads
from desmezcla.inference.model_file import MODEL_FILES
from desmezcla.inference.offline import Separator
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.store import find_release, new_folder

RATE = 44100
Audio = NDArray[np.float32]
Stems = dict[str, Audio]


@dataclass
class System:
    """One way to run the release, and what was measured of it."""

    name: str
    size_bytes: int
    separator: Separator
    scores: list[list[float]] = field(default_factory=list)
    error: float = 0.0
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", default="default")
    parser.add_argument("--real", type=Path, help="folder of a dataset with true stems")
    parser.add_argument("--songs", type=int, default=4, help="so many at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="so much of each at most")
    parser.add_argument("--threads", type=int, help="that compute; as many as there are cores")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.threads:
        set_threads(options.threads)
    songs = list(_songs(options.real, options.songs, options.seconds))
    mixtures: list[Audio] = [np.sum(list(stems.values()), axis=0) for stems in songs]
    with tempfile.TemporaryDirectory() as folder:
        systems = _systems(options.release, Path(folder))
        power = _score(systems, songs, mixtures)
        _time(systems, mixtures, options.repeats)
    length_s = sum(mix.shape[-1] for mix in mixtures) / RATE
    exact, exact_s = np.nanmedian(systems[0].scores, axis=0), min(systems[0].seconds)
    found = {}
    for system in systems:
        medians = np.nanmedian(system.scores, axis=0)
        found[system.name] = {
            "size_mb": round(system.size_bytes / 1e6, 1),
            "sdr_db": dict(zip(STEMS, medians.round(2).tolist(), strict=True)),
            "loss_db": round(float(np.mean(exact - medians)), 3),
            "agreement_db": round(10 * float(np.log10(power / system.error)))
            if system.error
            else None,
            "times_real_time": round(length_s / min(system.seconds), 1),
            "times_as_fast": round(exact_s / min(system.seconds), 2),
        }
    print(json.dumps({"songs": len(songs), "seconds": round(length_s), "systems": found}, indent=2))


def _songs(folder: Path | None, count: int, seconds: float) -> Iterator[Stems]:
    """Yield the true stems of songs, `[C, T]` each."""
    if folder is None:
        for seed in range(count):
            yield {
                s: x.astype(np.float32)
                for s, x in render_song(seed=seed, duration_s=seconds).items()
            }
        return
    for track in open_dataset(folder).tracks[:count]:
        stems = {s: read_stem(track, s, sample_rate=RATE, channels=2) for s in STEMS}
        yield {stem: audio[:, : round(seconds * RATE)] for stem, audio in stems.items()}


def _systems(name: str, folder: Path) -> list[System]:
    """Export a release in every precision, and open all of them."""
    release = find_release(name)
    weights = (release.folder / "model.safetensors").stat().st_size
    systems = [System("PyTorch", weights, Separator(name, engine="torch", device="cpu"))]
    copy = folder / release.name
    with new_folder(copy) as work:
        for path in release.folder.iterdir():
            if path.suffix != ".onnx":
                (work / path.name).write_bytes(path.read_bytes())
    model = load_model(release)
    for precision, file in MODEL_FILES.items():
        export_model(model, copy / file, precision=precision, release=release)
        separator = Separator(copy, engine="onnx", precision=precision)
        systems.append(System(file, (copy / file).stat().st_size, separator))
    return systems


def _score(systems: list[System], songs: list[Stems], mixtures: list[Audio]) -> float:
    """Score all songs, and return the power of PyTorch's stems."""
    power = 0.0
    for stems, mix in zip(songs, mixtures, strict=True):
        expected: Any = None
        for system in systems:
            got = system.separator.separate(mix, RATE)
            system.scores.append(score(stems, got, RATE, plain=False))
            array = np.stack(list(got.values())).astype(np.float64)
            expected = array if expected is None else expected
            system.error += float(np.square(array - expected).sum())
        power += float(np.square(expected).sum())
    return power


def _time(systems: list[System], mixtures: list[Audio], repeats: int) -> None:
    for _ in range(repeats):
        for system in systems:
            start = time.perf_counter()
            for mix in mixtures:
                system.separator.separate(mix, RATE)
            system.seconds.append(time.perf_counter() - start)


if __name__ == "__main__":
    main()
