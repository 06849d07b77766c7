"""The U-Nets with spectral and temporal filters: what the contract of all models does not cover."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from desmezcla.errors import ParameterError
from desmezcla.losses import losses_from
from desmezcla.models import asym_unet, blstm_unet, build_model, transformer_unet
from desmezcla.models.base import SpectralModel
from desmezcla.nn.asymmetric import AsymmetricUNet, AttentionGate, coarsest_bins
from desmezcla.nn.positions import sinusoids
from desmezcla.training import read_recipe

UNETS = ("asym_unet", "blstm_unet", "transformer_unet")


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tiny(**fields: Any) -> SpectralModel[Any]:
    torch.manual_seed(0)
    model = build_model("asym_unet", **asym_unet.TINY | fields)
    assert isinstance(model, SpectralModel)
    return model


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 9), (33, 5), (64, 16)])
def test_a_spectrogram_of_any_size_keeps_it(size: tuple[int, int]) -> None:
    network = AsymmetricUNet(2, 3, widths=(4, 6, 8), time_levels=1, taps=5).eval()
    assert network(noise(2, 2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("bins", [1, 2, 64, 65, 2049])
def test_the_bins_of_the_coarsest_level_are_counted(bins: int) -> None:
    network = AsymmetricUNet(1, 1, widths=(1, 1, 1, 1), time_levels=3, taps=3).eval()
    found: list[torch.Size] = []
    network.bottleneck.register_forward_hook(lambda _module, _inputs, x: found.append(x.shape))
    network(noise(1, 1, bins, 9))
    assert found == [(1, 1, coarsest_bins(bins, (1, 1, 1, 1)), 2)]


@pytest.mark.parametrize("key", UNETS)
def test_filters_are_asymmetric_and_only_encoders_normalise(key: str) -> None:
    modules = dict(build_model(key).named_modules())
    convolutions = [m for m in modules.values() if type(m) is nn.Conv2d]
    assert {m.kernel_size for m in convolutions} == {(5, 1), (1, 5), (1, 1)}
    normalised = [name for name, m in modules.items() if isinstance(m, nn.BatchNorm2d)]
    assert len(normalised) == 12
    assert all(name.startswith(("network.entry.", "network.encoder.")) for name in normalised)


def test_a_stem_is_a_part_of_the_mixtures_spectrum() -> None:
    model, mix = tiny(), noise(1, 2, 3000)
    ratio = model.spectra(mix) / model.transform(mix)[:, None]
    assert ratio.imag.abs().max() < 1e-5
    assert ratio.real.min() >= 0
    assert ratio.real.max() <= 1


def test_a_louder_mixture_gives_louder_stems_and_nothing_else() -> None:
    model, mix = tiny(), noise(1, 2, 3000)
    torch.testing.assert_close(model(4 * mix), 4 * model(mix))
    assert model(1e-3 * mix).abs().max() > 0


def test_the_gate_lets_through_what_its_weight_says() -> None:
    gate, skip, decoded = AttentionGate(4), noise(1, 4, 5, 6), noise(1, 4, 5, 6)
    for bias, expected in ((-100.0, torch.zeros_like(skip)), (100.0, skip)):
        gate.weight.bias = nn.Parameter(torch.tensor([bias]))
        torch.testing.assert_close(gate(skip, decoded), expected)


def test_the_blstm_carries_what_comes_last_to_the_first_frame() -> None:
    config = blstm_unet.Config.model_validate({"hidden_size": 4, "layers": 1})
    network, x = blstm_unet.Blstm(6, config), noise(1, 20, 6)
    later = torch.cat([x[:, :-1], x[:, -1:] + 10], dim=1)
    assert (network(later) - network(x))[:, 0].abs().max() > 0


def test_the_transformer_knows_the_order_of_frames() -> None:
    config = transformer_unet.Config.model_validate({"hidden_size": 8, "heads": 2})
    network, x = transformer_unet.Transformer(6, config).eval(), noise(1, 20, 6)
    assert (network(x.flip(1)) - network(x).flip(1)).abs().max() > 1e-3
    network.enter.weight.data.zero_()  # nothing but the positions is left
    assert network(x).std(dim=1).min() > 1e-3


def test_sinusoids_are_those_of_the_equation() -> None:
    vectors = sinusoids(torch.tensor([0.0, 3.0]), 4)
    expected = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    torch.testing.assert_close(vectors, torch.tensor([[0.0, 0, 1, 1], expected]))


@pytest.mark.parametrize("key", UNETS)
def test_the_recipe_is_that_of_the_description(key: str) -> None:
    recipe = read_recipe(key)
    config = recipe.config()
    assert isinstance(config, asym_unet.UNetConfig)
    assert (config.sample_rate, config.n_fft, config.hop_length) == (16000, 4096, 1024)
    assert (config.segment_s, recipe.data.segment_s) == (4.0, 4.0)
    assert (recipe.batch_size, recipe.epochs, recipe.stems) == (4, 200, ("drums",))
    assert (recipe.optimizer.kind, recipe.optimizer.lr) == ("adam", 1e-4)
    (loss,) = losses_from(recipe.losses, stems=recipe.stems).losses
    weights = loss.model_dump(include={"base", "separation", "mask", "stereo"})
    assert weights == {"base": 0.7, "separation": 0.2, "mask": 0.1, "stereo": 0.05}


def test_one_target_is_trained_with_the_loss_of_the_recipe() -> None:
    recipe = read_recipe("asym_unet")
    model, mix = tiny(stems=recipe.stems).train(), noise(2, 2, 3000)
    losses = losses_from(recipe.losses, stems=recipe.stems)
    total = losses(model.waveforms(mix), 0.5 * mix[:, None], mix)["total"]
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("key", "fields", "message"),
    [
        ("asym_unet", {"taps": 4}, "taps=4: .* odd"),
        ("asym_unet", {"widths": (8, 0)}, "widths.1=0"),
        ("asym_unet", {"widths": (8,)}, "widths"),
        ("transformer_unet", {"hidden_size": 12, "heads": 8}, "hidden_size=12 must be a multiple"),
    ],
)
def test_a_wrong_size_is_refused(key: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_model(key, **fields)
