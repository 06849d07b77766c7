from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from desmezcla.dsp.threads import with_threads

RATE = 8000
STEMS = ("vocals", "drums", "bass", "other")

TINY: dict[str, Any] = {
    "model": {
        "architecture": "open_unmix",
        "n_fft": 128,
        "hop_length": 32,
        "hidden_size": 8,
        "segment_s": 0.5,
        "sample_rate": RATE,
        "bandwidth_hz": 3000,
    },
    "losses": [{"kind": "magnitude_mse"}],
    "data": {
        "segment_s": 0.1,
        "workers": 0,
        "statistics_examples": 8,
        "validation": {"excerpt_s": 0.2},
    },
    "augmentation": [{"kind": "gain"}],
    "batch_size": 4,
    "steps_per_epoch": 3,
    "epochs": 2,
    "seed": 5,
}


def write_tracks(root: Path, tracks: dict[str, int]) -> Path:
    """Write songs of a quarter of a second: every stem a tone of its own, and noise."""
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE // 4)[:, None] / RATE
    for split, count in tracks.items():
        for number in range(count):
            folder = root / split / f"{split}{number}"
            folder.mkdir(parents=True)
            for place, stem in enumerate(STEMS):
                hz = 100 * (place + 1) ** 2 + 10 * number
                tone = 0.2 * np.sin(2 * np.pi * hz * time_s) * [[1.0, 0.7]]
                audio = tone + 0.01 * rng.standard_normal(tone.shape)
                soundfile.write(folder / f"{stem}.wav", audio, RATE)
    return root


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute tiny things with one thread: with more they wait for each other."""
    with with_threads(1):
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset with four tracks to train on and two to validate on."""
    return write_tracks(tmp_path_factory.mktemp("dataset"), {"train": 4, "valid": 2})


@pytest.fixture
def write_songs() -> Callable[..., Path]:
    """Return what writes a dataset."""
    return write_tracks


@pytest.fixture
def recipe_content() -> dict[str, Any]:
    """Return the content of a recipe for a tiny Open-Unmix."""
    return yaml.safe_load(yaml.safe_dump(TINY))  # type: ignore[no-any-return]


@pytest.fixture
def recipe_file(recipe_content: dict[str, Any], tmp_path: Path) -> Path:
    """Return that recipe as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe_content))
    return path
