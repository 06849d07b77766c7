"""Stream files that are damaged, hostile or none are refused, in one line."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from desmezcla.errors import ReleaseError
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.stream_file import METADATA_KEY
from desmezcla.models import build_model
from desmezcla.models.hs_tasnet import TINY

Record = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "stream.onnx"
    export_stream(build_model("hs_tasnet", **TINY), path)
    return path


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
    good: Path, tmp_path: Path, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = good.read_bytes()
    path = tmp_path / "stream.onnx"
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "cannot be read as ONNX|is no stream file", capfd)


def changed(good: Path, folder: Path, change: Callable[[Record], object]) -> Path:
    """Write the file with another record in its metadata."""
    content = onnx.load(good)
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
    good: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = changed(good, tmp_path, HOSTILE[name])
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
    good: Path,
    tmp_path: Path,
    change: Callable[[Record], object],
    capfd: pytest.CaptureFixture[str],
) -> None:
    refused(changed(good, tmp_path, change), "after its metadata it (takes|gives)", capfd)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", "[" * 100_000])
def test_metadata_that_are_no_record_are_refused(
    good: Path, tmp_path: Path, text: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    content = onnx.load(good)
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
    reshaped: bool = False,
) -> Path:
    """Write a network that gives each frame of 8 samples times a gain, and has a state.

    Args:
        folder: Where to.
        state: Type and shape.
        gain: The gain.
        declared: How many samples the file says that it gives.
        reshaped: Whether frames get the shape that the state says, which they cannot have.
    """
    kind, shape = state
    frame = "reshaped" if reshaped else "louder"
    reshape = helper.make_node("Reshape", ["louder", "state_0"], ["reshaped"], allowzero=1)
    nodes = [
        helper.make_node("Mul", ["frames", "gain"], ["louder"]),
        *([reshape] if reshaped else []),
        helper.make_node("Unsqueeze", [frame, "axis"], ["stems_frames"]),
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
    mix = (0.1 * np.random.default_rng(0).standard_normal((1, 100))).astype(np.float32)
    for state in ((TensorProto.FLOAT, [2, 3]), (TensorProto.DOUBLE, []), (TensorProto.INT64, [0])):
        live = OnnxStream(network(tmp_path, state, gain=0.5))
        stems = np.concatenate([live.process(mix), live.flush()], -1)
        np.testing.assert_array_equal(stems[0], 0.5 * mix)


@pytest.mark.parametrize(
    ("state", "options", "match"),
    [
        ((TensorProto.FLOAT, [1 << 20, 1 << 20]), {}, "remembers 4398046511104 bytes"),
        ((TensorProto.FLOAT, [1 << 62, 1 << 62]), {}, "remembers 850705917302346158658436518579"),
        ((TensorProto.FLOAT, ["n"]), {}, "of the shape"),
        ((TensorProto.STRING, [1]), {}, r"remembers tensor\(string\)"),
        ((TensorProto.FLOAT, [1]), {"gain": np.inf}, "makes silence NaN"),
        ((TensorProto.FLOAT, [1]), {"declared": 4}, "after its metadata it gives"),
        ((TensorProto.INT64, [4]), {"reshaped": True}, r"does not run .*Reshape"),
    ],
)
def test_a_network_that_breaks_the_rules_is_refused(
    tmp_path: Path,
    state: tuple[int, list[Any]],
    options: dict[str, Any],
    match: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    refused(network(tmp_path, state, **options), match, capfd)
