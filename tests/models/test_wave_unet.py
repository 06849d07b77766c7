import itertools

import pytest
import torch

from desmezcla.models import build_model
from desmezcla.models.wave_unet import Upsampling, WaveUNet

SMALL = {"levels": 4, "filters": 4}


def small(**fields: object) -> WaveUNet:
    torch.manual_seed(0)
    model = build_model("wave_unet", **(SMALL | fields))
    assert isinstance(model, WaveUNet)
    return model


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0))


def test_the_sizes_are_those_of_the_paper() -> None:
    model = build_model("wave_unet")
    assert isinstance(model, WaveUNet)
    # The paper's example: 147443 samples in, 16389 out.
    for samples in (16389, 16389 - 4095):
        assert model._padded(torch.zeros(1, 2, samples)).shape[-1] == 147443
    # 12 convolutions down, one below, 12 up, each with biases, and three stems of two channels.
    widths = [24 * level for level in range(1, 14)]
    down = sum(15 * a * b + b for a, b in zip([2, *widths], widths, strict=False))
    up = sum(5 * (a + b) * a + a for a, b in itertools.pairwise(widths))
    expected = down + up + (24 + 2) * 6 + 6
    assert sum(parameter.numel() for parameter in model.parameters()) == expected == 10263498


@pytest.mark.parametrize("fields", [{}, {"context": False}, {"learned_upsampling": True}])
def test_with_the_difference_output_the_stems_add_up_to_the_mixture(
    fields: dict[str, object],
) -> None:
    mix = noise(777)
    stems = small(**fields)(mix)
    assert stems.shape == (1, 4, 2, 777)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-6)
    assert small(difference=False, **fields)(mix).abs().max() < 1


@pytest.mark.parametrize("context", [True, False])
def test_a_segment_on_the_grid_gives_what_the_whole_track_gives(context: bool) -> None:
    model = small(context=context, segment_s=1.0)
    mix = noise(4000)
    start, reach = 40 * model.spec.hop_samples, model.spec.context_samples
    if not context:
        reach = small(segment_s=1.0).spec.context_samples
    piece = mix[..., start : start + 2000]
    inner = slice(reach, 2000 - reach)
    expected = model(mix)[..., start : start + 2000]
    torch.testing.assert_close(model(piece)[..., inner], expected[..., inner], rtol=0, atol=1e-6)
    assert not torch.allclose(model(piece)[..., :9], expected[..., :9], rtol=0, atol=1e-6)


def test_new_frames_lie_between_their_neighbours() -> None:
    x = torch.tensor([[[0.0, 2.0, 6.0]]])
    linear = Upsampling(1, learned=False, context=True)
    assert linear(x).tolist() == [[[0, 1, 2, 4, 6]]]
    assert Upsampling(1, learned=False, context=False)(x).tolist() == [[[0, 1, 2, 4, 6, 6]]]
    learned = Upsampling(1, learned=True, context=True)
    assert learned(x).tolist() == linear(x).tolist()
    assert learned.place is not None
    torch.nn.init.constant_(learned.place, 20.0)
    torch.testing.assert_close(learned(x), torch.tensor([[[0.0, 0, 2, 2, 6]]]))
