"""Which engine a `StreamSeparator` runs a release with, and what it refuses."""

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.models import build_model
from desmezcla.models.hs_tasnet import TINY
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About, read_release

NAMES = {"float32": "stream.onnx", "int8": "stream-int8.onnx"}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a release with both stream files."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("releases") / "live"
    release = save_release(build_model("hs_tasnet", **TINY), folder, About(name="live"))
    model = load_model(release)
    export_stream(model, folder / "stream.onnx", release=release)
    export_stream(model, folder / "stream-int8.onnx", precision="int8", release=release)
    return folder


@pytest.fixture
def folder(complete: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(complete, tmp_path / "live"))


def stems_of(live: StreamSeparator) -> Any:
    mix = (0.1 * np.random.default_rng(0).standard_normal((2, 3000))).astype(np.float32)
    return np.concatenate([live.process(mix), live.flush()], -1)


def test_all_engines_give_the_same(folder: Path) -> None:
    expected = stems_of(StreamSeparator(folder, engine="torch"))
    peak = np.abs(expected).max()
    exact = np.abs(stems_of(StreamSeparator(folder, engine="onnx")) - expected).max()
    nearly = np.abs(stems_of(StreamSeparator(folder, precision="int8")) - expected).max()
    assert exact <= 1e-4 * peak < nearly <= 0.05 * peak


@pytest.mark.parametrize(
    ("engine", "precision", "runs"),
    [
        ("auto", "auto", "onnx"),
        ("auto", "float32", "onnx"),
        ("auto", "int8", "onnx"),
        ("onnx", "auto", "onnx"),
        ("onnx", "int8", "onnx"),
        ("torch", "auto", "torch"),
        ("torch", "float32", "torch"),
    ],
)
def test_the_engine_is_as_asked_for(folder: Path, engine: Any, precision: Any, runs: str) -> None:
    assert StreamSeparator(folder, engine=engine, precision=precision).engine == runs


def test_without_the_file_or_the_program_it_is_pytorch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        assert importlib.util.find_spec("onnxruntime") is None
        assert StreamSeparator(folder).engine == "torch"
    (folder / "stream.onnx").unlink()
    assert StreamSeparator(folder).engine == "torch"
    assert StreamSeparator(load_model(folder)).engine == "torch"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_missing_file_comes_with_the_command_that_makes_it(folder: Path, precision: Any) -> None:
    (folder / NAMES[precision]).unlink()
    more = " --precision int8" if precision == "int8" else ""
    with pytest.raises(ReleaseError) as caught:
        StreamSeparator(folder, engine="onnx", precision=precision)
    assert str(caught.value).endswith(f"make it with: desmezcla export {folder} --stream{more}")


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_a_file_of_other_weights_is_refused(folder: Path, engine: Any) -> None:
    torch.manual_seed(1)
    save_release(build_model("hs_tasnet", **TINY), folder.with_name("new"), About(name="live"))
    shutil.copy(folder / "stream.onnx", folder.with_name("new"))
    with pytest.raises(ReleaseError, match=r"of other weights .* make it again with"):
        StreamSeparator(folder.with_name("new"), engine=engine)


def test_a_file_of_another_precision_is_refused(folder: Path) -> None:
    shutil.copy(folder / "stream-int8.onnx", folder / "stream.onnx")
    with pytest.raises(ReleaseError, match="another precision; make it again"):
        StreamSeparator(folder)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"engine": "tensorflow"}, "must be one of auto, torch, onnx"),
        ({"precision": "bfloat16"}, "must be one of auto, float32, int8"),
        ({"engine": "torch", "precision": "int8"}, "take engine='onnx' or float32"),
    ],
)
def test_options_that_there_are_not_are_refused(
    folder: Path, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ParameterError, match=rule):
        StreamSeparator(folder, **options)


@pytest.mark.parametrize("options", [{"engine": "onnx"}, {"precision": "int8"}])
def test_a_model_that_is_no_release_runs_on_pytorch_only(
    folder: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ParameterError, match="give a release"):
        StreamSeparator(load_model(folder), **options)


def test_a_release_does_not_mind_its_stream_files(folder: Path) -> None:
    from desmezcla.releases.importers import import_release
    from desmezcla.releases.store import verify_release

    release = read_release(folder)
    assert verify_release(release) == ("model.safetensors", "config.yaml", "card.md")
    again = import_release(folder, "again", replace=False)
    assert not (again.folder / "stream.onnx").exists()
    assert again.sha256 == release.sha256


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
