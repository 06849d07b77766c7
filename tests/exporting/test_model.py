"""Model files: what is in them, and that none appears which is not as the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import desmezcla
from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.exporting.checked import Agreement
from desmezcla.exporting.model import export_model
from desmezcla.inference.model_file import METADATA_KEY
from desmezcla.inference.onnx_runner import OnnxRunner
from desmezcla.models import SeparationModel, build_model
from desmezcla.models.conv_tasnet import TINY as TINY_CONV_TASNET
from desmezcla.models.deepsampler import TINY, DeepSampler
from desmezcla.models.open_unmix import TINY as TINY_OPEN_UNMIX
from desmezcla.models.wave_unet import TINY as TINY_WAVE_UNET
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About


def tiny(key: str, **fields: Any) -> SeparationModel[Any]:
    torch.manual_seed(0)
    return build_model(key, **fields).eval()


def record(path: Path) -> dict[str, Any]:
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    content: dict[str, Any] = json.loads(entry.value)
    return content


def test_the_record_has_all_that_a_program_needs(tmp_path: Path) -> None:
    about = About(name="small", license="CC-BY-NC-4.0")
    release = save_release(tiny("deepsampler", **TINY), tmp_path / "small", about)
    model = load_model(release)
    export_model(model, tmp_path / "model.onnx", release=release)
    found = record(tmp_path / "model.onnx")
    assert (found["format"], found["desmezcla"]) == (1, desmezcla.__version__)
    assert (found["name"], found["license"]) == ("small", "CC-BY-NC-4.0")
    assert (found["weights_sha256"], found["precision"]) == (release.sha256, "float32")
    runner = OnnxRunner(tmp_path / "model.onnx")
    assert runner.spec == model.spec
    core = model.core()
    assert core is not None
    assert runner.facts.front_end.front_end == core.front_end  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("key", "fields"), [("deepsampler", TINY), ("conv_tasnet", TINY_CONV_TASNET)]
)
def test_the_file_tells_nothing_of_where_it_was_made(
    tmp_path: Path, key: str, fields: dict[str, Any]
) -> None:
    export_model(tiny(key, **fields), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(desmezcla.__file__).parent).encode() not in content
    assert b"site-packages" not in content


@pytest.mark.parametrize(
    "key_and_fields", [("open_unmix", TINY_OPEN_UNMIX), ("wave_unet", TINY_WAVE_UNET)]
)
def test_it_says_how_far_it_agrees_and_nothing_else(
    tmp_path: Path, key_and_fields: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    key, fields = key_and_fields
    found = export_model(tiny(key, **fields), tmp_path / "c.onnx")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert found.difference < 1e-4
    assert found.level_db > 80


@pytest.mark.parametrize(("precision", "least_db"), [("float16", 50), ("int8", 20)])
def test_lower_precisions_are_smaller_and_nearly_the_same(
    tmp_path: Path, precision: Any, least_db: float
) -> None:
    model = tiny("hs_tasnet", filters=48, units=64, layers=1, window_samples=128, hop_samples=64)
    export_model(model, tmp_path / "exact.onnx")
    agreement = export_model(model, tmp_path / "low.onnx", precision=precision)
    assert least_db < agreement.level_db < 90
    assert record(tmp_path / "low.onnx")["precision"] == precision
    size = (tmp_path / "exact.onnx").stat().st_size
    assert (tmp_path / "low.onnx").stat().st_size < 0.9 * size
    # What it says is what a separation does.
    mix = (0.1 * np.random.default_rng(0).standard_normal((1, 2, 20_000))).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(mix)).numpy()
    got = Agreement.of(expected, OnnxRunner(tmp_path / "low.onnx").run(mix))
    assert abs(got.level_db - agreement.level_db) < 15


@pytest.mark.parametrize(
    ("precision", "rule"),
    [("int8", "of which this model has none"), ("int4", "must be one of float32, float16, int8")],
)
def test_a_precision_that_changes_nothing_is_refused(
    tmp_path: Path, precision: Any, rule: str
) -> None:
    with pytest.raises(ParameterError, match=rule):
        export_model(
            tiny("wave_unet", filters=4, levels=2), tmp_path / "m.onnx", precision=precision
        )
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_core_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="declares no network"):
        export_model(build_model("repet"), tmp_path / "c.onnx")
    assert list(tmp_path.iterdir()) == []


class Unsteady(DeepSampler):
    """A model that is another while it is exported, as an exporter's fault would be."""

    error = 1.0

    def _masked(self, parts: torch.Tensor, band_masks: torch.Tensor) -> torch.Tensor:
        stems = super()._masked(parts, band_masks)
        return stems * (self.error if torch.compiler.is_exporting() else 1.0)


@pytest.mark.parametrize(
    ("error", "precision", "rule"),
    [
        (1.001, "float32", "differ from PyTorch's by .* more than 1e-04"),
        (-100.0, "float16", "with float16 the stems would agree with PyTorch's to .* dB only"),
    ],
)
def test_a_file_that_is_not_as_the_model_does_not_appear(
    tmp_path: Path, error: float, precision: Any, rule: str
) -> None:
    model = Unsteady(tiny("deepsampler", **TINY).config).eval()
    model.error = error
    before = tmp_path / "model.onnx"
    before.write_bytes(b"what was there")
    with pytest.raises(DesmezclaError, match=rule):
        export_model(model, before, precision=precision)
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_bytes() == b"what was there"
