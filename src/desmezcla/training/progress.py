"""How far a training has come: all that is not tensors, and that a checkpoint must hold."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        step: Steps done.
        sums: Sum of each loss term over the steps of the epoch that is not done yet.
        counted: How many steps these are.
        epoch_s: Time spent on them, in seconds.
        epochs: What there is to know of each epoch done, for the record.
        best: Epoch, step and score of the best epoch; less is better.
        validations_since_best: Validations without an improvement.
        renewals: Songs that were rendered while it went on, in the order in which they came into
            use: `epoch` and `step` after which, `folder`, `songs` and `seed`.
        sessions: When and on what the work was done, one entry each time it was begun or resumed.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    epoch_s: float = 0.0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    epochs_since_best: int = 0
    renewals: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def add(self, terms: dict[str, float]) -> None:
        """Add the loss terms of a step."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1

    def means(self) -> dict[str, float]:
        """Return the mean of each loss term over the epoch so far."""
        return {name: total / self.counted for name, total in self.sums.items()}

    def close_epoch(self, entry: dict[str, Any]) -> None:
        """Append an epoch to the record, and begin the next one."""
        self.epochs.append(entry)
        self.sums, self.counted, self.epoch_s = {}, 0, 0.0

    def scored(self, score: float) -> bool:
        """Take note of the score of the epoch just closed, and return whether it is the best."""
        if self.best is None or score < self.best["score"]:
            self.best = {"epoch": len(self.epochs), "step": self.step, "score": score}
            self.epochs_since_best = 0
            return True
        self.epochs_since_best = len(self.epochs) - self.best["epoch"]
        return False

    def state(self) -> dict[str, Any]:
        """Return it as plain dicts and lists."""
        return asdict(self)
