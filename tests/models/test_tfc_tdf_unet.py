"""The authors' two versions, as the `audio-separator` package carries them, are the reference."""

import importlib
import re
import sys
import types
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.models import build_model

VERSION_3: dict[str, Any] = {
    "version": "v3",
    "joint": True,
    "n_fft": 8192,
    "network_bins": 4096,
    "subbands": 4,
    "layers": 2,
    "width": 128,
    "growth": 128,
    "bottleneck_factor": 4,
    "norm": "instance",
    "activation": "gelu",
}
SMALL: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 32,
    "network_bins": 64,
    "scales": 2,
    "layers": 2,
    "width": 6,
    "growth": 4,
    "bottleneck_factor": 2,
    "stems": ("vocals", "drums"),
}
SMALL_3: dict[str, Any] = SMALL | {key: VERSION_3[key] for key in ("version", "joint", "norm")}

# From the names of the authors' parameters to ours.
RULES_2 = (
    (r"^first_conv", "entry"),
    (r"^encoding_blocks", "encoder"),
    (r"^ds", "down"),
    (r"^bottleneck_block", "bottleneck"),
    (r"^us", "up"),
    (r"^decoding_blocks", "decoder"),
    (r"^final_conv\.0", "exit"),
    # Convolution, normalisation and activation of a layer stand in one row here.
    (r"tfc\.H\.(\d+)\.(\d)", lambda found: f"tfc.{3 * int(found[1]) + int(found[2])}"),
)
RULES_3 = (
    (r"^first_conv", "entry"),
    (r"^final_conv", "exit"),
    (r"^bottleneck_block\.blocks", "bottleneck"),
    (r"^encoder_blocks\.(\d+)\.downscale\.conv", r"down.\1"),
    (r"^decoder_blocks\.(\d+)\.upscale\.conv", r"up.\1"),
    (r"^(..coder)_blocks\.(\d+)\.tfc_tdf\.blocks", r"\1.\2"),
    (r"\.tfc1\.", ".before."),
    (r"\.tfc2\.", ".after."),
)


@pytest.fixture
def originals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the two files without the rest of the package, which needs much that is not here."""
    spec = find_spec("audio_separator")
    if spec is None or spec.origin is None:
        pytest.skip("the audio-separator package is not installed")
    before = set(sys.modules)
    lightning = types.ModuleType("pytorch_lightning")
    monkeypatch.setattr(lightning, "LightningModule", nn.Module, raising=False)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", lightning)
    package = types.ModuleType("audio_separator.separator")
    package.__path__ = [str(Path(spec.origin).parent / "separator")]
    monkeypatch.setitem(sys.modules, "audio_separator.separator", package)
    place = "audio_separator.separator.uvr_lib_v5"
    yield types.SimpleNamespace(
        v2=importlib.import_module(f"{place}.mdxnet"),
        v3=importlib.import_module(f"{place}.tfc_tdf_v3"),
    )
    for name in set(sys.modules) - before:
        if name.startswith("audio_separator"):
            del sys.modules[name]


def as_trained(network: nn.Module) -> nn.Module:
    """Draw scales and statistics too, since at the start they hide what is exchanged."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim == 1 and tensor.is_floating_point() and "window" not in name:
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def renamed(state: dict[str, Tensor], rules: tuple[tuple[str, Any], ...]) -> dict[str, Tensor]:
    """Return the parameters under our names, without what is not a parameter."""
    result = {}
    for name, tensor in state.items():
        if name in ("window", "freq_pad"):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_a_network_of_version_2_gives_the_planes_of_the_original(
    originals: Any, record_property: Any
) -> None:
    torch.manual_seed(0)
    # The original begins with as many features as it grows by.
    model: Any = build_model("tfc_tdf_unet", **SMALL | {"width": 4})
    network = model.network_of("drums")
    names = ("target_name", "lr", "optimizer", "dim_c", "dim_f", "dim_t", "n_fft", "hop_length")
    settings = dict(
        zip(names, ("drums", 1e-4, "rmsprop", 4, 64, 16, 128, 32), strict=True),
        num_blocks=5,
        l=2,
        g=4,
        k=3,
        bn=2,
        bias=False,
        overlap=0,
    )
    original = as_trained(originals.v2.ConvTDFNet(**settings))
    network.load_state_dict(renamed(original.state_dict(), RULES_2))
    planes = torch.randn(2, 4, 64, 16)
    with torch.no_grad():
        ours, theirs = network(planes.mT)[:, 0].mT, original(planes)
    error = difference(ours, theirs)
    peer = f"audio-separator {version('audio-separator')}"
    record_property("parity", f"tfc_tdf_unet|{peer}|planes of version 2|{error:.1e}")
    assert error < 1e-5


@pytest.mark.filterwarnings("ignore:stft with return_complex=False is deprecated")
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_version_3_gives_the_waveforms_of_the_original(
    originals: Any, record_property: Any, activation: str
) -> None:
    model: Any = build_model(
        "tfc_tdf_unet", **SMALL_3 | {"activation": activation, "subbands": 4, "scales": 1}
    )
    config = model.config
    place = types.SimpleNamespace
    original = as_trained(
        originals.v3.TFC_TDF_net(
            place(
                audio=place(n_fft=128, hop_length=32, dim_f=64, num_channels=2),
                training=place(target_instrument=None, instruments=list(config.stems)),
                model=place(
                    norm="InstanceNorm",
                    act=activation,
                    num_subbands=4,
                    num_scales=1,
                    scale=(2, 2),
                    num_blocks_per_scale=config.layers,
                    num_channels=config.width,
                    growth=config.growth,
                    bottleneck_factor=config.bottleneck_factor,
                ),
            ),
            torch.device("cpu"),
        )
    )
    network = model.networks.by_name["all"]
    network.load_state_dict(renamed(original.state_dict(), RULES_3))
    mix = 0.1 * torch.randn(2, 2, 32 * 15, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        error = difference(model(mix), original(mix))
    peer = f"audio-separator {version('audio-separator')}"
    record_property(
        "parity", f"tfc_tdf_unet|{peer}|waveforms of version 3, {activation}|{error:.1e}"
    )
    assert error < 1e-5


def test_networks_have_the_sizes_of_the_papers() -> None:
    def millions(**fields: Any) -> float:
        model = build_model("tfc_tdf_unet", **fields)
        return sum(parameter.numel() for parameter in model.parameters()) / 1e6

    with torch.device("meta"):
        # The published figure is 7.4 million for each stem.
        assert millions(stems=("vocals",)) == pytest.approx(7.42, abs=0.01)
        assert millions() == pytest.approx(4 * 7.42, abs=0.02)
        # What the original has with these fields.
        assert millions(**VERSION_3) == pytest.approx(111.994, abs=0.001)


@pytest.mark.parametrize("samples", [1, 33, 5000])
@pytest.mark.parametrize("fields", [SMALL, SMALL_3, SMALL_3 | {"joint": False, "subbands": 2}])
def test_stems_end_where_the_network_stops_seeing(fields: dict[str, Any], samples: int) -> None:
    torch.manual_seed(0)
    model: Any = build_model("tfc_tdf_unet", **fields)
    spectra = model.spectra(0.1 * torch.randn(2, 2, samples))
    assert spectra.shape[:4] == (2, 2, 2, 65)
    assert spectra[:, :, :, 64:].abs().max() == 0
    assert spectra[:, :, :, :64].abs().amax((1, 2, 4)).min() > 0


def test_stems_have_networks_of_their_own_only_where_they_do() -> None:
    model: Any = build_model("tfc_tdf_unet", **SMALL)
    mix = 0.1 * torch.randn(1, 2, 1000)
    before = model(mix)
    nn.init.zeros_(model.network_of("vocals").exit.weight)
    after = model(mix)
    assert (after[:, 0] != before[:, 0]).any()
    torch.testing.assert_close(after[:, 1], before[:, 1], rtol=0, atol=0)
    joint: Any = build_model("tfc_tdf_unet", **SMALL, joint=True)
    with pytest.raises(ParameterError, match="stem='vocals' has no network of its own"):
        joint.network_of("vocals")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network_bins": 66}, "at most the 65 bins of n_fft=128"),
        ({"network_bins": 62}, "network_bins=62 must be a multiple of 4"),
        ({"network_bins": 12}, "at least 16"),
        ({"subbands": 3}, "multiple of 12"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_model("tfc_tdf_unet", **SMALL | fields)
