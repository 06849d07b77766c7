"""Filtering by products of spectra."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.datasets.augment.base import Audio


def fast_length(samples: int) -> int:
    """Return the least length from `samples` on that is 8, 9, 10, 12 or 14 times a power of two."""
    shift = max(0, samples.bit_length() - 4)
    while True:
        for eighths in (8, 9, 10, 12, 14):
            if eighths << shift >= samples:
                return eighths << shift
        shift += 1


def convolve(audio: Audio, kernel: NDArray[np.floating]) -> Audio:
    """Return the beginning of a convolution.

    Shape:
        audio: `[..., T]`.
        kernel: `[..., L]`, with leading axes that fit those of `audio`; returns `[..., T]`.
    """
    # torch, because numpy before 2.0 has no transform in single precision.
    samples = audio.shape[-1]
    size = fast_length(samples + kernel.shape[-1] - 1)
    response = torch.fft.rfft(torch.from_numpy(kernel.astype(np.float32)), size)
    return _filtered(audio, response, size)


def low_pass(audio: Audio, cutoff_hz: float, sample_rate: int) -> Audio:
    """Return a signal without what lies above a frequency, as if its rate had been low.

    Gains fall as half a cosine over the last sixth of the band, without delay.

    Args:
        audio: The signal.
        cutoff_hz: Where the gain has become 0.
        sample_rate: In Hz.

    Shape:
        audio: `[..., T]`; returns the same.
    """
    fall_hz = cutoff_hz / 6
    # The response rings for the inverse of the fall's width, and half of it before the sound.
    size = fast_length(audio.shape[-1] + math.ceil(20 * sample_rate / fall_hz))
    hz = torch.arange(size // 2 + 1) * (sample_rate / size)
    falling = ((cutoff_hz - hz) / fall_hz).clamp(0, 1)
    return _filtered(audio, 0.5 - 0.5 * torch.cos(torch.pi * falling), size)


def biquads(
    audio: Audio, sections: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], tail: int
) -> Audio:
    """Return a signal that has gone through recursive filters of second order, one after another.

    Args:
        audio: The signal.
        sections: Numerator and denominator of each filter, in powers of z^-1.
        tail: Samples after which the impulse response can be neglected.

    Shape:
        audio: `[..., T]`; returns the same.
    """
    size = fast_length(audio.shape[-1] + tail)
    angle = torch.arange(size // 2 + 1, dtype=torch.float64).mul_(-2 * torch.pi / size)
    z = torch.polar(torch.ones_like(angle), angle)  # z^-1
    response = torch.ones_like(z)
    for b, a in sections:
        # One at a time and in double precision, since poles near 1 leave small differences.
        response *= (b[0] + z * (b[1] + b[2] * z)) / (a[0] + z * (a[1] + a[2] * z))
    return _filtered(audio, response.to(torch.complex64), size)


def _filtered(audio: Audio, response: Tensor, size: int) -> Audio:
    spectrum = torch.fft.rfft(torch.from_numpy(audio), size) * response
    filtered: Audio = torch.fft.irfft(spectrum, size)[..., : audio.shape[-1]].numpy()
    return filtered
