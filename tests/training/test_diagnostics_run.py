"""Training that is watched: it learns the same, stops where numbers break, and gets new songs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import lightning
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.training import RunOptions, TrainingResult, train
from desmezcla.training.diagnostics import renewal
from desmezcla.training.diagnostics.callback import NotFiniteError
from desmezcla.training.diagnostics.journal import DiagnosticsError, Journal
from desmezcla.training.diagnostics.overfitting import Verdict
from desmezcla.training.diagnostics.page import diagnose
from desmezcla.training.diagnostics.reading import read_run
from desmezcla.training.recipes import parse_recipe

Content = dict[str, Any]
LAYER = "networks.stem_drums.fc2"


def run(content: Content, dataset: Path, out: Path, *callbacks: Any, **more: Any) -> TrainingResult:
    recipe = parse_recipe(content, "test")
    options = RunOptions(device="cpu", steps=more.pop("steps", None))
    return train(recipe, data=dataset, out=out, options=options, callbacks=callbacks, **more)


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "release-last" / "model.safetensors")


def measured(out: Path) -> list[dict[str, Any]]:
    return Journal(out / "diagnostics" / "steps.jsonl").read()


class Hooked(lightning.Callback):
    """Counts the hooks in the model while each step is under way."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_before_backward(self, trainer: Any, module: Any, loss: Tensor) -> None:
        self.counts.append(hooks(module.model))

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.left = hooks(module.model)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_watching_changes_nothing_and_has_hooks_in_the_measured_steps_only(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    on, off = Hooked(), Hooked()
    watched = recipe_content | {"diagnostics": {"every_steps": 4}}
    run(watched, dataset, tmp_path / "on", on)
    quiet = recipe_content | {"diagnostics": {"enabled": False, "overfitting": None}}
    run(quiet, dataset, tmp_path / "off", off)
    ours, theirs = weights(tmp_path / "on"), weights(tmp_path / "off")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [count > 0 for count in on.counts] == [True, False, False, False, True, False]
    assert on.left == 0
    assert off.counts == [0] * 6
    assert not (tmp_path / "off" / "diagnostics").exists()
    lines = measured(tmp_path / "on")
    assert [line["step"] for line in lines] == [0, 4]
    assert lines[0]["layers"][LAYER]["weight"]["update"] > 0
    assert list((tmp_path / "on" / "tensorboard" / "diagnostics").glob("events*"))
    record = json.loads((tmp_path / "on" / "record.json").read_text())
    assert record["epochs"][1]["overfitting"]["overfits"] is False


def test_steps_are_not_doubled_when_a_run_goes_on(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    content = recipe_content | {"diagnostics": {"every_steps": 1, "tensorboard": False}}
    run(content, dataset, tmp_path / "run", steps=2)
    # As if it had gone on to the middle of a line, and had then been killed.
    ahead = Journal(tmp_path / "run" / "diagnostics" / "steps.jsonl")
    ahead.append(measured(tmp_path / "run")[-1] | {"step": 2})
    with ahead.path.open("ab") as file:
        file.write(b'{"step": 3, "lo')
    assert read_run(tmp_path / "run").last_step == 3
    run(content | {"epochs": 1}, dataset, tmp_path / "run", resume=True)
    assert [line["step"] for line in measured(tmp_path / "run")] == [0, 1, 2]
    with filelock.FileLock(tmp_path / "run" / "diagnostics" / ".lock"):
        assert read_run(tmp_path / "run").state == "running"
    assert read_run(tmp_path / "run").state == "ended"


class Breaking(lightning.Callback):
    """Makes a layer put out, or give back, what is not finite, from a step on."""

    def __init__(self, step: int, spoil: Callable[[Any, Any, Tensor], Tensor]) -> None:
        self.step, self.spoil = step, spoil

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if module.progress.step == self.step:
            module.model.get_submodule(LAYER).register_forward_hook(self.spoil)


class InfiniteBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / 0


def infinite_backward(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    return InfiniteBackward.apply(output)  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.parametrize(
    ("phase", "spoil"),
    [
        ("forward", lambda layer, inputs, output: output + torch.inf),
        ("backward", infinite_backward),
    ],
)
def test_training_stops_before_the_weights_are_spoilt_and_names_the_layer(
    phase: str,
    spoil: Callable[[Any, Any, Tensor], Tensor],
    recipe_content: Content,
    dataset: Path,
    tmp_path: Path,
) -> None:
    content = recipe_content | {"diagnostics": {"every_steps": 2, "tensorboard": False}}
    out = tmp_path / "run"
    with pytest.raises(NotFiniteError) as caught:
        run(content, dataset, out, Breaking(4, spoil))
    error = caught.value
    assert (error.step, error.finding.phase, error.finding.layer) == (4, phase, LAYER)
    what = {"forward": "loss", "backward": "gradient"}[phase]
    assert f"the {what} of step 4 is not finite" in str(error)
    assert "example 0, 1, 2, 3 of the batch (from 0; of the training: 16, 17, 18, 19)" in str(error)
    assert str(out / "checkpoints" / "step-00000004.ckpt") in str(error)
    found = diagnose(out)
    assert found["state"] == "broken off"
    assert found["judgements"]["Stability"]["level"] == "bad"
    assert (
        f"step 4: the first to go wrong, {phase}, is layer {LAYER}"
        in (found["judgements"]["Stability"]["text"])
    )
    assert "not finite" not in Path(found["out"]).read_text().split("<h2>Losses")[1]
    # What was good goes on, without what spoilt it, to where an unbroken training leads.
    run(content, dataset, out, resume=True)
    run(content, dataset, tmp_path / "whole")
    ours, theirs = weights(out), weights(tmp_path / "whole")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert diagnose(out)["judgements"]["Stability"]["level"] == "good"


def test_weights_that_an_update_made_infinite_are_not_kept(
    recipe_content: Content, dataset: Path, tmp_path: Path
) -> None:
    class Overflow(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *others: Any) -> None:
            with torch.no_grad():
                module.model.get_submodule(LAYER).weight[0, 0] = torch.inf

    with pytest.raises(NotFiniteError, match=f"weights of layer {LAYER} .*no checkpoint yet"):
        run(recipe_content, dataset, tmp_path / "run", Overflow())


@pytest.fixture
def rendered(
    monkeypatch: pytest.MonkeyPatch, write_songs: Callable[..., Path]
) -> list[dict[str, Any]]:
    """Render songs quickly; what was asked for is in the list."""
    calls: list[dict[str, Any]] = []

    def render(folder: Path, **options: Any) -> None:
        calls.append({"folder": folder.name, **options})
        if not folder.exists():
            write_songs(folder, {"train": options["songs"]})

    monkeypatch.setattr(renewal, "_render_dataset", render)
    return calls


def overfitting(content: Content, **renew: Any) -> Content:
    """Return a recipe whose gap counts as growing whatever it does."""
    rule = {"smoothing": 0, "window": 2, "trend": 0, "patience": 0, "renew": renew or None}
    return content | {
        "steps_per_epoch": 2,
        "epochs": 6,
        "optimizer": {"lr": 0.03},
        "diagnostics": {"tensorboard": False, "overfitting": rule},
    }


def test_a_model_that_overfits_gets_new_songs_and_resumes_to_the_same_bits(
    recipe_content: Content,
    dataset: Path,
    tmp_path: Path,
    rendered: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The losses of so few steps are chance; the rule has its own tests.
    def judged(epochs: Any, rule: Any, *, since: int = 0) -> Verdict:
        grows = (epochs[-1]["epoch"] - since) % 2 == 0
        return Verdict(grows, epochs[-1]["epoch"], 1.0, 0.1, int(grows))

    monkeypatch.setattr(renewal, "judge", judged)
    content = overfitting(recipe_content, songs=2, seed=7, most=2)
    whole = run(content, dataset, tmp_path / "whole")
    record = json.loads((whole.out / "record.json").read_text())
    assert [(r["epoch"], r["step"], r["seed"], r["folder"]) for r in record["renewals"]] == [
        (2, 4, 7, "renewed/1"),
        (4, 8, 8, "renewed/2"),
    ]
    assert [(call["folder"], call["songs"], call["seed"]) for call in rendered] == [
        ("1", 2, 7),
        ("2", 2, 8),
    ]
    assert "the model overfits since about epoch 2" in caplog.text
    part = tmp_path / "part"
    for steps in (4, 5, 9):
        run(content, dataset, part, resume=True, steps=steps)
    run(content, dataset, part, resume=True)
    ours, theirs = weights(part), weights(whole.out)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    run(overfitting(recipe_content), dataset, tmp_path / "old")
    old = weights(tmp_path / "old")
    assert not all(torch.equal(old[key], theirs[key]) for key in theirs)


def test_new_songs_come_beside_the_own_ones_or_instead(
    recipe_content: Content, dataset: Path, tmp_path: Path, rendered: list[dict[str, Any]]
) -> None:
    from desmezcla.datasets.opening import open_dataset
    from desmezcla.training.diagnostics.config import Overfitting
    from desmezcla.training.progress import Progress

    class Used:
        def use(self, dataset: Any) -> None:
            self.names = [track.name for track in dataset.tracks]

    own = open_dataset(dataset, splits=["train"])
    progress = Progress(renewals=[{"folder": "renewed/1", "songs": 1, "seed": 3}])
    for keep, expected in ((True, 5), (False, 1)):
        used = Used()
        rule = Overfitting.model_validate({"renew": {"songs": 1, "keep": keep}})
        found = renewal.Renewal(rule, tmp_path, own, used)
        found.render(progress)
        found.use(progress)
        assert len(used.names) == expected
        assert used.names[-1] == "renewed/1/train0"
    assert rendered[0]["seed"] == 3


def test_songs_that_cannot_be_rendered_or_are_there_already_are_refused_at_once(
    recipe_content: Content, tmp_path: Path, write_songs: Callable[..., Path]
) -> None:
    data = write_songs(tmp_path / "data", {"train": 2, "valid": 1})
    (data / "train" / "train0").rename(data / "train" / "rendered-9-00000")
    with pytest.raises(ParameterError, match=r"renew.seed=8: songs of the seed 9"):
        run(overfitting(recipe_content, songs=1, seed=8), data, tmp_path / "run")
    (data / "train" / "train1" / "other.wav").rename(data / "train" / "train1" / "kazoo.wav")
    with pytest.raises(ParameterError, match="no kazoo"):
        run(overfitting(recipe_content, songs=1), data, tmp_path / "run")


def test_a_run_that_is_running_is_not_begun_twice(
    recipe_content: Content, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from desmezcla.training.diagnostics import callback

    monkeypatch.setattr(callback, "_LOCK_WAIT_S", 0.0)
    (tmp_path / "run" / "diagnostics").mkdir(parents=True)
    with (
        filelock.FileLock(tmp_path / "run" / "diagnostics" / ".lock"),
        pytest.raises(DiagnosticsError, match="in use by a training"),
    ):
        run(recipe_content, dataset, tmp_path / "run")


def test_charts_bear_gaps_and_constants() -> None:
    from desmezcla.training.diagnostics.charts import Series, heat_table, line_chart

    x = np.arange(1000.0)
    y = np.where(x < 500, np.nan, 3.0)
    chart = line_chart("a & b", [Series("<one>", x, y), Series("two", [5.0], [1.0])], log=True)
    assert "a &amp; b" in chart
    assert "&lt;one&gt;: from 3 to 3" in chart
    assert "nan" not in chart
    assert "Nothing to show yet" in line_chart("empty", [Series("none", [], [])])
    assert heat_table("t", "n", {"a": np.full(3, np.nan)}) == ""
    assert heat_table("t", "n", {"a": x, "b": np.zeros(1000)}, log=True).count("<tr>") == 2
