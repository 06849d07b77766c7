"""Render a song with singing, as `make demo` separates one, into an audio file.

    python scripts/render_demo.py OUT [--seconds 24] [--seed 3] [--material DIR] [--stems-dir DIR]

The demo song is `examples/demo-song.ogg`; it was made with the seed above, from sounds under other
licences than the GPL. Without a folder of material everything is synthesised. With --stems-dir, the
true stems are written there as well, to compare a separation with.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.render.song import render_song
from desmezcla.datasets.render.sources import open_material, open_midi

SAMPLE_RATE = 44100
EXCLUDED = ("GPL",)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="file to write, of any format")
    parser.add_argument("--seconds", type=float, default=24.0, help="length of the song")
    parser.add_argument("--seed", type=int, default=3, help="number of the song")
    parser.add_argument("--material", type=Path, help="folder of recorded sounds")
    parser.add_argument("--stems-dir", type=Path, help="folder for the true stems")
    options = parser.parse_args()

    folder = options.material
    song = render_song(
        seed=options.seed,
        style="pop",
        duration_s=options.seconds,
        material=open_material(folder, exclude_licences=EXCLUDED) if folder else None,
        midi=open_midi(folder, exclude_licences=EXCLUDED) if folder else None,
        sample_rate=SAMPLE_RATE,
    )
    write(options.out, song.mixture)
    if options.stems_dir:
        for stem, audio in song.stems.items():
            write(options.stems_dir / f"{stem}.wav", audio)
    heard = f", from {', '.join(song.sources)}" if song.sources else ""
    print(f"Rendered {options.out}: {options.seconds:g} s, song {options.seed}{heard}")


def write(path: Path, audio: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with AudioWriter(path, sample_rate=SAMPLE_RATE, channels=len(audio)) as writer:
        writer.write(audio)


if __name__ == "__main__":
    main()
