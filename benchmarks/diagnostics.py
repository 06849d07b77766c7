"""What it costs to watch a training: Open-Unmix with and without diagnostics, in one run.

Three trainings of the recipe's size (hidden size 512, STFT of 4096, four stems), on random numbers
in memory, take turns: not watched, checked in each step, and measured in each step, histograms for
TensorBoard and all. The cost with the defaults, which measure one step in a hundred, follows from
the medians. On the CPU, seconds are those of the processor, as the machine may do other things.

    python benchmarks/diagnostics.py [--steps 5] [--blocks 5] [--batch 16] [--segment 6]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch

from desmezcla.training.diagnostics.callback import Watcher
from desmezcla.training.diagnostics.config import Diagnostics
from desmezcla.training.folder import RunFolder
from desmezcla.training.module import TrainingModule
from desmezcla.training.objective import Objective
from desmezcla.training.quiet import quiet_lightning
from desmezcla.training.recipes import read_recipe
from desmezcla.training.schedule import LearningRate
from desmezcla.training.start import begin


class Steps(lightning.Callback):
    """Counts steps, as the keeper does."""

    def on_train_batch_end(self, trainer: Any, module: Any, *others: Any) -> None:
        module.step_done()


class Repeated:
    """The same batch again and again."""

    def __init__(self, batch: Any, steps: int) -> None:
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(self.batch, self.steps)


class Training:
    """A training that can be gone on with, block by block."""

    def __init__(self, folder: Path, every: int | None, batch: int, segment_s: float) -> None:
        changes = {"batch_size": batch, "data.segment_s": segment_s}
        recipe = read_recipe("open_unmix", changes)
        beginning = begin(recipe, resume=False)
        samples = round(segment_s * beginning.model.spec.sample_rate)
        generator = torch.Generator().manual_seed(0)
        stems = 0.1 * torch.randn(batch, 4, 2, samples, generator=generator)
        self.steps = 0

        def batches(first: int, steps: int, rank: int, size: int) -> Iterable[Any]:
            return Repeated((stems.sum(dim=1), stems), steps)

        rate = LearningRate(recipe.schedule, 10**9, 10**9)
        self.module = TrainingModule(beginning, Objective(recipe, beginning.model), rate, batches)
        watchers = []
        if every is not None:
            watchers = [Watcher(Diagnostics(every_steps=every), RunFolder(folder))]
        self.callbacks = [Steps(), *watchers]

    def block(self, steps: int) -> float:
        """Train for some steps more, and return the seconds that these took."""
        clock = Clock()
        # The batches of a block are those that it is said an epoch has left.
        self.module.rate.epoch_steps = self.module.progress.step + steps
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="auto",
            devices=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock, *self.callbacks],
        )
        trainer.fit(self.module)
        return clock.seconds


class Clock(lightning.Callback):
    """Measures the steps of a block, without what begins and ends it."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self._began = now()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.seconds = now() - self._began


def now() -> float:
    """Return the time; on the CPU that of this process, as the machine may do other things."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--segment", type=float, default=6.0)
    options = parser.parse_args()
    every = {"off": None, "checked": 10**9, "measured": 1}
    with tempfile.TemporaryDirectory() as folder, quiet_lightning():
        trainings = {
            name: Training(Path(folder) / name, n, options.batch, options.segment)
            for name, n in every.items()
        }
        for training in trainings.values():
            training.block(1)
        times: dict[str, list[float]] = {name: [] for name in trainings}
        for _ in range(options.blocks):
            for name, training in trainings.items():
                times[name].append(training.block(options.steps) / options.steps)
    step_s = {name: statistics.median(found) for name, found in times.items()}
    check, measure = (step_s[name] / step_s["off"] - 1 for name in ("checked", "measured"))
    interval = Diagnostics().every_steps
    place = "GPU" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{place}: {step_s['off']:.3f} s for a step of {options.batch} x {options.segment:g} s")
    print(
        f"checked in each step: {100 * check:+.2f} %; measured in each step: {100 * measure:+.2f} %"
    )
    print(f"with the defaults: {100 * (check + (measure - check) / interval):+.2f} %")


if __name__ == "__main__":
    main()
