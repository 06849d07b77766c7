"""Draw a song and its stems, waveform and spectrogram side by side, into one picture.

    python scripts/stems_picture.py SONG OUT.png [--mixture SONG.wav]
    python scripts/stems_picture.py SONG OUT.png --beside OTHER_SONG [--start S] [--seconds S]

SONG is a folder with a file per stem (vocals.wav, drums.wav, …), as `desmezcla separate` writes it,
or a `.stem.mp4`. Without --mixture, the sum of the stems is drawn as the song. With --beside, the
spectrograms of two songs are drawn, the first on the left.
"""

import argparse
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from desmezcla.audio.reader import AudioReader, read_stems

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
    parser.add_argument("song", type=Path, help="folder with a file per stem, or a .stem.mp4")
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("--mixture", type=Path, help="the song itself")
    parser.add_argument("--beside", type=Path, help="another song, to compare with")
    parser.add_argument("--start", type=float, default=0.0, help="second of SONG to begin at")
    parser.add_argument("--seconds", type=float, default=6.0, help="how much of two songs to draw")
    options = parser.parse_args()

    audio, rate = read_song(options.song)
    if options.beside:
        other, other_rate = read_song(options.beside)
        first, last = round(options.start * rate), round((options.start + options.seconds) * rate)
        draw_beside(
            {name: signal[first:last] for name, signal in audio.items()},
            {name: signal[: round(options.seconds * rate)] for name, signal in other.items()},
            (rate, other_rate),
            options.out,
        )
    else:
        if options.mixture:
            audio["song"] = read_mono(options.mixture)[0]
        draw(audio, rate, options.out)


def read_song(path: Path) -> tuple[dict[str, Signal], int]:
    """Return the song, the sum of its stems, and the stems."""
    if path.is_file():
        streams, rate = read_stems(path)
        _, drums, bass, other, vocals = streams.mean(axis=1, dtype=np.float64)
        stems = {"vocals": vocals, "drums": drums, "bass": bass, "other": other}
    else:
        files = {file.stem: file for file in sorted(path.iterdir())}
        read = {stem: read_mono(files[stem]) for stem in STEMS if stem in files}
        if not read:
            raise SystemExit(f"{path} holds none of {', '.join(STEMS)}")
        rate = next(iter(read.values()))[1]
        stems = {stem: signal for stem, (signal, _) in read.items()}
    return {"song": np.asarray(np.sum(list(stems.values()), axis=0)), **stems}, rate


def read_mono(path: Path) -> tuple[Signal, int]:
    with AudioReader(path) as reader:
        blocks = [block.mean(axis=0, dtype=np.float64) for block in reader.blocks()]
        return np.concatenate(blocks), reader.sample_rate


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
    save(figure, out)


def draw_beside(
    left: dict[str, Signal], right: dict[str, Signal], rates: tuple[int, int], out: Path
) -> None:
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 9})
    figure, rows = plt.subplots(
        len(left),
        2,
        figsize=(9.6, 1.02 * len(left)),
        gridspec_kw={"wspace": 0.02, "hspace": 0.1},
        squeeze=False,
    )
    for song, rate, column in zip((left, right), rates, rows.T, strict=True):
        levels = {name: levels_db(signal, rate) for name, signal in song.items()}
        top_db = max(level.max() for level in levels.values())
        for (name, level), axes in zip(levels.items(), column, strict=True):
            draw_spectrogram(axes, level - top_db, COLOURS[name])
    for name, axes in zip(left, rows[:, 0], strict=True):
        axes.set_ylabel(
            name, rotation=0, ha="right", va="center", color=COLOURS[name], weight="bold"
        )
    save(figure, out)


def save(figure: Figure, out: Path) -> None:
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
