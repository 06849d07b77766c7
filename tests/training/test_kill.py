"""A run that is killed at any moment ends as one that never was."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver of this test forks")

DRIVER = Path(__file__).with_name("kill_driver.py")
# In the middle of writing a checkpoint or the record, before its renaming, and while the best
# release is replaced; then whenever it happens to be.
MOMENTS = ("write:2", "write:7", "rename:3", "rename:8", "release:1")


def drive(recipe: Path, dataset: Path, out: Path, *moments: str) -> int:
    """Train, killed at these moments, and return how often it was."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(recipe), str(dataset), str(out), *moments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def what_was_learnt(out: Path) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return the last state, the weights of the best release, and the record without its times."""
    path = max((out / "checkpoints").glob("*.ckpt"))
    state = torch.load(path, weights_only=True)
    record = json.loads((out / "record.json").read_text())
    epochs = []
    for entry in record["epochs"]:
        validation = {k: v for k, v in entry["validation"].items() if k != "seconds"}
        facts = {k: entry[k] for k in ("epoch", "step", "lr", "loss")}
        epochs.append(facts | {"validation": validation})
    release = yaml.safe_load((out / "release" / "release.yaml").read_text())
    tensors = {k: state[k] for k in ("model", "optimizer", "rate", "ema")}
    progress = state["progress"]
    weights = release["sha256"]["model.safetensors"]
    return tensors, {"release": weights, "best": progress["best"]}, epochs


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert one == other


def test_killed_at_any_moment_it_resumes_to_the_same_bits(
    recipe_content: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    # Dropout, an average of the weights, momenta, and a learning rate with a memory.
    recipe_content |= {
        "steps_per_epoch": 4,
        "epochs": 3,
        "checkpoint_steps": 3,
        "ema_decay": 0.9,
        "schedule": {"kind": "plateau", "factor": 0.5, "patience": 0, "cooldown": 0},
        "clip_norm": 1.0,
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_content))
    random.seed(1)
    at_random = [f"{random.uniform(0.05, 0.6):.3f}" for _ in range(3)]
    assert drive(recipe, dataset, tmp_path / "whole") == 0
    assert drive(recipe, dataset, tmp_path / "killed", *MOMENTS, *at_random) >= len(MOMENTS)
    whole, killed = (what_was_learnt(tmp_path / name) for name in ("whole", "killed"))
    for one, other in zip(whole, killed, strict=True):
        assert_equal(one, other)
    assert [entry["epoch"] for entry in killed[2]] == [1, 2, 3]
