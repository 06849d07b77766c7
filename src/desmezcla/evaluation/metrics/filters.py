"""The distortion filters of BSS Eval: least-squares projections onto delayed references.

The estimate y_c is approximated by Σ_i Σ_a h_ic[a] x_i[t - a] with delays 0 <= a < L over all
channels i of the references. The normal equations G h = d have

    G[(i, a), (j, b)] = r_ij[a - b],   d[(i, a), c] = Σ_t x_i[t - a] y_c[t],

so G consists of Toeplitz blocks. It does not depend on the estimates: one factorisation serves all.

G squares the condition of the problem: of music without content above 16 kHz it is 10^15, and the
rounding of G and d alone moves the scores by hundredths of a decibel. So what the projection leaves
of the estimates, e = y - Σ x h, is computed from the signals, and corrected for by the same factor:
G δ = Σ_t x_i[t - a] e_c[t]. One correction leaves errors of thousandths of what they were.

References:
    Björck, "Stability analysis of the method of seminormal equations for linear least squares
    problems", Linear Algebra and its Applications 88, 1987 (the corrected seminormal equations).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from desmezcla.dsp.threads import summed_on_all_cores
from desmezcla.evaluation.metrics.correlations import (
    Channels,
    Span,
    by_frequency,
    cut,
    from_spectrum,
)
from desmezcla.evaluation.metrics.overlap_save import OverlapSave

# What is added to the diagonal, relative to each element of it, until G has a Cholesky factor
# that rounding does not spoil.
_RIDGES = (0.0, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)
_SPOILT = 0.1

# Filters that rounding has changed by more than this, relative to their largest value, are
# corrected: those of music are, those of noise are not.
_GOOD_ENOUGH = 1e-6

# Samples of output that one core corrects at a time.
_PART_SAMPLES = 1 << 16


def gram(correlations: Tensor) -> Tensor:
    """Return G from the correlations of the references.

    Args:
        correlations: `r_ij[k]` of all channels of the references with each other.

    Shape:
        correlations: `[I, I, L]`; returns `[I·L, I·L]`.
    """
    channels, _, lags = correlations.shape
    matrix = correlations.new_empty(channels, lags, channels, lags)
    # r_ij[-k] is r_ji[k].
    negative = correlations.transpose(0, 1)[..., 1:]
    by_delay = torch.cat([correlations.flip(-1), negative], dim=-1)  # lags L-1 … -(L-1)
    for rows, delays in zip(matrix, by_delay, strict=True):  # one by one, to save memory
        falling = delays.unfold(-1, lags, 1)  # [I, L, L], (a, b): lag L - 1 - a - b
        rows.copy_(falling.transpose(0, 1).flip(0))
    return matrix.view(channels * lags, channels * lags)


class Equations:
    """The equations G h = d of some references, factorised once for any number of d.

    Silent channels have zeros in G and get filters of zeros. Where G has no Cholesky factor in
    double precision, or one of rounding noise (two references are the same, or a band of
    frequencies is empty in all), the diagonal is raised by the smallest of a few relative amounts
    that mend it: directions in which the references have no energy are then left alone, instead of
    filled with noise.

    Args:
        correlations: `r_ij[k]` of all channels of the references with each other.
        right: Typical d, from which is told whether rounding spoils the factor.
        ridge: By how much to raise the diagonal at least: what some of the references have needed,
            all of them need, too.

    Shape:
        correlations: `[I, I, L]`; right: `[I·L, m]`.

    Attributes:
        ridge: By how much the diagonal was raised.
    """

    def __init__(self, correlations: Tensor, right: Tensor, *, ridge: float = 0.0) -> None:
        level = correlations[..., 0].diagonal()
        # Powers of two, so that scaling rounds nothing.
        scale = torch.where(level > 0, level, 1.0).log2().mul(-0.5).round().exp2()
        lags = correlations.shape[-1]
        self._scale = scale.repeat_interleave(lags)[:, None]
        self._matrix = gram(correlations * (scale[:, None] * scale)[..., None])
        diagonal = self._matrix.diagonal()
        diagonal[(level <= 0).repeat_interleave(lags)] = 1.0
        self.ridge = 0.0
        for wanted in (each for each in _RIDGES if each >= ridge):
            diagonal += wanted - self.ridge
            self.ridge = wanted
            self._factor, info = torch.linalg.cholesky_ex(self._matrix)
            if int(info) == 0 and self.solve(right)[1] < _SPOILT:
                return
            del self._factor  # before there is another one
        raise AssertionError("correlations plus a millionth of the energy can be factorised")

    def solve(self, right: Tensor) -> tuple[Tensor, float]:
        """Return h, and about how much rounding has changed it, relative to its largest value.

        Shape:
            right: `[n, m]`; returns `[n, m]`.
        """
        right = self._scale * right
        solution = torch.cholesky_solve(right, self._factor)
        missed = torch.cholesky_solve(right - self._matrix @ solution, self._factor)
        solution += missed
        largest = float(solution.abs().amax()) or 1.0
        return self._scale * solution, float(missed.abs().amax()) / largest


def distortion_filters(
    channels: Channels, correlations: Tensor, span: Span, *, ridge: float = 0.0
) -> Tensor:
    """Return the filters that project the estimates onto all references, in a span of the signals.

    Args:
        channels: The signals.
        correlations: Of the references with all channels, in the span; their lags are as many as
            the filters' taps.
        span: Outside of it everything counts as zero.
        ridge: See `Equations`.

    Shape:
        correlations: `[I, I + O, L]`; returns `[I, L, O]`.
    """
    known, _, taps = correlations.shape
    right = _right(correlations[:, known:])
    equations = Equations(correlations[:, :known], right, ridge=ridge)
    solution, rounding = equations.solve(right)
    if rounding > _GOOD_ENOUGH:
        left = _left_over(channels, solution.reshape(known, taps, -1), span)
        change, _ = equations.solve(_right(left))
        # A change as large as the filters would be noise: the references are the same.
        if float(change.abs().amax()) < float(solution.abs().amax()) / 2:
            solution += change
    return solution.reshape(known, taps, -1)


def _right(correlations: Tensor) -> Tensor:
    """Return d. Shape: `[I, O, L]` -> `[I·L, O]`."""
    return correlations.permute(0, 2, 1).flatten(0, 1)


def _left_over(channels: Channels, filters: Tensor, span: Span) -> Tensor:
    """Correlate the references with what is left of the estimates without their projections.

    Shape:
        filters: `[I, L, O]`; returns `[I, O, L]`.
    """
    known, taps, _ = filters.shape
    bank = OverlapSave(filters, _PART_SAMPLES)

    def correlated(part: Span) -> Tensor:
        blocks = -(-(part[1] - part[0]) // bank.step)
        # The filtered references ring on after the end of the span, where the rest is silent.
        audio = channels.span(part[0] - bank.past, part[0] + blocks * bank.step, span)
        cut_up = audio.unfold(1, bank.size, bank.step)
        spectra = by_frequency(cut_up[:known])  # [F, blocks, I]
        left = cut_up[known:, :, bank.past :] - bank.apply(spectra)
        return spectra.mH.resolve_conj() @ by_frequency(pad(left, (bank.past, 0)))

    # Whole blocks, so that no sample counts twice.
    parts = cut(span[0], span[1] + bank.past, max(1, _PART_SAMPLES // bank.step) * bank.step)
    return from_spectrum(summed_on_all_cores(correlated, parts, channels.device), bank.size, taps)
