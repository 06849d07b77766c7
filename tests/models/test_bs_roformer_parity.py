"""The `bs-roformer` package is the reference, in the version of the published checkpoints.

Of its versions, 0.3.0 to 0.4.1 have the tensors that those checkpoints have: before, the attention
has no gates, and from 0.5.0 on it has layers that mix in the values of the first block.
"""

import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml

from desmezcla.models import build_model
from desmezcla.models.bs_roformer import BSRoformer, Config
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release

VERSION = "0.4.1"
# The package asks for the number of bins with an STFT without a window.
pytestmark = pytest.mark.filterwarnings("ignore:A window was not provided:UserWarning")


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """Import the package, with an empty module for librosa, of which nothing here is called."""
    absent = "librosa" not in sys.modules
    if absent:
        stand_in: Any = types.ModuleType("librosa")
        stand_in.filters = None
        sys.modules["librosa"] = stand_in
    try:
        found = pytest.importorskip("bs_roformer", reason="the bs-roformer package is missing")
        assert importlib.metadata.version("bs-roformer") == VERSION
        yield found
    finally:
        if absent:
            del sys.modules["librosa"]


def options(**changes: Any) -> dict[str, Any]:
    """Return options of a small network, by the names of the package."""
    return {
        "dim": 24,
        "depth": 2,
        "stereo": True,
        "num_stems": 1,
        "time_transformer_depth": 1,
        "freq_transformer_depth": 2,
        "freqs_per_bands": (2, 2, 4, 8, 16, 33),
        "dim_head": 8,
        "heads": 3,
        "attn_dropout": 0.1,
        "ff_dropout": 0.1,
        "flash_attn": False,
        "stft_n_fft": 128,
        "stft_hop_length": 30,
        "stft_win_length": 128,
        "stft_normalized": False,
        "mask_estimator_depth": 2,
        **changes,
    }


def trained(package: Any, changes: dict[str, Any]) -> Any:
    """Return the package's network, in which no gain is what it was at the start."""
    torch.manual_seed(0)
    network = package.BSRoformer(**options(**changes)).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.data.uniform_(0.5, 1.5)
    return network


def write_settings(path: Path, changes: dict[str, Any], stems: list[str]) -> None:
    """Write a YAML file as the training program has it, with its tuples and other options."""
    model = options(**changes)
    bands = model.pop("freqs_per_bands")
    model |= {"dim_freqs_in": 65, "multi_stft_hop_size": 147, "linear_transformer_depth": 0}
    content = {
        "audio": {"chunk_size": 4000, "sample_rate": 8000, "num_channels": 2},
        "model": model,
        "training": {
            "instruments": [*stems, "other"] if len(stems) == 1 else stems,
            "target_instrument": stems[0] if len(stems) == 1 else None,
        },
    }
    text = yaml.safe_dump(content)
    items = "".join(f"\n  - {bins}" for bins in bands)
    path.write_text(text.replace("model:\n", f"model:\n  freqs_per_bands: !!python/tuple{items}\n"))


STEMS = ["drums", "bass", "other", "vocals"]
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("stereo, 1 stem", {}, ["vocals"]),
    ("stereo, 4 stems", {"num_stems": 4}, STEMS),
    ("mono, 1 stem", {"stereo": False}, ["vocals"]),
    ("mono, 4 stems", {"stereo": False, "num_stems": 4}, STEMS),
    ("short window, scaled", {"stft_win_length": 90, "stft_normalized": True}, ["vocals"]),
    ("mask of 3 layers", {"mask_estimator_depth": 3, "time_transformer_depth": 2}, ["vocals"]),
]


@pytest.mark.parametrize(("what", "changes", "stems"), CASES, ids=[case[0] for case in CASES])
def test_an_imported_checkpoint_gives_the_stems_of_the_original(
    package: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    what: str,
    changes: dict[str, Any],
    stems: list[str],
) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    original = trained(package, changes)
    torch.save(original.state_dict(), tmp_path / "model.ckpt")
    write_settings(tmp_path / "model.yaml", changes, stems)
    release = import_release(tmp_path / "model.ckpt", "original")
    assert release.info.stems == tuple(stems)
    model = load_model(release)
    assert model.spec.segment_samples == 4000
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    assert shapes == {name: x.shape for name, x in original.state_dict().items()}
    channels = 1 if changes.get("stereo") is False else 2
    # The package cuts what is left of the last hop.
    mix = torch.randn(2, channels, 30 * 130, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.no_grad():
        ours, theirs = model(mix), original(mix)
    theirs = theirs if len(stems) > 1 else theirs[:, None]
    assert theirs.std() > 1e-3
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    record_property(
        "parity", f"bs_roformer|bs-roformer {VERSION}|one segment, {what}|{difference:.1e}"
    )
    assert difference < 1e-5


def test_the_tensors_are_those_of_published_checkpoints() -> None:
    # The number of tensors of model_bs_roformer_ep_317_sdr_12.9755.ckpt, as its users count it,
    # and its size: some 400 bytes beside the values of each tensor.
    with torch.device("meta"):
        model = BSRoformer(Config.model_validate({"stems": ["vocals"], "dim": 512, "dim_head": 64}))
    state = model.state_dict()
    assert len(state) == 699
    overhead_bytes = 639331213 - 4 * sum(x.numel() for x in state.values())
    assert 300 < overhead_bytes / len(state) < 500


def test_the_number_of_parameters_is_the_papers() -> None:
    with torch.device("meta"):
        model = BSRoformer(Config.model_validate({"stems": ["vocals"], "depth": 6}))
    assert sum(x.numel() for x in model.parameters()) == pytest.approx(72.2e6, abs=0.05e6)


def test_a_skip_connection_adds_the_outputs_of_all_blocks_before() -> None:
    fields = {"dim": 16, "depth": 3, "heads": 2, "dim_head": 8, "n_fft": 32, "win_length": 32}
    torch.manual_seed(0)
    model = build_model(
        "bs_roformer", **fields, freqs_per_bands=(8, 9), hop_length=16, skip_connection=True
    )
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    assert isinstance(model, BSRoformer)
    for block in model.layers:
        over_time, over_bands = cast(torch.nn.ModuleList, block)
        over_time.register_forward_pre_hook(lambda _, x: inputs.append(x[0].transpose(1, 2)))
        over_bands.register_forward_hook(lambda _, x, y: outputs.append(y))
    model(torch.randn(1, 2, 300))
    torch.testing.assert_close(inputs[1], outputs[0] + outputs[0])
    torch.testing.assert_close(inputs[2], outputs[1] + outputs[0] + outputs[1])
