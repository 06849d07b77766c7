"""Which seconds of a song are heard: those in which all versions of a stem are active."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.reading import read_stem
from desmezcla.datasets.track import Track

Energies = NDArray[np.float64]

# Places that are compared begin at multiples of this.
STEP_S = 0.25

# How much of a file is read at a time.
_PART_S = 60.0

# Energy per sample that is added, -100 dB below full scale: it decides where a version is silent.
_FLOOR = 1e-10


def step_energies(
    versions: Mapping[str, Track], stem: str, *, sample_rate: int, length_samples: int
) -> Energies:
    """Return the mean square of each version of a stem in each `STEP_S` of time.

    Args:
        versions: The stems by system.
        stem: The stem.
        sample_rate: To read at, in Hz.
        length_samples: Of the song, at that rate; what ends before is followed by silence.

    Shape:
        returns `[versions, steps]`; an incomplete step at the end is left out.
    """
    step = round(STEP_S * sample_rate)
    whole = max(length_samples // step, 1) * step
    at_once = max(round(_PART_S / STEP_S), 1) * step
    rows = []
    for track in versions.values():
        parts = []
        for start in range(0, whole, at_once):
            audio = read_stem(
                track,
                stem,
                sample_rate=sample_rate,
                channels=1,
                start_samples=start,
                samples=min(at_once, whole - start),
            )
            parts.append(np.square(audio[0], dtype=np.float64).reshape(-1, step).mean(axis=1))
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def most_active(energies: Energies, *, duration_s: float) -> tuple[float, ...]:
    """Return where the part begins in which all versions are most active, and the next such part.

    It is the part with the largest product of the versions' energies: a version that is silent in
    it counts most. The first of equals is taken. The second part does not overlap the first.

    >>> most_active(np.array([[0, 0, 1, 1, 0, 0.5]]), duration_s=0.5)
    (0.5, 1.0)

    Args:
        energies: What `step_energies` returns.
        duration_s: Length of the part.

    Shape:
        energies: `[versions, steps]`.

    Returns:
        The beginnings in seconds: two, or one where the song is too short for two.
    """
    width = min(max(round(duration_s / STEP_S), 1), energies.shape[1])
    means = np.lib.stride_tricks.sliding_window_view(energies, width, axis=1).mean(axis=-1)
    scores = np.log(means + _FLOOR).sum(axis=0)
    best = int(np.argmax(scores))
    apart = np.abs(np.arange(len(scores)) - best) >= width
    if not apart.any():
        return (best * STEP_S,)
    second = int(np.argmax(np.where(apart, scores, -np.inf)))
    return best * STEP_S, second * STEP_S
