import pytest
import torch
from torch import Tensor

from desmezcla.dsp.ica import unmixing_matrix
from desmezcla.errors import ParameterError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unmixed(signals: Tensor, *, seed: int = 0) -> Tensor:
    return unmixing_matrix(
        signals, starts=8, iterations=100, tolerance=1e-10, generator=seeded(seed)
    )


def sources(count: int, samples: int = 20000) -> Tensor:
    """Draw signals that are independent and not normal: peaked, flat, and skewed ones."""
    x = torch.rand(count, samples, generator=seeded(5)).double().clamp(1e-6, 1 - 1e-6)
    kinds = [torch.log(x / (1 - x)), x - 0.5, (1 / x).clamp(max=30)]
    return torch.stack([kinds[k % 3][k] for k in range(count)])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("level", [1e-12, 1.0, 1e6])
def test_the_product_with_the_mixing_matrix_is_a_scaled_permutation(
    count: int, level: float
) -> None:
    mixing = torch.randn(count, count, generator=seeded(1)).double()
    found = unmixed(level * mixing @ sources(count) + 3 * level)
    product = (found @ mixing).abs()
    relative = product / product.amax(1, keepdim=True)
    assert sorted(relative.argmax(1).tolist()) == list(range(count))
    others = relative.sum(1) - 1
    assert others.max() < 0.1


def test_components_have_variance_one_and_are_uncorrelated() -> None:
    signals = torch.randn(2, 2, generator=seeded(2)).double() @ sources(2)
    found = unmixed(signals) @ (signals - signals.mean(1, keepdim=True))
    covariance = found @ found.T / found.shape[1]
    torch.testing.assert_close(covariance, torch.eye(2).double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("gain", [0.0, 1.0, -0.3])
def test_channels_that_are_multiples_of_each_other_have_one_component(gain: float) -> None:
    signal = sources(1)
    assert unmixed(torch.cat([signal, gain * signal])).shape == (1, 2)


def test_silence_has_no_components() -> None:
    assert unmixed(torch.zeros(2, 100)).shape == (0, 2)
    assert unmixed(torch.full((2, 1), 0.5)).shape == (0, 2)


def test_the_start_does_not_decide() -> None:
    signals = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double() @ sources(2)
    lengths = []
    for seed in range(5):
        mixing = torch.linalg.inv(unmixed(signals, seed=seed)).abs()
        lengths.append(mixing.sum(0).sort().values)
    for other in lengths[1:]:
        torch.testing.assert_close(other, lengths[0], rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["starts", "iterations", "tolerance"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    options = {"starts": 1, "iterations": 1, "tolerance": 1.0} | {name: 0}
    with pytest.raises(ParameterError, match=f"{name}=0 must be positive"):
        unmixing_matrix(torch.ones(2, 5), generator=seeded(), **options)  # type: ignore[arg-type]
