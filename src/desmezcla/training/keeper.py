"""What happens around the steps: epochs, validation, checkpoints, the record, and the end."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import lightning
import torch
from torch.utils.tensorboard import SummaryWriter

from desmezcla.training.checkpoint import write_checkpoint
from desmezcla.training.diagnostics.renewal import Renewal
from desmezcla.training.folder import Writer
from desmezcla.training.limits import Limits, Reason
from desmezcla.training.module import TrainingModule
from desmezcla.training.progress import Progress
from desmezcla.training.validation import Validator, summarise

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Report = Callable[[Event], None]

# Why to write a checkpoint: it is time for one, or training ends.
Pause = Literal["due"] | Reason
_PAUSES: tuple[Pause | None, ...] = (
    *(None, "due", "steps", "time limit"),
    *("interrupted", "terminated"),
)

# Seconds between two reports of progress.
_REPORT_S = 0.5


class Keeper(lightning.Callback):
    """Keeps a run: what it has done, what it leaves behind, and when it ends.

    Lightning's epochs are those of the recipe. Its own checkpoints are not used: they cannot go on
    in the middle of an epoch without a loader that it knows, and are not written durably.

    Args:
        writer: Writes the record and the releases.
        validator: Scores the model.
        limits: When to end early.
        session: Facts of this session, for the record.
        report: Called with events.
        state: Of the checkpoint to go on from, if there is one.
        renewal: Judges overfitting, and says when new songs are due.
    """

    def __init__(
        self,
        writer: Writer,
        validator: Validator,
        limits: Limits,
        session: dict[str, Any],
        report: Report,
        state: dict[str, Any] | None = None,
        renewal: Renewal | None = None,
    ) -> None:
        self.writer, self.validator, self.limits = writer, validator, limits
        self.recipe = writer.recipe
        self.session = session
        self.report = report
        self.renewal = renewal
        self.stopped: Reason | None = None
        self.board: SummaryWriter | None = None
        self._state = state
        self._final: dict[str, Any] | None = None
        self._mark = self._checkpointed = self._reported = time.monotonic()
        self._begin: tuple[float, int] = (self._mark, 0)
        self._warned = False

    def nothing_left(self, module: TrainingModule) -> bool:
        """Whether the run is at its end already; the model then has the weights of the end."""
        if self._state is None:
            return False
        progress = Progress(**self._state["progress"])
        reason = self.limits.reason(progress.step)
        if not finished(self.recipe, progress) and reason != "steps":
            return False
        self.stopped = reason
        module.progress = progress
        module.load_weights(self._state)
        return True

    def on_fit_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Go on from the checkpoint, if there is one; the optimizer is there by now."""
        if self._state:
            module.load_weights(self._state)
            module.load_optimizer(self._state)
            module.progress = Progress(**self._state["progress"])
            self._state = None
        module.progress.sessions.append(self.session)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Begin to measure time."""
        progress = module.progress
        if trainer.is_global_zero:
            self.board = SummaryWriter(
                str(self.writer.folder.tensorboard), purge_step=progress.step or None
            )
            self.writer.record(progress)
        # Lightning would end at once when asked to; the step must be saved first.
        self.limits.listen()
        self._mark = self._checkpointed = time.monotonic()
        self._begin = (self._mark, progress.step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; save, report and stop where it is time to."""
        module.step_done()
        step = module.progress.step
        self._report_progress(module)
        if step % module.epoch_steps == 0:
            return  # the end of the epoch sees to everything
        reason = self._agreed(trainer, self.limits.reason(step) or self._due(step))
        if reason:
            module.fetch_terms()
            self._save(trainer, module)
        if reason and reason != "due":
            self.stopped = reason
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Close the epoch, if it is done."""
        progress = module.progress
        if progress.step % module.epoch_steps:
            return
        module.fetch_terms()
        entry = self._entry(module)
        if (len(progress.epochs) + 1) % self.recipe.data.validation.every_epochs == 0:
            entry["validation"] = self._validate(trainer, module)
            if trainer.is_global_zero:
                self._warn_if_slow(entry)
        self._count_time(progress)
        entry["wall_s"] = progress.epoch_s
        progress.close_epoch(entry)
        if "validation" in entry:
            self._judge(trainer, module, entry["validation"])
            if self.renewal:
                self.renewal.consider(progress, warn=trainer.is_global_zero)
        self._save(trainer, module)
        if trainer.is_global_zero:
            self._log(progress.step, entry)
            self.writer.record(progress)
        self.report({"event": "epoch", **entry, "best": progress.best})
        reason = self._agreed(trainer, self.limits.reason(progress.step))
        self.stopped = None if reason == "due" else reason
        trainer.should_stop = bool(self.stopped) or finished(self.recipe, progress)

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Score the weights of an epoch that was broken off."""
        partial = module.progress.step % module.epoch_steps != 0
        if partial and self.stopped in ("steps", "time limit"):
            self._final = self._validate(trainer, module)

    def close(self, module: TrainingModule) -> None:
        """Write the last release, and the best where no epoch has been validated."""
        progress = module.progress
        if self.stopped not in ("interrupted", "terminated"):
            scores = self._final or _last_validation(progress)
            with _averaged(module):
                folder = self.writer.folder
                self.writer.release(folder.last_release, module.model, progress, scores)
                if progress.best is None:
                    self.writer.release(folder.release, module.model, progress, scores)
        stopped = {"reason": self.stopped or "finished", "validation": self._final}
        self.writer.record(progress, stopped)
        if self.board:
            self.board.close()

    def _entry(self, module: TrainingModule) -> dict[str, Any]:
        """Return what there is to know of an epoch that has just been trained."""
        progress = module.progress
        self._count_time(progress)
        examples = module.epoch_steps * self.recipe.batch_size
        return {
            "epoch": len(progress.epochs) + 1,
            "step": progress.step,
            "lr": self.recipe.optimizer.lr * module.rate.factor(progress.step - 1),
            "loss": progress.means(),
            "training_s": progress.epoch_s,
            "examples_per_s": examples / max(progress.epoch_s, 1e-9),
        }

    def _validate(self, trainer: lightning.Trainer, module: TrainingModule) -> dict[str, Any]:
        """Score the weights that would be released; each process takes some of the tracks."""
        began = time.monotonic()
        tracks = self.validator.tracks[trainer.global_rank :: trainer.world_size]
        with _averaged(module):
            scores = self.validator.scores(module.model, tracks)
        module.prepare()
        if trainer.world_size > 1:
            every: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(every, scores)
            scores = [score for some in every for score in some]
        summary = summarise(scores, self.recipe.trained_stems)
        return summary | {"seconds": time.monotonic() - began}

    def _judge(
        self, trainer: lightning.Trainer, module: TrainingModule, validation: dict[str, Any]
    ) -> None:
        """Let the learning rate and the best release follow from a validation."""
        score = validation["loss"]["total"]
        if self.recipe.data.validation.monitor == "sdr":
            # Where every stem is silent there is no score, and nothing can be better.
            sdr_db = validation["mean_sdr_db"]
            score = 1e9 if sdr_db is None else -sdr_db
        module.rate.validated(score)
        if module.progress.scored(score) and trainer.is_global_zero:
            with _averaged(module):
                path = self.writer.folder.release
                self.writer.release(path, module.model, module.progress, validation)

    def _save(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        self._count_time(module.progress)
        if trainer.is_global_zero:
            folder = self.writer.folder.checkpoints
            write_checkpoint(folder, module.progress.step, module.state())
        self._checkpointed = time.monotonic()

    def _due(self, step: int) -> Literal["due"] | None:
        every = self.recipe.checkpoint_steps
        waited_s = time.monotonic() - self._checkpointed
        by_steps = every is not None and step % every == 0
        return "due" if by_steps or waited_s >= 60 * self.recipe.checkpoint_minutes else None

    def _count_time(self, progress: Progress) -> None:
        now = time.monotonic()
        progress.epoch_s += now - self._mark
        self._mark = now

    def _agreed(self, trainer: lightning.Trainer, why: Pause | None) -> Pause | None:
        """Return a reason to pause that any process has, so that all do the same."""
        if trainer.world_size == 1:
            return why
        device = trainer.strategy.root_device
        place = torch.tensor(_PAUSES.index(why), device=device)
        torch.distributed.all_reduce(place, torch.distributed.ReduceOp.MAX)
        return _PAUSES[int(place)]

    def _report_progress(self, module: TrainingModule) -> None:
        now = time.monotonic()
        if now - self._reported < _REPORT_S:
            return
        self._reported = now
        progress = module.progress
        total = min(module.rate.total_steps, self.limits.steps or module.rate.total_steps)
        rate = (progress.step - self._begin[1]) / (now - self._begin[0])
        self.report(
            {
                "event": "progress",
                "epoch": progress.step // module.epoch_steps + 1,
                "step": progress.step,
                "steps": total,
                "fraction": progress.step / total,
                "loss": progress.means() if progress.counted else {},
                "examples_per_s": rate * self.recipe.batch_size,
                "eta_s": (total - progress.step) / rate,
            }
        )

    def _warn_if_slow(self, entry: dict[str, Any]) -> None:
        seconds, training_s = entry["validation"]["seconds"], entry["training_s"]
        if seconds > training_s and not self._warned:
            self._warned = True
            logger.warning(
                "validation took %.1f s, and training %.1f s; lower data.validation.tracks or "
                "data.validation.excerpt_s, or validate less often (data.validation.every_epochs)",
                seconds,
                training_s,
            )

    def _log(self, step: int, entry: dict[str, Any]) -> None:
        """Write the scalars of an epoch for TensorBoard."""
        validation = entry.get("validation", {"loss": {}, "sdr_db": {}})
        scalars = {
            "learning_rate": entry["lr"],
            "examples_per_s": entry["examples_per_s"],
            **{f"training/{name}": value for name, value in entry["loss"].items()},
            **{f"validation/{name}": value for name, value in validation["loss"].items()},
            **{f"sdr_db/{stem}": value for stem, value in validation["sdr_db"].items()},
        }
        if self.board:
            for name, value in scalars.items():
                self.board.add_scalar(name, value, step)
            self.board.flush()


def finished(recipe: Any, progress: Progress) -> bool:
    """Whether all epochs are done, or validation has not improved for too long."""
    patience = recipe.patience
    waited = patience is not None and progress.epochs_since_best >= patience
    return len(progress.epochs) >= recipe.epochs or waited


def _averaged(module: TrainingModule) -> Any:
    """Give the model the weights that are released, for a while."""
    return module.ema.applied(module.model) if module.ema else nullcontext()


def _last_validation(progress: Progress) -> dict[str, Any] | None:
    if not progress.epochs:
        return None
    found: dict[str, Any] | None = progress.epochs[-1].get("validation")
    return found
