import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from desmezcla.dsp.masks import band_mask, binary_mask, complex_ratio_mask, ratio_mask
from desmezcla.errors import ParameterError


def magnitudes(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@given(
    values=st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=5),
    power=st.floats(0.1, 10),
)
def test_ratio_masks_sum_to_one_at_any_level(values: list[float], power: float) -> None:
    mask = ratio_mask(torch.tensor(values), dim=0, power=power)
    assert (mask >= 0).all()
    torch.testing.assert_close(mask.sum(), torch.tensor(1.0))


def test_ratio_masks_are_the_shares_of_the_powers() -> None:
    x = magnitudes(2, 3, 4, 5)
    expected = x.double().numpy() ** 2 / (x.double().numpy() ** 2).sum(1, keepdims=True)
    np.testing.assert_allclose(ratio_mask(x, dim=1, power=2).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("level", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_ratio_masks_do_not_depend_on_the_level(level: float) -> None:
    x = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(ratio_mask(x * level, dim=0, power=2), torch.tensor([0.1, 0.9]))


def test_in_silence_every_stem_gets_the_same_share() -> None:
    x = magnitudes(4, 6)
    x[:, 2] = 0
    torch.testing.assert_close(ratio_mask(x, dim=0)[:, 2], torch.full((4,), 0.25))


def test_a_high_power_comes_near_to_the_binary_mask() -> None:
    x = torch.tensor([[1.0, 5.0], [2.0, 4.0], [1.5, 1.0]])
    torch.testing.assert_close(ratio_mask(x, dim=0, power=100), binary_mask(x, dim=0))


def test_binary_masks_choose_the_loudest_stem_and_the_first_of_equals() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]])
    expected = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(binary_mask(x, dim=0), expected)
    torch.testing.assert_close(binary_mask(x.T, dim=-1), expected.T)


def test_a_complex_mask_turns_the_mixture_into_the_stem() -> None:
    generator = torch.Generator().manual_seed(0)
    stem = torch.randn(3, 50, dtype=torch.complex64, generator=generator)
    mixture = torch.randn(3, 50, dtype=torch.complex64, generator=generator)
    for level in (1e-30, 1.0, 1e30):
        mask = complex_ratio_mask(stem * level, mixture * level, bound=1e6)
        torch.testing.assert_close(mask * mixture, stem, rtol=1e-4, atol=1e-5)


def test_a_complex_mask_is_bounded_and_keeps_its_phase() -> None:
    stem = torch.tensor([3j, 100.0, 0.0, 1.0, 0.0])
    mixture = torch.tensor([1.0, 1j, 5.0, 0.0, 0.0], dtype=torch.complex64)
    mask = complex_ratio_mask(stem, mixture, bound=10)
    torch.testing.assert_close(mask, torch.tensor([3j, -10j, 0, 0, 0], dtype=torch.complex64))


def test_a_band_has_half_its_gain_at_the_edges_and_ends_half_a_slope_beyond() -> None:
    hz = torch.tensor([0.0, 50.0, 70.0, 100.0, 145.0, 500.0, 1000.0, 1500.0])
    gain = band_mask(hz, low_hz=100, high_hz=1000, octaves=1)
    expected = torch.tensor([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.0])
    torch.testing.assert_close(gain, expected, atol=2e-3, rtol=0)


def test_neighbouring_bands_add_up_to_everything() -> None:
    hz = torch.linspace(0, 22050, 1025)
    edges = [0.0, 200.0, 3000.0, float("inf")]
    bands = [band_mask(hz, low_hz=low, high_hz=high) for low, high in itertools.pairwise(edges)]
    torch.testing.assert_close(torch.stack(bands).sum(0), torch.ones_like(hz))


def test_values_out_of_range_are_refused() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ParameterError, match="power=0 must be positive"):
        ratio_mask(x, dim=0, power=0)
    with pytest.raises(ParameterError, match="bound=-1 must be positive"):
        complex_ratio_mask(x, x, bound=-1)
    with pytest.raises(ParameterError, match=r"low_hz=500 .* below high_hz=100"):
        band_mask(x[0], low_hz=500, high_hz=100)
    with pytest.raises(ParameterError, match="octaves=0 must be positive"):
        band_mask(x[0], low_hz=1, high_hz=2, octaves=0)
