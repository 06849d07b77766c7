"""The pages of the models are what the script makes from the code and the measured figures."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from desmezcla.inference.facts import parameters
from desmezcla.models import build_model, list_models

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "models"


@pytest.fixture(scope="module")
def script() -> Any:
    path = ROOT / "scripts" / "model_pages.py"
    spec = importlib.util.spec_from_file_location("model_pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(script: Any, tmp_path: Path) -> None:
    script.write(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.md")}
    there = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    differing = sorted(name for name in made.keys() | there if made.get(name) != there.get(name))
    assert not differing, "run: python scripts/model_pages.py"


@pytest.mark.parametrize("key", list_models())
def test_the_figures_are_those_of_the_model(key: str) -> None:
    figures = json.loads((PAGES / "figures.json").read_text(encoding="utf-8"))["models"][key]
    with torch.device("meta"):
        model = build_model(key)
    assert figures["parameters"] == parameters(model)
    # Front ends are data, which a model without values has none of.
    small = build_model(key, **importlib.import_module(f"desmezcla.models.{key}").TINY)
    assert figures["onnx"] == (small.core() is not None)
