r"""Oracles and a baseline: what masks and filters reach that know the true stems, or do nothing.

An oracle makes its estimates from the mixture and the true stems, and so shows how far methods of
its kind could get; the mixture as the estimate of every stem shows where they start. With the
STFTs s_j of the stems and x of the mixture, each oracle filters the mixture, bin by bin:

    oracle_ibm    1 for the largest |s_j|, else 0
    oracle_ibm1   1 where |s_j| ≥ |x| / 2, else 0
    oracle_ibm2   1 where |s_j|² ≥ |x|² / 2, else 0
    oracle_irm1   |s_j| / Σ_k |s_k|                 also as oracle_irm
    oracle_irm2   |s_j|² / Σ_k |s_k|²
    oracle_mwf    v_j R_j (Σ_k v_k R_k)⁻¹           a matrix over the channels

Masks treat each channel alone. The Wiener filter takes a stem to be Gaussian over the channels,
with a power that varies in time and a spatial covariance that does not,

    v_j(f, n) = mean over channels of |s_j|²,   R_j(f) = mean over frames of s_j s_jᴴ / v_j,

the mean over those frames in which the stem is not silent. In a bin in which all stems are silent,
all estimates are.

The window is Hann, of 2048 samples at 44.1 kHz (at other rates the power of two that lasts nearest
to as long), and moves by half its length; beyond its ends a track is continued with silence.

References:
    Wang, "On ideal binary mask as the computational goal of auditory scene analysis", 2005.
    Vincent, Gribonval and Plumbley, "Oracle estimators for the benchmarking of source separation
    algorithms", Signal Processing 87(8), 2007. Duong, Vincent and Gribonval, "Under-determined
    reverberant audio source separation using a full-rank spatial covariance model", IEEE TASLP
    18(7), 2010. Stöter, Liutkus and Ito, "The 2018 signal separation evaluation campaign",
    LVA/ICA 2018: the oracles IBM1, IBM2, IRM1, IRM2 and MWF.

Differences from the papers:
    The power v is not estimated anew for the R that was found: on music that lowered the scores.
    What is added to the diagonal of Σ v R, so that it can be inverted, is relative to the power.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.dsp.masks import binary_mask, ratio_mask
from desmezcla.dsp.stft import istft, stft
from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.signals import Audio, Signals

ORACLES: Mapping[str, str] = MappingProxyType(
    {
        "oracle_ibm": "ideal binary mask: each bin to the loudest stem",
        "oracle_ibm1": "ideal binary mask of SiSEC 2018: stems with half the mixture's magnitude",
        "oracle_ibm2": "ideal binary mask of SiSEC 2018: stems with half the mixture's power",
        "oracle_irm": "ideal ratio mask of magnitudes, the same as oracle_irm1",
        "oracle_irm1": "ideal ratio mask of magnitudes",
        "oracle_irm2": "ideal ratio mask of powers",
        "oracle_mwf": "multichannel Wiener filter with true powers and spatial covariances",
        "mixture": "the mixture, at its own level, as the estimate of every stem",
    }
)
"""Names for `oracle_blocks`, each with what it stands for."""

_WINDOW_S = 2048 / 44100

# Noise of the Wiener filter, relative to the power of all stems in a bin. It keeps the inverse
# finite where stems have the same place; from 1e-12 to 1e-4 it does not change scores of music.
_NOISE = 1e-10

# STFTs of the stems `[S, C, F, N]` and of the mixture `[C, F, N]` -> those of the estimates.
Filter = Callable[[Tensor, Tensor], Tensor]


class _Grid(NamedTuple):
    """How a track is cut up.

    Attributes:
        window: Of the STFT, `[n_fft]`.
        block: Samples that are computed at once, whole hops.
        length: Samples of the track.
    """

    window: Tensor
    block: int
    length: int

    @property
    def n_fft(self) -> int:
        return len(self.window)

    @property
    def hop(self) -> int:
        return self.n_fft // 2


def oracle_blocks(
    name: str,
    mixture: Signals,
    references: Signals,
    sample_rate: int,
    *,
    block_samples: int = 1 << 16,
) -> Iterator[Audio]:
    """Give the estimates of an oracle part by part; memory does not grow with the track.

    All is computed in double precision: which stem a binary mask takes must not depend on rounding.
    A mixture that is shorter than the references is continued with silence; what it has beyond
    their end is not used. It need not be their sum. A silent reference has a silent estimate, but
    `mixture` gives the mixture for it, too. `oracle_mwf` reads the references twice.

    Args:
        name: One of `ORACLES`.
        mixture: Signals of a single stem.
        references: The true stems.
        sample_rate: Of both, in Hz; the length of the window follows from it.
        block_samples: How much is computed at once, rounded up to whole hops; it has no influence
            on the result.

    Shape:
        yields float32 blocks `[S, C, n]`, together as long as the references.

    Errors:
        ParameterError: if there is no such oracle, or a number is not positive.
        EvaluationError: if mixture and references do not fit, or there are no references.
    """
    _check(name, mixture, references)
    if sample_rate < 1 or block_samples < 1:
        raise ParameterError(
            f"sample_rate={sample_rate} and block_samples={block_samples} must be 1 or more; "
            "give those of the audio, or leave the second out"
        )
    n_fft = 1 << max(1, round(math.log2(_WINDOW_S * sample_rate)))
    window = torch.hann_window(n_fft, dtype=torch.float64)
    length, hop = references.length_samples, n_fft // 2
    grid = _Grid(window, math.ceil(min(block_samples, length) / hop) * hop, length)
    if name == "mixture":
        return _mixture_blocks(mixture, references, grid)
    return _filtered_blocks(name, mixture, references, grid)


def _check(name: str, mixture: Signals, references: Signals) -> None:
    if name not in ORACLES:
        raise ParameterError(f"name={name!r} is no oracle; choose one of {', '.join(ORACLES)}")
    if not references.stems or references.length_samples < 1:
        raise EvaluationError(
            f"the references have {len(references.stems)} stems of {references.length_samples} "
            "samples, but an oracle needs at least one of each; check the audio"
        )
    if len(mixture.stems) != 1:
        raise EvaluationError(
            f"the mixture has {len(mixture.stems)} stems, but must be one signal; pass the song, "
            "or the sum of the stems"
        )
    if mixture.channels != references.channels:
        raise EvaluationError(
            f"the mixture has {mixture.channels} channels and the references have "
            f"{references.channels}, but they must have the same; bring both to one layout"
        )


def _mixture_blocks(mixture: Signals, references: Signals, grid: _Grid) -> Iterator[Audio]:
    for start in range(0, grid.length, grid.block):
        audio = _read(mixture, start, min(start + grid.block, grid.length), grid)
        yield np.repeat(audio.float().numpy(), len(references.stems), axis=0)


def _filtered_blocks(
    name: str, mixture: Signals, references: Signals, grid: _Grid
) -> Iterator[Audio]:
    if name in _MASKS:
        transfer = _MASKS[name]
    else:
        transfer = partial(_wiener, spatial=_spatial_covariances(references, grid))
    for start in range(0, grid.length, grid.block):
        mix = _spectra(mixture, start, grid)[0]
        estimates = transfer(_spectra(references, start, grid), mix)
        # The frames at both ends of what was read are not those of the whole track; no sample
        # within the block has a part in them.
        margin, stop = grid.n_fft, min(start + grid.block, grid.length)
        audio = istft(
            estimates, hop_length=grid.hop, window=grid.window, length=grid.block + 2 * margin
        )
        yield audio[..., margin : margin + stop - start].float().numpy()


def _spectra(signals: Signals, start: int, grid: _Grid) -> Tensor:
    """Return the STFT of a block and of one window more on both sides.

    Shape:
        returns `[S, C, F, N]`; frame 2 is centred on `start`, the third last on the block's end.
    """
    audio = _read(signals, start - grid.n_fft, start + grid.block + grid.n_fft, grid)
    return stft(audio, n_fft=grid.n_fft, hop_length=grid.hop, window=grid.window)


def _read(signals: Signals, start: int, stop: int, grid: _Grid) -> Tensor:
    """Return samples, with silence outside of the track. Shape: `[S, C, stop - start]`."""
    first, last = max(start, 0), min(stop, grid.length, signals.length_samples)
    if first >= last:
        return torch.zeros(len(signals.stems), signals.channels, stop - start, dtype=torch.float64)
    audio = np.ascontiguousarray(signals.read(first, last), np.float64)
    return F.pad(torch.from_numpy(audio), (first - start, stop - last))


def _loudest(stems: Tensor, mix: Tensor) -> Tensor:
    magnitudes = stems.abs()
    # In a bin without any stem, the first one would win.
    return binary_mask(magnitudes, dim=0) * (magnitudes > 0) * mix


def _share(stems: Tensor, mix: Tensor, *, power: float) -> Tensor:
    return _shares(stems.abs(), power=power) * mix


def _above(stems: Tensor, mix: Tensor, *, level: float) -> Tensor:
    return (stems.abs() >= level * mix.abs()) * mix


_MASKS: dict[str, Filter] = {
    "oracle_ibm": _loudest,
    "oracle_ibm1": partial(_above, level=0.5),
    "oracle_ibm2": partial(_above, level=math.sqrt(0.5)),
    "oracle_irm": partial(_share, power=1),
    "oracle_irm1": partial(_share, power=1),
    "oracle_irm2": partial(_share, power=2),
}


def _shares(values: Tensor, *, power: float = 1) -> Tensor:
    """Return ratio masks over the first axis that are zero where all values are."""
    return ratio_mask(values, dim=0, power=power) * (values > 0)


def _spatial_covariances(references: Signals, grid: _Grid) -> Tensor:
    """Return R. Shape: `[S, F, C, C]`, complex."""
    total = torch.zeros((), dtype=torch.complex128)
    count = torch.zeros((), dtype=torch.float64)
    # The last frame with a sample of the track is centred less than a hop behind its end.
    for start in range(0, grid.length + grid.hop, grid.block):
        stems = _spectra(references, start, grid)[..., 2:-3]
        frames = stems.transpose(1, 2)  # [S, F, C, N]
        rms = _powers(stems)[:, :, None].sqrt()  # [S, F, 1, N]
        whitened = torch.where(rms > 0, frames / rms, 0)
        total = total + whitened @ whitened.mH
        count = count + (rms[:, :, 0] > 0).sum(dim=-1)
    return total / count.clamp(min=1)[..., None, None]


def _powers(stems: Tensor) -> Tensor:
    """Return v. Shape: stems `[S, C, F, N]`; returns `[S, F, N]`."""
    return torch.view_as_real(stems).square().sum(dim=-1).mean(dim=1)


def _wiener(stems: Tensor, mix: Tensor, *, spatial: Tensor) -> Tensor:
    """Return v R C⁻¹ x with C = Σ v R.

    Shape:
        stems: `[S, C, F, N]`; mix: `[C, F, N]`; spatial: `[S, F, C, C]`; returns `[S, C, F, N]`.
    """
    # Divided by the power of all stems, so that the noise is relative to it.
    shares = _shares(_powers(stems)).to(spatial.dtype)  # [S, F, N]
    covariance = torch.einsum("sfn,sfab->abfn", shares, spatial)
    for channel in range(len(mix)):
        covariance[channel, channel] += _NOISE
    return shares[:, None] * torch.einsum("sfab,bfn->safn", spatial, _solve(covariance, mix))


def _solve(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Solve for many positive definite matrices at once, which need no pivoting (Gauss-Jordan).

    Shape:
        matrices: `[C, C, F, N]`; vectors: `[C, F, N]`; returns `[C, F, N]`.
    """
    rows = list(torch.cat([matrices, vectors[:, None]], dim=1))
    for pivot in range(len(rows)):
        rows[pivot] = rows[pivot] / rows[pivot][pivot]
        for other in range(len(rows)):
            if other != pivot:
                rows[other] = rows[other] - rows[other][pivot] * rows[pivot]
    return torch.stack([row[-1] for row in rows])
