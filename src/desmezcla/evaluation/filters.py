"""The distortion filters of BSS Eval: least-squares projections onto delayed references.

The estimate y_c is approximated by Σ_i Σ_a h_ic[a] x_i[t - a] with delays 0 <= a < L over all
channels i of the references. The normal equations G h = d have

    G[(i, a), (j, b)] = r_ij[a - b],   d[(i, a), c] = Σ_t x_i[t - a] y_c[t],

so G consists of Toeplitz blocks. It does not depend on the estimates: one factorisation serves all.

G squares the condition of the problem: of music without content above 16 kHz it is 10^15, and the
rounding of G and d alone moves the scores by hundredths of a decibel. So what the projection leaves
of the estimates, e = y - Σ x h, is computed from the signals, and corrected for by the same factor:
G δ = Σ_t x_i[t - a] e_c[t]. One or two corrections make the filters as good as those of an
orthogonal decomposition of the signals themselves.

References:
    Björck, "Stability analysis of the method of seminormal equations for linear least squares
    problems", Linear Algebra and its Applications 88, 1987 (the corrected seminormal equations).
"""

import torch
from torch import Tensor

from desmezcla.evaluation.correlations import Read, cross_correlations
from desmezcla.evaluation.overlap_save import OverlapSave

# What is added to the diagonal where G has no Cholesky factor in double precision, relative to
# each element of it, until it has one.
_RIDGES = (1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)


# Filters whose estimated error, relative to their largest value, is below this are not corrected:
# noise never is, four stereo stems of music without high frequencies are twice. On one such song
# an error of 1e-4 moved SIR by 4e-4 dB.
_GOOD_ENOUGH = 1e-6
_MOST_CORRECTIONS = 4


def gram(correlations: Tensor) -> Tensor:
    """Return G from the correlations of the references.

    Args:
        correlations: `r_ij[k]` of all channels of the references with each other.

    Shape:
        correlations: `[*, I, I, L]`; returns `[*, I·L, I·L]`.
    """
    batch, channels, lags = correlations.shape[:-3], correlations.shape[-2], correlations.shape[-1]
    # r_ij[-k] is r_ji[k].
    negative = correlations.transpose(-3, -2)[..., 1:]
    by_delay = torch.cat([correlations.flip(-1), negative], dim=-1)  # lags L-1 … -(L-1)
    blocks = by_delay.unfold(-1, lags, 1).flip(-2)  # [*, I, I, L, L], entry (a, b) at lag a - b
    return blocks.transpose(-3, -2).reshape(*batch, channels * lags, channels * lags)


class Equations:
    """Symmetric, positive semi-definite equations G h = d, factorised once for any number of d.

    Silent channels have zeros in G and get filters of zeros. Where G has no Cholesky factor
    (two references are the same, or a band of frequencies is empty in all), the diagonal is raised
    by the smallest of a few relative amounts that give one: directions in which the references
    have no energy are then left alone, instead of filled with rounding noise.

    Args:
        matrix: G.

    Shape:
        matrix: `[n, n]`.
    """

    def __init__(self, matrix: Tensor) -> None:
        level = matrix.diagonal()
        # Powers of two, so that scaling rounds nothing.
        self._scale = torch.where(level > 0, level, 1.0).log2().mul(-0.5).round().exp2()
        self._matrix = matrix * self._scale[:, None] * self._scale
        self._matrix.diagonal()[level <= 0] = 1.0
        self._factor = _factor(self._matrix)

    def solve(self, right: Tensor) -> tuple[Tensor, float]:
        """Return h, and about how much rounding has changed it, relative to its largest value.

        Shape:
            right: `[n, m]`; returns `[n, m]`.
        """
        right = self._scale[:, None] * right
        solution = torch.cholesky_solve(right, self._factor)
        missed = torch.cholesky_solve(right - self._matrix @ solution, self._factor)
        solution += missed
        largest = float(solution.abs().amax()) or 1.0
        return self._scale[:, None] * solution, float(missed.abs().amax()) / largest


def _factor(scaled: Tensor) -> Tensor:
    """Return the Cholesky factor of a matrix with a diagonal near one, which may be raised."""
    diagonal = scaled.diagonal()
    for ridge in (0.0, *_RIDGES):
        diagonal += ridge
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(scaled)
        if int(info) == 0:
            return factor
    raise AssertionError("a matrix of correlations plus a millionth has a Cholesky factor")


def distortion_filters(read: Read, correlations: Tensor, start: int, stop: int) -> Tensor:
    """Return the filters that project the estimates onto all references, in a part of the signals.

    Args:
        read: Gives the I channels of all references, then the O channels of all estimates.
        correlations: Of the references with all channels, in this part; their lags are as many as
            the filters' taps.
        start: First sample of the part.
        stop: End of the part.

    Shape:
        correlations: `[I, I + O, L]`; returns `[I, L, O]`.
    """
    references, _, taps = correlations.shape
    equations = Equations(gram(correlations[:, :references]))
    right = correlations[:, references:]
    filters = torch.zeros_like(right.mT)
    for _ in range(_MOST_CORRECTIONS):
        change, rounding = equations.solve(right.permute(0, 2, 1).flatten(0, 1))
        filters += change.reshape(filters.shape)
        moved = float(change.abs().amax()) / (float(filters.abs().amax()) or 1.0)
        if moved * rounding < _GOOD_ENOUGH:
            break
        left = _left_over(read, filters, start, stop)
        counts = (references, filters.shape[2])
        right = cross_correlations(left, counts, start, stop + taps - 1, taps, within=False)
    return filters


def _left_over(read: Read, filters: Tensor, start: int, stop: int) -> Read:
    """Give the references, and what is left of the estimates when the projections are taken away.

    The filtered references ring on after the end of the part, up to L - 1 samples.
    """
    references = filters.shape[0]
    bank = OverlapSave(filters, 1 << 16)

    def left(begin: int, end: int) -> Tensor:
        first, last = max(start, begin - bank.past), min(stop, end)
        audio = read(first, last)
        audio = torch.nn.functional.pad(audio, (first - (begin - bank.past), end - last))
        projected = bank.stretch(audio[:references])
        now = audio[:, bank.past :]
        return torch.cat([now[:references], now[references:] - projected])

    return left
