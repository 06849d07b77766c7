"""Non-negative matrix factorisation with the beta-divergence."""

import torch
from torch import Tensor

from desmezcla.errors import ParameterError

# Smallest entry of V and of W·H, relative to the mean of V: the Itakura-Saito divergence of an
# exact zero is infinite, and its square must fit float32.
_FLOOR = 1e-8
# Keeps a component that has died out at zero where it would be 0/0.
_TINY = 1e-30


def nmf(
    matrix: Tensor, rank: int, *, beta: float, iterations: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Factor a non-negative matrix V into W·H by multiplicative updates.

    No update increases the beta-divergence between V and W·H: for beta 2 (Euclidean) and 1
    (Kullback-Leibler) after Lee and Seung 2001, for beta 0 (Itakura-Saito, Févotte, Bertin and
    Durrieu 2009) and all others with the exponent of Févotte and Idier 2011.

    Args:
        matrix: V, all entries zero or positive.
        rank: Number of components K.
        beta: Order of the divergence.
        iterations: Updates of both factors.
        generator: Source of the initial factors, on the CPU: one seed gives the same start on
            every device.

    Shape:
        matrix: `[F, N]`; returns W `[F, K]`, whose columns sum to one, and H `[K, N]`.

    Errors:
        ParameterError: if an entry is negative, or `rank` or `iterations` is out of range.
    """
    if rank < 1:
        raise ParameterError(f"rank={rank} must be at least 1; give the number of components")
    if iterations < 0:
        raise ParameterError(f"iterations={iterations} must be at least 0; 100 is usual")
    if (matrix < 0).any():
        raise ParameterError("matrix has negative entries; give magnitudes or powers")
    scale = matrix.mean()
    # In bfloat16 the updates no longer converge: whatever autocast says, keep the matrix' type.
    with torch.autocast(matrix.device.type, enabled=False):
        v = (matrix / scale if scale > 0 else matrix).clamp(min=_FLOOR)
        w = _positive(matrix.shape[0], rank, generator).to(v)
        # The start has about the mean of V, which is one: K·(1/2)·(1/2)·4/K.
        h = _positive(rank, matrix.shape[1], generator).to(v) * (4 / rank)
        for _ in range(iterations):
            h = _updated(h, w, v, beta)
            w = _updated(w.T, h.T, v.T, beta).T
        sums = w.sum(0).clamp(min=_TINY)
        return w / sums, h * sums[:, None] * scale


def beta_divergence(matrix: Tensor, estimate: Tensor, *, beta: float) -> float:
    """Return the beta-divergence between two positive matrices, summed over their entries.

    It is half the squared error for beta 2, Kullback-Leibler for 1 and Itakura-Saito for 0
    (Févotte and Idier 2011, equation 2).

    Shape:
        matrix, estimate: `[F, N]`; returns a number.
    """
    v, x = matrix.double(), estimate.double()
    if beta == 1:
        parts = torch.xlogy(v, v / x) - v + x
    elif beta == 0:
        parts = v / x - torch.log(v / x) - 1
    else:
        parts = (v.pow(beta) + (beta - 1) * x.pow(beta) - beta * v * x.pow(beta - 1)) / (
            beta * (beta - 1)
        )
    return float(parts.sum())


def _updated(h: Tensor, w: Tensor, v: Tensor, beta: float) -> Tensor:
    """Return H after one update with W fixed; called with transposes it updates W."""
    x = (w @ h).clamp(min=_FLOOR)
    numerator = w.T @ (v * x.pow(beta - 2))
    # For beta 1 the powers are all one, and the product is a sum.
    denominator = w.sum(0)[:, None] if beta == 1 else w.T @ x.pow(beta - 1)
    return h * (numerator / denominator.clamp(min=_TINY)).pow(_exponent(beta))


def _exponent(beta: float) -> float:
    """Return the step size with which the updates are proven to descend."""
    if beta < 1:
        return 1 / (2 - beta)
    return 1 / (beta - 1) if beta > 2 else 1.0


def _positive(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draw numbers above 0 and up to 1: a zero would stay zero for ever."""
    return 1 - torch.rand(rows, columns, generator=generator)
