"""The breaths that a singer takes between phrases."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.score import Syllable
from desmezcla.datasets.render.singing.character import Character
from desmezcla.datasets.render.singing.units import Signal

# A phrase needs this long a rest before it for a breath to be heard.
_SHORTEST_REST_S = 0.3


def breaths(
    notes: Sequence[Syllable],
    character: Character,
    *,
    rng: np.random.Generator,
    sample_rate: int,
    samples: int,
) -> NDArray[np.float32]:
    """Return the breaths before the phrases of a part.

    Shape:
        Returns `[samples]`.
    """
    out = np.zeros(samples, np.float32)
    centres_hz = rng.uniform(0.85, 1.2) * np.array([750.0, 1700.0, 3000.0, 5200.0])
    silent_since_s = 0.0
    for note in notes:
        rest_s = note.start_s - silent_since_s
        silent_since_s = max(silent_since_s, note.end_s)
        if not note.first or rest_s < _SHORTEST_REST_S or rng.random() > 0.8:
            continue
        length_s = min(rng.uniform(0.18, 0.5), 0.7 * rest_s)
        begin = int((note.start_s - length_s - rng.uniform(0.1, 0.14)) * sample_rate)
        sound = (
            character.inhale
            * rng.uniform(0.4, 1)
            * 0.1
            * _inhale(centres_hz, length_s, rng, sample_rate)
        )
        if begin >= 0 and begin + len(sound) <= samples:
            out[begin : begin + len(sound)] += sound.astype(np.float32)
    return out


def _inhale(
    centres_hz: Signal, length_s: float, rng: np.random.Generator, sample_rate: int
) -> Signal:
    """Return noise through the resonances of an open throat, of unit level at its peak."""
    count = int(length_s * sample_rate)
    hz = np.fft.rfftfreq(count, 1 / sample_rate)[:, None]
    peaks = 1 / (1 + ((hz - centres_hz) / (0.22 * centres_hz)) ** 2) * [1.0, 0.8, 0.5, 0.35]
    spectrum = np.fft.rfft(rng.standard_normal(count)) * (peaks.sum(axis=1) + 0.03)
    noise = np.fft.irfft(spectrum, count)
    x = np.linspace(0, 1, count)
    shape = np.sin(np.pi * x**1.4) ** 1.5
    return np.asarray(noise / np.sqrt(np.mean(noise**2) + 1e-12) * shape)
