"""Spleeter's own TensorFlow graph is the reference; `tests/golden/spleeter/make.py` ran it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from desmezcla.models import SeparationModel
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release

GOLDEN = Path(__file__).parents[1] / "golden" / "spleeter"
PEER = "spleeter 2.4.2"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """Return the mixture and the stems, channels first."""
    with np.load(GOLDEN / "stems.npz") as content:
        return {key: torch.from_numpy(np.moveaxis(content[key], -1, 0)) for key in content}


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    return lambda name: load_model(import_release(GOLDEN / name, "original"))


def difference(model: SeparationModel[Any], mix: Tensor, expected: list[Tensor]) -> float:
    with torch.no_grad():
        (stems,) = model(mix[None])
    return float((stems - torch.stack(expected)).abs().max())


@pytest.mark.parametrize("name", ["2stems", "4stems", "5stems"])
def test_an_imported_checkpoint_gives_the_stems_of_the_original(
    name: str, golden: dict[str, Tensor], imported: Any, record_property: Any
) -> None:
    model = imported(name)
    expected = [golden[f"{name}/{stem}"] for stem in model.spec.stems]
    assert f"{len(expected)}stems" == name
    found = difference(model, golden["mixture"], expected)
    record_property("parity", f"spleeter_unet|{PEER}|{name}, random weights|{found:.1e}")
    assert min(float(stem.abs().mean()) for stem in expected) > 0.01
    assert found < 1e-5


def test_the_wiener_filter_is_that_of_the_original(
    golden: dict[str, Tensor], imported: Any, record_property: Any
) -> None:
    model = imported("2stems")
    model.config = model.config.model_copy(update={"wiener_iterations": 1})
    expected = [golden[f"2stems/{stem} filtered"] for stem in model.spec.stems]
    mix = golden["mixture"][:, : expected[0].shape[-1]]
    found = difference(model, mix, expected)
    record_property("parity", f"spleeter_unet|{PEER}|2stems, Wiener filter|{found:.1e}")
    assert found < 1e-5
    plain = [golden[f"2stems/{stem}"][:, : mix.shape[-1]] for stem in model.spec.stems]
    assert difference(model, mix, plain) > 1e-3


def test_the_mask_of_a_stem_is_that_of_the_original(
    golden: dict[str, Tensor], imported: Any, record_property: Any
) -> None:
    model = imported("4stems")
    magnitude = model._pieces(model._spectrum(golden["mixture"][None]))  # [K, C, N, F]
    with torch.no_grad():
        estimates = model.networks(magnitude) * magnitude[:, None]  # [K, S, C, N, F]
    powers = torch.cat(list(estimates.square()), dim=-2)  # [S, C, K·N, F]
    expected = golden["4stems/bass mask"]  # [C, N, F]
    bass = (powers[2] / powers.sum(0).clamp(min=1e-10))[:, : expected.shape[1]]
    heard = torch.cat(list(magnitude), dim=-2)[:, : expected.shape[1]] > 1e-3
    assert heard.float().mean() > 0.9
    found = float((bass - expected)[heard].abs().max())
    record_property("parity", f"spleeter_unet|{PEER}|4stems, mask of a stem|{found:.1e}")
    assert found < 5e-5
