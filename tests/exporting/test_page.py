"""The programs of the page on ONNX, run on stream files of every kind that they are for."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.exporting.stream import export_stream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.models import build_model
from desmezcla.models.conv_tasnet import TINY as TINY_CONV_TASNET
from desmezcla.models.deepsampler import TINY as TINY_DEEPSAMPLER
from desmezcla.models.hs_tasnet import TINY as TINY_HS_TASNET

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
MODELS: dict[str, dict[str, Any]] = {
    "deepsampler": TINY_DEEPSAMPLER | {"causal": True, "hop_length": 32, "synthesis_samples": 128},
    "hs_tasnet": TINY_HS_TASNET,
    "conv_tasnet": TINY_CONV_TASNET | {"causal": True, "norm": "channel"},
}


def programs() -> list[str]:
    found = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(found) == 2
    return found


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("page")
    export_stream(build_model(request.param, **MODELS[request.param]), folder / "stream.onnx")
    return folder


def test_python_without_pytorch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(programs()[0], names)
    assert names["stems"].shape[2] + names["rest"].shape[2] == 480


def test_the_host_gives_what_a_stream_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(programs()[1], names)
    size, lag = names["H"], names["V"] - names["H"]
    mix = (0.1 * np.random.default_rng(0).standard_normal((2, 50 * size))).astype(np.float32)
    hops = [names["hop"](mix[:, start : start + size]) for start in range(0, 50 * size, size)]
    got = np.concatenate(hops, -1)[..., lag:]
    expected = OnnxStream("stream.onnx").process(mix)[..., : got.shape[-1]]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
