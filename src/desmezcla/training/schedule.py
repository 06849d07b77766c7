"""The learning rate, as a factor on the recipe's: a function of the step, and of the scores."""

import math
from dataclasses import dataclass, field

from desmezcla.training.recipe import Constant, Cosine, Plateau, Schedule, Steps

# A score counts as better when it is so by this part, as in PyTorch's ReduceLROnPlateau.
_THRESHOLD = 1e-4


@dataclass
class LearningRate:
    """By how much the recipe's learning rate is multiplied.

    Only a plateau has a state: what it has seen so far.

    Attributes:
        schedule: The recipe's.
        epoch_steps: Steps of an epoch.
        total_steps: Steps until training ends at the latest.
        state: What a plateau remembers: numbers by name.
    """

    schedule: Schedule
    epoch_steps: int
    total_steps: int
    state: dict[str, float] = field(
        default_factory=lambda: {"best": math.inf, "bad": 0, "cooling": 0, "factor": 1.0}
    )

    def factor(self, step: int) -> float:
        """Return the factor of a step; the first step is 0."""
        match self.schedule:
            case Constant():
                return 1.0
            case Plateau():
                return self.state["factor"]
            case Steps(factor=factor, every_epochs=every):
                return factor ** (step // (every * self.epoch_steps))
            case Cosine(warmup_steps=warmup, minimum=minimum):
                if step < warmup:
                    return (step + 1) / warmup
                fraction = (step - warmup) / max(1, self.total_steps - warmup)
                cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, fraction))
                return minimum + (1 - minimum) * cosine

    def validated(self, score: float) -> None:
        """Take note of the score of a validation; less is better."""
        if not isinstance(self.schedule, Plateau):
            return
        state = self.state
        if score < state["best"] - abs(state["best"]) * _THRESHOLD or math.isinf(state["best"]):
            state["best"], state["bad"] = score, 0
        else:
            state["bad"] += 1
        if state["cooling"] > 0:
            state["cooling"] -= 1
            state["bad"] = 0
        if state["bad"] > self.schedule.patience:
            state["factor"] *= self.schedule.factor
            state["cooling"], state["bad"] = self.schedule.cooldown, 0
