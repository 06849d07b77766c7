"""Model files with ONNX Runtime: the engine on whole files, and files that are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from desmezcla.errors import DesmezclaError, ParameterError, ReleaseError
from desmezcla.exporting.model import export_model
from desmezcla.inference.model_file import CORE_METADATA_KEY, METADATA_KEY
from desmezcla.inference.offline import Separator
from desmezcla.inference.onnx_runner import OnnxRunner
from desmezcla.models import build_model
from desmezcla.models.deepsampler import TINY
from desmezcla.models.open_unmix import TINY as TINY_OPEN_UNMIX
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About, Release

Record = dict[str, Any]
RATE = 44100


def noise(channels: int, samples: int) -> Any:
    generator = np.random.default_rng(samples)
    return (0.1 * generator.standard_normal((channels, samples))).astype(np.float32)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Make a release with a model file, whose segments are a tenth of a second."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("releases") / "small"
    release = save_release(build_model("deepsampler", **TINY), folder, About(name="small"))
    export_model(load_model(release), folder / "model.onnx", release=release)
    return release


@pytest.fixture
def folder(complete: Release, tmp_path: Path) -> Path:
    """Return a copy of the release that a test may change."""
    return Path(shutil.copytree(complete.folder, tmp_path / "small"))


@pytest.mark.parametrize(
    ("channels", "samples", "options"),
    [
        (2, 20_000, {}),
        (2, 700, {}),
        (1, 9_000, {"batch_size": 3}),
        (6, 9_000, {"overlap": 0.5, "batch_size": 2}),
        (2, 9_000, {"segment": "track", "shifts": 2}),
    ],
)
def test_a_song_is_separated_as_with_torch(
    complete: Release, channels: int, samples: int, options: dict[str, Any]
) -> None:
    mix = noise(channels, samples)
    expected = Separator(complete.folder, engine="torch", **options).separate(mix, RATE)
    got = Separator(complete.folder, engine="onnx", **options).separate(mix, RATE)
    assert list(got) == list(expected)
    for stem, audio in expected.items():
        np.testing.assert_allclose(got[stem], audio, rtol=0, atol=1e-4 * np.abs(audio).max())


def test_tensors_come_back_as_tensors(complete: Release) -> None:
    stems = Separator(complete.folder, engine="onnx").separate(torch.zeros(2, 5000), RATE)
    assert all(isinstance(audio, torch.Tensor) for audio in stems.values())


def test_the_record_beside_the_stems_says_what_ran(complete: Release, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "song.wav", noise(2, 9000).T, RATE)
    options = []
    for engine in ("torch", "onnx"):
        separator = Separator(complete.folder, engine=engine)
        done = separator.separate_file(tmp_path / "song.wav", tmp_path / engine)
        options.append(done.provenance.options)
    assert [(o["engine"], o["device"], o["precision"]) for o in options] == [
        ("torch", options[0]["device"], "float32"),
        ("onnx", "cpu", "float32"),
    ]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_most_exact_file_that_is_there_is_run(
    complete: Release, folder: Path, precision: Any
) -> None:
    model, name = load_model(complete), f"model-{precision}.onnx"
    export_model(model, folder / name, precision=precision, release=complete)
    exact, low = folder / "model.onnx", folder / name
    assert low.stat().st_size < exact.stat().st_size

    def runs(**options: Any) -> str:
        separator = Separator(folder, engine="onnx", **options)
        return separator._ensemble.members[0].engine.runner.precision

    assert (runs(), runs(precision=precision)) == ("float32", precision)
    exact.unlink()
    assert runs() == precision
    with pytest.raises(ReleaseError, match=r"has no model\.onnx; make it, .* desmezcla export"):
        Separator(folder, engine="onnx", precision="float32")


def test_a_file_of_other_weights_or_another_precision_is_refused(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "model-int8.onnx")
    with pytest.raises(ReleaseError, match="another precision; make it again"):
        Separator(folder, engine="onnx")
    (folder / "model-int8.onnx").unlink()
    export_model(build_model("deepsampler", **TINY), folder / "model.onnx")
    with pytest.raises(ReleaseError, match="other weights"):
        Separator(folder, engine="onnx")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"engine": "jax"}, "engine='jax' must be one of auto, torch, onnx"),
        ({"engine": "onnx", "precision": "bfloat16"}, "must be auto, float32, float16, int8"),
        ({"engine": "onnx", "device": "cuda"}, "device='cuda' needs PyTorch"),
        ({"engine": "torch", "precision": "int8"}, "are for engine='onnx'"),
    ],
)
def test_what_cannot_be_is_refused(complete: Release, options: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        Separator(complete.folder, **options)


def test_a_model_is_no_release() -> None:
    with pytest.raises(ParameterError, match="engine='onnx' runs the file of a release"):
        Separator(build_model("deepsampler", **TINY), engine="onnx")


def test_without_the_runtime_it_says_how_to_install_it(
    complete: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DesmezclaError, match="pip install onnxruntime"):
        Separator(complete.folder, engine="onnx")


# Files that are damaged, hostile or none


def refused(path: Path, match: str) -> None:
    with pytest.raises(ReleaseError, match=match) as caught:
        OnnxRunner(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000), b"\x08\x0a" * 50])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    refused(tmp_path / "model.onnx", "cannot be read as ONNX|is no model file")
    refused(tmp_path / "missing.onnx", "is no file")


def test_a_network_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "core.onnx"
    export_model(build_model("open_unmix", **TINY_OPEN_UNMIX), path)
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == CORE_METADATA_KEY
    assert "Wiener filter" in json.loads(entry.value)["outside"]
    refused(path, "has the network alone")


def with_record(good: Path, folder: Path, change: Callable[[Record], object]) -> Path:
    """Write a file with another record in its metadata."""
    content = onnx.load(good)
    (entry,) = content.metadata_props
    record = json.loads(entry.value)
    change(record)
    entry.value = json.dumps(record)
    path = folder / "changed.onnx"
    onnx.save(content, path)
    return path


def setting(*names: str, to: Any) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        for name in names[:-1]:
            record = record[name]
        record[names[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (setting("format", to=2), "format=2"),
        (setting("more", to=1), "Extra inputs"),
        (setting("stems", to=["a", "a", "b", "c"]), "a name of its own"),
        (setting("stems", to=["../x", "a", "b", "c"]), "should match pattern"),
        (setting("stems", to=["a", "b"]), "gives stems_spectra"),
        (setting("channels", to=1), "takes spectra"),
        (setting("segment_samples", to=0), "segment_samples=0"),
        (setting("segment_samples", to=1 << 29), "at most 1073741824 values"),
        (setting("context_samples", to=1 << 20), "context_samples"),
        (setting("sample_rate", to=10), "sample_rate=10"),
        (setting("valid_lengths", to={"minimum": 3}), "need window='triangle'"),
        (setting("front_end", "gives", to=[]), "gives must be"),
        (setting("front_end", "gives", to=["spectra", "spectra"]), "gives must be"),
        (setting("front_end", "gives", to=["frames"]), "gives stems_spectra"),
        (setting("front_end", "centred", to=True), "for a network that takes samples"),
        (setting("front_end", "framing", to=None), "gives must be empty"),
        (setting("front_end", "lengths", "stride", to=0), "stride=0"),
        (setting("front_end", "lengths", "depth", to=1 << 20), "depth=1048576"),
        (setting("front_end", "lengths", "minimum", to=1 << 30), "at most 1073741824 values"),
        (setting("front_end", "multiple_samples", to=0), "multiple_samples=0"),
        (setting("front_end", "framing", "hop_samples", to=0), "hop_samples=0"),
        (setting("front_end", "framing", "frame_samples", to=1 << 30), "frame_samples=1073741824"),
        (
            setting("front_end", "framing", "frame_samples", to=128),
            "frame_samples=128 must be in this order",
        ),
        (setting("front_end", "framing", "analysis", to="AAAA"), "analysis"),
        (setting("front_end", "framing", "synthesis", to=None), "synthesis"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(
    complete: Release, tmp_path: Path, change: Callable[[Record], None], match: str
) -> None:
    refused(with_record(complete.folder / "model.onnx", tmp_path, change), match)


def test_a_record_that_is_no_json_is_refused(complete: Release, tmp_path: Path) -> None:
    content = onnx.load(complete.folder / "model.onnx")
    for text in ("", "[]", "{", '{"format": 1}'):
        content.metadata_props[0].value = text
        onnx.save(content, tmp_path / "changed.onnx")
        refused(tmp_path / "changed.onnx", "was written by another version")


def own_network(folder: Path, *, gain: float, length: Any = "T", shorter: int = 0) -> Path:
    """Write a file by others: one stem, which is the mixture of one channel times a gain."""
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["mix", "gain"], ["louder"]),
            helper.make_node("Slice", ["louder", "start", "stop", "axes"], ["cut"]),
            helper.make_node("Unsqueeze", ["cut", "one"], ["stems"]),
        ],
        "gain",
        [helper.make_tensor_value_info("mix", kind, [1, 1, length])],
        [helper.make_tensor_value_info("stems", kind, [1, 1, 1, "out"])],
        [
            helper.make_tensor("gain", kind, [1], [gain]),
            helper.make_tensor("start", TensorProto.INT64, [1], [0]),
            helper.make_tensor("stop", TensorProto.INT64, [1], [-shorter or 1 << 60]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [2]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    record = {
        "format": 1,
        "desmezcla": "0",
        "name": "gain",
        "weights_sha256": None,
        "license": "MIT",
        "stems": ["all"],
        "sample_rate": 44100,
        "channels": 1,
        "precision": "float32",
        "segment_samples": 1000,
        "context_samples": 0,
        "hop_samples": 1,
        "causal": False,
        "latency_samples": 0,
        "normalise": "none",
        "window": "crossfade",
        "valid_lengths": None,
        "front_end": {
            "framing": None,
            "gives": [],
            "lengths": {},
            "multiple_samples": 1,
            "centred": False,
            "level_floor": None,
        },
    }
    helper.set_model_props(content, {METADATA_KEY: json.dumps(record)})
    path = folder / "gain.onnx"
    onnx.save(content, path)
    return path


def test_a_file_by_others_that_keeps_the_rules_runs(tmp_path: Path) -> None:
    mix = noise(1, 100)[None]
    stems = OnnxRunner(own_network(tmp_path, gain=0.5)).run(np.concatenate([mix, 2 * mix]))
    np.testing.assert_array_equal(stems[:, 0], np.concatenate([0.5 * mix, mix]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"gain": 0.0, "length": 7}, r"takes mix tensor\(float\) \[1, 1, 7\]"),
        ({"gain": float("inf")}, "silence NaN or infinite"),
        ({"gain": 1.0, "shorter": 1}, r"gives stems of the shape \(1, 1, 1, 1\)"),
    ],
)
def test_a_network_that_does_not_what_its_record_says_is_refused(
    tmp_path: Path, options: Any, match: str
) -> None:
    refused(own_network(tmp_path, **options), match)
