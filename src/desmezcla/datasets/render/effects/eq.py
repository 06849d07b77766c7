"""A parametric equaliser: shelves, bells, high and low pass.

References:
    Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients", 1994–2005
    (also a W3C note of 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.effects.convolution import Audio, convolve, import_scipy

# The highest corner, as a part of the sample rate: nearer to Nyquist the bilinear transform
# squeezes a band into nothing.
_HIGHEST = 0.45
# Length of an impulse response: a high pass at 20 Hz has decayed by 100 dB then.
_RESPONSE_S = 0.13


@dataclass(frozen=True)
class Band:
    """One band of an equaliser.

    Attributes:
        kind: "bell", "low_shelf", "high_shelf", "high_pass" or "low_pass" (12 dB per octave).
        frequency_hz: Centre or corner; what is too high for the sample rate is lowered to it.
        gain_db: Of a bell or a shelf.
        q: Quality; 0.71 is the flattest pass filter.
    """

    kind: Literal["bell", "low_shelf", "high_shelf", "high_pass", "low_pass"]
    frequency_hz: float
    gain_db: float = 0.0
    q: float = 0.7071


def sections(bands: Sequence[Band], sample_rate: int) -> NDArray[np.float64]:
    """Return the second-order sections of a chain of bands, each normalised to a0 = 1.

    Shape:
        Returns `[len(bands), 6]`, as `scipy.signal.sosfilt` takes them.
    """
    rows = np.array([_coefficients(band, sample_rate) for band in bands]).reshape(-1, 6)
    return np.asarray(rows / rows[:, 3:4])


def equalise(audio: Audio, bands: Sequence[Band], sample_rate: int) -> Audio:
    """Filter audio with a chain of bands.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    if not bands:
        return audio
    impulse = np.zeros((1, round(_RESPONSE_S * sample_rate)))
    impulse[0, 0] = 1.0
    return convolve(audio, import_scipy("signal").sosfilt(sections(bands, sample_rate), impulse))


def _coefficients(band: Band, sample_rate: int) -> tuple[float, ...]:
    """Return b0, b1, b2, a0, a1, a2."""
    omega = 2 * np.pi * min(band.frequency_hz / sample_rate, _HIGHEST)
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * band.q)
    if band.kind == "low_pass":
        return ((1 - cos) / 2, 1 - cos, (1 - cos) / 2, 1 + alpha, -2 * cos, 1 - alpha)
    if band.kind == "high_pass":
        return ((1 + cos) / 2, -1 - cos, (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha)
    a = 10 ** (band.gain_db / 40)
    if band.kind == "bell":
        return (1 + alpha * a, -2 * cos, 1 - alpha * a, 1 + alpha / a, -2 * cos, 1 - alpha / a)
    # The shelves mirror each other: cos changes its sign, and with it every odd coefficient.
    sign = 1 if band.kind == "low_shelf" else -1
    cos, root = sign * cos, 2 * np.sqrt(a) * alpha
    return (
        a * ((a + 1) - (a - 1) * cos + root),
        sign * 2 * a * ((a - 1) - (a + 1) * cos),
        a * ((a + 1) - (a - 1) * cos - root),
        (a + 1) + (a - 1) * cos + root,
        sign * -2 * ((a - 1) + (a + 1) * cos),
        (a + 1) + (a - 1) * cos - root,
    )
