"""Render a song with the project's own instruments into a 16-bit WAV file.

    python scripts/render_demo.py OUT.wav [--seconds 20] [--seed 0] [--stems-dir FOLDER]

With --stems-dir, the true stems are written there as well, to compare a separation with.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.demo import render_song

SAMPLE_RATE = 44100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="WAV file to write")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the song")
    parser.add_argument("--seed", type=int, default=0, help="number of the song")
    parser.add_argument("--stems-dir", type=Path, help="folder for the true stems")
    options = parser.parse_args()

    stems = render_song(seed=options.seed, duration_s=options.seconds, sample_rate=SAMPLE_RATE)
    write(options.out, np.sum(list(stems.values()), axis=0))
    if options.stems_dir:
        for stem, audio in stems.items():
            write(options.stems_dir / f"{stem}.wav", audio)
    print(f"Rendered {options.out}: {options.seconds:g} s, song {options.seed}")


def write(path: Path, audio: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with AudioWriter(path, sample_rate=SAMPLE_RATE, channels=len(audio), bit_depth="16") as writer:
        writer.write(audio)


if __name__ == "__main__":
    main()
