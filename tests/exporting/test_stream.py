"""Stream files: what is in them, and that none appears which is not as the model."""

import contextlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import desmezcla
from desmezcla.errors import DesmezclaError, ParameterError, ReleaseError
from desmezcla.exporting.checked import Agreement, new_file
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.inference.stream_file import METADATA_KEY
from desmezcla.models import SeparationModel, StreamCore, build_model
from desmezcla.models.base import StreamStep
from desmezcla.models.conv_tasnet import TINY as TINY_CONV_TASNET
from desmezcla.models.hs_tasnet import TINY, HSTasNet
from desmezcla.models.open_unmix import TINY as TINY_OPEN_UNMIX
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

CONVOLUTIONS = TINY_CONV_TASNET | {"causal": True, "norm": "channel", "blocks": 1, "repeats": 1}


def tiny(**fields: Any) -> SeparationModel[Any]:
    torch.manual_seed(0)
    return build_model("hs_tasnet", **TINY | fields)


@pytest.fixture(scope="module")
def model() -> SeparationModel[Any]:
    return tiny()


@pytest.fixture(scope="module")
def path(model: SeparationModel[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "new folder" / "live.onnx"
    export_stream(model, path)
    return path


def record(path: Path) -> dict[str, Any]:
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    content: dict[str, Any] = json.loads(entry.value)
    return content


def test_inputs_and_outputs_are_as_documented(path: Path) -> None:
    graph = onnx.load(path).graph

    def shapes(values: Any) -> dict[str, list[int]]:
        return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    taken, given = shapes(graph.input), shapes(graph.output)
    assert list(taken)[:3] == ["frames", "spectra", "state_0"]
    assert (taken["frames"], taken["spectra"]) == ([1, 2, 1, 128], [1, 2, 1, 65, 2])
    assert given["stems_frames"] == [1, 4, 2, 1, 128]
    assert given["stems_spectra"] == [1, 4, 2, 1, 65, 2]
    states = {name: shape for name, shape in taken.items() if name.startswith("state_")}
    assert len(states) == 10  # hidden state and cell of five LSTMs
    assert {f"next_{name}": shape for name, shape in states.items()} == dict(
        list(given.items())[2:]
    )


def test_the_metadata_have_all_that_a_program_needs(
    model: SeparationModel[Any], path: Path
) -> None:
    found = record(path)
    assert found["format"] == 1
    assert found["desmezcla"] == desmezcla.__version__
    assert (found["name"], found["weights_sha256"]) == ("hs_tasnet", None)
    assert (found["stems"], found["channels"]) == (["vocals", "drums", "bass", "other"], 2)
    assert (found["sample_rate"], found["latency_samples"]) == (44100, 127)
    core = model.stream_core()
    assert core is not None
    framing = OnnxStream(path).facts.framing.framing
    assert framing == core.framing
    for name in ("analysis", "synthesis", "power"):
        np.testing.assert_array_equal(getattr(framing, name), getattr(core.framing, name))


def test_the_metadata_say_which_release_it_is_from(tmp_path: Path) -> None:
    about = About(name="live", license="CC-BY-NC-4.0")
    release = save_release(tiny(), tmp_path / "live", about)
    export_stream(load_model(release), tmp_path / "live.onnx", release=release)
    found = record(tmp_path / "live.onnx")
    assert found["name"] == "live"
    assert found["license"] == "CC-BY-NC-4.0"
    assert found["weights_sha256"] == release.sha256


def test_the_file_tells_nothing_of_where_it_was_made(path: Path) -> None:
    content = path.read_bytes()
    assert str(Path(desmezcla.__file__).parent).encode() not in content
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_the_same_model_gives_the_same_bytes(
    model: SeparationModel[Any], path: Path, tmp_path: Path
) -> None:
    export_stream(model, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_it_says_how_far_the_stems_agree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = logging.root.handlers[:]
    model = tiny(units=32)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        exact = export_stream(model, tmp_path / "exact.onnx")
        nearly = export_stream(model, tmp_path / "nearly.onnx", precision="int8")
    captured = capfd.readouterr()
    assert (captured.out, captured.err, warned) == ("", "", [])
    assert logging.root.handlers == handlers
    assert exact.difference < 1e-5
    assert exact.level_db > 100
    assert 1e-4 < nearly.difference < 0.1
    assert 30 < nearly.level_db < 90
    assert record(tmp_path / "nearly.onnx")["precision"] == "int8"
    size = (tmp_path / "exact.onnx").stat().st_size
    assert (tmp_path / "nearly.onnx").stat().st_size < 0.6 * size
    # What it says is what a stream does.
    mix = (0.1 * np.random.default_rng(0).standard_normal((2, 5000))).astype(np.float32)
    expected = StreamSeparator(model).process(mix)
    got = OnnxStream(tmp_path / "nearly.onnx").process(mix)
    assert abs(Agreement.of(expected, got).level_db - nearly.level_db) < 15


def test_adding_a_very_small_number_is_not_left_out(tmp_path: Path) -> None:
    """The exporter's simplification takes 1e-8 for nothing, and the root of zero is divided by."""
    model = build_model("conv_tasnet", **CONVOLUTIONS)
    assert export_stream(model, tmp_path / "live.onnx").difference < 1e-5
    assert np.isfinite(OnnxStream(tmp_path / "live.onnx").process(np.zeros((2, 500), "f4"))).all()


def test_int8_is_refused_where_it_changes_nothing(tmp_path: Path) -> None:
    model = build_model("conv_tasnet", **CONVOLUTIONS)
    with pytest.raises(ParameterError, match="of which this model has none"):
        export_stream(model, tmp_path / "live.onnx", precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    for model in (build_model("repet"), build_model("open_unmix", **TINY_OPEN_UNMIX)):
        with pytest.raises(ParameterError, match="looks ahead and cannot run on a stream"):
            export_stream(model, tmp_path / "live.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_precision_is_refused(model: SeparationModel[Any], tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="must be one of float32, int8"):
        export_stream(model, tmp_path / "live.onnx", precision="int4")  # type: ignore[arg-type]


class Unsteady(HSTasNet):
    """A model whose step is another while it is exported, as an exporter's fault would be."""

    error = 1.0

    def stream_core(self) -> StreamCore:
        core = super().stream_core()

        def run(*tensors: Any) -> tuple[Tensor, ...]:
            frames, *spectra = core.step.run(*tensors)
            exporting = torch.compiler.is_exporting()
            return frames * (self.error if exporting else 1.0), *spectra

        return StreamCore(core.framing, StreamStep(self, run, inputs=2))


@pytest.mark.parametrize(
    ("error", "precision", "rule"),
    [
        (1.001, "float32", "differ from PyTorch's by .* more than 1e-04"),
        (float("inf"), "float32", "NaN or infinite"),
        (-100.0, "int8", "agree with PyTorch's to .* dB only"),
    ],
)
def test_a_file_that_is_not_as_the_model_does_not_appear(
    tmp_path: Path, error: float, precision: Any, rule: str
) -> None:
    model = Unsteady(tiny().config).eval()
    model.error = error
    before = tmp_path / "live.onnx"
    before.write_bytes(b"what was there")
    with pytest.raises(DesmezclaError, match=rule):
        export_stream(model, before, precision=precision)
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_bytes() == b"what was there"


def test_a_place_that_cannot_be_written_is_said(
    model: SeparationModel[Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReleaseError, match=r"cannot be written .* with -o"):
        export_stream(model, tmp_path / "file" / "live.onnx")


def test_nothing_is_left_of_what_was_interrupted(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), new_file(tmp_path / "x.onnx") as work:
        work.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_agreement_is_that_of_the_worst_value() -> None:
    expected = np.array([1.0, -2.0, 0.0], np.float32)
    found = Agreement.of(expected, np.array([1.0, -2.0, 0.02], np.float32))
    assert found.difference == pytest.approx(0.01)
    assert found.level_db == pytest.approx(10 * np.log10(5 / 0.0004), abs=1e-4)
    assert Agreement.of(expected, expected) == Agreement(0.0, np.inf)
    for wrong in (np.full(3, np.nan), np.full(3, np.inf)):
        assert Agreement.of(expected, wrong) == Agreement(np.inf, -np.inf)
    assert Agreement.of(np.zeros(3), expected) == Agreement(np.inf, -np.inf)


def test_results_that_are_no_numbers_are_said() -> None:
    with pytest.raises(DesmezclaError, match=r"x was not written: .* NaN or infinite"):
        Agreement.of(np.ones(3), np.full(3, np.nan)).check("x")
