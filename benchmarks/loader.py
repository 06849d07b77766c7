"""Training examples per second: desmezcla's loader beside Open-Unmix's, on the same files.

Both draw random segments of four stems, each stem from a track of its own, and add them up. The
peer is `openunmix.data.FixedSourcesTrackFolderDataset` in a `DataLoader`, as its training script
has it; what it calls of torchaudio is done by soundfile, which desmezcla uses, too. (Its MUSDB
dataset needs FFmpeg's program.) The peer hands over the mixture and one stem, desmezcla the mixture
and all of them. The loaders take turns, and ratios are of neighbouring runs. The files are noise.
Ogg files are decoded to desmezcla's cache beforehand, which is not counted.

    python benchmarks/loader.py [--formats wav flac ogg] [--workers 0 2] [--runs 3]
"""

import argparse
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, RandomSampler

from desmezcla.datasets.loader import SegmentLoader
from desmezcla.datasets.segments import Segments
from desmezcla.datasets.track import Dataset, Source, Track

STEMS = ("vocals", "drums", "bass", "other")
RATE = 44100


def stand_in_for_torchaudio() -> types.ModuleType:
    """Return a module that does what Open-Unmix calls of torchaudio."""

    def info(path: str) -> types.SimpleNamespace:
        found = soundfile.info(path)
        return types.SimpleNamespace(
            sample_rate=found.samplerate, num_frames=found.frames, num_channels=found.channels
        )

    def load(path: str, num_frames: int = -1, frame_offset: int = 0) -> tuple[torch.Tensor, int]:
        audio, rate = soundfile.read(
            path, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True
        )
        return torch.from_numpy(audio.T), rate

    module = types.ModuleType("torchaudio")
    vars(module).update(info=info, load=load, get_audio_backend=lambda: "soundfile")
    return module


def write_songs(folder: Path, extension: str, tracks: int, seconds: int) -> Dataset:
    """Write tracks of noise, in the layout that both understand."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(tracks):
        sources = {}
        for stem in STEMS:
            path = folder / "train" / f"{number}" / f"{stem}.{extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.standard_normal((seconds * RATE, 2), np.float32) * np.float32(0.1)
            with soundfile.SoundFile(path, "w", RATE, 2) as file:
                for start in range(0, len(noise), RATE):  # libsndfile crashes on long Ogg writes
                    file.write(noise[start : start + RATE])
            sources[stem] = (Source(path),)
        found.append(Track(f"{number}", sources))
    return Dataset("noise", folder, tuple(found))


def peer_loader(
    folder: Path, extension: str, *, segment_s: float, batch_size: int, batches: int, workers: int
) -> Iterable[Any]:
    from openunmix.data import FixedSourcesTrackFolderDataset

    dataset = FixedSourcesTrackFolderDataset(
        root=str(folder),
        target_file=f"vocals.{extension}",
        interferer_files=[f"{stem}.{extension}" for stem in STEMS[1:]],
        seq_duration=segment_s,
        random_chunks=True,
        random_track_mix=True,
    )
    # Its own epochs end after one example per track, and each starts its workers anew; a sampler
    # spares it that.
    sampler = RandomSampler(dataset, replacement=True, num_samples=batch_size * batches)
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, num_workers=workers)


def rate(loader: Iterable[Any], batch_size: int) -> float:
    """Return examples per second, from the second batch on: the first waits for the workers."""
    iterator = iter(loader)
    next(iterator)
    start = time.perf_counter()
    count = sum(1 for _ in iterator)
    return count * batch_size / (time.perf_counter() - start)


def compare(folder: Path, extension: str, arguments: argparse.Namespace) -> None:
    dataset = write_songs(folder, extension, arguments.tracks, arguments.seconds)
    segments = Segments(
        dataset,
        stems=STEMS,
        sample_rate=RATE,
        channels=2,
        segment_samples=round(arguments.segment_s * RATE),
        random_mixing=1.0,
        cache=folder / "cache",
    )
    for workers in arguments.workers:
        common = {"batch_size": arguments.batch_size, "workers": workers}
        ours, theirs = [], []
        for _ in range(arguments.runs):
            loader = SegmentLoader(segments, steps=arguments.batches, **common)
            ours.append(rate(loader, arguments.batch_size))
            loader.close()
            peer = peer_loader(
                folder,
                extension,
                segment_s=arguments.segment_s,
                batches=arguments.batches,
                **common,
            )
            theirs.append(rate(peer, arguments.batch_size))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        medians = (statistics.median(ours), statistics.median(theirs))
        print(f"| {extension} | {workers} | {medians[0]:.0f} | {medians[1]:.0f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formats", nargs="+", default=["wav", "flac", "ogg"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--segment-s", type=float, default=6.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    sys.modules["torchaudio"] = stand_in_for_torchaudio()
    warnings.filterwarnings("ignore", "This DataLoader will create")
    torch.set_num_threads(1)
    print("Examples per second, medians\n")
    print("| files | workers | desmezcla | openunmix | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for extension in arguments.formats:
        with tempfile.TemporaryDirectory() as name:
            compare(Path(name), extension, arguments)


if __name__ == "__main__":
    main()
