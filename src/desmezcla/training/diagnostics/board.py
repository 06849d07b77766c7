"""What is measured, for TensorBoard."""

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from desmezcla.training.diagnostics.probe import Measured

# Which numbers of a layer are drawn over the steps.
_DRAWN = {
    "activation": ("std", "max", "zeros"),
    "gradient": ("std",),
    "weight": ("norm", "gradient", "update", "dead"),
}


class Board:
    """Writes scalars and histograms of layers.

    Args:
        folder: Where to.
        step: Of what is there, this step and those after it are hidden.
        histograms: Write histograms, too.
    """

    def __init__(self, folder: Path, *, step: int, histograms: bool) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step or None)
        self._histograms = histograms

    def write(self, step: int, measured: Measured, scalars: dict[str, float]) -> None:
        """Write what one step shows."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        for name, facts in measured.layers.items():
            for kind, number, value in _numbers(facts):
                self._writer.add_scalar(f"{kind}_{number}/{name}", value, step)
        if self._histograms:
            for (name, kind), sample in measured.samples.items():
                values = sample.cpu().numpy()
                if np.isfinite(values).all():
                    self._writer.add_histogram(f"{kind}/{name}", values, step, bins=64)
        self._writer.flush()

    def close(self) -> None:
        """End writing."""
        self._writer.close()


def _numbers(facts: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [
        (kind, number, facts[kind][number])
        for kind, numbers in _DRAWN.items()
        for number in numbers
        if number in facts.get(kind, ())
    ]
