"""Stream files with ONNX Runtime: as with PyTorch, without it, and as their page says."""

import importlib
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.models import SeparationModel, build_model

Audio = NDArray[np.float32]
Record = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"

SMALL_BLOCKS = {"n_fft": 128, "hop_length": 32, "bands": 16}
CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "deepsampler": ("deepsampler", {"causal": True, "synthesis_samples": 128, "past_s": 0.03}),
    "deepsampler, quarter hops": (
        "deepsampler",
        {"causal": True, "synthesis_samples": 128, "past_s": 0.02, **SMALL_BLOCKS},
    ),
    "open_unmix": ("open_unmix", {"unidirectional": True, "wiener_iterations": 0}),
    "open_unmix, residual": (
        "open_unmix",
        {"unidirectional": True, "wiener_iterations": 0, "residual": True},
    ),
    "hs_tasnet": ("hs_tasnet", {}),
    "hs_tasnet, small": ("hs_tasnet", {"summed": True, "hop_samples": 32}),
    "conv_tasnet": ("conv_tasnet", {"causal": True, "norm": "cumulative"}),
    "conv_tasnet, channel": ("conv_tasnet", {"causal": True, "norm": "channel", "skip": 0}),
}


@dataclass(frozen=True)
class Exported:
    """A model and its stream file."""

    model: SeparationModel[Any]
    path: Path


def exported(name: str, folder: Path) -> Exported:
    key, own = CAUSAL[name]
    tiny: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    torch.manual_seed(0)
    model = build_model(key, **tiny | own)
    path = folder / "stream.onnx"
    export_stream(model, path)
    return Exported(model, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    return cache(lambda name: exported(name, tmp_path_factory.mktemp("exported")))


@pytest.fixture(scope="module", params=CAUSAL)
def any_file(request: pytest.FixtureRequest, files: Callable[[str], Exported]) -> Exported:
    return files(request.param)


@pytest.fixture
def file(files: Callable[[str], Exported]) -> Exported:
    return files("hs_tasnet")


def noise(samples: int, channels: int = 2, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal((channels, samples))).astype(np.float32)


def in_blocks(live: StreamSeparator | OnnxStream, mix: Audio, sizes: list[int]) -> Audio:
    """Process a signal in blocks of these sizes, again and again."""
    parts, start, turn = [], 0, 0
    while start < mix.shape[1]:
        size = sizes[turn % len(sizes)]
        parts.append(live.process(mix[:, start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, live.flush()], -1)


# As PyTorch


def test_any_cut_gives_what_torch_gives(any_file: Exported) -> None:
    live, expected = OnnxStream(any_file.path), StreamSeparator(any_file.model)
    for sizes in ([1], [64], [7, 0, 500, 33], [100_000]):
        mix = noise(3001, seed=sizes[0])
        stems = in_blocks(expected, mix, sizes)
        got = in_blocks(live, mix, sizes)
        assert got.shape == stems.shape
        assert np.abs(got - stems).max() <= 1e-4 * np.abs(stems).max()


def test_it_says_what_the_separator_of_the_model_says(any_file: Exported) -> None:
    live, expected = OnnxStream(any_file.path), StreamSeparator(any_file.model)
    for name in ("stems", "sample_rate", "channels", "latency_samples"):
        assert getattr(live, name) == getattr(expected, name)


def test_silence_after_sound_gives_what_torch_gives(any_file: Exported) -> None:
    mix = noise(4000)
    mix[:, :500] = mix[:, 2000:] = 0
    stems = in_blocks(StreamSeparator(any_file.model), mix, [128])
    got = in_blocks(OnnxStream(any_file.path), mix, [128])
    assert np.abs(got - stems).max() <= 1e-4 * np.abs(stems).max()


@pytest.mark.parametrize(
    ("rate", "channels"), [(44100, 1), (44100, 6), (48000, 2), (22050, 1), (96000, 6)]
)
def test_other_rates_and_channels_give_what_torch_gives(
    file: Exported, rate: int, channels: int
) -> None:
    options: dict[str, Any] = {"sample_rate": rate, "channels": channels}
    live, expected = OnnxStream(file.path, **options), StreamSeparator(file.model, **options)
    mix = noise(4000, channels)
    stems = in_blocks(expected, mix, [480])
    got = in_blocks(live, mix, [480])
    assert got.shape == (4, channels, 4000)
    assert np.abs(got - stems).max() <= 1e-4 * np.abs(stems).max()
    assert live.latency_samples == expected.latency_samples


def test_streams_of_one_file_do_not_touch_and_begin_anew_after_their_end(file: Exported) -> None:
    first, second = OnnxStream(file.path), OnnxStream(file.path)
    mix, other = noise(900), noise(900, seed=1)
    alone = in_blocks(first, mix, [90])
    parts = []
    for start in range(0, 900, 90):
        parts.append(first.process(mix[:, start : start + 90]))
        second.process(other[:, start : start + 90])
    parts.append(first.flush())
    np.testing.assert_array_equal(np.concatenate(parts, -1), alone)
    second.reset()
    np.testing.assert_array_equal(in_blocks(second, mix, [90]), alone)


def test_what_is_held_does_not_grow(file: Exported) -> None:
    live, mix = OnnxStream(file.path), noise(64 * 500)
    tracemalloc.start()
    try:
        in_blocks(live, mix, [64])
        before = tracemalloc.get_traced_memory()[0]
        in_blocks(live, mix, [64])
        assert tracemalloc.get_traced_memory()[0] - before < 64 << 10
    finally:
        tracemalloc.stop()


# The page


def programs() -> list[str]:
    found = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(found) == 2
    return found


def test_the_page_s_stream_runs(file: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.path.parent)
    names: dict[str, Any] = {}
    exec(programs()[0], names)
    assert names["stems"].shape[2] + names["rest"].shape[2] == 480


def test_the_page_s_host_gives_what_a_stream_gives(
    any_file: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = OnnxStream(any_file.path)
    if live.facts.framing.edges == "reflected":
        assert live.facts.name == "open_unmix"  # which the page names as the only one
        return
    monkeypatch.chdir(any_file.path.parent)
    names: dict[str, Any] = {}
    exec(programs()[1], names)
    size, lag = names["H"], names["V"] - names["H"]
    mix = noise(50 * size)
    hops = [names["hop"](mix[:, start : start + size]) for start in range(0, 50 * size, size)]
    got = np.concatenate(hops, -1)[..., lag:]
    expected = live.process(mix)[..., : got.shape[-1]]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


# Without PyTorch


def test_it_needs_neither_pytorch_nor_what_exports(file: Exported, tmp_path: Path) -> None:
    mix = noise(2000)
    np.save(tmp_path / "mix.npy", mix)
    code = """
import sys
OTHERS = "onnx onnxscript safetensors typer rich httpx mutagen soundfile platformdirs filelock"
for name in ("torch", *OTHERS.split()):
    sys.modules[name] = None  # importing it is an error now
import numpy as np
from desmezcla.inference.onnx_stream import OnnxStream
live = OnnxStream(sys.argv[1], sample_rate=48000)
stems = [live.process(np.load(sys.argv[2])), live.flush()]
np.save(sys.argv[3], np.concatenate(stems, -1))
"""
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c", code, str(file.path)),
            *(str(tmp_path / "mix.npy"), str(tmp_path / "stems.npy")),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    stems = in_blocks(StreamSeparator(file.model, sample_rate=48000), mix, [2000])
    got = np.load(tmp_path / "stems.npy")
    assert np.abs(got - stems).max() <= 1e-4 * np.abs(stems).max()


def test_without_onnx_runtime_it_says_what_to_install(
    file: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DesmezclaError, match="pip install onnxruntime"):
        OnnxStream(file.path)


@pytest.mark.parametrize("options", [{"threads": 0}, {"channels": 9}, {"sample_rate": 10}])
def test_options_out_of_range_are_refused(file: Exported, options: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be"):
        OnnxStream(file.path, **options)
