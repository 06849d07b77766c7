"""A matrix as the sum of one of low rank and a sparse one (robust principal components)."""

import torch
from torch import Tensor

from desmezcla.errors import ParameterError

# Growth of the penalty from one iteration to the next, and its start and end relative to the
# largest singular value (Lin, Chen and Ma 2010, section 5).
_GROWTH = 1.5
_FIRST_PENALTY = 1.25
_LARGEST_PENALTY = 1.25e7


def robust_pca(
    matrix: Tensor, *, sparsity: float = 1.0, tolerance: float = 1e-5, iterations: int = 100
) -> tuple[Tensor, Tensor]:
    """Split a matrix M into L of low rank and a sparse S (Candès, Li, Ma and Wright 2011).

    Of all L + S = M the one with the smallest |L|_* + λ·|S|_1 is wanted: the sum of the singular
    values of L, and of the moduli of S. The inexact augmented Lagrange multipliers of Lin, Chen
    and Ma (2010) find it: in turns, S and L are what is left of M less the other one after
    shrinking its entries, or its singular values; then the multipliers are moved by the error.

    Args:
        matrix: M.
        sparsity: λ·sqrt(max(F, N)); 1 has a guarantee, the larger, the less goes to S.
        tolerance: Norm of the error M - L - S, relative to M, at which the iterations end.
        iterations: Most of them.

    Shape:
        matrix: `[F, N]`; returns L and S, `[F, N]` each.

    Errors:
        ParameterError: if a number is out of range.
    """
    if sparsity <= 0 or tolerance <= 0:
        raise ParameterError(
            f"sparsity={sparsity} and tolerance={tolerance} must be positive; 1 and 1e-5 are usual"
        )
    if iterations < 1:
        raise ParameterError(f"iterations={iterations} must be at least 1; 100 is usual")
    peak = matrix.abs().amax()
    if peak == 0:
        return matrix, matrix
    if matrix.shape[0] < matrix.shape[1]:
        low_rank, sparse = _split(matrix.T / peak, sparsity, tolerance, iterations)
        low_rank, sparse = low_rank.T, sparse.T
    else:
        low_rank, sparse = _split(matrix / peak, sparsity, tolerance, iterations)
    return (low_rank * peak).to(matrix), (sparse * peak).to(matrix)


def _split(
    matrix: Tensor, sparsity: float, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Split a matrix that has as many rows as columns, or more."""
    # Squares of singular values are taken: single precision would lose the small ones.
    m = matrix.double()
    weight = sparsity / m.shape[0] ** 0.5
    largest = _eigenvalues(m)[0][-1].sqrt()
    multipliers = m / max(float(largest), float(m.abs().max()) / weight)
    penalty = _FIRST_PENALTY / float(largest)
    limit = penalty * _LARGEST_PENALTY
    low_rank = torch.zeros_like(m)
    sparse = low_rank
    size = m.norm()
    for _ in range(iterations):
        scaled = multipliers / penalty
        sparse = _shrunk(m - low_rank + scaled, weight / penalty)
        low_rank = _shrunk_in_rank(m - sparse + scaled, 1 / penalty)
        error = m - low_rank - sparse
        if error.norm() <= tolerance * size:
            break
        multipliers = multipliers + penalty * error
        penalty = min(penalty * _GROWTH, limit)
    return low_rank, sparse


def _shrunk(x: Tensor, threshold: float) -> Tensor:
    """Move every entry towards zero by a threshold, at most as far as zero."""
    return x - x.clamp(-threshold, threshold)


def _shrunk_in_rank(x: Tensor, threshold: float) -> Tensor:
    """Move every singular value towards zero by a threshold: U·D·Vᵀ -> U·shrunk(D)·Vᵀ.

    With XᵀX = V·D²·Vᵀ this is X·V·(shrunk(D) / D)·Vᵀ, for which no U is needed, and of V only
    the columns that are kept: some ten times as fast as the decomposition of X itself.
    """
    squares, v = _eigenvalues(x)
    kept = squares > threshold**2
    v = v[:, kept]
    factors = 1 - threshold / squares[kept].sqrt()
    return (x @ v) @ (v * factors).T


def _eigenvalues(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of XᵀX, rising, and its eigenvectors."""
    values, vectors = torch.linalg.eigh(x.T @ x)
    return values, vectors
