import itertools

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from desmezcla.dsp.nmf import beta_divergence, nmf
from desmezcla.errors import ParameterError


def matrix(rows: int = 30, columns: int = 40, *, rank: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    w = torch.rand(rows, rank, generator=generator)
    return w @ torch.rand(rank, columns, generator=generator) + 1e-3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=25)
@given(
    beta=st.sampled_from([-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]),
    rank=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_no_update_increases_the_divergence(beta: float, rank: int, seed: int) -> None:
    v = torch.rand(12, 15, generator=seeded(seed)).double() + 0.01
    divergences = []
    for iterations in range(12):
        w, h = nmf(v, rank, beta=beta, iterations=iterations, generator=seeded(seed))
        divergences.append(beta_divergence(v, w @ h, beta=beta))
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(divergences))


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_a_matrix_of_low_rank_is_found_again(beta: float) -> None:
    v = matrix(rank=2)
    w, h = nmf(v, 2, beta=beta, iterations=500, generator=seeded())
    assert (v - w @ h).norm() < 0.01 * v.norm()


def test_the_divergences_are_those_of_scipy_and_of_their_definitions() -> None:
    v, x = matrix(seed=1), matrix(seed=2)
    a, b = v.double().numpy(), x.double().numpy()
    kullback_leibler = scipy.special.kl_div(a, b).sum()
    assert beta_divergence(v, x, beta=1) == pytest.approx(kullback_leibler, rel=1e-9)
    itakura_saito = (a / b - np.log(a / b) - 1).sum()
    assert beta_divergence(v, x, beta=0) == pytest.approx(itakura_saito, rel=1e-9)
    assert beta_divergence(v, x, beta=2) == pytest.approx(((a - b) ** 2).sum() / 2, rel=1e-9)
    assert beta_divergence(v, x, beta=1 + 1e-6) == pytest.approx(kullback_leibler, rel=1e-4)


def test_factors_have_their_shapes_and_columns_sum_to_one() -> None:
    w, h = nmf(matrix(20, 35), 4, beta=1, iterations=5, generator=seeded())
    assert w.shape == (20, 4)
    assert h.shape == (4, 35)
    assert (w >= 0).all()
    assert (h >= 0).all()
    torch.testing.assert_close(w.sum(0), torch.ones(4))


@pytest.mark.parametrize("level", [1e-20, 1e20])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_the_level_changes_the_activations_only(level: float, beta: float) -> None:
    w, h = nmf(matrix(), 3, beta=beta, iterations=10, generator=seeded())
    scaled_w, scaled_h = nmf(matrix() * level, 3, beta=beta, iterations=10, generator=seeded())
    torch.testing.assert_close(scaled_w, w, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(scaled_h / level, h, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_silence_and_silent_frames_give_finite_factors(beta: float) -> None:
    v = matrix()
    v[:, 5:20] = 0
    v[3] = 0
    for silent in (v, torch.zeros(8, 9)):
        w, h = nmf(silent, 3, beta=beta, iterations=50, generator=seeded())
        assert w.isfinite().all()
        assert h.isfinite().all()
    assert (w @ h == 0).all()


def test_only_the_generator_decides_and_the_matrix_is_left_alone() -> None:
    v = matrix()
    before = v.clone()
    torch.manual_seed(1)
    first = nmf(v, 3, beta=1, iterations=5, generator=seeded())
    torch.manual_seed(2)
    again = nmf(v, 3, beta=1, iterations=5, generator=seeded())
    other = nmf(v, 3, beta=1, iterations=5, generator=seeded(7))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(v, before)


def test_autocast_does_not_reach_the_updates() -> None:
    v = matrix()
    expected = nmf(v, 3, beta=1, iterations=5, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nmf(v, 3, beta=1, iterations=5, generator=seeded())
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="negative entries"):
        nmf(matrix() - 1, 3, beta=1, iterations=1, generator=seeded())
    with pytest.raises(ParameterError, match="rank=0"):
        nmf(matrix(), 0, beta=1, iterations=1, generator=seeded())
    with pytest.raises(ParameterError, match="iterations=-1"):
        nmf(matrix(), 3, beta=1, iterations=-1, generator=seeded())
