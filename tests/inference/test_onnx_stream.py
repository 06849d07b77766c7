"""Stream files with ONNX Runtime: as PyTorch, without PyTorch, and refused where they are bad."""

import base64
import importlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from desmezcla.dsp.framing import FrameStream, Framing, checked_framing
from desmezcla.errors import DesmezclaError, ParameterError, ReleaseError
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.inference.stream_file import METADATA_KEY
from desmezcla.models import SeparationModel, build_model

Audio = NDArray[np.float32]
Record = dict[str, Any]

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


@pytest.fixture(scope="module", params=CAUSAL)
def any_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(request.param, tmp_path_factory.mktemp("any"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("hs_tasnet", tmp_path_factory.mktemp("one"))


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


# Bad files


def refused(path: Path, match: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ReleaseError, match=match) as caught:
        OnnxStream(path)
    text = str(caught.value)
    assert str(path) in text
    assert "desmezcla export" in text
    assert "\n" not in text
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""  # ONNX Runtime says nothing besides


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000), b"\x08\x0a" * 50])
def test_what_is_no_onnx_file_is_refused(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stream.onnx"
    path.write_bytes(content)
    refused(path, "cannot be read as ONNX|is no stream file", capfd)


def test_what_is_no_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused(tmp_path / "missing.onnx", "is no file", capfd)
    refused(tmp_path, "is no file", capfd)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.95, 0.99, 0.9999])
def test_a_file_that_was_cut_off_is_refused(
    file: Exported, tmp_path: Path, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = file.path.read_bytes()
    path = tmp_path / "stream.onnx"
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "cannot be read as ONNX|is no stream file", capfd)


def changed(file: Exported, folder: Path, change: Callable[[Record], object]) -> Path:
    """Write the file with another record in its metadata."""
    content = onnx.load(file.path)
    (entry,) = content.metadata_props
    record = json.loads(entry.value)
    change(record)
    entry.value = json.dumps(record)
    path = folder / "changed.onnx"
    onnx.save(content, path)
    return path


def floats(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


HOSTILE: dict[str, Callable[[Record], object]] = {
    "hop 0": lambda r: r["framing"].update(hop_samples=0),
    "hop negative": lambda r: r["framing"].update(hop_samples=-64),
    "hop beyond the frame": lambda r: r["framing"].update(hop_samples=256),
    "huge frame": lambda r: r["framing"].update(frame_samples=1 << 40),
    "huge before": lambda r: r["framing"].update(before_samples=1 << 40),
    "negative before": lambda r: r["framing"].update(before_samples=-1),
    "fraction": lambda r: r["framing"].update(hop_samples=63.5),
    "no parts": lambda r: r["framing"].update(parts=[]),
    "part twice": lambda r: r["framing"].update(parts=["frames", "frames"]),
    "unknown part": lambda r: r["framing"].update(parts=["waves"]),
    "unknown edges": lambda r: r["framing"].update(edges="torn"),
    "no window": lambda r: r["framing"].update(analysis=None),
    "short window": lambda r: r["framing"].update(analysis=floats(1.0)),
    "torn window": lambda r: r["framing"].update(analysis="AAA="),
    "window of text": lambda r: r["framing"].update(synthesis="öö"),
    "infinite window": lambda r: r["framing"].update(synthesis=floats(*[np.inf] * 128)),
    "window of NaN": lambda r: r["framing"].update(power=floats(*[np.nan] * 128)),
    "no stems": lambda r: r.update(stems=[]),
    "stem twice": lambda r: r.update(stems=["a", "a", "b", "c"]),
    "many stems": lambda r: r.update(stems=[f"s{index}" for index in range(100_000)]),
    "stem that is a path": lambda r: r.update(stems=["../x", "a", "b", "c"]),
    "rate 0": lambda r: r.update(sample_rate=0),
    "channels 0": lambda r: r.update(channels=0),
    "other latency": lambda r: r.update(latency_samples=0),
    "other format": lambda r: r.update(format=2),
    "no framing": lambda r: r.pop("framing"),
    "unknown field": lambda r: r.update(more=1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_are_refused(
    file: Exported, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = changed(file, tmp_path, HOSTILE[name])
    refused(path, "written by another version of desmezcla, or is damaged", capfd)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(channels=1),
        lambda r: r.update(stems=["a", "b"]),
        lambda r: r["framing"].update(parts=["frames"]),
        lambda r: r["framing"].update(parts=["spectra", "frames"]),
        lambda r: (
            r.update(latency_samples=63),
            r["framing"].update(synthesis_samples=64, synthesis=floats(*[1.0] * 64)),
        ),
    ],
)
def test_metadata_that_do_not_fit_the_network_are_refused(
    file: Exported,
    tmp_path: Path,
    change: Callable[[Record], object],
    capfd: pytest.CaptureFixture[str],
) -> None:
    refused(changed(file, tmp_path, change), "metadata say", capfd)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", "[" * 100_000])
def test_metadata_that_are_no_record_are_refused(
    file: Exported, tmp_path: Path, text: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    content = onnx.load(file.path)
    helper.set_model_props(content, {} if text is None else {METADATA_KEY: text})
    path = tmp_path / "stream.onnx"
    onnx.save(content, path)
    refused(path, "is no stream file" if text is None else "is damaged", capfd)


def network(
    folder: Path,
    state: tuple[int, list[Any]] = (TensorProto.FLOAT, [1]),
    *,
    gain: float = 1.0,
    declared: int = 8,
) -> Path:
    """Write a network that gives each frame of 8 samples times a gain, and has a state."""
    kind, shape = state
    nodes = [
        helper.make_node("Mul", ["frames", "gain"], ["louder"]),
        helper.make_node("Unsqueeze", ["louder", "axis"], ["stems_frames"]),
        helper.make_node("Identity", ["state_0"], ["next_state_0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, 1, 1, 8]),
            helper.make_tensor_value_info("state_0", kind, shape),
        ],
        [
            helper.make_tensor_value_info(
                "stems_frames", TensorProto.FLOAT, [1, 1, 1, 1, declared]
            ),
            helper.make_tensor_value_info("next_state_0", kind, shape),
        ],
        [
            helper.make_tensor("gain", TensorProto.FLOAT, [1], [gain]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    record = {
        "format": 1,
        "desmezcla": "0",
        "name": "gain",
        "weights_sha256": None,
        "license": "MIT",
        "precision": "float32",
        "stems": ["all"],
        "sample_rate": 44100,
        "channels": 1,
        "latency_samples": declared - 1,
        "framing": {
            "frame_samples": 8,
            "hop_samples": declared,
            "synthesis_samples": declared,
            "before_samples": 8 - declared,
            "edges": "silent",
            "parts": ["frames"],
            "analysis": None,
            "synthesis": None,
            "power": None,
        },
    }
    helper.set_model_props(content, {METADATA_KEY: json.dumps(record)})
    path = folder / "gain.onnx"
    onnx.save(content, path)
    return path


def test_a_file_by_others_that_keeps_the_rules_runs(tmp_path: Path) -> None:
    mix = noise(100, 1)
    for state in ((TensorProto.FLOAT, [2, 3]), (TensorProto.DOUBLE, []), (TensorProto.INT64, [0])):
        live = OnnxStream(network(tmp_path, state, gain=0.5))
        np.testing.assert_array_equal(in_blocks(live, mix, [13])[0], 0.5 * mix)


@pytest.mark.parametrize(
    ("state", "gain", "declared", "match"),
    [
        ((TensorProto.FLOAT, [1 << 20, 1 << 20]), 1.0, 8, "remembers 4398046511104 bytes"),
        ((TensorProto.FLOAT, [1 << 62, 1 << 62]), 1.0, 8, "remembers|cannot be read"),
        ((TensorProto.FLOAT, ["n"]), 1.0, 8, "of the shape"),
        ((TensorProto.STRING, [1]), 1.0, 8, r"remembers tensor\(string\)"),
        ((TensorProto.FLOAT, [1]), np.inf, 8, "makes silence NaN"),
        # ONNX Runtime only warns of what has another size than the file says.
        ((TensorProto.FLOAT, [1]), 1.0, 4, "does not run|cannot be read|metadata say"),
    ],
)
def test_a_network_that_breaks_the_rules_is_refused(
    tmp_path: Path,
    state: tuple[int, list[Any]],
    gain: float,
    declared: int,
    match: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    refused(network(tmp_path, state, gain=gain, declared=declared), match, capfd)


class Fading:
    """A step that halves its frames."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        return tuple(
            0.5 * (part[..., -self.samples :] if part.ndim == 3 else part) for part in parts
        )

    def reset(self) -> None: ...


@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 4),
    edges=st.sampled_from(["reflected", "silent", "covered"]),
    parts=st.sampled_from([("frames",), ("spectra",), ("spectra", "frames")]),
    weighed=st.booleans(),
    samples=st.integers(0, 200),
    block=st.integers(1, 90),
)
@settings(max_examples=300, deadline=None)
def test_a_framing_that_passes_the_check_cannot_break_a_stream(
    sizes: tuple[int, int, int, int],
    edges: Any,
    parts: Any,
    weighed: bool,
    samples: int,
    block: int,
) -> None:
    before, (hop, given_samples, size) = sizes[0], sorted(sizes[1:])
    ones = np.ones(size, np.float32)
    framing = Framing(
        size,
        hop,
        given_samples,
        before_samples=before - 1,
        edges=edges,
        parts=parts,
        analysis=ones,
        synthesis=ones[:given_samples],
        power=ones[:given_samples] if weighed else None,
    )
    try:
        checked_framing(framing)
    except ParameterError:
        assert not size - given_samples <= before - 1 <= size
        return
    stream = FrameStream(framing, Fading(given_samples), (2,), (2,))
    mix = noise(samples)
    parts = [stream.process(mix[:, start : start + block]) for start in range(0, samples, block)]
    given_out = sum(part.shape[-1] for part in parts)
    assert given_out >= samples - framing.latency_samples or edges == "reflected"
    assert given_out + stream.flush().shape[-1] == samples


@pytest.mark.parametrize("options", [{"threads": 0}, {"channels": 9}, {"sample_rate": 10}])
def test_options_out_of_range_are_refused(file: Exported, options: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be"):
        OnnxStream(file.path, **options)
