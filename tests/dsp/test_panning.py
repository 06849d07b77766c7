import pytest
import torch
from torch import Tensor

from desmezcla.dsp.panning import centre_similarity, joint_magnitude
from desmezcla.errors import ParameterError


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(("left", "right"), [(1.0, 1.0), (1.0, 0.5), (1.0, 0.0), (1.0, -1.0)])
def test_the_similarity_of_a_panned_source_follows_from_its_gains(
    left: float, right: float, frames: int
) -> None:
    source = noise(9, 20)
    found = centre_similarity(left * source, right * source, frames=frames)
    expected = 2 * left * right / (left**2 + right**2)
    torch.testing.assert_close(found, torch.full((9, 20), expected))


def test_unrelated_channels_are_far_from_the_centre() -> None:
    similarity = centre_similarity(noise(50, 200), noise(50, 200, seed=1), frames=31)
    assert similarity.abs().mean() < 0.2


def test_silence_counts_as_equal_channels() -> None:
    silence = torch.zeros(3, 4, dtype=torch.complex64)
    torch.testing.assert_close(centre_similarity(silence, silence), torch.ones(3, 4))


def test_an_even_number_of_frames_is_refused() -> None:
    with pytest.raises(ParameterError, match="frames=2 must be odd"):
        centre_similarity(noise(3, 4), noise(3, 4), frames=2)


def test_opposite_channels_are_not_silence() -> None:
    source = noise(9, 20)
    joint = joint_magnitude(torch.stack([source, -source]))
    torch.testing.assert_close(joint, source.abs())
