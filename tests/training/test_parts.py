"""The small parts that a run is made of."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.dsp.stft import stft
from desmezcla.errors import DatasetError, ParameterError
from desmezcla.models import build_model
from desmezcla.models.base import ModelConfig, SeparationModel
from desmezcla.models.open_unmix import TINY
from desmezcla.spec import ModelSpec
from desmezcla.training import read_recipe
from desmezcla.training.checkpoint import (
    CheckpointError,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from desmezcla.training.data import all_stems
from desmezcla.training.ema import Ema
from desmezcla.training.module import step_seed
from desmezcla.training.objective import Objective
from desmezcla.training.recipe import Cosine, Plateau, Steps
from desmezcla.training.schedule import LearningRate
from desmezcla.training.validation import TrackScores, sdr, summarise


@given(
    scores=st.lists(st.floats(0.1, 10), max_size=60),
    patience=st.integers(0, 5),
    cooldown=st.integers(0, 3),
)
def test_a_plateau_is_that_of_pytorch(scores: list[float], patience: int, cooldown: int) -> None:
    schedule = Plateau(kind="plateau", factor=0.3, patience=patience, cooldown=cooldown)
    rate = LearningRate(schedule, epoch_steps=1, total_steps=100)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=patience, cooldown=cooldown, eps=0
    )
    for score in scores:
        rate.validated(score)
        reference.step(score)
        assert rate.factor(0) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_a_cosine_warms_up_and_falls_to_its_minimum() -> None:
    schedule = Cosine(kind="cosine", warmup_steps=4, minimum=0.1)
    rate = LearningRate(schedule, epoch_steps=10, total_steps=24)
    assert [rate.factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.1)
    for step in range(4, 25):
        assert rate.factor(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_steps_fall_after_their_epochs() -> None:
    schedule = Steps(kind="step", factor=0.5, every_epochs=2)
    rate = LearningRate(schedule, epoch_steps=3, total_steps=100)
    assert [rate.factor(step) for step in (0, 5, 6, 11, 12)] == [1, 1, 0.5, 0.5, 0.25]


def test_an_average_of_weights_that_stand_still_is_these_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = Ema(model, 0.9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ema.update(model)
    assert all(torch.equal(ema.average[key], before[key]) for key in before)


def test_an_average_lies_between_and_is_taken_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = Ema(model, 0.99)
    nn.init.ones_(model.weight)
    ema.update(model)
    with ema.applied(model):
        assert model.weight.item() == pytest.approx(0.9)  # 1 - (1 + 0) / (10 + 0)
    assert model.weight.item() == 1.0
    for _ in range(3000):
        ema.update(model)
    assert ema.average["weight"].item() == pytest.approx(1.0, abs=1e-6)


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (1, 2, 30):
        write_checkpoint(tmp_path, step, {"step": step, "tensor": torch.ones(2)})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000002.ckpt", "step-00000030.ckpt"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert read_checkpoint(newest)["step"] == 30
    newest.write_bytes(newest.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(newest)["step"] == 2
    assert "step-00000030" in caplog.text
    (tmp_path / "step-00000002.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="nor one before"):
        read_checkpoint(newest)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"step": Path("a")}, tmp_path / "step-00000001.ckpt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "step-00000001.ckpt")


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(s, step, rank) for s in range(3) for step in range(50) for rank in range(2)}
    assert len(seeds) == 300
    assert step_seed(1, 2) == step_seed(1, 2, 0)


def test_sdr_is_a_ratio_of_powers() -> None:
    rng = np.random.default_rng(0)
    s = rng.standard_normal((2, 1000)).astype(np.float32)
    assert sdr(s, 1.1 * s) == pytest.approx(20.0, abs=1e-3)
    assert sdr(s, np.zeros_like(s)) == pytest.approx(0.0)
    assert not np.isfinite(sdr(0 * s, s))


def test_a_summary_takes_medians_of_tracks_and_means_of_losses() -> None:
    scores = [
        TrackScores({"total": 1.0}, {"vocals": 1.0, "drums": 8.0}),
        TrackScores({"total": 2.0}, {"vocals": 2.0}),
        TrackScores({"total": 6.0}, {"vocals": 9.0}),
    ]
    assert summarise(scores, ("vocals", "drums", "bass")) == {
        "loss": {"total": 3.0},
        "sdr_db": {"vocals": 2.0, "drums": 8.0},
        "mean_sdr_db": 5.0,
        "tracks": 3,
    }
    with pytest.raises(DatasetError):
        summarise([], ("vocals",))


def songs(*stems: str) -> Dataset:
    parts = {stem: (Source(Path(stem)),) for stem in stems}
    return Dataset("songs", Path(), (Track("song", parts),))


def test_stems_that_hold_the_same_sound_are_refused() -> None:
    four = songs("vocals", "drums", "bass", "other")
    assert all_stems(("bass",), four) == ("bass", "vocals", "drums", "other")
    assert all_stems(("drums", "no_drums"), four) == ("drums", "no_drums")
    with pytest.raises(DatasetError, match="drums more than once"):
        all_stems(("vocals", "drums", "accompaniment"), four)


class Halves(SeparationModel[ModelConfig]):
    def __init__(self) -> None:
        super().__init__(ModelConfig(stems=("a", "b")))
        self.spec = ModelSpec(("a", "b"), 8000, 2, 100)

    def separate(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.stack([mix / 2, mix / 2], dim=1)


def test_losses_look_at_the_stems_with_weights_in_their_domain() -> None:
    recipe = read_recipe("open_unmix", {"stems": ["a", "b"], "losses": [{"kind": "mse"}]})
    mixture = torch.ones(1, 2, 50)
    stems = torch.stack([mixture, 0 * mixture], dim=1) * torch.tensor([1.0, 0.5])[:, None, None]
    terms = Objective(recipe, Halves())(Halves(), mixture, stems)
    assert terms["total"].item() == pytest.approx(0.25)
    spectral = read_recipe("open_unmix", {"stems": ["a", "b"]})
    with pytest.raises(ParameterError, match="compare spectra"):
        Objective(spectral, Halves())


@pytest.mark.parametrize("key", ["open_unmix", "open_unmix_conv"])
def test_statistics_are_those_of_the_magnitudes(key: str) -> None:
    fields: dict[str, Any] = {k: v for k, v in TINY.items() if k != "bandwidth_hz"}
    model = build_model(key, **fields)
    batches = [0.1 * torch.randn(2, 2, 3000) * (1 + n) for n in range(3)]
    model.fit_statistics(iter(batches))  # type: ignore[operator]
    window = torch.hann_window(128)
    magnitudes = [stft(b, n_fft=128, hop_length=32, window=window).abs() for b in batches]
    frames = torch.cat([m.mean(dim=1).transpose(1, 2).flatten(0, 1) for m in magnitudes]).double()
    state = model.state_dict()
    mean = state["networks.stem_bass.input_mean"]
    scale = state["networks.stem_bass.input_scale"]
    np.testing.assert_allclose(-mean, frames.mean(dim=0)[: len(mean)], rtol=1e-4)
    deviation = frames.numpy().std(axis=0)[: len(mean)]
    np.testing.assert_allclose(scale, 1 / deviation, rtol=1e-3)
    model.fit_statistics([torch.zeros(1, 2, 1000)])  # type: ignore[operator]
    assert all(value.isfinite().all() for value in model.state_dict().values())
