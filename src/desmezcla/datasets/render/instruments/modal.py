"""Sounds as sums of decaying sines: strings, bars, bells, skins and cymbals.

A decaying sine is a geometric series z^n, and z^(bn+m) = (z^b)^n z^m, so that a sum of K of them
is one product of a matrix of coarse steps and one of fine steps: 4 K operations per sample, none
of them a sine.
"""

import numpy as np

from desmezcla.datasets.render.instruments.take import HIGHEST, Curve, Signal

_FINE = 256
# Below this nothing is heard, and small numbers would slow the processor down.
_SILENT = 1e-7


def modes(
    hz: Curve,
    decay_s: Curve,
    gain: Curve,
    *,
    samples: int,
    sample_rate: int,
    phase: Curve | float = -0.5 * np.pi,
) -> Signal:
    """Return Σ gain · exp(-t / decay) · cos(2π hz t + phase); modes above `HIGHEST` are left out.

    Args:
        hz: Frequencies.
        decay_s: Times in which they fall to 1/e.
        gain: Amplitudes.
        samples: Longest length; the result is shorter if it has died away before.
        sample_rate: In Hz.
        phase: At the start; as it stands, every mode begins with a sine, at 0.

    Shape:
        hz, decay_s, gain: `[K]`; returns `[1, n]`, n at most `samples`.
    """
    heard = (hz > 0) & (hz < HIGHEST * sample_rate) & (np.abs(gain) > _SILENT)
    hz, decay_s, gain = hz[heard], np.broadcast_to(decay_s, heard.shape)[heard], gain[heard]
    start = gain * np.exp(1j * np.broadcast_to(phase, heard.shape)[heard])
    if not hz.size or not samples:
        return np.zeros((1, samples), np.float32)
    last_s = np.max(decay_s * np.log(np.abs(gain) / _SILENT))
    samples = max(1, min(samples, int(last_s * sample_rate)))
    step = (2j * np.pi * hz - 1 / decay_s) / sample_rate
    steps = np.arange(-(-samples // _FINE)) * _FINE
    coarse = np.exp(steps[:, None] * step) * start
    coarse[np.abs(coarse) < _SILENT] = 0
    fine = np.exp(step[:, None] * np.arange(_FINE))
    real = coarse.real.astype(np.float32) @ fine.real.astype(np.float32)
    real -= coarse.imag.astype(np.float32) @ fine.imag.astype(np.float32)
    return np.asarray(real.reshape(1, -1)[:, :samples], np.float32)


def noise_burst(
    rng: np.random.Generator,
    *,
    low_hz: float,
    high_hz: float,
    decay_s: float,
    sample_rate: int,
    attack_s: float = 0.0,
) -> Signal:
    """Return decaying noise of a band with soft edges, of deviation 1 at its loudest.

    Shape:
        Returns `[1, n]`, n as long as it takes to fall by 60 dB.
    """
    samples = max(16, round((6.9 * decay_s + attack_s) * sample_rate))
    noise = band_noise(rng, samples, low_hz=low_hz, high_hz=high_hz, sample_rate=sample_rate)
    time_s = np.arange(samples) / sample_rate
    level = np.exp(-np.maximum(time_s - attack_s, 0) / decay_s)
    if attack_s:
        level *= np.minimum(time_s / attack_s, 1)
    level *= np.minimum((samples - np.arange(samples)) / (0.1 * samples), 1)
    return np.asarray(noise * level, np.float32)


def band_noise(
    rng: np.random.Generator, samples: int, *, low_hz: float, high_hz: float, sample_rate: int
) -> Signal:
    """Return noise of deviation 1 in a band with edges of 12 dB per octave. Shape: `[1, n]`."""
    size = 1 << max(4, (samples - 1).bit_length())
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    rise = 1 / (1 + (low_hz / np.maximum(hz, 1e-3)) ** 2)
    shape = rise / (1 + (hz / high_hz) ** 2)
    shape[0] = 0
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * shape, size)[:samples]
    return np.asarray(noise[None] / max(float(noise.std()), 1e-9), np.float32)
