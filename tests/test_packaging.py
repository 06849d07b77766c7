"""The two distributions of the package agree."""

from pathlib import Path
from typing import Any

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and newer read TOML")
ROOT = Path(__file__).parents[1]
# What only the part that needs PyTorch imports.
TORCH_ONLY = {"torch", "safetensors", "httpx", "filelock"}


def project(folder: Path) -> Any:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(requirement: str) -> str:
    return requirement.partition(">")[0]


def test_the_light_distribution_asks_for_the_same_less_pytorch() -> None:
    whole, light = project(ROOT), project(ROOT / "packaging" / "onnx")
    extra = {r for r in whole["optional-dependencies"]["export"] if name_of(r) == "onnxruntime"}
    kept = {r for r in whole["dependencies"] if name_of(r) not in TORCH_ONLY}
    assert set(light["dependencies"]) == kept | extra
    assert light["scripts"] == whole["scripts"]
    for field in ("requires-python", "license", "authors"):
        assert light[field] == whole[field]
    live = set(whole["optional-dependencies"]["live"]) - set(light["dependencies"])
    assert set(light["optional-dependencies"]["live"]) == live
