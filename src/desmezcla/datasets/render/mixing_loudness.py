"""How loud something sounds.

References:
    ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level".

Differences from the recommendation:
    Blocks of 0.4 s do not overlap, and are weighted in the spectrum (Parseval's theorem) instead
    of by filters in time: a fifth of the work, and within some tenths of a LU of it.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.effects.convolution import Audio, import_scipy
from desmezcla.datasets.render.effects.eq import Band, sections

_BLOCK_S = 0.4
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_LU = -0.691
# Blocks that are transformed together.
_CHUNK = 32

SILENCE_LUFS = -120.0


def loudness_lufs(audio: Audio, sample_rate: int) -> float:
    """Return the integrated loudness of audio, while it sounds.

    Shape:
        audio: `[C, T]`.

    Returns:
        Loudness in LUFS; `SILENCE_LUFS` for silence.
    """
    powers = _weighted_powers(audio, sample_rate)
    level = _OFFSET_LU + 10 * np.log10(np.maximum(powers, 1e-12))
    heard = level > _ABSOLUTE_GATE_LUFS
    if not heard.any():
        return SILENCE_LUFS
    gate = _lufs(powers[heard]) + _RELATIVE_GATE_LU
    return _lufs(powers[heard & (level > gate)])


def _lufs(powers: NDArray[np.float64]) -> float:
    return float(_OFFSET_LU + 10 * np.log10(powers.mean()))


def _weighted_powers(audio: Audio, sample_rate: int) -> NDArray[np.float64]:
    """Return the mean square of each block after the K weighting, added over the channels."""
    fft = import_scipy("fft")
    size = min(round(_BLOCK_S * sample_rate), audio.shape[1])
    blocks = audio.shape[1] // size
    weight = _k_weighting(size, sample_rate)
    powers = np.zeros(blocks)
    for channel in audio:
        framed = channel[: blocks * size].reshape(blocks, size)
        for start in range(0, blocks, _CHUNK):
            part = framed[start : start + _CHUNK]
            if part.any():
                power = np.square(fft.rfft(part).view(np.float32))
                # Not by BLAS, whose sums depend on its number of threads.
                powers[start : start + _CHUNK] += np.einsum("kf,f->k", power, weight)
    return powers


@lru_cache(maxsize=8)
def _k_weighting(size: int, sample_rate: int) -> NDArray[np.float32]:
    """Return the weights that make the mean square of a block from its power spectrum."""
    curve = sections(
        (Band("high_shelf", 1499.05, 4.0, 0.70718), Band("high_pass", 38.1355, q=0.50033)),
        sample_rate,
    )
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    powers = np.stack((z**0, z, z**2))
    weight = np.prod([abs((row[:3] @ powers) / (row[3:] @ powers)) ** 2 for row in curve], axis=0)
    # A bin stands for itself and its mirror image, but for the first, and the last of an even size.
    weight[1 : (size + 1) // 2] *= 2
    # The real and the imaginary part of a bin stand side by side.
    return np.repeat(weight / size**2, 2).astype(np.float32)
