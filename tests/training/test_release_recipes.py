"""The trainings of `default` and `realtime`, in small: the same recipes, less of everything."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import read_stem
from desmezcla.inference.offline import Separator
from desmezcla.training import RunOptions, read_recipe, train
from desmezcla.training.start import begin
from desmezcla.training.validation import sdr

SMALL = {
    "data.render.songs": 4,
    "data.render.duration_s": 12.0,
    "data.render.valid": 0.25,
    "data.validation.every_epochs": 1,
    "steps_per_epoch": 20,
    "batch_size": 4,
    "schedule.warmup_steps": 5,
    "checkpoint_minutes": 60,
    "diagnostics.enabled": False,
}


# The second one starts with what `default` knows, so there is less to gain.
@pytest.mark.parametrize(
    ("name", "epochs", "gain_db"), [("deepsampler", 2, 1.0), ("deepsampler_quality", 1, 0.1)]
)
def test_a_short_version_of_the_training_improves_on_its_start(
    name: str, epochs: int, gain_db: float, tmp_path: Path
) -> None:
    recipe = read_recipe(name, SMALL | {"epochs": epochs})
    result = train(recipe, out=tmp_path / "run", options=RunOptions(device="cpu"))
    found = result.epochs[-1]["validation"]["sdr_db"]
    (track,) = open_dataset(tmp_path / "run" / "songs").split("valid").tracks
    truth = {stem: read_stem(track, stem, sample_rate=44100, channels=2) for stem in found}
    mixture: NDArray[np.float32] = np.sum(list(truth.values()), axis=0, dtype=np.float32)
    start = Separator(begin(recipe, resume=False).model.eval()).separate(mixture, 44100)
    gains = [found[stem] - sdr(truth[stem], start[stem]) for stem in found]
    assert np.mean(gains) > gain_db, gains
