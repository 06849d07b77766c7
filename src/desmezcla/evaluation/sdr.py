r"""Ratios of a whole track that need no filters: global SDR and scale-invariant SDR.

All channels and samples of a track count together, as one vector s of the stem and y of its
estimate:

    global SDR = 10 log10 ((|s|² + ε) / (|s - y|² + ε)),  ε = 1e-7
    SI-SDR     = 10 log10 (|α s|² / |α s - y|²),          α = <y, s> / |s|²

The global SDR is that of the Music Demixing Challenge; its ε decides what silence is worth:
silence estimated as silence is 0 dB, anything else far below. SI-SDR does not mind the level of an
estimate; of a silent stem, or for a silent estimate, it is not defined (NaN). No mean is taken away.

References:
    Mitsufuji et al., "Music demixing challenge 2021", Frontiers in Signal Processing 1, 2022.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.evaluation.signals import Audio, Signals

Values = NDArray[np.float64]

_EPSILON = 1e-7
_BLOCK_SAMPLES = 1 << 18


@dataclass(frozen=True)
class TrackRatios:
    """Ratios of a track, each `[S]`.

    Attributes:
        global_sdr: In dB.
        si_sdr: In dB.
        silent_references: Whether a reference has no sample but zeros.
        silent_estimates: Whether an estimate has none.
    """

    global_sdr: Values
    si_sdr: Values
    silent_references: NDArray[np.bool_]
    silent_estimates: NDArray[np.bool_]


def track_ratios(references: Signals, estimates: Signals) -> TrackRatios:
    """Return the ratios of stems and their estimates, in the same order and of the same length."""
    energy, estimated, error, product = (np.zeros(len(references.stems)) for _ in range(4))
    for s, y in _blocks(references, estimates):
        energy += _dot(s, s)
        estimated += _dot(y, y)
        error += _dot(s - y, s - y)
        product += _dot(s, y)
    audible = (energy > 0) & (estimated > 0)
    scale = np.divide(product, energy, out=np.zeros_like(energy), where=audible)
    # Summed up in a second pass: as a difference of large sums it would drown in rounding noise.
    distance = np.zeros_like(energy)
    for s, y in _blocks(references, estimates):
        distance += _dot(scale[:, None, None] * s - y, scale[:, None, None] * s - y)
    with np.errstate(divide="ignore", invalid="ignore"):
        si_sdr = np.where(audible, 10 * np.log10(scale**2 * energy / distance), np.nan)
    global_sdr = 10 * np.log10((energy + _EPSILON) / (error + _EPSILON))
    return TrackRatios(global_sdr, si_sdr, energy == 0, estimated == 0)


def _blocks(references: Signals, estimates: Signals) -> Iterator[tuple[Audio, Audio]]:
    length = references.length_samples
    for start in range(0, length, _BLOCK_SAMPLES):
        stop = min(length, start + _BLOCK_SAMPLES)
        yield (
            references.read(start, stop).astype(np.float64),
            estimates.read(start, stop).astype(np.float64),
        )


def _dot(a: Audio, b: Audio) -> Values:
    """Return the inner product of each stem. Shape: `[S, C, n]` -> `[S]`."""
    product: Values = np.einsum("sct,sct->s", a, b)
    return product
