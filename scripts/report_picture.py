"""Write a report and take its pictures, wide and narrow, in a browser without a window.

    python scripts/report_picture.py OUT.png NARROW.png [RESULTS …] [--browser chromium]

RESULTS are folders that `desmezcla evaluate` wrote. Without any, scores are drawn by lot, and the
title of the page says that they are example data.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.report import write_report
from desmezcla.evaluation.results import read_results
from desmezcla.evaluation.scores import PEAK_HOP_S, Results, StemScores, TrackScores

STEMS = ("vocals", "drums", "bass", "other")
GENRES = ("Pop/Rock", "Electronic", "Heavy Metal", "Singer/Songwriter", "Reggae")
# How a system is better than another one, and how it is over stems, in dB.
SYSTEMS = {"System A": 1.6, "System B": 0.0, "System C": -0.9}
LEVELS_DB = {"vocals": 6.3, "drums": 6.0, "bass": 5.2, "other": 4.2}

Signal = NDArray[np.float64]
Song = tuple[dict[str, float], Signal, Signal]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="picture of 1280 points width to write")
    parser.add_argument("narrow", type=Path, help="picture of 390 points width to write")
    parser.add_argument("results", type=Path, nargs="*", help="folders of results")
    parser.add_argument("--page", type=Path, help="keep the page here")
    parser.add_argument("--title", default="Comparison")
    parser.add_argument("--browser", default="chromium", help="Chromium or Chrome")
    parser.add_argument("--height", type=int, default=3400, help="of the pictures, in points")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        page = options.page or Path(folder) / "report.html"
        if options.results:
            results = [read_results(path) for path in options.results]
            write_report(results, page, title=options.title)
        else:
            write_report(example_results(), page, title=f"{options.title} (example data)")
        for out, width in ((options.out, 1280), (options.narrow, 390)):
            photograph(options.browser, page, out, (width, options.height))


def example_results(tracks: int = 24, frames: int = 200, seed: int = 0) -> list[Results]:
    """Return scores of three systems, drawn by lot but shaped like those of songs."""
    rng = np.random.default_rng(seed)
    songs = [song(rng, frames) for _ in range(tracks)]
    return [
        Results(
            name,
            tuple(track_scores(rng, better, index, of) for index, of in enumerate(songs)),
            about={"system": {"name": name}, "dataset": {"name": "example data"}},
        )
        for name, better in SYSTEMS.items()
    ]


def song(rng: np.random.Generator, frames: int) -> Song:
    """Return how easy each stem is in dB, how that changes over time, and the waveform's peaks."""
    levels_db = dict(zip(STEMS, rng.normal(0, 2.2, len(STEMS)), strict=True))
    wave = np.sin(np.arange(frames) / rng.uniform(8, 30) + rng.uniform(0, 6))
    shape = 1.5 * wave + rng.normal(0, 1.3, frames)
    begin = rng.integers(20, frames - 40)
    shape[begin : begin + rng.integers(5, 20)] = np.nan  # the stems are silent there
    steps = round(frames / PEAK_HOP_S)
    loud = 0.55 + 0.3 * np.sign(np.sin(np.arange(steps) / rng.uniform(150, 400)))
    return levels_db, shape, np.clip(loud * rng.beta(6, 2, steps), 0, 1)


def track_scores(rng: np.random.Generator, better: float, index: int, of: Song) -> TrackScores:
    levels_db, shape, peaks = of
    instrumental = index == 3
    stems = {s: stem_scores(rng, LEVELS_DB[s] + levels_db[s] + better + shape) for s in STEMS}
    if instrumental:
        stems["vocals"] = stem_scores(rng, np.full(len(shape), np.nan))
    return TrackScores(
        track=f"Song {index + 1:02d}",
        stems=stems,
        config=BssEvalConfig(),
        genre=GENRES[index % len(GENRES)],
        duration_s=float(len(shape)),
        peaks=tuple(peaks),
        notes=("vocals are silent in the references",) if instrumental else (),
    )


def stem_scores(rng: np.random.Generator, level_db: Signal) -> StemScores:
    frames = len(level_db)
    sdr = level_db + rng.normal(0, 0.8, frames)
    heard = sdr[np.isfinite(sdr)]
    median = float(np.median(heard)) if heard.size else float("nan")
    return {
        "SDR": sdr,
        "ISR": sdr + rng.normal(5, 0.5, frames),
        "SIR": sdr + rng.normal(6, 1.5, frames),
        "SAR": sdr + rng.normal(0.5, 0.8, frames),
        "global_SDR": median + 0.4,
        "SI-SDR": median - 0.6,
    }


def photograph(browser: str, page: Path, out: Path, size: tuple[int, int]) -> None:
    """Write a picture of the upper part of a page."""
    program = shutil.which(browser)
    if program is None:
        raise SystemExit(f"{browser} is not installed; name another one with --browser")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "page.png"
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={raw}",
        )
        command = [program, *flags, page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        out.parent.mkdir(parents=True, exist_ok=True)
        # A palette makes the file a third as large, and the difference cannot be seen.
        picture = Image.open(raw).convert("RGB")
        picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(out, optimize=True)


if __name__ == "__main__":
    main()
