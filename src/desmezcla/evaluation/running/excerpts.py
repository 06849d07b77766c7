"""Excerpts to listen to: a few seconds of a song, its stems and their references, as mp3."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.formats import writable_rate
from desmezcla.audio.stems import StemWriter
from desmezcla.datasets.reading import MIXTURE
from desmezcla.evaluation.signals import FittedSignals, Signals
from desmezcla.inference.blocks import resampled

EXCERPT_S = 8.0

# The places that are compared begin at multiples of this.
_STEP_S = 0.5

# Energy of a sample that is added, -100 dB below full scale: it decides between parts in which a
# stem is silent.
_FLOOR = 1e-10

# Hard to tell from the original, and small enough for a page that holds those of three systems.
_BITRATE = 192_000


def excerpt_start(references: Signals, sample_rate: int) -> int:
    """Find the part of a track in which all stems are active.

    It is the one with the largest product of the stems' energies, among those of `EXCERPT_S` that
    begin at a multiple of half a second; the first of equals.

    Args:
        references: The true stems.
        sample_rate: In Hz.

    Returns:
        Its first sample.
    """
    step = round(_STEP_S * sample_rate)
    energies = np.concatenate(list(_energies(references, step)), axis=1)
    width = min(round(EXCERPT_S / _STEP_S), energies.shape[1])
    sums = np.lib.stride_tricks.sliding_window_view(energies, width, axis=1).sum(axis=-1)
    floor = _FLOOR * step * width * references.channels
    return int(np.argmax(np.log(sums + floor).sum(axis=0))) * step


def excerpt_files(folder: Path, stems: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a track's excerpts: of the song, and of each stem and its reference."""
    names = [MIXTURE, *stems, *(f"{stem}.reference" for stem in stems)]
    return {name: folder / f"{name}.mp3" for name in names}


def write_excerpts(
    folder: Path, mixture: Signals, references: Signals, estimates: Signals, sample_rate: int
) -> None:
    """Write an excerpt of a track; all of its files appear, or none.

    Args:
        folder: Where to write.
        mixture: The song, as the only stem.
        references: The true stems.
        estimates: The estimates, the same stems; what is missing at their end is left out.
        sample_rate: In Hz.

    Errors:
        AudioFileError: if a file cannot be written.
    """
    start = excerpt_start(references, sample_rate)
    length = references.length_samples
    stop = min(start + round(EXCERPT_S * sample_rate), length)
    every = (mixture, estimates, references)
    parts = [FittedSignals(signals, length).read(start, stop) for signals in every]
    rate = writable_rate("mp3", sample_rate)
    files = excerpt_files(folder, references.stems)
    channels = references.channels
    bitrate = _BITRATE if rate >= 32_000 else None  # MPEG-2's low rates have lower limits
    with StemWriter(
        files, sample_rate=rate, channels=channels, format="mp3", bitrate=bitrate
    ) as writer:
        for block in resampled([np.concatenate(parts)], sample_rate, rate):
            writer.write(block)


def _energies(signals: Signals, step: int) -> Iterator[NDArray[np.float64]]:
    """Yield the energies of the stems in each step, for a minute at a time. Shape: `[S, n]`."""
    at_once = 120 * step
    for start in range(0, signals.length_samples, at_once):
        audio = signals.read(start, min(start + at_once, signals.length_samples))
        squares = np.square(audio, dtype=np.float64).sum(axis=1)
        padded = np.pad(squares, ((0, 0), (0, -squares.shape[1] % step)))
        yield padded.reshape(len(padded), -1, step).sum(axis=-1)
