"""Batches for training, made ahead of time by processes of their own."""

import signal
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from desmezcla.datasets.segments import Segments
from desmezcla.errors import DesmezclaError, ParameterError

Audio = NDArray[np.float32]
Task = tuple[int, int | None]
"""The number of a step, and the slot in which to put its batch, if one is free."""
Made = tuple[Tensor | int, list[str]] | DesmezclaError
"""Where a batch lies (its memory, or a slot), and problems; or why there is none."""

# A loop holds one batch while it asks for the next, and a trainer may look one ahead.
_SLOTS_OF_CONSUMER = 3


class Augmentation(Protocol):
    """What changes examples, each by itself and all of a batch together."""

    def example(self, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        """Return the mixture `[C, T]` and the stems `[S, C, T]` made of an example's stems."""

    def batch(self, mixture: Audio, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        """Return the mixture `[B, C, T]` and the stems `[B, S, C, T]` made of a batch."""


class SegmentLoader:
    """Iterate over training steps, each a batch `(mixture [B, C, T], stems [B, S, C, T])`.

    Step k holds examples `k * batch_size` to `(k + 1) * batch_size - 1` of the segments. Random
    numbers are seeded by the number of the example, `[seed, 1, i]`, or of the step, `[seed, 2, k]`,
    so the batches are the same for any number of workers, and those of a resumed training are those
    of one that was never interrupted.

    Of several ranks that train together, each gets its share of every step. Only what an
    augmentation does to a batch as a whole then depends on the number of ranks, since each rank
    has only its share in hand.

    The processes stay from one iteration to the next. Set `first_step` between iterations to go
    on, for instance from epoch to epoch. PyTorch's global random numbers are neither used nor
    changed.

    Args:
        segments: The examples.
        batch_size: Examples per step, of all ranks together.
        steps: Steps of one iteration.
        augment: What changes the examples; None to have the sum of the stems as the mixture.
        workers: Processes that make batches, each with one thread; 0 makes them in this one.
        first_step: Number of the first step.
        rank: Which share of each step to take, from 0.
        world_size: Number of shares.
        prefetch: Batches that each worker makes ahead; they lie in shared memory, `workers *
            prefetch` and a few more.
        pin_memory: Put batches where a GPU copies them from faster.
        start_method: "fork", "spawn" or "forkserver"; None for the platform's own, or "spawn" where
            Ray has been imported. With any but "fork", `segments` and `augment` must be picklable.

    Errors:
        ParameterError: if an argument is out of range.
    """

    def __init__(
        self,
        segments: Segments,
        *,
        batch_size: int,
        steps: int,
        augment: Augmentation | None = None,
        workers: int = 0,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 2,
        pin_memory: bool = False,
        start_method: str | None = None,
    ) -> None:
        if batch_size < 1 or prefetch < 1 or min(steps, workers, first_step) < 0:
            raise ParameterError(
                f"batch_size={batch_size} and prefetch={prefetch} must be 1 or more, "
                f"steps={steps}, workers={workers} and first_step={first_step} 0 or more"
            )
        if not 0 <= rank < world_size:
            raise ParameterError(f"rank={rank} must be between 0 and world_size={world_size} - 1")
        if batch_size % world_size:
            raise ParameterError(
                f"batch_size={batch_size} must be a multiple of the {world_size} ranks that share "
                "each step; choose another one"
            )
        self.first_step, self.steps = first_step, steps
        self._segments, self._workers = segments, workers
        self._batches = _Batches(segments, augment, batch_size, rank, world_size)
        # Pinning copies a batch, so there is nothing to be gained from slots.
        self._slot_count = 0 if pin_memory else workers * prefetch + _SLOTS_OF_CONSUMER
        self._options: dict[str, Any] = {"pin_memory": pin_memory}
        if workers:
            self._options |= {
                "num_workers": workers,
                "prefetch_factor": prefetch,
                "persistent_workers": True,
                "multiprocessing_context": start_method or _safe_start_method(),
                "worker_init_fn": _start_worker,
            }
        self._loader: DataLoader[Made] | None = None

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._loader is None:
            self._slots = _Slots(self._slot_count, self._batches.floats, self._workers > 0)
            self._batches.buffers = self._slots.buffers
            self._loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=_Tasks(self, self._slots),
                collate_fn=_unchanged,
                # Without its own generator it would draw from the global one.
                generator=torch.Generator(),
                **self._options,
            )
        try:
            for made in self._loader:
                if isinstance(made, DesmezclaError):
                    raise made
                for problem in made[1]:
                    self._segments.warn(problem)
                # No name is kept: a slot is free again when the caller lets its batch go.
                yield self._batches.parts(self._slots.batch(made[0]))
        except Exception:
            # Workers that wait for the garbage collector can hold it up for seconds.
            self.close()
            raise

    def close(self) -> None:
        """End the workers; another iteration would start new ones."""
        self._loader = None


class _Slots:
    """Memory for batches that is used again and again.

    New memory for each batch would cost more than reading it: measured, two thirds of the time
    went into the system's giving and taking of pages.
    """

    def __init__(self, count: int, floats: int, shared: bool) -> None:
        self.buffers = [torch.empty(floats) for _ in range(count)]
        if shared:
            for buffer in self.buffers:
                buffer.share_memory_()  # type: ignore[no-untyped-call]
        self._free = deque(range(count))
        self._pending: set[int] = set()

    def take(self) -> int | None:
        """Return a slot for a batch that is to be made, None if all are in use."""
        if not self._free:
            return None
        slot = self._free.popleft()
        self._pending.add(slot)
        return slot

    def batch(self, made: Tensor | int) -> Tensor:
        """Return a batch; its slot, if it has one, is free when nothing holds the batch any more.

        The storage of a tensor made of an array holds that array, and so do all views of the
        tensor, wherever they are kept.
        """
        if isinstance(made, Tensor):
            return made
        array = self.buffers[made].numpy()[:]
        self._pending.discard(made)
        weakref.finalize(array, self._free.append, made).atexit = False
        return torch.from_numpy(array)

    def forget_pending(self) -> None:
        """Free the slots of batches that nobody will ask for any more."""
        self._free.extend(self._pending)
        self._pending.clear()


class _Tasks(Sampler[Task]):
    """The steps of one iteration, each with a slot that is free when it is given out."""

    def __init__(self, loader: SegmentLoader, slots: _Slots) -> None:
        self._loader, self._slots = loader, slots

    def __iter__(self) -> Iterator[Task]:
        # The workers have put down by now what was left of an iteration that was not finished.
        self._slots.forget_pending()
        first = self._loader.first_step
        for step in range(first, first + self._loader.steps):
            yield step, self._slots.take()

    def __len__(self) -> int:
        return self._loader.steps


class _Batches(Dataset[Made]):
    """Makes this rank's share of a step; a worker has a copy of it."""

    def __init__(
        self,
        segments: Segments,
        augment: Augmentation | None,
        batch_size: int,
        rank: int,
        world_size: int,
    ) -> None:
        self._segments, self._augment = segments, augment
        self._batch_size, self._rank = batch_size, rank
        self._share = batch_size // world_size
        self.buffers: list[Tensor] = []

    @property
    def floats(self) -> int:
        """How many numbers a share has."""
        stems, channels, samples = self._segments.shape
        return self._share * (1 + stems) * channels * samples

    def parts(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixture `[B, C, T]` and the stems `[B, S, C, T]` that lie in a batch."""
        stems, channels, samples = self._segments.shape
        border = self._share * channels * samples
        return (
            batch[:border].view(self._share, channels, samples),
            batch[border:].view(self._share, stems, channels, samples),
        )

    def __getitem__(self, task: Task) -> Made:
        step, slot = task
        buffer = torch.empty(self.floats) if slot is None else self.buffers[slot]
        try:
            problems = self._make(step, *(part.numpy() for part in self.parts(buffer)))
        except DesmezclaError as error:
            # As a value it arrives whole; raised, DataLoader would wrap it in a traceback.
            return error
        return buffer if slot is None else slot, problems

    def _make(self, step: int, mixture: Audio, stems: Audio) -> list[str]:
        segments, augment = self._segments, self._augment
        first = step * self._batch_size + self._rank * self._share
        problems: list[str] = []
        indices = range(first, first + self._share)
        for index, mixed, own in zip(indices, mixture, stems, strict=True):
            problems += segments.draw(index, own)
            if augment is None:
                np.sum(own, axis=0, out=mixed)
            else:
                rng = np.random.default_rng([segments.seed, 1, index])
                _store((mixed, own), augment.example(own, rng))
        if augment is not None:
            rng = np.random.default_rng([segments.seed, 2, step])
            _store((mixture, stems), augment.batch(mixture, stems, rng))
        return problems


def _store(targets: tuple[Audio, Audio], results: tuple[Audio, Audio]) -> None:
    for target, result in zip(targets, results, strict=True):
        if result is not target:
            target[:] = result


def _unchanged(made: Any) -> Any:
    return made


def _safe_start_method() -> str | None:
    # Ray's library, connected to a cluster twice, crashes whatever is forked off its process after
    # that (Ray 2.60 on Python 3.13).
    return "spawn" if "ray" in sys.modules else None


def _start_worker(worker: int) -> None:
    # The training process tells its workers to end; an interrupt from the keyboard is its matter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One thread each, or the workers take the cores of the training step.
    torch.set_num_threads(1)
