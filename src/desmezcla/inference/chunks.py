"""From a stream of blocks to overlapping segments that a model can take."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from desmezcla.errors import ParameterError
from desmezcla.inference.blocks import Block
from desmezcla.spec import ModelSpec, ValidLengths


@dataclass(frozen=True)
class ChunkPlan:
    """How a stream is cut into segments and put together again.

    Neighbouring segments share `segment - hop` samples. In a "crossfade" plan each of them gives
    up `context` samples on its side of that zone, where the model saw too little, and what is left
    of the zone is cross-faded. In a "triangle" plan nothing is given up, and each segment is
    weighted by a triangle over its whole length.

    Attributes:
        segment_samples: Length of a segment; None for the whole stream in one piece.
        hop_samples: From the start of a segment to the start of the next.
        grid_samples: Every segment starts on a multiple of this.
        context_samples: Samples discarded at each inner edge.
        window: "crossfade" or "triangle".
        valid_lengths: Lengths that the model takes in a "triangle" plan; None for any.
    """

    segment_samples: int | None
    hop_samples: int
    grid_samples: int
    context_samples: int
    window: Literal["crossfade", "triangle"]
    valid_lengths: ValidLengths | None = None

    def weights(self, chunk: "Chunk") -> Block:
        """Return the weight of each sample of a chunk, 0 where it is discarded.

        Shape:
            returns `[n]`, n the length of the chunk.
        """
        position = np.arange(chunk.samples, dtype=np.float32)
        whole = self.segment_samples or chunk.samples
        if self.window == "triangle":
            peak = np.float32((whole + 1) // 2)
            triangle: Block = np.minimum(position + 1, whole - position) / peak
            return triangle
        fade = max(1, whole - self.hop_samples - 2 * self.context_samples)
        rise: Block = np.clip((position - self.context_samples + 0.5) / fade, 0, 1)
        ones = np.ones(chunk.samples, np.float32)
        return np.minimum(ones if chunk.first else rise, ones if chunk.last else rise[::-1])

    def added(self, samples: int) -> tuple[int, int]:
        """Return how many samples a segment of some length gets in addition, before and after."""
        if self.valid_lengths is None:
            return 0, 0
        more = self.valid_lengths.above(samples) - samples
        return more // 2, more - more // 2


@dataclass(frozen=True)
class Chunk:
    """One segment of a stream.

    Attributes:
        start: Position of its first sample in the stream.
        samples: Its length.
        audio: What the model is given, `[C, n]`: the segment, and what was added around it.
        before: Samples of `audio` before the segment.
        first: Whether the stream starts with it.
        last: Whether the stream ends with it.
    """

    start: int
    samples: int
    audio: Block
    before: int
    first: bool
    last: bool

    def own(self, stems: Block) -> Block:
        """Return of the model's output what belongs to the segment itself. Shape: `[..., n]`."""
        return stems[..., self.before : self.before + self.samples]


def plan_chunks(
    spec: ModelSpec, *, segment: float | str | None = None, overlap: float = 0.25
) -> ChunkPlan:
    """Plan how a model gets its audio.

    Args:
        spec: The model's specification.
        segment: Seconds, "track" for the whole in one piece, or None for the model's own.
        overlap: Part of a segment that it shares with the next, from 0 to less than 1. Up to two
            thirds of that is discarded context (as much as the model asks for), the rest fades.

    Errors:
        ParameterError: if an option is out of range.
    """
    if not 0 <= overlap < 1:
        raise ParameterError(f"overlap={overlap} must be at least 0 and less than 1; try 0.25")
    if segment == "track":
        return ChunkPlan(None, 1, 1, 0, spec.window)
    if segment is None:
        length = spec.segment_samples
    elif not (isinstance(segment, int | float) and segment > 0):
        raise ParameterError(f"segment={segment!r} must be a number of seconds above 0, or 'track'")
    else:
        length = max(1, round(segment * spec.sample_rate))
    hop = max(1, int(length * (1 - overlap)))
    grid = spec.hop_samples if hop >= spec.hop_samples else 1
    hop -= hop % grid
    if spec.window == "triangle":
        valid = spec.valid_lengths
        if valid and segment is not None and valid.minimum > length:  # shorter ones are wanted
            valid = replace(valid, minimum=length)
        return ChunkPlan(length, hop, grid, 0, spec.window, valid)
    # A third of the shared zone at least is left to fade, so that no seam is hard.
    return ChunkPlan(length, hop, grid, min(spec.context_samples, (length - hop) // 3), spec.window)


def chunks(blocks: Iterable[Block], plan: ChunkPlan) -> Iterator[Chunk]:
    """Cut a stream into segments.

    In a "crossfade" plan they have equal lengths: the last is moved back so that real audio fills
    it (and, to start on the grid, is longer by less than a step of it), and a stream shorter than
    a segment is one segment. In a "triangle" plan one starts at each hop, and the last ones are
    short, as in Demucs; what they are given is filled up to a valid length evenly on both sides,
    with the audio that is there and silence beyond the ends.

    What comes out does not depend on the sizes of the blocks, and no more than a segment and a
    block is held.

    Shape:
        blocks: `[C, m]` each, any m.
    """
    buffer = _Buffer()
    if plan.window == "triangle" and plan.segment_samples is not None:
        yield from _filled_chunks(blocks, plan, plan.segment_samples, buffer)
    else:
        yield from _moved_back_chunks(blocks, plan, buffer)


def _moved_back_chunks(
    blocks: Iterable[Block], plan: ChunkPlan, buffer: "_Buffer"
) -> Iterator[Chunk]:
    start = 0  # position of the next segment
    length = plan.segment_samples
    for block in blocks:
        buffer.add(block)
        # A segment is sure not to be the last when the last one must start after it.
        while length and buffer.end - length >= start + plan.grid_samples:
            # The last segment may start one step of the grid after this one: keep all from here.
            buffer.forget(start)
            audio = buffer.read(start, start + length)
            yield Chunk(start, length, audio, 0, first=start == 0, last=False)
            start += plan.hop_samples
    if buffer.end == 0:
        return
    start = max(0, buffer.end - length) if length else 0
    start -= start % plan.grid_samples
    audio = buffer.read(start, buffer.end)
    yield Chunk(start, buffer.end - start, audio, 0, first=start == 0, last=True)


def _filled_chunks(
    blocks: Iterable[Block], plan: ChunkPlan, length: int, buffer: "_Buffer"
) -> Iterator[Chunk]:
    start, hop = 0, plan.hop_samples
    before, after = plan.added(length)
    # A shorter segment near the end gets more in addition, half of it before.
    most_before = max(before, (plan.added(1)[0] + 1)) if plan.valid_lengths else 0
    for block in blocks:
        buffer.add(block)
        while buffer.end >= start + length + after and buffer.end > start + hop:
            audio = buffer.read(start - before, start + length + after)
            yield Chunk(start, length, audio, before, first=start == 0, last=False)
            start += hop
            buffer.forget(start - most_before)
    while start < buffer.end:
        samples = min(length, buffer.end - start)
        before, after = plan.added(samples)
        audio = buffer.read(start - before, start + samples + after)
        last = start + hop >= buffer.end
        yield Chunk(start, samples, audio, before, first=start == 0, last=last)
        start += hop


class _Buffer:
    """The newest part of a stream, read by position; beyond the ends of the stream is silence."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._base = 0  # position of the first sample held
        self.end = 0  # position after the last

    def add(self, block: Block) -> None:
        """Append a block. Shape: `[C, m]`."""
        self._blocks.append(block)
        self.end += block.shape[-1]

    def forget(self, start: int) -> None:
        """Drop what lies before a position."""
        start = max(start, self._base)
        self._blocks = [np.concatenate(self._blocks, axis=-1)[:, start - self._base :]]
        self._base = start

    def read(self, start: int, stop: int) -> Block:
        """Return what lies between two positions. Shape: `[C, stop - start]`."""
        assert max(start, 0) >= self._base
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks, axis=-1)]
        inner = self._blocks[0][:, max(start, 0) - self._base : min(stop, self.end) - self._base]
        silence = max(0, -start), max(0, stop - self.end)
        return np.pad(inner, [(0, 0), silence]) if any(silence) else inner
