"""An average of the weights over the steps, which often scores better than the weights."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a model's parameters and buffers.

    The first steps count for more, `min(decay, (1 + n) / (10 + n))` at step n, so that the random
    weights of the beginning are soon forgotten.

    Args:
        model: What to average; the average starts with its present weights.
        decay: What is left of the average after a step, from 0 to 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for key, value in model.state_dict().items():
            average = self.average[key]
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)  # a counter

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the averaged weights for a while."""
        own = {key: value.detach().clone() for key, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self.average = {key: value.to(device) for key, value in self.average.items()}

    def state(self) -> dict[str, int | dict[str, Tensor]]:
        """Return what a checkpoint must hold."""
        return {"steps": self.steps, "average": self.average}

    def load(self, steps: int, average: dict[str, Tensor]) -> None:
        """Go on from what a checkpoint holds."""
        self.steps = steps
        for key, value in average.items():
            self.average[key].copy_(value)
