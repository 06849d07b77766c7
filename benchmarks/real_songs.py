"""Score releases on songs with true stems: per song, and the median over the songs.

    python benchmarks/real_songs.py FOLDER [SYSTEM…] [--split all] [--json FILE]

FOLDER is any dataset. A system is a release, the folder of one, "mixture" or an oracle such as
"oracle_irm". What is separated is the sum of the stems, since the mixture of a stem file may be a
mastered one. SDR is that of BSS Eval v4, the median of frames of a second, and then of the songs;
--plain takes 10 log10(|s|² / |s - e|²) over whole songs instead.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import desmezcla
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import read_stem, track_info
from desmezcla.evaluation.running.oracle import ORACLES, oracle_blocks
from desmezcla.evaluation.signals import array_signals
from desmezcla.inference.offline import Separator
from desmezcla.training.validation import sdr

STEMS = ("vocals", "drums", "bass", "other")
DEFAULT = Path(__file__).parents[2] / "shared" / "real"

Audio = NDArray[np.float32]
Stems = dict[str, Audio]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("systems", nargs="*", default=["mixture", "oracle_irm", "baseline"])
    parser.add_argument("--split", help="only these tracks: train, valid or test")
    parser.add_argument("--plain", action="store_true", help="ratios over whole songs")
    parser.add_argument("--json", type=Path, help="write the scores to this file")
    options = parser.parse_args()
    if not options.folder.exists():
        print(f"skipped: there is no dataset {options.folder}; give its folder")
        return

    dataset = open_dataset(options.folder)
    tracks = dataset.split(options.split).tracks if options.split else dataset.tracks
    separators = {name: Separator(name) for name in options.systems if name not in ORACLES}
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in options.systems}
    print(f"| {'song':40} | {'system':30} | {' | '.join(STEMS)} |")
    print("|---|---|" + "---|" * len(STEMS))
    for track in tracks:
        rate = track_info(track).sample_rate
        truth = {stem: read_stem(track, stem, sample_rate=rate, channels=2) for stem in STEMS}
        mixture: Audio = np.sum(list(truth.values()), axis=0, dtype=np.float32)
        for name, rows in scores.items():
            if name in separators:
                estimates = separators[name].separate(mixture, rate)
            else:
                estimates = oracle(name, mixture, truth, rate)
            rows[track.name] = score(truth, estimates, rate, plain=options.plain)
            print_row(track.name, name, rows[track.name])
    for name, rows in scores.items():
        print_row("median", name, list(np.nanmedian(list(rows.values()), axis=0)))
    if options.json:
        options.json.write_text(json.dumps(scores, indent=1))


def oracle(name: str, mixture: Audio, truth: Stems, rate: int) -> Stems:
    """Return what knows the true stems, or the mixture for each."""
    references = array_signals(truth, "references")
    mixed = array_signals({"mixture": mixture}, "mixture")
    blocks = np.concatenate(list(oracle_blocks(name, mixed, references, rate)), -1)
    return dict(zip(truth, blocks, strict=True))


def score(truth: Stems, estimates: Stems, rate: int, *, plain: bool) -> list[float]:
    """Return the SDR of each stem, in dB."""
    if plain:
        return [sdr(truth[stem], estimates[stem]) for stem in STEMS]
    frames = desmezcla.evaluate(truth, {stem: estimates[stem] for stem in STEMS}, rate)
    return [float(np.nanmedian(frames[stem]["SDR"])) for stem in STEMS]


def print_row(song: str, system: str, values: list[float]) -> None:
    cells = " | ".join(f"{value:6.2f}" for value in values)
    print(f"| {song:40} | {system[-30:]:30} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
