r"""Ratios of a whole track that need no filters: global SDR and scale-invariant SDR.

All channels and samples of a track count together, as one vector s of the stem and y of its
estimate:

    global SDR = 10 log10 ((|s|² + ε) / (|s - y|² + ε)),  ε = 1e-7
    SI-SDR     = 10 log10 (|α s|² / |α s - y|²),          α = <y, s> / |s|²

The global SDR is that of the Music Demixing Challenge; its ε decides what silence is worth:
silence estimated as silence is 0 dB, anything else far below. SI-SDR does not mind the level of an
estimate; of a silent stem, or for a silent estimate, it is not defined (NaN). No mean is removed.

References:
    Mitsufuji et al., "Music demixing challenge 2021", Frontiers in Signal Processing 1, 2022.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.dsp.threads import summed_on_all_cores
from desmezcla.evaluation.metrics.correlations import Span, cut
from desmezcla.evaluation.signals import Signals

Values = NDArray[np.float64]

_EPSILON = 1e-7
_PART_SAMPLES = 1 << 16


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


@torch.no_grad()
def track_ratios(references: Signals, estimates: Signals) -> TrackRatios:
    """Return the ratios of stems and their estimates, in the same order and of the same length."""

    def sums(part: Span) -> Tensor:
        audio = [torch.from_numpy(signals.read(*part)) for signals in (references, estimates)]
        s, y = (each.double().flatten(1) for each in audio)
        e = y - s
        pairs = ((s, s), (y, y), (e, e), (e, s))
        return torch.stack([torch.linalg.vecdot(a, b) for a, b in pairs])

    parts = cut(0, references.length_samples, _PART_SAMPLES)
    cpu = torch.device("cpu")
    energy, estimated, error, product = summed_on_all_cores(sums, parts, cpu)
    audible = (energy > 0) & (estimated > 0)
    # With e = y - s: α = 1 + ⟨e, s⟩ / |s|², so that |α s - y|² = |e|² - ⟨e, s⟩² / |s|².
    scaled = (energy + product).square() / energy
    distance = (error - product.square() / energy).clamp(min=0)
    si_sdr = torch.where(audible, _decibels(scaled, distance), torch.nan)
    global_sdr = _decibels(energy + _EPSILON, error + _EPSILON)
    return TrackRatios(
        global_sdr.numpy(), si_sdr.numpy(), (energy == 0).numpy(), (estimated == 0).numpy()
    )


def _decibels(signal: Tensor, distortion: Tensor) -> Tensor:
    return 10 * torch.log10(signal / distortion)
