"""The `asteroid` package is the reference: random weights of its own, moved over by the importer.

To install it without its dependencies is enough:
`pip install --no-deps asteroid==0.7.0 asteroid-filterbanks==0.4.0`.
"""

import importlib
import importlib.metadata
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from desmezcla.models import build_model
from desmezcla.releases.checkpoint import load_model, shapes
from desmezcla.releases.importers import import_release

SIZES: dict[str, Any] = {
    "n_filters": 48,
    "bn_chan": 24,
    "hid_chan": 32,
    "n_blocks": 4,
    "n_repeats": 2,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gLN, sigmoid": {},
    "gLN, relu, no skip": {"mask_act": "relu", "skip_chan": 0},
    "gLN, softmax, encoder relu": {"mask_act": "softmax", "encoder_activation": "relu"},
    "cgLN, causal": {"norm_type": "cgLN", "causal": True, "skip_chan": 16},
    "cLN, causal, relu": {"norm_type": "cLN", "causal": True, "mask_act": "relu"},
    "cgLN, three sources": {"norm_type": "cgLN", "n_src": 3, "kernel_size": 32, "stride": 16},
}


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """Import the package, with empty modules for what it downloads with."""
    pytest.importorskip("asteroid_filterbanks", reason="asteroid-filterbanks is missing")
    pytest.importorskip("pytorch_lightning", reason="asteroid writes its version into a file")
    pytest.importorskip("soundfile")
    stand_ins: dict[str, Any] = {
        name: types.ModuleType(name)
        for name in ("requests", "huggingface_hub")
        if importlib.util.find_spec(name) is None
    }
    if "huggingface_hub" in stand_ins:
        stand_ins["huggingface_hub"].HUGGINGFACE_CO_URL_HOME = "https://huggingface.co/"
    sys.modules.update(stand_ins)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pytest.importorskip("asteroid", reason="the asteroid package is missing")
    finally:
        for name in stand_ins:
            del sys.modules[name]


@pytest.fixture
def written(package: Any, tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """Return a function that makes a network of asteroid and writes it as asteroid does."""

    def write(**options: Any) -> tuple[Any, Path]:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = package.ConvTasNet(**({"n_src": 2} | SIZES | options)).eval()
            # As after training: no scale and no shift is what it was at the start.
            for name, parameter in network.named_parameters():
                if name.endswith(("gamma", "beta")):
                    parameter.data.uniform_(-0.5, 1.5)
            path = tmp_path / "pytorch_model.bin"
            torch.save(network.serialize(), path)
        return network, path

    return write


@pytest.mark.parametrize("name", OPTIONS)
def test_an_imported_network_gives_what_the_original_gives(
    written: Callable[..., tuple[Any, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    name: str,
) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    original, path = written(**OPTIONS[name])
    import_release(path, "original")
    model = load_model("original")
    # Where the last frame is not complete, asteroid leaves its samples silent.
    mix = torch.randn(2, 1, 16000) * 0.1
    with torch.no_grad():
        ours, theirs = model(mix)[:, :, 0], original(mix)
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    version = importlib.metadata.version("asteroid")
    record_property("parity", f"conv_tasnet|asteroid {version}|{name}|{difference:.1e}")
    assert difference < 1e-5


def test_the_tensors_have_asteroids_names(written: Callable[..., tuple[Any, Path]]) -> None:
    for causal, norm, skip in ((False, "global", 128), (True, "channel", 0)):
        original, _ = written(causal=causal, norm_type="cLN" if causal else "gLN", skip_chan=skip)
        model = build_model(
            "conv_tasnet",
            stems=("a", "b"),
            channels=1,
            filters=48,
            bottleneck=24,
            hidden=32,
            skip=skip,
            blocks=4,
            repeats=2,
            norm=norm,
            causal=causal,
        )
        theirs = {key: value.shape for key, value in original.state_dict().items()}
        unused = {"masker.TCN.7.res_conv.weight", "masker.TCN.7.res_conv.bias"} if skip else set()
        assert shapes(model) == {key: theirs[key] for key in theirs.keys() - unused}


def test_the_best_of_the_paper_has_its_number_of_parameters() -> None:
    model = build_model("conv_tasnet", stems=("a", "b"), channels=1, sample_rate=8000)
    # The residual path of the last block, which the paper counts, would have 65664.
    count = sum(parameter.numel() for parameter in model.parameters()) + 65664
    assert round(count / 1e6, 1) == 5.1
