"""What Lightning calls in a training that is watched."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import lightning
import torch
from torch import Tensor, nn

from desmezcla.datasets.track import Dataset
from desmezcla.training.checkpoint import write_checkpoint
from desmezcla.training.diagnostics.board import Board
from desmezcla.training.diagnostics.config import Diagnostics
from desmezcla.training.diagnostics.finite import Batch, Finding, trace
from desmezcla.training.diagnostics.journal import DiagnosticsError, Journal
from desmezcla.training.diagnostics.probe import Measured, Probe
from desmezcla.training.diagnostics.renewal import Batches, Renewal
from desmezcla.training.diagnostics.statistics import norm
from desmezcla.training.folder import RunFolder
from desmezcla.training.module import TrainingError, TrainingModule, step_seed
from desmezcla.training.recipe import Recipe

FOLDER, LOCK = "diagnostics", ".lock"
# Seconds that a training waits for one who only looks whether it is running.
_LOCK_WAIT_S = 3.0


class NotFiniteError(TrainingError):
    """A training step gave NaN or Inf.

    Attributes:
        step: The step, the first of a run being 0.
        finding: Where it began.
    """

    def __init__(self, message: str, step: int, finding: Finding) -> None:
        super().__init__(message)
        self.step, self.finding = step, finding


class Watcher(lightning.Callback):
    """Checks each step, measures layers in some, and writes what it finds.

    It changes nothing in what is learnt, draws no random numbers, and has hooks in the model only
    in the steps that it measures.

    Args:
        config: What to watch.
        folder: Of the run.
        renewal: What gives new songs, if a model that overfits is to have some.
    """

    def __init__(
        self, config: Diagnostics, folder: RunFolder, renewal: Renewal | None = None
    ) -> None:
        self.config, self.folder, self.renewal = config, folder, renewal
        self.steps = Journal(folder.path / FOLDER / "steps.jsonl")
        self.events = Journal(folder.path / FOLDER / "events.jsonl")
        self._lock = filelock.FileLock(folder.path / FOLDER / LOCK)
        self._board: Board | None = None
        self._probe: Probe | None = None
        self._buffers: dict[str, Tensor] = {}
        self._batch: Batch | None = None
        self._step = self._counted = 0
        self._mark: float | None = None
        self._seconds = 0.0
        self._loss: Tensor | None = None
        self._terms: Mapping[str, Tensor] = {}
        self._norm: Tensor | None = None

    def on_fit_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Open the files, without what steps wrote that are done again."""
        step = module.progress.step
        if trainer.is_global_zero:
            self._take_lock()
            for journal in (self.steps, self.events):
                journal.keep_before(step)
            if self.config.enabled and self.config.tensorboard:
                self._board = Board(
                    self.folder.tensorboard / FOLDER, step=step, histograms=self.config.histograms
                )
        self._renew(trainer, module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Begin to measure time; what validation takes does not count."""
        self._mark = None

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep what is needed to do the step again, and look at the layers where it is time to."""
        if not self.config.enabled:
            return
        self._step, self._batch = module.progress.step, batch
        self._keep_buffers(module.model)
        if self._step % self.config.every_steps == 0 and trainer.is_global_zero:
            self._probe = Probe(module.model, samples=self._board is not None)
            self._probe.install()

    def on_before_backward(self, trainer: lightning.Trainer, module: Any, loss: Tensor) -> None:
        """Keep the loss."""
        self._loss, self._terms = loss.detach(), module.last_terms

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: Any, optimizer: Any
    ) -> None:
        """Check the step before it changes the weights.

        Errors:
            NotFiniteError: if the loss or the gradient is not finite.
        """
        if not self.config.enabled:
            return
        assert self._loss is not None
        if self._probe:
            self._probe.remove()
        grads = [p.grad for p in module.model.parameters() if p.grad is not None]
        self._norm = norm(grads)
        bad = ~(torch.isfinite(self._loss) & torch.isfinite(self._norm))
        if trainer.world_size > 1:
            # As all processes have the same gradients, only the loss may have been another.
            bad = bad.int()
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
        if bool(bad):
            self._stop(trainer, module)
        if self._probe:
            self._probe.before_update()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what was measured."""
        self._count_time()
        self._batch = None
        if self._probe:
            measured = self._probe.after_update()
            self._probe = None
            self._write(module, measured)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Render new songs, if the epoch has shown that they are needed."""
        renewals = module.progress.renewals
        if renewals and renewals[-1]["step"] == module.progress.step:
            self._renew(trainer, module)

    def on_exception(
        self, trainer: lightning.Trainer, module: Any, exception: BaseException
    ) -> None:
        """Leave no hook behind, and close the files."""
        if self._probe:
            self._probe.remove()
        self._close()

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        """Close the files."""
        self._close()

    def _close(self) -> None:
        self._buffers, self._batch, self._probe = {}, None, None
        if self._board:
            self._board.close()
            self._board = None
        self._lock.release()

    def _take_lock(self) -> None:
        path = Path(self._lock.lock_file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=_LOCK_WAIT_S)
        except filelock.Timeout as error:
            raise DiagnosticsError(
                f"{str(self.folder.path)!r} is in use by a training that is running; wait for it, "
                "or choose another folder"
            ) from error
        except OSError as error:
            raise DiagnosticsError(
                f"{path} cannot be written ({error.strerror or error}); free some space, or choose "
                "another folder"
            ) from error

    def _renew(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        if self.renewal is None:
            return
        if trainer.is_global_zero:
            self.renewal.render(module.progress)
        trainer.strategy.barrier()
        self.renewal.use(module.progress)

    def _keep_buffers(self, model: nn.Module) -> None:
        """Copy running means and the like, which a step changes before it can be checked."""
        buffers = dict(model.named_buffers())
        if self._buffers.keys() != buffers.keys():
            self._buffers = {name: torch.empty_like(b) for name, b in buffers.items()}
        if buffers:
            torch._foreach_copy_(list(self._buffers.values()), list(buffers.values()))

    def _restore_buffers(self, model: nn.Module) -> None:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(self._buffers[name])

    def _count_time(self) -> None:
        now = time.monotonic()
        if self._mark is not None:
            self._seconds += now - self._mark
            self._counted += 1
        self._mark = now

    def _write(self, module: TrainingModule, measured: Measured) -> None:
        assert self._norm is not None
        rate = self._counted * module.recipe.batch_size / self._seconds if self._seconds else None
        self._seconds, self._counted = 0.0, 0
        scalars = {"gradient_norm": float(self._norm)}
        line = {
            "step": self._step,
            "time": int(time.time()),
            "lr": module.trainer.optimizers[0].param_groups[0]["lr"],
            "loss": {name: float(value) for name, value in self._terms.items()},
            **scalars,
            "examples_per_s": rate,
            "layers": measured.layers,
        }
        self.steps.append(line)
        if self._board:
            self._board.write(self._step, measured, scalars)

    def _stop(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Say where the step went wrong, and keep what was good."""
        assert self._batch is not None
        self._restore_buffers(module.model)

        def loss_of(mixture: Tensor, stems: Tensor) -> Tensor:
            torch.manual_seed(step_seed(module.recipe.seed, self._step, trainer.global_rank))
            with trainer.precision_plugin.train_step_context():
                total: Tensor = module.objective(module.model, mixture, stems)["total"]
                return total

        finding = trace(module.model, loss_of, self._batch)
        module.forget_step()
        kept = self._keep_last_good(trainer, module, finding)
        count = self._batch[0].shape[0]
        first = self._step * module.recipe.batch_size + trainer.global_rank * count
        numbers = [first + place for place in finding.examples]
        if finding.phase != "elsewhere" or trainer.world_size == 1:
            self.events.append(
                {"step": self._step, "event": "nonfinite", **finding.content(), "numbers": numbers}
            )
        trainer.strategy.barrier()  # what one process has found is written before another ends
        raise NotFiniteError(self._message(finding, numbers, kept), self._step, finding)

    def _keep_last_good(
        self, trainer: lightning.Trainer, module: TrainingModule, finding: Finding
    ) -> Path | None:
        """Write the state before the step, unless its weights are bad already."""
        module.fetch_terms()
        if trainer.is_global_zero and finding.phase != "weights":
            write_checkpoint(self.folder.checkpoints, self._step, module.state())
        return self.folder.checkpoint

    def _message(self, finding: Finding, numbers: list[int], kept: Path | None) -> str:
        # Where the loss is finite, the gradient is not.
        what = "gradient" if finding.phase in ("backward", "norm") else "loss"
        which = "no example does so alone"
        if numbers:
            places = ", ".join(map(str, finding.examples))
            which = f"it does so with example {places} of the batch (from 0; of the training: "
            which += f"{', '.join(map(str, numbers))})"
        where = f"the last good checkpoint is {kept}" if kept else "there is no checkpoint yet"
        whose = "" if finding.phase in ("weights", "norm", "elsewhere") else f"; {which}"
        return (
            f"the {what} of step {self._step} is not finite: {finding.text()}{whose}; "
            f"{where}; lower optimizer.lr, set clip_norm, or mend the example"
        )


def watch(
    recipe: Recipe, folder: RunFolder, dataset: Dataset, batches: Batches
) -> tuple[Renewal | None, list[lightning.Callback]]:
    """Return what a recipe asks for: what judges overfitting, and what watches the steps.

    Errors:
        ParameterError: if there cannot be new songs for the dataset.
    """
    config, rule = recipe.diagnostics, recipe.diagnostics.overfitting
    renewal = Renewal(rule, folder.path, dataset, batches) if rule else None
    is_needed = config.enabled or (rule is not None and rule.renew is not None)
    return renewal, [Watcher(config, folder, renewal)] if is_needed else []
