"""The command `export`: what it writes, where, and what it says of it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from desmezcla.inference.model_file import MODEL_FILES
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.models import InnerCore, build_model
from desmezcla.models.deepsampler import TINY as TINY_DEEPSAMPLER
from desmezcla.models.hs_tasnet import TINY as TINY_HS_TASNET
from desmezcla.models.open_unmix import TINY as TINY_OPEN_UNMIX
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "live": ("hs_tasnet", TINY_HS_TASNET),
    "live_only": ("deepsampler", TINY_DEEPSAMPLER | {"causal": True, "synthesis_samples": 128}),
    "offline": ("open_unmix", TINY_OPEN_UNMIX),
    "untrained": ("repet", {}),
}


@pytest.fixture
def home(desmezcla: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home folder with some releases, and move to an empty folder."""
    home = tmp_path / "home"
    for name, (key, fields) in MODELS.items():
        torch.manual_seed(0)
        save_release(build_model(key, **fields), home / "releases" / name, About(name=name))
    monkeypatch.setenv("DESMEZCLA_HOME", str(home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return home


def noise(*shape: int) -> Any:
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_a_stream_goes_where_live_use_finds_it(desmezcla: Any, home: Path) -> None:
    folder = home / "releases" / "live"
    expected = StreamSeparator("live").process(noise(2, 2000))
    done = desmezcla("export", "live", "--stream")
    assert (done.code, done.out) == (0, "")
    assert str(folder / "stream.onnx") in done.err
    assert "agrees with PyTorch to 1" in done.err  # 100 dB or more
    live = StreamSeparator("live")
    assert live.engine == "onnx"
    np.testing.assert_allclose(live.process(noise(2, 2000)), expected, rtol=0, atol=1e-6)
    assert desmezcla("models", "verify", "live").code == 0
    assert desmezcla("models", "show", "live").code == 0
    assert list(Path().iterdir()) == []


def test_int8_stands_beside_it(desmezcla: Any, home: Path) -> None:
    done = desmezcla("export", "live", "--stream", "--precision", "int8")
    assert done.code == 0
    names = {path.name for path in (home / "releases" / "live").iterdir()}
    assert "stream-int8.onnx" in names
    assert "stream.onnx" not in names
    assert StreamSeparator("live", precision="int8").engine == "onnx"
    assert StreamSeparator("live").engine == "torch"


def test_json_and_another_file(desmezcla: Any, home: Path) -> None:
    folder = home / "releases" / "live_only"
    done = desmezcla("export", folder, "--stream", "-o", "new/x.onnx", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts.pop("agreement_db") > 100
    assert 0 < facts.pop("largest_difference") < 1e-5
    assert facts == {
        "event": "done",
        "release": "live_only",
        "file": "new/x.onnx",
        "size_bytes": Path("new/x.onnx").stat().st_size,
        "precision": "float32",
    }
    assert OnnxStream("new/x.onnx").facts.name == "live_only"
    assert not (folder / "stream.onnx").exists()


def test_the_network_alone_goes_here(desmezcla: Any, home: Path) -> None:
    done = desmezcla("export", "offline")
    assert done.code == 0
    assert "offline.onnx" in done.err
    core = load_model(home / "releases" / "offline").core()
    assert isinstance(core, InnerCore)
    (magnitude,) = core.enter(torch.from_numpy(noise(1, 2, 7000)))
    with torch.no_grad():
        expected = core.network(magnitude).numpy()
    session = onnxruntime.InferenceSession("offline.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"magnitude": magnitude.numpy()})
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_model_goes_where_separate_finds_it(
    desmezcla: Any, home: Path, tmp_path: Path, precision: str
) -> None:
    soundfile.write(tmp_path / "song.wav", noise(9000, 2), 44100)
    done = desmezcla("export", "live", "--precision", precision)
    assert (done.code, done.out) == (0, "")
    name = MODEL_FILES[precision]  # type: ignore[index]
    assert str(home / "releases" / "live" / name) in done.err
    assert "agrees with PyTorch to" in done.err
    done = desmezcla("separate", tmp_path / "song.wav", "-m", "live", "--engine", "onnx")
    assert done.code == 0
    facts = json.loads(Path("separated/live/song/separation.json").read_text())
    assert (facts["options"]["engine"], facts["options"]["precision"]) == ("onnx", precision)
    assert desmezcla("models", "verify", "live").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "rule"),
    [
        (["live", "--stream", "--precision", "float16"], 2, "float16 is not for --stream"),
        (["offline", "--stream"], 2, "is not causal"),
        (["live_only"], 2, "for streams only; add --stream"),
        (["untrained"], 2, "declares no network that ONNX can hold"),
        (["lvie", "--stream"], 1, "did you mean live"),
        (["live", "--stream", "-o", "."], 1, "cannot be written"),
        (["live", "--stream", "--precision", "int4"], 2, "int4"),
        ([], 2, "RELEASE"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    desmezcla: Any, home: Path, arguments: list[str], code: int, rule: str
) -> None:
    before = sorted(home.rglob("*"))
    done = desmezcla("export", *arguments)
    assert (done.code, done.out) == (code, "")
    assert rule in done.err
    assert "Traceback" not in done.err
    assert sorted(home.rglob("*")) == before
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
@pytest.mark.parametrize("arguments", [["live", "--stream"], ["offline"]])
def test_a_missing_package_comes_with_how_to_install_it(
    desmezcla: Any,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    arguments: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = desmezcla("export", *arguments)
    assert done.code == 1
    assert f"export needs {package}" in done.err
    assert "pip install 'desmezcla[export]'" in done.err
