"""What Lightning trains: a model with its losses, one step at a time."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from desmezcla.errors import DesmezclaError
from desmezcla.training.ema import Ema
from desmezcla.training.muon import Muon
from desmezcla.training.objective import Objective
from desmezcla.training.progress import Progress
from desmezcla.training.schedule import LearningRate
from desmezcla.training.start import Beginning

Batch = tuple[Tensor, Tensor]

# Losses are fetched from a GPU, which must be waited for, once in so many steps.
_FETCH_STEPS = 20


class TrainingError(DesmezclaError):
    """Training cannot go on."""


class TrainingModule(lightning.LightningModule):
    """A model with its losses, its optimizer and how far it has come.

    What is random in a step depends on the seed and the step alone, so that a training that was
    interrupted goes on as if nothing had been.

    Args:
        beginning: The model and its recipe.
        objective: The losses.
        rate: The learning rate.
        batches: Gives the batches of this process: from a step on, that many, of this rank of that
            many.
    """

    def __init__(
        self,
        beginning: Beginning,
        objective: Objective,
        rate: LearningRate,
        batches: Callable[[int, int, int, int], Iterable[Batch]],
    ) -> None:
        super().__init__()
        self.model = beginning.model
        self.frozen = beginning.frozen
        self.recipe = beginning.recipe
        self.objective = objective
        self.rate = rate
        self.progress = Progress()
        decay = self.recipe.ema_decay
        self.ema = None if decay is None else Ema(self.model, decay)
        self._batches = batches
        self._terms: list[dict[str, Tensor]] = []

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return self.rate.epoch_steps

    def train_dataloader(self) -> Iterable[Batch]:
        """Return the batches that are left of the epoch."""
        step = self.progress.step
        steps = self.epoch_steps - step % self.epoch_steps
        return self._batches(step, steps, self.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimizer for what is not frozen."""
        recipe = self.recipe.optimizer
        if recipe.kind == "muon":
            decay = recipe.weight_decay
            return Muon(self.model, lr=recipe.lr, weight_decay=decay, betas=recipe.betas)
        options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
        if recipe.kind in ("adam", "adamw"):
            options["betas"] = recipe.betas
        elif recipe.kind == "adadelta":
            options["rho"] = recipe.rho
        else:
            options["momentum"] = recipe.momentum
        classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adadelta": torch.optim.Adadelta,
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
            "sgd": torch.optim.SGD,
            "rmsprop": torch.optim.RMSprop,
        }
        return classes[recipe.kind](
            [p for p in self.model.parameters() if p.requires_grad], **options
        )

    def on_train_start(self) -> None:
        """Bring everything into the state for training."""
        if self.ema:
            self.ema.to(self.device)
        self.prepare()

    def prepare(self) -> None:
        """Put the model in training mode; what is frozen keeps its statistics, too."""
        self.model.train()
        for network in self.frozen:
            network.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate, and what random numbers begin with."""
        step = self.progress.step
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.optimizer.lr * self.rate.factor(step)
        torch.manual_seed(step_seed(self.recipe.seed, step, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        mixture, stems = batch
        terms: dict[str, Tensor] = self.objective(self.model, mixture, stems)
        self._terms.append({name: value.detach() for name, value in terms.items()})
        return terms["total"]

    @property
    def last_terms(self) -> Mapping[str, Tensor]:
        """Loss terms of the step under way, on the device."""
        return self._terms[-1]

    def forget_step(self) -> None:
        """Forget the loss of the step under way, which will not be finished."""
        del self._terms[-1:]

    def step_done(self) -> None:
        """Count a step, and average the weights."""
        self.progress.step += 1
        if self.ema:
            self.ema.update(self.model)
        if self.device.type == "cpu" or len(self._terms) >= _FETCH_STEPS:
            self.fetch_terms()

    def fetch_terms(self) -> None:
        """Add the loss terms that wait on the device to the sums, averaged over all devices.

        Errors:
            TrainingError: if one is NaN or infinite.
        """
        if not self._terms:
            return
        names = list(self._terms[0])
        waiting = torch.stack([torch.stack(list(terms.values())) for terms in self._terms])
        first = self.progress.step - len(self._terms)
        self._terms = []
        values = self.trainer.strategy.reduce(waiting.float(), reduce_op="mean")
        for offset, row in enumerate(values.tolist()):
            terms = dict(zip(names, row, strict=True))
            if not np.isfinite(row).all():
                raise TrainingError(
                    f"the loss of step {first + offset} is not finite ({terms}); lower "
                    "optimizer.lr or set clip_norm, then go on from the last checkpoint with "
                    "--resume"
                )
            self.progress.add(terms)

    def state(self) -> dict[str, Any]:
        """Return everything that training goes on from, for a checkpoint."""
        (optimizer,) = self.trainer.optimizers
        return {
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rate": dict(self.rate.state),
            "ema": self.ema.state() if self.ema else None,
            "progress": self.progress.state(),
        }

    def load_weights(self, state: dict[str, Any]) -> None:
        """Take the weights and their average from a checkpoint."""
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load(**state["ema"])

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take the optimizer and the learning rate from a checkpoint."""
        (optimizer,) = self.trainer.optimizers
        optimizer.load_state_dict(state["optimizer"])
        self.rate.state = dict(state["rate"])


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return what the random numbers of a step on a device begin with."""
    (state,) = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))
