"""Train a model from a recipe: everything from the dataset to the release."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.inference.device import choose_device, choose_dtype, keep_freed_buffers
from desmezcla.training.asking import asked_recipe, resumed_recipe
from desmezcla.training.checkpoint import read_checkpoint
from desmezcla.training.data import Batches, TrainingData, find_data
from desmezcla.training.folder import RunFolder, Writer
from desmezcla.training.limits import Limits
from desmezcla.training.machine import RunOptions, check_extra, is_first_process, make_trainer
from desmezcla.training.objective import Objective
from desmezcla.training.progress import Progress
from desmezcla.training.quiet import quiet_lightning
from desmezcla.training.recipe import Recipe
from desmezcla.training.schedule import LearningRate
from desmezcla.training.start import Beginning, begin
from desmezcla.training.validation import Validator

if TYPE_CHECKING:
    import lightning

    from desmezcla.training.record import SawTest

Event = dict[str, Any]


@runtime_checkable
class HasStatistics(Protocol):
    """A model that wants to know statistics of its input before it is trained."""

    def fit_statistics(self, mixtures: Iterable[Tensor]) -> None:
        """Take statistics from mixtures, `[B, C, T]` each."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        out: The folder of the run.
        release: Release of the best epoch.
        last_release: Release of the last weights.
        steps: Steps done in all.
        epochs: What the record says of each epoch.
        best: Epoch, step and score of the best one, None if none was validated.
        stopped: "finished", "steps" or "time limit".
    """

    out: Path
    release: Path
    last_release: Path
    steps: int
    epochs: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any] | None
    stopped: str


def train(
    recipe: Recipe | str | Path | None,
    *,
    out: str | Path,
    data: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    resume: bool = False,
    options: RunOptions | None = None,
    report: Callable[[Event], None] | None = None,
    callbacks: Sequence["lightning.Callback"] = (),
) -> TrainingResult:
    """Train a model.

    Args:
        recipe: A recipe, its name, or the path of its file; None to resume with the run's own.
        out: Folder of the run.
        data: Dataset; None for the recipe's.
        changes: Dotted key -> value, on top of the recipe.
        resume: Go on with the run in `out`; if there is none, begin one.
        options: How to run.
        report: Called with events: "render", "start", "progress", "epoch" and "done".
        callbacks: More of Lightning's callbacks.

    Errors:
        ParameterError: if the recipe or an option is not allowed, or `out` holds a run already.
        DatasetError: if the dataset is not what it should be.
        DesmezclaError: if training cannot go on: the loss is not finite, or the disk is full.
        KeyboardInterrupt: if interrupted; a checkpoint of the last step has been written.
    """
    check_extra()
    options = options or RunOptions()
    folder = RunFolder(Path(out))
    resolved = asked_recipe(recipe, data, changes)
    if resume:
        resolved = resumed_recipe(resolved, folder, data, changes)
    if resolved is None:
        raise ParameterError(
            f"out={str(folder.path)!r} holds no run to resume; name a recipe to begin one"
        )
    device = choose_device(options.device)
    if resolved.precision == "bf16":
        choose_dtype("bfloat16", device)
    if device.type == "cpu":
        keep_freed_buffers()
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        return _train(resolved, folder, device, options, resume, report or _ignore, callbacks)


def _train(
    recipe: Recipe,
    folder: RunFolder,
    device: torch.device,
    options: RunOptions,
    resume: bool,
    report: Callable[[Event], None],
    callbacks: Sequence["lightning.Callback"],
) -> TrainingResult:
    # Deferred: they import lightning, which is in an extra.
    from desmezcla.training.diagnostics.callback import watch
    from desmezcla.training.keeper import Keeper
    from desmezcla.training.module import TrainingModule
    from desmezcla.training.record import dataset_facts, session_facts

    recipe = _with_songs(recipe, folder, report)
    state = read_checkpoint(folder.checkpoint) if resume and folder.checkpoint else None
    beginning = begin(recipe, resume=state is not None)
    recipe, config = beginning.recipe, beginning.model.config
    objective = Objective(recipe, beginning.model)
    data = find_data(recipe, skip_bad=options.skip_bad)
    batches = Batches(recipe, config, data.training, skip_bad=options.skip_bad)
    epoch_steps = recipe.epoch_steps(len(data.training.tracks))
    rate = LearningRate(recipe.schedule, epoch_steps, recipe.epochs * epoch_steps)
    renewal, watchers = watch(recipe, folder, data.training, batches)
    if is_first_process():
        folder.begin(recipe, resume=resume)
    else:
        report = _ignore
    report(_start_event(recipe, folder, data, rate, state))
    if state is None and beginning.release is None:
        _fit_statistics(beginning, batches, rate.total_steps)
    facts = dataset_facts(data.dataset) | {
        "training_tracks": len(data.training.tracks),
        "validation_tracks": [track.name for track in data.validation],
        "held_out": data.held_out,
    }
    limits = Limits(options.steps, options.time_limit_s)
    module = TrainingModule(beginning, objective, rate, batches)
    keeper = Keeper(
        Writer(folder, recipe, facts, _saw_test(recipe, beginning, data)),
        Validator(data.validation, recipe, objective, options.skip_bad),
        limits,
        session_facts(str(device), options.devices * options.nodes),
        report,
        state,
        renewal,
    )
    if not keeper.nothing_left(module):
        trainer = make_trainer(recipe, device, options, folder, [keeper, *watchers, *callbacks])
        with limits.signals(), contextlib.closing(batches), _lost_loaders():
            trainer.fit(module)
    if is_first_process():
        keeper.close(module)
    return _result(folder, module.progress, keeper.stopped, report)


@contextlib.contextmanager
def _lost_loaders() -> Iterator[None]:
    """Say what it means when a process that loads songs is killed: PyTorch does not."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DesmezclaError(
            f"a process that loads songs has ended ({error}), perhaps because memory was short; "
            "go on with --resume, with fewer of them if it happens again (--set data.workers=1)"
        ) from error


def _with_songs(recipe: Recipe, folder: RunFolder, report: Callable[[Event], None]) -> Recipe:
    """Render the songs that the recipe wants, if no dataset is given, and name their folder."""
    wanted = recipe.data.render
    if recipe.data.path is not None or wanted is None:
        return recipe
    # Deferred: they need the extra `render`.
    from desmezcla.datasets.render.library import SongDone, render_dataset

    path = (folder.path / "songs").resolve()

    def progress(song: SongDone) -> None:
        report({"event": "render", "fraction": song.done / song.songs, "eta_s": song.eta_s})

    if is_first_process():
        render_dataset(
            path,
            songs=wanted.songs,
            seed=wanted.seed,
            material=Path(recipe.data.material) if recipe.data.material else None,
            duration_s=wanted.duration_s,
            valid_share=wanted.valid,
            exclude_licences=wanted.exclude_licences,
            exclude_files=wanted.exclude_files,
            progress=progress,
        )
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": str(path)})})


def _result(
    folder: RunFolder, progress: Progress, stopped: str | None, report: Callable[[Event], None]
) -> TrainingResult:
    """Return what was left behind, or go on with the interruption that ended it."""
    if stopped == "interrupted":
        raise KeyboardInterrupt
    if stopped == "terminated":
        raise SystemExit(128 + signal.SIGTERM)
    result = TrainingResult(
        out=folder.path,
        release=folder.release,
        last_release=folder.last_release,
        steps=progress.step,
        epochs=progress.epochs,
        best=progress.best,
        stopped=stopped or "finished",
    )
    report(
        {
            "event": "done",
            "stopped": result.stopped,
            "steps": result.steps,
            "best": result.best,
            "release": str(result.release),
        }
    )
    return result


def _fit_statistics(beginning: Beginning, batches: Batches, steps: int) -> None:
    """Let a model that needs statistics of its input take them from the training tracks."""
    recipe = beginning.recipe
    if isinstance(beginning.model, HasStatistics):
        # No more than are trained on. Where a run stops early must not matter.
        examples = min(recipe.data.statistics_examples, steps * recipe.batch_size)
        beginning.model.fit_statistics(batches.mixtures(examples))


def _start_event(
    recipe: Recipe,
    folder: RunFolder,
    data: TrainingData,
    rate: LearningRate,
    state: dict[str, Any] | None,
) -> Event:
    return {
        "event": "start",
        "out": str(folder.path),
        "model": recipe.model.architecture,
        "stems": list(recipe.trained_stems),
        "dataset": data.dataset.name,
        "training_tracks": len(data.training.tracks),
        "validation_tracks": len(data.validation),
        "held_out": data.held_out,
        "epochs": recipe.epochs,
        "steps_per_epoch": rate.epoch_steps,
        "resumed_at_step": state["progress"]["step"] if state else None,
    }


def _saw_test(recipe: Recipe, beginning: Beginning, data: TrainingData) -> "SawTest":
    """Return whether weights have seen MUSDB18's test tracks, as far as can be told."""
    if recipe.start:
        return beginning.release.info.saw_musdb18_test if beginning.release else "unknown"
    return False if data.dataset.name.startswith("musdb18") else "unknown"


def _ignore(event: Event) -> None:
    pass
