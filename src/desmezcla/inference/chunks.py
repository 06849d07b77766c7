"""From a stream of blocks to overlapping segments that a model can take."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.inference.blocks import Block
from desmezcla.spec import ModelSpec


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
    """

    segment_samples: int | None
    hop_samples: int
    grid_samples: int
    context_samples: int
    window: Literal["crossfade", "triangle"]

    def weights(self, chunk: "Chunk") -> Tensor:
        """Return the weight of each sample of a chunk, 0 where it is discarded.

        Shape:
            returns `[n]`, n the length of the chunk.
        """
        length = chunk.audio.shape[-1]
        position = torch.arange(length, dtype=torch.float32)
        if self.window == "triangle":
            return torch.minimum(position + 1, length - position) / ((length + 1) // 2)
        shared = (self.segment_samples or length) - self.hop_samples
        fade = max(1, shared - 2 * self.context_samples)
        rise = ((position - self.context_samples + 0.5) / fade).clamp(0, 1)
        ones = torch.ones(length)
        return torch.minimum(ones if chunk.first else rise, ones if chunk.last else rise.flip(0))


@dataclass(frozen=True)
class Chunk:
    """One segment of a stream.

    Attributes:
        start: Position of its first sample in the stream.
        audio: The samples, `[C, n]`.
        first: Whether the stream starts with it.
        last: Whether the stream ends with it.
    """

    start: int
    audio: Tensor
    first: bool
    last: bool


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
    # A third of the shared zone at least is left to fade, so that no seam is hard.
    context = min(spec.context_samples, (length - hop) // 3) if spec.window == "crossfade" else 0
    return ChunkPlan(length, hop, grid, context, spec.window)


def chunks(blocks: Iterable[Block], plan: ChunkPlan) -> Iterator[Chunk]:
    """Cut a stream into segments of equal length.

    The last segment is moved back so that real audio fills it (and, to start on the grid, is
    longer by less than a step of it); a stream shorter than a segment is one segment. What comes
    out does not depend on the sizes of the blocks, and no
    more than a segment and a block is held.

    Shape:
        blocks: `[C, m]` each, any m.
    """
    pending: list[Block] = []
    base = 0  # position of the first sample in `pending`
    end = 0  # position after the last
    start = 0  # position of the next segment
    for block in blocks:
        pending.append(block)
        end += block.shape[-1]
        # A segment is sure not to be the last when the last one must start after it.
        while plan.segment_samples and end - plan.segment_samples >= start + plan.grid_samples:
            # The last segment may start one step of the grid after this one: keep all from here.
            pending, base = [np.concatenate(pending, axis=-1)[:, start - base :]], start
            audio = torch.from_numpy(pending[0][:, : plan.segment_samples])
            yield Chunk(start, audio, first=start == 0, last=False)
            start += plan.hop_samples
    if end == 0:
        return
    start = max(0, end - plan.segment_samples) if plan.segment_samples else 0
    start -= start % plan.grid_samples
    audio = torch.from_numpy(np.concatenate(pending, axis=-1)[:, start - base :])
    yield Chunk(start, audio, first=start == 0, last=True)
