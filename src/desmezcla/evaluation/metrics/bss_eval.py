r"""BSS Eval: how much of an estimate is the stem, its distortion, other stems, or none of these.

The estimate y of a stem s, with all its channels, is split by two least-squares projections onto
the references delayed by 0 to L - 1 samples: P_s y onto the delays of s alone, P y onto those of
all references,

    y = s + e_spat + e_interf + e_artif,
    e_spat = P_s y - s,   e_interf = P y - P_s y,   e_artif = y - P y.

The images version (all that music separation reports) and the sources version are

    ratio in dB         images                            sources
    SDR, distortion     |s|² / |y - s|²                   |P_s y|² / |y - P_s y|²
    ISR, spatial image  |s|² / |P_s y - s|²               not defined, NaN
    SIR, interference   |P_s y|² / |P y - P_s y|²         the same
    SAR, artifacts      |P y|² / |y - P y|²               the same

Version 4 finds the filters of the projections once for a track, and then takes the ratios frame by
frame; version 3 finds the filters anew in each frame, or has one frame.

References:
    Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation",
    IEEE TASLP 14(4), 2006 (sources). Vincent, Sawada, Bofill, Makino and Rosca, "First stereo
    audio source separation evaluation campaign", ICA 2007 (images, ISR). Stöter, Liutkus and Ito,
    "The 2018 signal separation evaluation campaign", LVA/ICA 2018 (version 4).

Differences from museval, which has the same numbers elsewhere:
    A reference that is silent in the whole track is left out, instead of refused; channels of
    opposite phase are not taken for silence; with a single reference SIR is infinite, not rounding
    noise; where references are nearly dependent, directions without energy are left alone (see
    `filters.Equations`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.evaluation.metrics.correlations import Channels
from desmezcla.evaluation.metrics.energies import Energies, Layout
from desmezcla.evaluation.metrics.frames import framewise_energies, track_energies
from desmezcla.evaluation.optional import require
from desmezcla.evaluation.signals import Signals


@dataclass(frozen=True)
class BssEval:
    """Ratios in dB by reference and frame, each `[S, frames]`.

    Attributes:
        sdr: Signal to distortion.
        isr: Image to spatial distortion.
        sir: Signal to interference.
        sar: Signal to artifacts.
        permutation: Which estimate belongs to each reference, `[S, frames]`.
    """

    sdr: NDArray[np.float64]
    isr: NDArray[np.float64]
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]
    permutation: NDArray[np.int64]


@torch.no_grad()
def bss_eval(
    references: Signals,
    estimates: Signals,
    *,
    window: float,
    hop: float,
    filter_samples: int = 512,
    framewise_filters: bool = False,
    sources: bool = False,
    permute: bool = False,
    device: str = "cpu",
) -> BssEval:
    """Return the ratios of estimates against references.

    Args:
        references: The true stems.
        estimates: As many estimates, of the same length and channels, in the same order (any
            order with `permute`).
        window: Samples of a frame; infinity, or more than there are, for one frame of the whole
            track.
        hop: Samples from one frame to the next; what is left at the end is not scored.
        filter_samples: Length of the distortion filters, L.
        framewise_filters: Find the filters anew for each frame (version 3).
        sources: The ratios of the sources version.
        permute: Try all orders of the estimates, and keep that of the largest mean SIR: one for
            the track, or with framewise filters one for each frame.
        device: Where to compute, in double precision: "cpu" or "cuda".

    A frame in which a reference or an estimate is digital silence is NaN in all ratios of all
    stems, unless that one is silent in the whole track: then it alone is NaN.

    Errors:
        ParameterError: if the numbers of stems, the channels or the lengths differ, or there are
            too many stems to permute.
    """
    layout = _layout(references, estimates, permute=permute)
    channels = _channels(references, estimates, device)
    frames = list(_frames(references.length_samples, window, hop))
    if framewise_filters:
        energies = framewise_energies(channels, layout, frames, filter_samples)
    else:
        length = references.length_samples
        energies = track_energies(channels, layout, frames, length, filter_samples)
    ratios = _ratios(energies, layout, sources=sources)  # [4, S, E, frames]
    order = _best_order(ratios[2], layout, framewise=framewise_filters)  # [S, frames]
    chosen = np.take_along_axis(ratios, order[None, :, None, :], axis=2)[:, :, 0]
    sdr, isr, sir, sar = chosen
    return BssEval(sdr, isr, sir, sar, order)


def _layout(references: Signals, estimates: Signals, *, permute: bool) -> Layout:
    stems = len(references.stems)
    ours = (stems, references.channels, references.length_samples)
    theirs = (len(estimates.stems), estimates.channels, estimates.length_samples)
    if ours != theirs:
        raise ParameterError(
            f"the estimates have (stems, channels, samples) {theirs}, the references {ours}; "
            "they must be the same: leave out stems, mix down, pad or cut first"
        )
    places = range(stems)
    pairs = tuple((j, e) for j in places for e in places if permute or j == e)
    return Layout(stems, stems, references.channels, pairs)


def _frames(length: int, window: float, hop: float) -> Iterator[tuple[int, int]]:
    """Yield start and end of each frame, as museval places them."""
    if not (window >= 1 and hop >= 1):
        raise ParameterError(f"window={window} and hop={hop} must be at least 1 sample")
    if window >= length:
        yield 0, length
        return
    width, step = int(window), int(min(hop, length))
    for start in range(0, length - width + 1, step):
        yield start, start + width


def _channels(references: Signals, estimates: Signals, device: str) -> Channels:
    def read(start: int, stop: int) -> Tensor:
        parts = [
            torch.from_numpy(signals.read(start, stop)).to(device).double().flatten(0, 1)
            for signals in (references, estimates)
        ]
        return torch.cat(parts)

    known, others = (len(signals.stems) * signals.channels for signals in (references, estimates))
    return Channels(read, known, others, torch.device(device))


def _ratios(energies: Energies, layout: Layout, *, sources: bool) -> NDArray[np.float64]:
    """Return SDR, ISR, SIR and SAR of all pairs: `[4, S, E, frames]`, NaN where not asked for."""
    e = energies
    true = e.reference[[j for j, _ in layout.pairs]]
    # With one reference both projections are the same but for rounding.
    interference = torch.zeros_like(e.interference) if layout.references == 1 else e.interference
    if sources:
        fractions = [(e.alone, e.beyond), (torch.nan * true, true)]
    else:
        fractions = [(true, e.error), (true, e.spatial)]
    fractions += [(e.alone, interference), (e.every, e.artifacts)]
    decibels = torch.stack([10 * torch.log10(a / b) for a, b in fractions])  # [4, P, frames]
    # x / 0 is infinite, also where x is 0: nothing is wrong with what is left.
    below = torch.stack([b for _, b in fractions])
    decibels = torch.where(below == 0, torch.inf, decibels)
    ratios = np.full((4, layout.references, layout.estimates, true.shape[1]), np.nan)
    not_scored = _not_scored(e, layout)
    for index, (j, k) in enumerate(layout.pairs):
        values = decibels[:, index].cpu().numpy()
        values[:, not_scored[index]] = np.nan
        ratios[:, j, k] = values
    if sources:
        ratios[1] = np.nan
    return ratios


def _not_scored(energies: Energies, layout: Layout) -> NDArray[np.bool_]:
    """Tell the frames in which a pair has no scores: `[P, frames]`.

    A silent reference or estimate spoils a frame for all, as in museval, where scores of silence
    have no meaning; one that is silent all the time would spoil all, so that only it is left out.
    """
    silent = torch.cat([energies.reference, energies.estimate]).eq(0)  # [S + E, frames]
    always = silent.all(dim=1)
    spoilt = (silent & ~always[:, None]).any(dim=0)
    own = [always[j] | always[layout.references + k] for j, k in layout.pairs]
    not_scored: NDArray[np.bool_] = torch.stack([spoilt | each for each in own]).cpu().numpy()
    return not_scored


def _best_order(sir: NDArray[np.float64], layout: Layout, *, framewise: bool) -> NDArray[np.int64]:
    """Return which estimate belongs to each reference: `[S, frames]`.

    Args:
        sir: `[S, E, frames]`.
        layout: Says whether there is a choice.
        framewise: Choose for each frame, not for the track.
    """
    stems, frames = layout.references, sir.shape[2]
    if len(layout.pairs) == stems:
        return np.repeat(np.arange(stems)[:, None], frames, axis=1)
    assign = require("scipy.optimize").linear_sum_assignment
    # A large number stands for infinity, and the least one for what could not be scored.
    scores = np.clip(np.nan_to_num(sir, nan=-1e4, posinf=1e4, neginf=-1e4), -1e4, 1e4)
    parts = np.moveaxis(scores, 2, 0) if framewise else scores.mean(axis=2)[None]
    orders = np.stack([assign(-part)[1] for part in parts], axis=1)
    return np.broadcast_to(orders, (stems, frames)).astype(np.int64)
