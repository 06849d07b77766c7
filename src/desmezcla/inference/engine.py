"""The straight line from a source to its stems: segments, model, overlap-add, in flat memory."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from desmezcla.audio.resample import resampled_length
from desmezcla.errors import ParameterError
from desmezcla.inference.blocks import Block, Counter, resampled
from desmezcla.inference.chunks import Chunk, ChunkPlan, chunks, plan_chunks
from desmezcla.inference.device import Precision
from desmezcla.inference.groups import Group, channel_groups
from desmezcla.inference.layout import from_model, to_model
from desmezcla.inference.overlap_add import overlap_add
from desmezcla.inference.runner import Runner
from desmezcla.inference.sources import Source

# Demucs draws its shifts from the same half second.
_LARGEST_SHIFT_S = 0.5


@dataclass(frozen=True)
class EngineOptions:
    """How the engine runs a model; see `Separator` for the fields."""

    device: str = "auto"
    segment: float | str | None = None
    overlap: float = 0.25
    shifts: int = 0
    seed: int = 0
    precision: Precision = "auto"
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.shifts < 0:
            raise ParameterError(f"shifts={self.shifts} must be 0 or more")
        if self.seed < 0:
            raise ParameterError(f"seed={self.seed} must be 0 or more")
        if self.batch_size < 1:
            raise ParameterError(f"batch_size={self.batch_size} must be 1 or more")

    def offsets_s(self) -> list[float]:
        """Return by how much each pass delays the track: once by nothing, or `shifts` times."""
        if self.shifts == 0:
            return [0.0]
        generator = np.random.default_rng(self.seed)
        return [float(x) for x in generator.uniform(0, _LARGEST_SHIFT_S, self.shifts)]


class Engine:
    """One model, ready to separate sources.

    Args:
        runner: Runs the model.
        options: How to cut what it is given.

    Errors:
        ParameterError: if an option is out of range.
    """

    def __init__(self, runner: Runner, options: EngineOptions) -> None:
        self.options = options
        self.runner = runner
        self.spec = runner.spec
        self.plan: ChunkPlan = plan_chunks(
            self.spec, segment=options.segment, overlap=options.overlap
        )

    def stream(
        self, source: Source, sample_rate: int | None = None, *, offset_s: float = 0.0
    ) -> Iterator[Block]:
        """Separate a source, block by block.

        Args:
            source: The mixture.
            sample_rate: Rate of the stems in Hz; None for the source's.
            offset_s: Delays the track by that much silence before it is cut into segments (and
                takes it away again), so that they fall elsewhere.

        Shape:
            yields `[S, C, n]` blocks, with the source's channels; all n add up to the length of
            the source at `sample_rate`.
        """
        rate_out = sample_rate or source.sample_rate
        offset = round(offset_s * self.spec.sample_rate)
        count = Counter()
        mixture = resampled(count(source.blocks()), source.sample_rate, self.spec.sample_rate)
        level = self._level(source) if self.spec.normalise == "track" else None
        if level:
            # Before it is cut, so that what fills up the last segments is silence, too.
            mean, deviation = (np.float32(value) for value in level)
            mixture = ((block - mean) / deviation for block in mixture)
        if offset:
            silence = np.zeros((len(source.layout), offset), np.float32)
            mixture = itertools.chain([silence], mixture)
        groups = channel_groups(source.layout, self.spec.channels)
        pieces = self._separated(chunks(mixture, self.plan), groups, level)
        stems = _without_start(overlap_add(pieces, self.plan), offset)
        yield from resampled(
            stems,
            self.spec.sample_rate,
            rate_out,
            length=lambda: resampled_length(count.samples, source.sample_rate, rate_out),
        )

    def _separated(
        self, pieces: Iterable[Chunk], groups: list[Group], level: tuple[float, float] | None
    ) -> Iterator[tuple[Chunk, Block]]:
        """Run the model on chunks; each group of channels of each chunk is one item of a batch."""
        channels = sum(map(len, groups))
        # As many chunks at a time as fill a batch; what is left of a chunk waits for no other.
        at_once = max(1, self.options.batch_size // len(groups))
        for batch in _batched(pieces, at_once):
            items = [to_model(chunk.audio, groups, self.spec.channels) for chunk in batch]
            mix = items[0] if len(items) == 1 else np.concatenate(items)
            stems = self._run(mix)
            if level is not None:
                mean, deviation = level
                stems = stems * deviation + mean
            for chunk, own in zip(batch, np.split(stems, len(batch)), strict=True):
                yield chunk, chunk.own(from_model(own, groups, channels))
            # They must not lie beside what the model needs for the next chunks.
            del items, mix, stems, own

    def _run(self, mix: Block) -> Block:
        """Run the model, `batch_size` items at a time. Shape: `[B, C, n] -> [B, S, C, n]`."""
        size = self.options.batch_size
        parts = [self.runner.run(mix[i : i + size]) for i in range(0, len(mix), size)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _level(self, source: Source) -> tuple[float, float]:
        """Return mean and standard deviation of the whole track's channels' mean."""
        count, total, squares = 0, 0.0, 0.0
        for block in resampled(source.blocks(), source.sample_rate, self.spec.sample_rate):
            middle = block.mean(axis=0, dtype=np.float64)
            count += middle.size
            total += float(middle.sum())
            squares += float(np.square(middle).sum())
        mean = total / max(1, count)
        variance = max(0.0, squares - count * mean**2) / max(1, count - 1)
        return mean, math.sqrt(variance) or 1.0  # silence stays as it is


def _without_start(blocks: Iterable[Block], samples: int) -> Iterator[Block]:
    """Leave out the first samples of a stream `[..., n]`."""
    for block in blocks:
        if samples < block.shape[-1]:
            yield block[..., samples:]
        samples = max(0, samples - block.shape[-1])


def _batched(pieces: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Group neighbouring chunks of one length, so that they can be stacked."""
    for _, alike in itertools.groupby(pieces, key=lambda chunk: chunk.audio.shape[-1]):
        while batch := list(itertools.islice(alike, size)):
            yield batch
