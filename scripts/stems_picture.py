"""Draw a song and its stems, waveform and spectrogram side by side, into one picture.

    python scripts/stems_picture.py SONG_FOLDER OUT.png [--mixture SONG.wav]

SONG_FOLDER holds a file per stem (vocals.wav, drums.wav, …), as `desmezcla separate` writes it.
Without --mixture, the sum of the stems is drawn as the song.
"""

import argparse
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from PIL import Image

from desmezcla.audio.reader import AudioReader

mpl.use("Agg")  # before pyplot, which would look for a screen
from matplotlib import pyplot as plt

COLOURS = {
    "song": "#3f4756",
    "vocals": "#c8377c",
    "drums": "#d9802e",
    "bass": "#2f6fc4",
    "other": "#2a9070",
}
STEMS = ("vocals", "drums", "bass", "other")
LOWEST_HZ, HIGHEST_HZ = 40.0, 16000.0
WINDOW, HOP = 4096, 1024
RANGE_DB = 75.0

Signal = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("song_folder", type=Path, help="folder with a file per stem")
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("--mixture", type=Path, help="the song itself")
    options = parser.parse_args()

    files = {path.stem: path for path in sorted(options.song_folder.iterdir())}
    audio = {stem: read_mono(files[stem]) for stem in STEMS if stem in files}
    if not audio:
        parser.error(f"{options.song_folder} holds none of {', '.join(STEMS)}")
    rate = next(iter(audio.values()))[1]
    song = read_mono(options.mixture)[0] if options.mixture else sum_of(audio)
    draw({"song": song, **{stem: signal for stem, (signal, _) in audio.items()}}, rate, options.out)


def read_mono(path: Path) -> tuple[Signal, int]:
    with AudioReader(path) as reader:
        blocks = [block.mean(axis=0, dtype=np.float64) for block in reader.blocks()]
        return np.concatenate(blocks), reader.sample_rate


def sum_of(audio: dict[str, tuple[Signal, int]]) -> Signal:
    return np.asarray(np.sum([signal for signal, _ in audio.values()], axis=0))


def draw(signals: dict[str, Signal], rate: int, out: Path) -> None:
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 9})
    figure, rows = plt.subplots(
        len(signals),
        2,
        figsize=(9.6, 1.02 * len(signals)),
        gridspec_kw={"width_ratios": [2, 3], "wspace": 0.02, "hspace": 0.1},
        squeeze=False,
    )
    loudest = np.abs(signals["song"]).max()
    top_db = max(levels_db(signal, rate).max() for signal in signals.values())
    for (name, signal), (left, right) in zip(signals.items(), rows, strict=True):
        draw_waveform(left, signal / loudest, COLOURS[name])
        left.set_ylabel(
            name, rotation=0, ha="right", va="center", color=COLOURS[name], weight="bold"
        )
        draw_spectrogram(right, levels_db(signal, rate) - top_db, COLOURS[name])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, bbox_inches="tight", pad_inches=0.06)
    # A palette makes the file a third as large, and the difference cannot be seen.
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.open(drawn).convert("RGB").quantize(128).save(out, optimize=True)


def draw_waveform(axes: Axes, signal: Signal, colour: str) -> None:
    columns = np.array_split(signal, 600)
    low, high = ([f(column) for column in columns] for f in (np.min, np.max))
    axes.fill_between(np.arange(600), low, high, color=colour, linewidth=0)
    axes.set(xlim=(0, 599), ylim=(-1, 1))
    bare(axes)


def draw_spectrogram(axes: Axes, level_db: Signal, colour: str) -> None:
    shades = LinearSegmentedColormap.from_list("", ["#ffffff", colour, "#10131a"])
    axes.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        cmap=shades,
        vmin=-RANGE_DB,
        vmax=0,
        interpolation="bilinear",
    )
    bare(axes)


def bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def levels_db(signal: Signal, rate: int) -> Signal:
    """Return levels on a logarithmic frequency axis. Shape: `[T]` to `[160, N]`."""
    padded = np.pad(signal, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1))
    hz = np.geomspace(LOWEST_HZ, min(HIGHEST_HZ, 0.5 * rate), 160)
    bins = np.arange(spectrum.shape[1]) * rate / WINDOW
    rows = np.array([np.interp(hz, bins, frame) for frame in spectrum]).T
    # Music falls by about 4 dB per octave; without that, the treble would be invisible.
    tilt = (hz / LOWEST_HZ) ** (4 / 6.02)
    return np.asarray(20 * np.log10(rows * tilt[:, None] + 1e-6))


if __name__ == "__main__":
    main()
