"""What benchmarks that run a peer beside desmezcla share: programs, songs, agreement."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile

from desmezcla.datasets.demo.song import render_song

RATE = 44100


def run(code: str, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a program that prints two times; return them and its peak memory.

    `song_s`, the second, is reading, separating and writing; `program_s`, the first, has imports
    and loading, too, and `process_s` also the start of Python.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )
    assert process.stdout is not None
    program_s, song_s = map(float, process.stdout.read().split() or (0, 0))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"a program failed with status {status}")
    return {
        "program_s": program_s,
        "song_s": song_s,
        "process_s": time.perf_counter() - start,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def import_checkpoint(path: Path, home: str) -> None:
    """Bring in a checkpoint of a peer as the release `bench`."""
    subprocess.run(
        [sys.executable, "-m", "desmezcla", "models", "import", path, "--name", "bench"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"DESMEZCLA_HOME": home},
    )


def ratios(ours: Mapping[str, float], peer: Mapping[str, float]) -> dict[str, float]:
    """Return how many times as fast as the peer ours was, of two results of `run`."""
    return {f"{key}_ratio": peer[key] / ours[key] for key in ("program_s", "song_s")}


def medians(results: Mapping[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the medians of all figures over the runs, to three digits, by the same names."""
    return {
        name: {key: float(f"{statistics.median(r[key] for r in rows):.3g}") for key in rows[0]}
        for name, rows in results.items()
    }


def agreement(ours: Path, theirs: Path, stems: Iterable[str]) -> dict[str, float]:
    """Return the least signal-to-difference ratio of the stems, and the largest difference."""
    ratios_db, largest = [], 0.0
    for stem in stems:
        a = soundfile.read(ours / f"{stem}.wav", dtype="float64")[0]
        b = soundfile.read(theirs / f"{stem}.wav", dtype="float64")[0]
        difference = a - b
        ratios_db.append(10 * np.log10(np.sum(b**2) / max(np.sum(difference**2), 1e-30)))
        largest = max(largest, float(np.abs(difference).max()))
    return {"agreement_db": float(min(ratios_db)), "largest_difference": largest}


def write_song(path: Path, seconds: float, *, subtype: str = "PCM_16") -> None:
    """Write a rendered song, repeated to the length wanted."""
    mixture = np.sum(list(render_song(seed=1, duration_s=30.0).values()), axis=0)
    repeats = int(np.ceil(seconds / 30))
    samples = np.tile(mixture, repeats)[:, : round(seconds * RATE)]
    soundfile.write(path, samples.T, RATE, subtype=subtype)
