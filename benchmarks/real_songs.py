"""Score releases on songs with true stems: plain SDR per song, and the median over the songs.

    python benchmarks/real_songs.py FOLDER [RELEASE…]

FOLDER is any dataset. What is separated is the sum of the stems, since the mixture of a stem file
may be a mastered one. SDR is 10 log10(|s|² / |s - e|²) over the whole song; "mixture" is the score
of the song itself, taken for each stem.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import read_stem, track_info
from desmezcla.inference.offline import Separator
from desmezcla.training.validation import sdr

STEMS = ("vocals", "drums", "bass", "other")
DEFAULT = Path(__file__).parents[2] / "shared" / "real"

Audio = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("releases", nargs="*", default=["baseline"])
    options = parser.parse_args()
    if not options.folder.exists():
        print(f"skipped: there is no dataset {options.folder}; give its folder")
        return

    tracks = open_dataset(options.folder).tracks
    separators = {name: Separator(name) for name in options.releases}
    scores: dict[str, list[list[float]]] = {"mixture": [], **{name: [] for name in separators}}
    print(
        f"| {'song':40} | {'release':30} | {' | '.join(STEMS)} |\n|---|---|" + "---|" * len(STEMS)
    )
    for track in tracks:
        rate = track_info(track).sample_rate
        truth = {stem: read_stem(track, stem, sample_rate=rate, channels=2) for stem in STEMS}
        mixture: Audio = np.sum(list(truth.values()), axis=0, dtype=np.float32)
        for name, rows in scores.items():
            estimates = (
                separators[name].separate(mixture, rate)
                if name in separators
                else dict.fromkeys(STEMS, mixture)
            )
            rows.append([sdr(truth[stem], estimates[stem]) for stem in STEMS])
            print_row(track.name, name, rows[-1])
    for name, rows in scores.items():
        print_row("median", name, list(np.median(rows, axis=0)))


def print_row(song: str, release: str, values: list[float]) -> None:
    print(f"| {song:40} | {release:30} | {' | '.join(f'{value:6.2f}' for value in values)} |")


if __name__ == "__main__":
    main()
