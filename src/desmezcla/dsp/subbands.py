r"""A signal in bands of equal width, each at a fraction of its sample rate, and back.

The K filters are one low-pass filter p of N = 16·K taps, modulated to the middles of the bands
(pseudo-QMF bank):

    h_k[n] = 2·p[n]·cos((2k + 1)·π / 2K·(n - (N - 1) / 2) + (-1)^k·π / 4)

The phases ±π/4 let the aliases of neighbouring bands cancel. Then a signal is given back if the
squared magnitudes add up to the same at every frequency, which they do if the autocorrelation of p
is zero at all multiples of 2·K but 0. Here p is a sinc in a Kaiser window, with the cutoff at which
the squares of those values have the smallest sum. The synthesis is the transpose of the analysis,
so nothing is delayed.

Measured for 2 to 16 bands: white noise is given back with an error 65 dB below it, and no frequency
with more than 0.1 % of it (60 dB below); a band is 90 dB down from the next band but one on.

Reference:
    Lin and Vaidyanathan, "A Kaiser Window Approach for the Design of Prototype Filters of
    Cosine Modulated Filterbanks", IEEE Signal Processing Letters 5(6), 1998.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.errors import ParameterError

TAPS_PER_BAND = 16
_KAISER_BETA = 8.5  # of 7 to 10, the one with the smallest error


def subband_filters(bands: int) -> Tensor:
    """Return the filters of a bank.

    Args:
        bands: Number of bands K, from 2.

    Shape:
        Returns `[K, 16·K]`, float32.

    Errors:
        ParameterError: if there are fewer than two bands.

    >>> subband_filters(4).shape
    torch.Size([4, 64])
    """
    if bands < 2:
        raise ParameterError(f"bands={bands} must be 2 or more; one band needs no filters")
    prototype = _prototype(bands)
    band = np.arange(bands)[:, None]
    phases = (2 * band + 1) * np.pi / (2 * bands) * _places(bands) + (-1) ** band * np.pi / 4
    return torch.from_numpy(2 * prototype * np.cos(phases)).float()


def split_bands(audio: Tensor, filters: Tensor) -> Tensor:
    """Return the bands of a signal, at 1 / K of its sample rate.

    Sample m of a band is centred on sample K·(m - 7.5) + K / 2 of the signal: there are 15
    samples more than T / K, so that the ends can be given back too.

    Args:
        audio: The signal.
        filters: Those of `subband_filters`.

    Shape:
        audio: `[*, T]`; returns `[*, K, ceil(T / K) + 15]`.
    """
    bands, taps = filters.shape
    length, padding = audio.shape[-1], taps - bands
    padded = F.pad(audio.reshape(-1, 1, length), (padding, padding + -length % bands))
    # Signals stay in full precision where a network around them computes in half of it.
    with torch.autocast(audio.device.type, enabled=False):
        split = F.conv1d(padded, filters[:, None], stride=bands)
    return split.reshape(*audio.shape[:-1], *split.shape[-2:])


def join_bands(split: Tensor, filters: Tensor, length: int) -> Tensor:
    """Return the signal whose bands these are.

    Args:
        split: Bands, as `split_bands` returns them.
        filters: Those of `subband_filters`.
        length: Samples of the signal.

    Shape:
        split: `[*, K, M]`; returns `[*, length]`.
    """
    bands, taps = filters.shape
    flat = split.reshape(-1, *split.shape[-2:])
    with torch.autocast(split.device.type, enabled=False):
        joined = F.conv_transpose1d(flat, filters[:, None], stride=bands)
    start = taps - bands
    return joined[..., 0, start : start + length].reshape(*split.shape[:-2], length)


def _places(bands: int) -> NDArray[np.float64]:
    """Return the taps' places, from the middle of the filter."""
    taps = TAPS_PER_BAND * bands
    return np.arange(taps, dtype=np.float64) - (taps - 1) / 2


def _prototype(bands: int) -> NDArray[np.float64]:
    """Return p, scaled so that the bank gives back a signal at its level."""
    taps = TAPS_PER_BAND * bands
    # As shares of the Nyquist frequency; half a band would be the cutoff of an ideal filter.
    cutoffs = np.linspace(0.55, 0.58, 3001)[:, None] / bands
    candidates = np.sinc(cutoffs * _places(bands)) * np.kaiser(taps, _KAISER_BETA)
    candidates /= np.sqrt(2 * np.square(candidates).sum(1, keepdims=True))
    lags = range(2 * bands, taps, 2 * bands)
    errors = [np.square((candidates[:, lag:] * candidates[:, :-lag]).sum(1)) for lag in lags]
    best: NDArray[np.float64] = candidates[np.argmin(np.sum(errors, axis=0))]
    return best
