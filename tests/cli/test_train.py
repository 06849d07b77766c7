import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

RATE = 8000


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Write a tiny recipe, and beside it the dataset `songs`."""
    rng = np.random.default_rng(0)
    for track in range(3):
        for stem in ("vocals", "drums"):
            path = tmp_path / "songs" / f"track{track}" / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal((2000, 2)), RATE)
    content = {
        "model": {
            "architecture": "open_unmix_conv",
            "n_fft": 128,
            "hop_length": 32,
            "hidden_size": 8,
            "spectral_filters": 6,
            "temporal_filters": 4,
            "segment_s": 0.5,
            "sample_rate": RATE,
        },
        "stems": ["vocals", "drums"],
        "losses": [{"kind": "magnitude_mse"}],
        "data": {"segment_s": 0.1, "workers": 0, "validation": {"excerpt_s": 0.2}},
        "batch_size": 2,
        "steps_per_epoch": 2,
        "epochs": 2,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_model_is_trained_and_separates(
    desmezcla: Any, recipe: Path, song: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    done = desmezcla("train", recipe, "--data", "songs", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["event"] for event in events] == ["start", "epoch", "epoch", "done"]
    assert "1 to validate on (held out of the training tracks)" in done.err
    assert "finished after 4 steps" in done.err
    separated = desmezcla("separate", "--model", "runs/tiny/release", song(samples=4000))
    assert separated.code == 0, separated.err
    assert Path("separated/tiny/song/drums.wav").is_file()


def test_it_stops_and_goes_on(desmezcla: Any, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = desmezcla(
        *("train", recipe, "--data", tmp_path / "songs", "--out", out, "--device", "cpu"),
        *("--steps", 1, "--set", "optimizer.lr=2e-3", "--set", "data.validation.share=0.3"),
    )
    assert first.code == 0, first.err
    assert "stopped at the steps asked for after 1 steps" in first.err
    assert yaml.safe_load((out / "recipe.yaml").read_text())["optimizer"]["lr"] == 2e-3
    rest = desmezcla("train", "--out", out, "--resume", "--device", "cpu", "--epochs", 3)
    assert rest.code == 0, rest.err
    assert "going on at step 1" in rest.err
    record = json.loads((out / "record.json").read_text())
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "a RECIPE is needed to train"),
        (["open_umix"], 2, "did you mean open_unmix"),
        (["open_unmix"], 2, "give --data"),
        (["open_unmix", "--data", "nowhere"], 1, "does not exist"),
        (["open_unmix", "--set", "optimzer.lr=1"], 2, "did you mean optimizer"),
        (["open_unmix", "--set", "losses=[{kind: l3}]", "--data", "songs"], 2, "l3"),
        (["open_unmix", "--time-limit", "soon"], 2, "90s, 20m, 8h or 2d"),
        (["open_unmix", "--steps", "0"], 2, "steps=0 must be 1 or more"),
        (["open_unmix", "--device", "gpu"], 2, "device='gpu'"),
        (["--resume", "--out", "nowhere"], 2, "no run to resume"),
    ],
)
def test_what_is_wrong_is_told(
    desmezcla: Any,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(recipe.parent)
    done = desmezcla("train", *arguments)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert not Path("runs").exists()


def test_recipes_are_listed(desmezcla: Any) -> None:
    done = desmezcla("train", "--list-recipes")
    assert done.code == 0
    assert "open_unmix_conv: " in done.out


def test_without_the_extra_it_is_named(
    desmezcla: Any, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = desmezcla("train", recipe, "--data", recipe.parent / "songs")
    assert done.code == 1
    assert "pip install 'desmezcla[train]'" in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_saves_and_ends(
    recipe: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments = f"--data {tmp_path}/songs --out {tmp_path}/run --json --device cpu --epochs 100000"
    process = subprocess.Popen(
        [sys.executable, "-m", "desmezcla", "train", str(recipe), *arguments.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "epoch":
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "GPU available" not in err  # Lightning speaks for itself unless it is kept from it
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["stopped"]["reason"] in ("interrupted", "terminated")
    newest = max(path.stem for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert record["steps"] == int(newest.removeprefix("step-"))
