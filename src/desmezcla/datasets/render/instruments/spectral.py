"""Loops of a pitch, built in the frequency domain: band-limited by nature, and of any timbre.

A loop is the inverse transform of a spectrum whose partials lie on its bins, so it goes round
without a seam. Many voices, each a little out of tune, give ensembles, pads and super saws (after
the PADsynth idea of Paul Nasca); a filter is a factor per partial.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft

from desmezcla.datasets.render.instruments.take import HIGHEST, Curve, Signal, pan_gains

_LOOP_S = 3.5


def harmonics(shape: str, count: int, *, width: float = 0.5) -> Curve:
    """Return the amplitudes of the first harmonics of a waveform.

    Args:
        shape: "saw", "square", "triangle", "pulse" or "sine".
        count: How many.
        width: Of a pulse, in (0, 1).

    Shape:
        Returns `[count]`; harmonic 1 comes first.
    """
    order = np.arange(1, count + 1)
    if shape == "saw":
        return 1 / order
    if shape == "square":
        return (order % 2) / order
    if shape == "triangle":
        return (order % 2) / order**2
    if shape == "pulse":
        return np.asarray(np.sin(np.pi * order * width) / order)
    return np.asarray(order == 1, np.float64)


def lowpass(hz: Curve, cutoff_hz: float, *, resonance: float = 0.7, poles: int = 2) -> Curve:
    """Return the gain of a resonant low-pass filter of 2 or 4 poles at some frequencies."""
    ratio = (hz / cutoff_hz) ** 2
    gain = 1 / np.sqrt((1 - ratio) ** 2 + ratio / resonance**2)
    if poles == 4:
        gain = gain / np.sqrt(1 + ratio**2)
    return np.asarray(gain)


def loop(
    partials_hz: Curve,
    layers: Curve,
    *,
    cents: Sequence[float],
    pans: Sequence[float],
    rng: np.random.Generator,
    sample_rate: int,
    smear_cents: float = 0.0,
) -> Signal:
    """Return the loops of one pitch, sung by several voices.

    Args:
        partials_hz: Frequencies of the partials, the fundamental first.
        layers: Gain of each partial in each layer; the phases are the same in all layers.
        cents: Detuning of each voice.
        pans: Place of each voice.
        rng: Source of the phases.
        sample_rate: In Hz.
        smear_cents: Random deviation of every partial of every voice, as a choir has.

    Shape:
        partials_hz: `[K]`; layers: `[L, K]`; returns `[L, 2, N]`.
    """
    size = fft.next_fast_len(round(_LOOP_S * sample_rate), real=True)
    heard = partials_hz < HIGHEST * sample_rate
    partials_hz, layers = partials_hz[heard], layers[:, heard]
    order = np.arange(len(partials_hz))
    spectrum = np.zeros((len(layers), 2, size // 2 + 1), np.complex64)
    for detune, pan in zip(cents, pans, strict=True):
        deviation = detune + smear_cents * rng.standard_normal(len(order))
        bins = np.round(partials_hz * 2 ** (deviation / 1200) * size / sample_rate).astype(int)
        bins = np.clip(bins, 1, size // 2)
        # Harmonics that start together make a wave of the given shape; a smear has no shape.
        phase = rng.uniform(0, 2 * np.pi) * (order + 1) - np.pi / 2
        if smear_cents:
            phase = rng.uniform(0, 2 * np.pi, len(order))
        turned = np.exp(1j * phase)
        for channel, side in enumerate(pan_gains(pan)):
            for index, gains in enumerate(layers):
                np.add.at(spectrum[index, channel], bins, side * gains * turned)
    spectrum *= np.float32(size / 2 / np.sqrt(len(cents)))
    return np.asarray(fft.irfft(spectrum, size, axis=-1), np.float32)


def table(gains: Curve, *, size: int = 2048) -> Signal:
    """Return one period of a wave of given harmonics, one sample more than a period.

    Shape:
        gains: `[L, K]`, K below size / 2; returns `[L, size + 1]`.
    """
    spectrum = np.zeros((len(gains), size // 2 + 1), np.complex128)
    spectrum[:, 1 : gains.shape[1] + 1] = -0.5j * size * gains
    wave = np.fft.irfft(spectrum, size, axis=-1)
    return np.asarray(np.concatenate([wave, wave[:, :1]], axis=1), np.float32)
