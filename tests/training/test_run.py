"""Training from beginning to end, on tiny data."""

import errno
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from desmezcla.errors import DatasetError, DesmezclaError, ParameterError
from desmezcla.inference.offline import Separator
from desmezcla.models import build_model
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About
from desmezcla.training import RunOptions, TrainingResult, train
from desmezcla.training.recipes import parse_recipe
from desmezcla.training.validation import TrackScores, Validator

CPU = RunOptions(device="cpu")
Content = dict[str, Any]
RATE = 8000


def run(content: Content, dataset: Path, out: Path, **options: Any) -> TrainingResult:
    more = {k: options.pop(k) for k in ("report", "resume", "changes") if k in options}
    return train(
        parse_recipe(content, "test"),
        data=dataset,
        out=out,
        options=RunOptions(device="cpu", **options),
        **more,
    )


def record(out: Path) -> dict[str, Any]:
    return json.loads((out / "record.json").read_text())  # type: ignore[no-any-return]


def weights(release: Path) -> dict[str, torch.Tensor]:
    return load_file(release / "model.safetensors")


def test_a_run_leaves_all_that_is_needed(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    recipe_content["ema_decay"] = 0.9
    result = run(recipe_content, dataset, tmp_path / "run", report=events.append)
    assert result.stopped == "finished"
    assert result.steps == 6
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["start", "epoch", "epoch", "done"]
    json.dumps(events)
    found = record(result.out)
    assert [entry["epoch"] for entry in found["epochs"]] == [1, 2]
    assert set(found["epochs"][0]["loss"]) == {"total", "magnitude_mse"}
    assert found["epochs"][0]["validation"]["sdr_db"].keys() == {
        "vocals",
        "drums",
        "bass",
        "other",
    }
    assert found["epochs"][0]["validation"]["seconds"] > 0
    assert found["seed"] == 5
    assert found["sessions"][0]["versions"]["torch"] == torch.__version__
    assert found["dataset"]["tracks"] == {"train": 4, "valid": 2}
    assert list((result.out / "tensorboard").glob("events*"))
    card = (result.release / "card.md").read_text()
    assert "## Training data" in card
    assert "| not stated | 6 |" in card
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 4000)).astype(np.float32)
    stems = Separator(result.release, device="cpu").separate(audio, 8000)
    assert stems["drums"].shape == audio.shape


def test_a_loader_that_is_killed_is_told_and_the_run_goes_on_later(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content["data"]["workers"] = 1
    recipe_content["steps_per_epoch"] = 400
    recipe_content["epochs"] = 1

    def kill_loaders(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(DesmezclaError, match="--resume"):
        run(recipe_content, dataset, tmp_path / "run", report=kill_loaders)
    result = run(recipe_content, dataset, tmp_path / "run", resume=True, steps=20)
    assert result.steps == 20


def test_the_loss_falls(recipe_content: Content, dataset: Path, tmp_path: Path) -> None:
    recipe_content |= {"epochs": 2, "steps_per_epoch": 20, "augmentation": []}
    recipe_content["optimizer"] = {"lr": 0.01}
    result = run(recipe_content, dataset, tmp_path / "run")
    first, last = (entry["loss"]["total"] for entry in result.epochs)
    assert last < 0.8 * first


def test_the_best_epoch_is_released_and_patience_ends(
    recipe_content: Content, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_best = run(recipe_content, dataset, tmp_path / "until")
    losses = iter([3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 1.5, 1.5])  # two tracks an epoch

    def scripted(self: Validator, model: Any, track: Any) -> TrackScores:
        return TrackScores({"total": next(losses)}, {"bass": 1.0})

    monkeypatch.setattr(Validator, "score", scripted)
    recipe_content |= {"patience": 2, "epochs": 9}
    result = run(recipe_content, dataset, tmp_path / "run")
    assert result.best == {"epoch": 2, "step": 6, "score": 1.0}
    assert len(result.epochs) == 4
    best, other = weights(result.release), weights(until_best.last_release)
    assert all(torch.equal(best[key], other[key]) for key in other)
    last = weights(result.last_release)
    assert not all(torch.equal(best[key], last[key]) for key in best)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_stopped_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bits(
    optimizer: str, recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content |= {"schedule": {"kind": "cosine", "warmup_steps": 2}, "ema_decay": 0.5}
    recipe_content["optimizer"] = {"kind": optimizer}
    whole = run(recipe_content, dataset, tmp_path / "whole")
    part = run(recipe_content, dataset, tmp_path / "part", steps=4)
    assert (part.stopped, part.steps, len(part.epochs)) == ("steps", 4, 1)
    assert record(part.out)["stopped"]["validation"]["tracks"] == 2
    assert (part.last_release / "model.safetensors").is_file()
    rest = train(None, out=part.out, resume=True, options=CPU)
    for release in ("release", "release-last"):
        ours, theirs = weights(rest.out / release), weights(whole.out / release)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert len(record(rest.out)["sessions"]) == 2


def test_a_finished_run_resumes_to_nothing_and_then_to_more_epochs(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    run(recipe_content, dataset, tmp_path / "run")
    (tmp_path / "run" / "release-last" / "card.md").unlink()
    again = train(None, out=tmp_path / "run", resume=True, options=CPU)
    assert again.steps == 6
    assert (again.last_release / "card.md").is_file()
    more = train(None, out=tmp_path / "run", resume=True, changes={"epochs": 3}, options=CPU)
    assert [entry["epoch"] for entry in record(more.out)["epochs"]] == [1, 2, 3]


def test_a_time_limit_ends_training(recipe_content: Content, dataset: Path, tmp_path: Path) -> None:
    recipe_content["epochs"] = 10_000
    result = run(recipe_content, dataset, tmp_path / "run", time_limit_s=0.01)
    assert result.stopped == "time limit"
    assert result.steps == 1


def test_another_recipe_is_not_resumed(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    run(recipe_content | {"epochs": 1}, dataset, tmp_path / "run")
    with pytest.raises(ParameterError, match="holds a run already"):
        run(recipe_content, dataset, tmp_path / "run")
    with pytest.raises(ParameterError, match="another batch_size"):
        run(recipe_content | {"batch_size": 2}, dataset, tmp_path / "run", resume=True)
    with pytest.raises(ParameterError, match="no run to resume"):
        train(None, out=tmp_path / "none", resume=True, options=CPU)


def test_only_the_stems_that_are_tuned_change(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    fields = {k: v for k, v in recipe_content["model"].items() if k != "architecture"}
    model = build_model("open_unmix", **fields | {"hidden_size": 6})
    save_release(model, tmp_path / "base", About(name="base"))
    recipe_content |= {
        "start": {"release": str(tmp_path / "base"), "stems": ["vocals"]},
        "ema_decay": 0.9,
        "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
    }
    result = run(recipe_content, dataset, tmp_path / "run")
    assert load_model(result.release).config.hidden_size == 6
    before, after = weights(tmp_path / "base"), weights(result.last_release)
    for key in before:
        assert torch.equal(before[key], after[key]) == ("stem_vocals" not in key), key
    assert result.epochs[0]["validation"]["sdr_db"].keys() == {"vocals"}
    assert "starting from the release" in (result.release / "card.md").read_text()
    more = train(None, out=result.out, resume=True, changes={"epochs": 3}, options=CPU)
    assert len(more.epochs) == 3


def test_a_release_of_another_architecture_is_refused(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    model = build_model("open_unmix_conv", n_fft=128, hop_length=32, hidden_size=8)
    save_release(model, tmp_path / "base", About(name="base"))
    recipe_content["start"] = {"release": str(tmp_path / "base")}
    with pytest.raises(ParameterError, match="open_unmix_conv"):
        run(recipe_content, dataset, tmp_path / "run")


def test_a_causal_variant_starts_with_the_weights_of_a_release(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    own = importlib.import_module("desmezcla.models.deepsampler").TINY | {"sample_rate": RATE}
    save_release(build_model("deepsampler", **own), tmp_path / "base", About(name="base"))
    causal = own | {"causal": True, "synthesis_samples": 128}
    recipe_content |= {
        "model": {"architecture": "deepsampler", **causal},
        "start": {"release": str(tmp_path / "base"), "keep_model": True},
        "losses": [{"kind": "frame_sdr"}],
        "optimizer": {"kind": "sgd", "lr": 1e-9},
        "epochs": 1,
    }
    result = run(recipe_content, dataset, tmp_path / "run")
    assert load_model(result.last_release).spec.causal
    begun = build_model("deepsampler", **causal).weights_from(load_model(tmp_path / "base"))
    after = weights(result.last_release)
    for key, value in begun.items():
        torch.testing.assert_close(after[key], value, atol=1e-6, rtol=0)
    recipe_content["model"]["width"] = 24
    with pytest.raises(ParameterError, match=r"keep_model=True: .* do not fit"):
        run(recipe_content, dataset, tmp_path / "other")


def test_songs_are_rendered_where_no_dataset_is_given(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content["data"]["render"] = {"songs": 2, "duration_s": 3.0, "valid": 0.5, "seed": 3}
    recipe_content["epochs"] = 1
    events: list[dict[str, Any]] = []
    recipe = parse_recipe(recipe_content, "test")
    result = train(recipe, out=tmp_path / "run", options=CPU, report=events.append)
    assert [event["fraction"] for event in events if event["event"] == "render"] == [0.5, 1.0]
    songs = tmp_path / "run" / "songs"
    assert record(result.out)["dataset"]["tracks"] == {"train": 1, "valid": 1}
    assert {path.name for path in songs.glob("*/*")} == {"rendered-3-00000", "rendered-3-00001"}
    more = train(None, out=result.out, resume=True, changes={"epochs": 2}, options=CPU)
    assert len(more.epochs) == 2
    given = run(recipe_content, dataset, tmp_path / "given")
    assert not (given.out / "songs").exists()


def test_a_refiner_is_trained_around_a_release_that_stays_as_it_is(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    fields = {k: v for k, v in recipe_content["model"].items() if k != "architecture"}
    save_release(build_model("open_unmix", **fields), tmp_path / "base", About(name="base"))
    refiner = importlib.import_module("desmezcla.models.diffusion_refiner").TINY
    own = {key: value for key, value in refiner.items() if not key.startswith("base")}
    recipe_content |= {
        "model": {"architecture": "diffusion_refiner", **own},
        "start": {"release": str(tmp_path / "base"), "into": "base"},
        "losses": [{"kind": "l1", "domain": "waveform"}],
        "epochs": 1,
    }
    result = run(recipe_content, dataset, tmp_path / "run")
    inside = {f"base.{key}": value for key, value in weights(tmp_path / "base").items()}
    trained = weights(result.last_release)
    assert all(torch.equal(trained[key], value) for key, value in inside.items())
    assert load_model(result.release).config.base == "open_unmix"
    more = train(None, out=result.out, resume=True, changes={"epochs": 2}, options=CPU)
    again = weights(more.last_release)
    assert all(torch.equal(again[key], value) for key, value in inside.items())
    assert not all(torch.equal(again[key], trained[key]) for key in trained)


def test_a_release_goes_only_into_a_model_that_wraps_another(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    save_release(build_model("hpss"), tmp_path / "base", About(name="base"))
    recipe_content["start"] = {"release": str(tmp_path / "base"), "into": "base"}
    with pytest.raises(ParameterError, match=r"start\.into='base': 'open_unmix' is no model"):
        run(recipe_content, dataset, tmp_path / "run")


def test_one_stem_is_trained_against_the_rest_of_the_song(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content |= {"stems": ["drums"], "epochs": 1}
    result = run(recipe_content, dataset, tmp_path / "run")
    # Were the mixture the drums alone, the masked mixture could not be this far from them.
    assert result.epochs[0]["validation"]["sdr_db"]["drums"] < 5
    assert load_model(result.release).spec.stems == ("drums",)


def test_without_a_split_for_validation_tracks_are_held_out(
    recipe_content: Content, write_songs: Callable[..., Path], tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    data = write_songs(tmp_path / "songs", {"train": 3})
    recipe_content["epochs"] = 1
    run(recipe_content, data, tmp_path / "run", report=events.append)
    assert events[0]["held_out"]
    assert (events[0]["training_tracks"], events[0]["validation_tracks"]) == (2, 1)
    one = write_songs(tmp_path / "one", {"train": 1})
    with pytest.raises(DatasetError, match="at least 2 tracks"):
        run(recipe_content, one, tmp_path / "other")


def test_a_bad_file_ends_training_unless_told_otherwise(
    recipe_content: Content, write_songs: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_songs(tmp_path / "songs", {"train": 3, "valid": 2})
    (data / "train" / "train1" / "drums.wav").write_bytes(b"not audio at all")
    recipe_content["epochs"] = 1
    with pytest.raises(DesmezclaError, match="drums"):
        run(recipe_content, data, tmp_path / "refused")
    (data / "valid" / "valid0" / "bass.wav").write_bytes(b"not audio at all")
    with pytest.raises(DesmezclaError, match="bass"):
        run(recipe_content, data, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    result = run(recipe_content, data, tmp_path / "run", skip_bad=True)
    assert result.epochs[0]["validation"]["tracks"] == 1
    assert record(result.out)["dataset"]["validation_tracks"] == ["valid1"]


def test_a_full_disk_keeps_the_last_good_checkpoint(
    recipe_content: Content, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_content["checkpoint_steps"] = 2
    synced = os.fsync

    def full(descriptor: int) -> None:
        if list((tmp_path / "run" / "checkpoints").glob("step-*")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DesmezclaError, match=r"No space left.*step-00000002.*--resume"):
        run(recipe_content, dataset, tmp_path / "run")
    monkeypatch.undo()
    (kept,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert kept.name == "step-00000002.ckpt"
    result = train(None, out=tmp_path / "run", resume=True, options=CPU)
    assert [entry["epoch"] for entry in result.epochs] == [1, 2]


def test_a_loss_that_is_not_finite_is_told(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content |= {"optimizer": {"kind": "sgd", "lr": 1e30}, "steps_per_epoch": 10}
    with pytest.raises(DesmezclaError, match=r"loss of step \d+ is not finite.*optimizer.lr"):
        run(recipe_content, dataset, tmp_path / "run")


def test_the_random_numbers_of_the_program_are_left_alone(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run(recipe_content | {"epochs": 1}, dataset, tmp_path / "run")
    assert torch.equal(torch.rand(4), expected)


def test_an_interrupt_saves_the_step_and_ends(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    recipe_content |= {"epochs": 100, "steps_per_epoch": 100}

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(recipe_content, dataset, tmp_path / "run", report=interrupt)
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert record(tmp_path / "run")["stopped"]["reason"] == "interrupted"
    assert record(tmp_path / "run")["steps"] == int(saved.stem[5:]) > 0


def test_batches_are_computed_in_bfloat16_where_the_processor_can(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    result = run(recipe_content | {"precision": "bf16", "epochs": 1}, dataset, tmp_path / "run")
    assert {value.dtype for value in weights(result.release).values()} == {
        torch.float32,
        torch.int64,
    }


def test_two_processes_learn_what_one_does(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    # Open-Unmix's batch normalisation depends on a process's share of the batch; this has none.
    model = recipe_content["model"] | {"architecture": "open_unmix_conv", "spectral_filters": 6}
    del model["bandwidth_hz"]
    recipe_content |= {"model": model, "ema_decay": 0.9, "checkpoint_steps": 2}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_content))
    alone = run(recipe_content, dataset, tmp_path / "alone")
    command = [sys.executable, "-m", "desmezcla", "train", str(recipe), "--data", str(dataset)]
    subprocess.run(
        [*command, "--out", str(tmp_path / "both"), "--device", "cpu", "--devices", "2"],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    ours, theirs = weights(tmp_path / "both" / "release"), weights(alone.release)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-6)
    for one, other in zip(record(tmp_path / "both")["epochs"], alone.epochs, strict=True):
        assert one["loss"]["total"] == pytest.approx(other["loss"]["total"], rel=1e-5)
        assert one["validation"]["tracks"] == 2
