"""The blocks of D3Net against their definition, and what surrounds the networks."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.models import build_model
from desmezcla.models.d3net import TINY, BandUNet, DenseBlock, d2_block, d3_block


def as_trained(network: nn.Module) -> nn.Module:
    """Draw statistics too, since at the start they hide what is exchanged."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "running" in name:
                tensor.uniform_(0.5, 1.5)
    return network.eval()


def stages_of(block: nn.Module) -> list[nn.Module]:
    return list(cast(DenseBlock, block).stages)


def defined_layers(block: nn.Module, x: Tensor, growth: int) -> Tensor:
    """Return a D2 block's output by its definition.

    Layer l convolves the input and the outputs of all earlier layers, number i of them with a
    dilation of 2^i and kernels of its own, and adds the results up.
    """
    stages = stages_of(block)
    seen = [x]
    for layer in range(len(stages)):
        total = torch.zeros(())
        for i, (source, stage) in enumerate(zip(seen, stages, strict=False)):
            norm, _, convolution = cast(nn.Sequential, stage)
            own = slice((layer - i) * growth, (layer - i + 1) * growth)
            kernels, bias = (cast(Tensor, p)[own] for p in convolution.parameters())
            total = total + nn.functional.conv2d(
                norm(source).relu(), kernels, bias, padding=2**i, dilation=2**i
            )
        seen.append(total)
    return seen[-1]


def test_a_d2_block_looks_at_each_layer_with_its_own_dilation() -> None:
    torch.manual_seed(0)
    block = as_trained(d2_block(5, 3, 4))
    x = torch.randn(2, 5, 20, 21)
    with torch.no_grad():
        torch.testing.assert_close(block(x), defined_layers(block, x, 3), rtol=1e-4, atol=1e-5)


def test_a_d3_block_joins_d2_blocks_as_they_join_layers() -> None:
    torch.manual_seed(0)
    block = as_trained(d3_block(5, 2, 3, 3))
    x = torch.randn(2, 5, 20, 21)
    with torch.no_grad():
        first, second, third = stages_of(block)
        to_second, to_third, out = defined_layers(first, x, 6).chunk(3, 1)
        more_to_third, more_out = defined_layers(second, to_second, 4).chunk(2, 1)
        expected = out + more_out + defined_layers(third, to_third + more_to_third, 2)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_sees_as_far_as_its_dilations_reach() -> None:
    block = d2_block(1, 2, 3).eval()
    for parameter in block.parameters():
        parameter.detach().abs_()  # so that no ReLU is closed
    x = torch.ones(1, 1, 41, 1, requires_grad=True)
    block(x)[0, :, 20].sum().backward()
    assert x.grad is not None
    seen = x.grad[0, 0, :, 0].nonzero().flatten() - 20
    # 1 + 2 + 4 through the layers one after the other.
    assert seen.tolist() == list(range(-7, 8))


def test_the_network_has_the_sizes_of_the_vocals() -> None:
    with torch.device("meta"):
        model: Any = build_model("d3net")
    network = model.network_of("vocals")
    d3_blocks = {
        name: [*unet.encoder, unet.bottleneck, *unet.decoder]
        for name, unet in network.named_children()
        if isinstance(unet, BandUNet)
    }
    layers = {
        name: [[len(stages_of(d2)) for d2 in stages_of(d3)] for d3 in blocks]
        for name, blocks in d3_blocks.items()
    }
    assert layers["low"] == [[n, n] for n in (5, 5, 5, 5, 4, 4, 4)]
    assert layers["high"] == [[1]] * 5
    assert layers["full"] == [[n, n] for n in (4, 5, 6, 7, 8, 6, 5, 4, 4)]
    assert len(stages_of(network.final[0])) == 3
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_966_509


def test_bins_above_the_network_are_shared_evenly() -> None:
    torch.manual_seed(0)
    model: Any = build_model("d3net", **TINY)
    mix = 0.1 * torch.randn(1, 2, 2000)
    spectra, mixture = model.spectra(mix), model.transform(mix)
    torch.testing.assert_close(
        spectra[:, :, :, 56:], (mixture / 4)[:, None, :, 56:].expand(-1, 4, -1, -1, -1)
    )
    assert not torch.allclose(spectra[:, :, :, :56].sum(1), mixture[:, :, :56])


def test_the_wiener_filter_makes_the_stems_add_up() -> None:
    torch.manual_seed(0)
    mix = 0.1 * torch.randn(1, 2, 2000)
    model: Any = build_model("d3net", **TINY)
    torch.testing.assert_close(model(mix).sum(1), mix, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(model.waveforms(mix).sum(1), mix, rtol=1e-3, atol=1e-4)
    plain: Any = build_model("d3net", **TINY, wiener_iterations=0)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(mix), model.waveforms(mix), rtol=1e-4, atol=1e-6)


def test_statistics_standardise_every_bin() -> None:
    model: Any = build_model("d3net", **TINY)
    mixtures = [torch.randn(2, 1, 3000).expand(-1, 2, -1) * level for level in (0.1, 0.5)]
    model.fit_statistics(mixtures)
    network = model.network_of("bass")
    seen = torch.cat([model.transform(mix).abs()[:, 0, :56] for mix in mixtures])  # [4, F, N]
    standard = (seen - network.input_mean[:, None]) / network.input_scale[:, None]
    torch.testing.assert_close(standard.mean((0, 2)), torch.zeros(56), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        standard.var((0, 2), correction=0), torch.ones(56), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split_bin": 56}, "split_bin=56 must be less than network_bins=56"),
        ({"network_bins": 66}, "at most the 65 bins of n_fft=128"),
        (
            {"low": {"features": 4, "growth": (4, 4), "layers": (1, 1), "blocks": (1, 1)}},
            "odd number of levels",
        ),
        (
            {"low": {"features": 4, "growth": (4,), "layers": (1, 1, 1), "blocks": (1,)}},
            "equally long",
        ),
        ({"low": {"features": 4, "growth": (0,), "layers": (1,), "blocks": (1,)}}, "1 or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_model("d3net", **TINY | fields)
