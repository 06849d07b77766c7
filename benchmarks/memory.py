"""Peak memory of `desmezcla separate` against the length of the song.

    python benchmarks/memory.py [--model default] [--minutes 3 60] [--format flac]

It fails if the longest song takes more than 1.1 times the memory of the shortest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from desmezcla.datasets.demo.song import render_song

RATE = 44100
LIMIT = 1.1


def write_song(path: Path, minutes: float) -> None:
    """Write a rendered song of half a minute, over and over."""
    mixture = np.sum(list(render_song(seed=1, duration_s=30.0).values()), axis=0).T
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for _ in range(round(2 * minutes)):
            file.write(mixture)


def peak_mib(song: Path, model: str, out: Path, file_format: str) -> tuple[float, float]:
    """Separate in a process of its own; return its peak memory and the seconds it took."""
    command = [sys.executable, "-m", "desmezcla", "separate", "-q", "-m", model, str(song)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "-o", str(out), "--format", file_format])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"desmezcla failed with status {status}")
    return usage.ru_maxrss / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 60])
    parser.add_argument("--format", default="flac")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for minutes in arguments.minutes:
            song = Path(name) / f"{minutes:g}.wav"
            write_song(song, minutes)
            peak, seconds = peak_mib(song, arguments.model, Path(name) / "out", arguments.format)
            row = {
                "minutes": minutes,
                "peak_mib": round(peak, 1),
                "times_real_time": round(60 * minutes / seconds, 1),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
            song.unlink()
    ratio = rows[-1]["peak_mib"] / rows[0]["peak_mib"]
    print(json.dumps({"ratio": round(ratio, 3), "limit": LIMIT}))
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
