"""Independent components of a mixture of signals (FastICA)."""

import math

import torch
from torch import Tensor

from desmezcla.errors import ParameterError

# Directions with less than this part of the largest variance (-100 dB) are rounding.
_RANK = 1e-10
# The mean of log cosh of a normal variable, from which negentropy is measured.
_NORMAL = 0.3745672


def unmixing_matrix(
    signals: Tensor, *, starts: int, iterations: int, tolerance: float, generator: torch.Generator
) -> Tensor:
    """Find a matrix whose products with the signals are independent (Hyvärinen 1999).

    The signals are whitened; what is left is a rotation, for which all components are sought at
    once by the fixed-point iteration w <- E[z·g(w·z)] - E[g'(w·z)]·w with g = tanh, and made
    orthogonal after each. It ends near the start, in a place that need not be the best: of several
    starts, the one whose components are furthest from a normal distribution is taken.

    Args:
        signals: Their means do not count.
        starts: Rotations to try.
        iterations: Most steps from the start.
        tolerance: Change of the directions, as 1 - |cosine|, at which the iteration ends.
        generator: Source of the starts, on the CPU.

    Shape:
        signals: `[C, T]`; returns `[K, C]`, K as many as are linearly independent, in float64.

    Errors:
        ParameterError: if a number is not positive.
    """
    for name, value in (("starts", starts), ("iterations", iterations), ("tolerance", tolerance)):
        if value <= 0:
            raise ParameterError(f"{name}={value} must be positive")
    whitening = _whitening(signals)
    if len(whitening) == 0:
        return whitening
    centred = signals.double() - signals.double().mean(1, keepdim=True)
    white = whitening @ centred  # [K, T]
    best = max(
        (_rotation(len(white), generator).to(white) for _ in range(starts)),
        key=lambda rotation: _negentropy(rotation @ white),
    )
    for _ in range(iterations):
        changed = _step(best, white)
        moved = float((1 - (changed * best).sum(1).abs()).max())
        best = changed
        if moved < tolerance:
            break
    return best @ whitening


def _whitening(signals: Tensor) -> Tensor:
    """Return the matrix that makes signals uncorrelated, with variance 1: `[C, T] -> [K, C]`."""
    x = signals.double()
    peak = x.abs().amax().clamp(min=1e-300)
    x = (x - x.mean(1, keepdim=True)) / peak
    variances, directions = torch.linalg.eigh(x @ x.T / x.shape[1])
    kept = variances > _RANK * variances[-1].clamp(min=1e-300)
    whitening: Tensor = (directions[:, kept] / variances[kept].sqrt()).T / peak
    return whitening


def _rotation(size: int, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix."""
    return _orthogonal(torch.randn(size, size, dtype=torch.float64, generator=generator))


def _orthogonal(matrix: Tensor) -> Tensor:
    """Return the orthogonal matrix that is nearest to one: (W·Wᵀ)^(-1/2)·W."""
    u, _, v = torch.linalg.svd(matrix)
    nearest: Tensor = u @ v
    return nearest


def _step(rotation: Tensor, white: Tensor) -> Tensor:
    """Return the rotation after one step of the fixed-point iteration."""
    bent = torch.tanh(rotation @ white)
    slope = 1 - bent.square().mean(1)
    return _orthogonal(bent @ white.T / white.shape[1] - slope[:, None] * rotation)


def _negentropy(components: Tensor) -> float:
    """Return how far components are from normal, by log cosh: `[K, T]` -> a number."""
    modulus = components.abs()
    # log cosh x = |x| + log(1 + e^(-2|x|)) - log 2, which does not overflow.
    contrast = modulus + torch.log1p(torch.exp(-2 * modulus)) - math.log(2)
    return float((contrast.mean(1) - _NORMAL).square().sum())
