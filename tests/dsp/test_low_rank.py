import pytest
import torch
from torch import Tensor

from desmezcla.dsp.low_rank import _shrunk_in_rank, robust_pca
from desmezcla.errors import ParameterError


def parts(rows: int, columns: int, *, rank: int = 4) -> tuple[Tensor, Tensor]:
    """Return a matrix of low rank, and one of which a twentieth is not zero, but large."""
    generator = torch.Generator().manual_seed(0)
    low_rank = torch.randn(rows, rank, generator=generator) @ torch.randn(
        rank, columns, generator=generator
    )
    sparse = 10 * torch.randn(rows, columns, generator=generator)
    return low_rank, sparse * (torch.rand(rows, columns, generator=generator) < 0.05)


@pytest.mark.parametrize("size", [(120, 80), (80, 120), (100, 100)])
@pytest.mark.parametrize("level", [1e-12, 1.0, 1e6])
def test_both_parts_are_found_again(size: tuple[int, int], level: float) -> None:
    low_rank, sparse = parts(*size)
    found_low_rank, found_sparse = robust_pca(level * (low_rank + sparse), tolerance=1e-7)
    assert (found_low_rank / level - low_rank).norm() < 1e-4 * low_rank.norm()
    assert (found_sparse / level - sparse).norm() < 1e-4 * sparse.norm()
    assert torch.linalg.matrix_rank(found_low_rank / level, rtol=1e-5) == 4


def test_singular_values_are_shrunk_as_the_decomposition_shrinks_them() -> None:
    matrix = torch.randn(30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    expected = (u * (values - 4).clamp(min=0)) @ v
    torch.testing.assert_close(_shrunk_in_rank(matrix, 4.0), expected)


def test_the_parts_add_up_to_the_tolerance() -> None:
    matrix = torch.rand(40, 30, generator=torch.Generator().manual_seed(2))
    for tolerance in (1e-2, 1e-4):
        low_rank, sparse = robust_pca(matrix, tolerance=tolerance)
        assert (matrix - low_rank - sparse).norm() <= 1.01 * tolerance * matrix.norm()


def test_silence_and_single_numbers_are_split() -> None:
    for matrix in (torch.zeros(3, 4), torch.ones(1, 1), torch.ones(5, 1), torch.ones(1, 5)):
        low_rank, sparse = robust_pca(matrix)
        torch.testing.assert_close(low_rank + sparse, matrix, rtol=0, atol=1e-4)


def test_the_iterations_are_bounded() -> None:
    matrix = sum(parts(40, 30))
    assert isinstance(matrix, Tensor)
    once = robust_pca(matrix, iterations=1)
    assert (matrix - sum(once)).norm() > 1e-3 * matrix.norm()


@pytest.mark.parametrize("options", [{"sparsity": 0.0}, {"tolerance": 0.0}, {"iterations": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(options))}=0"):
        robust_pca(torch.ones(2, 2), **options)  # type: ignore[arg-type]
