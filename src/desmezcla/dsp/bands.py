"""Frequency scales: fewer bands than bins, as fine as bins where hearing is fine."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import ParameterError


def warped_centres(bins: int, bands: int) -> NDArray[np.float64]:
    """Return centres of bands on the axis of bins: one bin apart at first, then in equal ratios.

    Up to the knee k every bin is a band. Above it the centres are k·r^i and end at the last bin,
    so r = ((bins - 1) / k)^(1 / (bands - 1 - k)). The knee is where the two spacings meet, that
    is, where the first step of the upper part, k·(r - 1), is nearest to one bin.

    Args:
        bins: Bins of the spectrum.
        bands: Bands wanted, from 4 and at most `bins`.

    Shape:
        Returns `[bands]`, from 0 to bins - 1, rising.

    Errors:
        ParameterError: if `bands` is out of range.

    >>> warped_centres(65, 12).round(1).tolist()
    [0.0, 1.0, 2.0, 2.9, 4.3, 6.3, 9.3, 13.7, 20.2, 29.6, 43.5, 64.0]
    """
    if not 4 <= bands <= bins:
        raise ParameterError(f"bands={bands} must be from 4 to the number of bins, {bins}")
    if bands == bins:
        return np.arange(bins, dtype=np.float64)
    knees = np.arange(1, bands - 1)
    ratios = ((bins - 1) / knees) ** (1 / (bands - 1 - knees))
    best = int(np.argmin(np.abs(knees * (ratios - 1) - 1)))
    knee, ratio = int(knees[best]), float(ratios[best])
    above = knee * ratio ** np.arange(1, bands - knee)
    return np.concatenate([np.arange(knee + 1), above[:-1], [bins - 1.0]])


def band_weights(centres: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the weights by which values at the centres of bands are interpolated to bins.

    Interpolation is linear, so every row sums to one. The columns, each divided by its sum,
    average a spectrum into bands.

    Shape:
        centres: `[K]`, rising from 0 to bins - 1; returns `[bins, K]`.
    """
    places = np.arange(bins)
    upper = np.clip(np.searchsorted(centres, places, side="right"), 1, len(centres) - 1)
    below, above = centres[upper - 1], centres[upper]
    share = (places - below) / (above - below)
    weights = np.zeros((bins, len(centres)))
    weights[places, upper - 1] = 1 - share
    weights[places, upper] += share
    return weights
