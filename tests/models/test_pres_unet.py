"""What the CWS-PResUNet makes of known maps, and the sizes that its paper states."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.models import build_model

SMALL: dict[str, Any] = {
    "n_fft": 64,
    "hop_length": 16,
    "widths": (4, 6),
    "blocks": 1,
    "bottleneck": 1,
    "output_blocks": 1,
    "stems": ("vocals", "drums"),
}


def music(samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, 2, samples, generator=generator).cumsum(-1).sin()


def separated(model: Any, mix: Tensor, maps: tuple[float, float, float, float]) -> Tensor:
    """Return the stems for maps that are the same everywhere. Shape: `[B, S, C, T]`."""
    core = model.core()
    shape = core.network(*core.enter(mix)).shape
    values = torch.tensor(maps)[:, None, None, None].expand(shape)
    stems: Tensor = core.leave(mix, values)
    return stems


def sdr_db(estimate: Tensor, target: Tensor) -> float:
    return float(10 * torch.log10(target.square().sum() / (estimate - target).square().sum()))


def test_maps_scale_and_turn_the_mixture() -> None:
    model = build_model("pres_unet", **SMALL | {"n_fft": 512, "hop_length": 110})
    mix = music(8000)
    whole = separated(model, mix, (30.0, 0.0, 2.0, 0.0))
    assert whole.shape == (1, 2, 2, 8000)
    assert sdr_db(whole[:, 0], mix) > 60  # what the filters leave
    half = separated(model, mix, (0.0, 0.0, 0.1, 0.0))
    torch.testing.assert_close(half, whole / 2, rtol=1e-4, atol=1e-6)
    negative = separated(model, mix, (30.0, 0.0, -1.0, 0.0))
    torch.testing.assert_close(negative, -whole, rtol=1e-4, atol=1e-6)
    quarter = separated(model, mix, (30.0, 0.0, 0.0, 1.0))
    assert abs(float((quarter * whole).sum() / whole.square().sum())) < 0.05
    silent = separated(model, mix, (30.0, -1e3, 1.0, 0.0))
    assert silent.abs().max() == 0
    doubled = separated(model, mix, (-30.0, 5.0, 1.0, 0.0))
    assert doubled.square().sum() > whole.square().sum()


def count_convolutions(network: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in network.modules())


def test_networks_have_as_many_layers_as_the_papers() -> None:
    # The paper does not count the decoder's six shortcuts.
    with torch.device("meta"):
        vocals = build_model("pres_unet", joint=False, blocks=8, stems=("vocals",))
        assert count_convolutions(vocals) - 6 == 276
        rest = build_model("pres_unet", stems=("bass", "drums", "other"))
        assert count_convolutions(rest) - 6 == 166
        assert count_convolutions(build_model("pres_unet")) - 6 == 166 + 9


def test_stems_have_networks_of_their_own_only_where_they_do() -> None:
    torch.manual_seed(0)
    model: Any = build_model("pres_unet", **SMALL, joint=False)
    mix = music(1000)
    before = model(mix)
    nn.init.ones_(model.network_of("vocals").outputs[0][1].bias)
    after = model(mix)
    assert (after[:, 0] != before[:, 0]).any()
    torch.testing.assert_close(after[:, 1], before[:, 1], rtol=0, atol=0)
    joint: Any = build_model("pres_unet", **SMALL)
    with pytest.raises(ParameterError, match="stem='vocals' has no network of its own"):
        joint.network_of("vocals")


@pytest.mark.parametrize("subbands", [2, 3, 8])
@pytest.mark.parametrize("samples", [1, 100, 3001])
def test_any_number_of_bands_gives_any_length(subbands: int, samples: int) -> None:
    model = build_model("pres_unet", **SMALL, subbands=subbands)
    stems = model(music(samples))
    assert stems.shape == (1, 2, 2, samples)
    assert stems.isfinite().all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match="n_fft=36 must be a multiple of 8"):
        build_model("pres_unet", **SMALL | {"n_fft": 36})
    with pytest.raises(ParameterError, match="must be 1 or more each"):
        build_model("pres_unet", **SMALL | {"widths": (4, 0)})
