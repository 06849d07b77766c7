"""Correlations of long signals at short lags, block by block.

With x_i zero outside of the part that is looked at, and lags 0 <= k < L,

    r_ij[k] = Σ_t x_i[t] y_j[t + k].

A block of N samples of x meets N + L - 1 samples of y. Its correlation is a product of spectra, and
the spectra of all blocks add up before a single transform back: whatever the length of a song,
memory holds one batch of blocks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Samples of a block's transform for each sample of lag, and samples (of all channels together) of
# a batch of blocks: larger ones do less work twice, smaller ones stay in the processor's cache.
_TRANSFORM_PER_LAG = 16
_BATCH_SAMPLES = 1 << 20

Read = Callable[[int, int], Tensor]
"""Gives the samples from start to before stop, float64 `[channels, stop - start]`."""


def cross_correlations(
    read: Read, channels: tuple[int, int], start: int, stop: int, lags: int, *, within: bool = True
) -> Tensor:
    """Return the correlations of the first channels with all, or with the others.

    Args:
        read: Gives the signals.
        channels: How many of the channels are x, and how many others there are.
        start: First sample of the part; everything outside of it counts as zero.
        stop: End of the part.
        lags: How many lags, L.
        within: Correlate the first channels with each other, too.

    Shape:
        returns `[X, X + Y, lags]`, or `[X, Y, lags]` without those within; float64.
    """
    first, others = channels
    size = _transform_size(lags, stop - start)
    hop = size - lags + 1
    blocks_at_once = max(1, _BATCH_SAMPLES // (size * (first + others)))
    spectra = []
    for begin in range(start, stop, blocks_at_once * hop):
        blocks = min(blocks_at_once, -(-(stop - begin) // hop))
        audio = _overlapping(read, begin, stop, blocks, hop, size)
        x = audio[:first].clone()
        x[..., hop:] = 0
        # [F, X, blocks] times [F, blocks, Y]
        left = torch.fft.rfft(x).permute(2, 0, 1).conj()
        spectra.append(left @ torch.fft.rfft(audio[0 if within else first :]).permute(2, 1, 0))
        if len(spectra) > 1:
            spectra = [spectra[0].add_(spectra[1])]
    correlations: Tensor = torch.fft.irfft(spectra[0].permute(1, 2, 0), n=size)
    return correlations[..., :lags]


def _overlapping(read: Read, begin: int, stop: int, blocks: int, hop: int, size: int) -> Tensor:
    """Read overlapping blocks, zeros beyond the end. Shape: `[channels, blocks, size]`."""
    wanted = (blocks - 1) * hop + size
    audio = read(begin, min(stop, begin + wanted))
    return torch.nn.functional.pad(audio, (0, wanted - audio.shape[1])).unfold(1, size, hop)


def _transform_size(lags: int, samples: int) -> int:
    """Return a power of two, no longer than is of use."""
    longest = 1 << (_TRANSFORM_PER_LAG * lags - 1).bit_length()
    return min(longest, 1 << (samples + lags - 1).bit_length())
