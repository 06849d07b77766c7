import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from desmezcla.errors import ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.catalog import SourceFile, catalog
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import asteroid, import_release
from desmezcla.releases.store import user_folder

Write = Callable[..., Path]


def content(*, skip: int = 6, **changes: Any) -> dict[str, Any]:
    """Return what asteroid writes for a tiny network."""
    torch.manual_seed(0)
    sizes = {"filters": 8, "bottleneck": 4, "hidden": 5, "blocks": 2, "repeats": 2, "skip": skip}
    model = build_model("conv_tasnet", stems=("a", "b"), channels=1, sample_rate=8000, **sizes)
    unused = {
        "masker.TCN.3.res_conv.weight": torch.zeros(4, 5, 1),
        "masker.TCN.3.res_conv.bias": torch.zeros(4),
    }
    arguments = {
        "fb_name": "FreeFB",
        "n_filters": 8,
        "kernel_size": 16,
        "stride": 8,
        "sample_rate": 8000.0,
        "in_chan": 8,
        "out_chan": 8,
        "bn_chan": 4,
        "hid_chan": 5,
        "skip_chan": skip,
        "conv_kernel_size": 3,
        "n_blocks": 2,
        "n_repeats": 2,
        "n_src": 2,
        "norm_type": "gLN",
        "mask_act": "relu",
        "encoder_activation": None,
    }
    return {
        "model_name": "ConvTasNet",
        "model_args": arguments,
        "state_dict": {**(unused if skip else {}), **model.state_dict()},
        "infos": {"software_versions": {"torch_version": torch.__version__}},
        "dataset": "Libri2Mix",
        "task": "sep_clean",
        "licenses": "a notice",
    } | changes


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str = "pytorch_model.bin", **changes: Any) -> Path:
        path = tmp_path / name
        torch.save(content(**changes), path)
        return path

    return written


@pytest.mark.parametrize("skip", [0, 6])
def test_a_file_and_its_folder_are_imported_tensor_by_tensor(write: Write, skip: int) -> None:
    path = write(skip=skip)
    release = import_release(path.parent, "mine")
    assert release.folder == user_folder() / "mine"
    assert release.info.stems == ("speaker1", "speaker2")
    assert release.info.trained_on == "Libri2Mix, sep_clean"
    model = load_model("mine")
    config = model.config.model_dump()
    expected = {"sample_rate": 8000, "channels": 1, "filters": 8, "skip": skip, "mask": "relu"}
    assert {key: config[key] for key in expected} == expected
    for key, value in model.state_dict().items():
        assert torch.equal(value, content(skip=skip)["state_dict"][key]), key
    assert import_release(path, "mine", replace=True).sha256 == release.sha256


def test_the_task_names_the_stems(write: Write) -> None:
    assert import_release(write(task="other"), "b").info.stems == ("source1", "source2")


def test_a_pth_file_is_imported_where_the_format_is_named(write: Write) -> None:
    path = write("model.pth")
    assert not asteroid.recognises(path)
    assert import_release(path, "mine", format="asteroid").info.model == "conv_tasnet"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "DPRNNTasNet"}, "'DPRNNTasNet' of asteroid; only its ConvTasNet"),
        ({"model_args": {"fb_name": "stft", "n_src": 2}}, "fb_name=.*stft"),
        ({"model_args": {"n_src": 2, "norm_type": "bN"}}, "norm_type=.*bN"),
        ({"model_args": {"n_src": 2, "window": "hann"}}, "window=.*hann"),
        ({"model_args": {"n_src": 2, "in_chan": 7}}, "in_chan=7"),
        ({"model_args": {"n_src": 2}}, "4 blocks, but its arguments say 8 x 3"),
        ({"model_args": {"n_src": 2, "n_blocks": 2, "n_repeats": 2}}, "has the shape"),
        ({"state_dict": [1]}, "not one of tensors"),
        ({"state_dict": {}}, "0 blocks"),
    ],
)
def test_what_is_no_such_network_is_refused(
    write: Write, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReleaseError, match=message):
        import_release(write(**changes), "mine")
    assert not (user_folder() / "mine").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.bin")
    with pytest.raises(ReleaseError, match="no file of asteroid"):
        import_release(tmp_path / "a.bin", "mine")


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("hostile",)


def test_a_file_that_runs_code_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReleaseError, match="was refused"):
        import_release(write(infos=Hostile()), "mine")
    assert not Path("hostile").exists()


def test_a_catalog_entry_has_the_last_word(write: Write, tmp_path: Path) -> None:
    entry = catalog()["convtasnet_libri2mix_16k"]
    path = write()
    source = SourceFile(url="https://example.org/a.bin", sha256="0" * 64)
    release = asteroid.convert([(source, path)], entry, tmp_path / "release", replace=False)
    assert (release.info.sample_rate, release.info.stems) == (16000, entry.stems)
    assert release.info.license == entry.license
