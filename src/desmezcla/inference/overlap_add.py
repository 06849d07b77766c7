"""From separated segments back to one stream."""

from collections.abc import Iterable, Iterator

import numpy as np

from desmezcla.inference.blocks import Block
from desmezcla.inference.chunks import Chunk, ChunkPlan

_BLOCK_SAMPLES = 1 << 16


def overlap_add(pieces: Iterable[tuple[Chunk, Block]], plan: ChunkPlan) -> Iterator[Block]:
    """Discard the context of the segments, cross-fade what is left, and give it out in order.

    The sum is divided by the sum of the weights, so an identity model gives back its input for any
    plan. Samples go out as soon as no later segment can reach them; about two segments are held.

    Shape:
        pieces: chunks with their stems `[S, C, n]`; yields `[S, C, m]`, whose m add up to the
        length of the stream.
    """
    start = 0  # position in the stream of the first sample in `total`
    total: Block | None = None
    weight = np.zeros(0, np.float32)
    for chunk, stems in pieces:
        if chunk.first and chunk.last:  # nothing overlaps
            for first in range(0, chunk.samples, _BLOCK_SAMPLES):
                yield stems[..., first : first + _BLOCK_SAMPLES]
            return
        own = plan.weights(chunk)
        if total is None:
            total, weight = stems * own, own
        else:
            kept = chunk.start + plan.context_samples
            done, total = total[..., : kept - start], total[..., kept - start :].copy()
            yield from _blocks(done, weight[: kept - start])
            del done
            weight, start = weight[kept - start :], kept
            inner = slice(kept - chunk.start, None)
            added, added_weight = stems[..., inner] * own[inner], own[inner].copy()
            added[..., : weight.shape[0]] += total
            added_weight[: weight.shape[0]] += weight
            total, weight = added, added_weight
            del added
        # What is not needed any more must not lie beside what the model needs next.
        del stems
    if total is not None:
        yield from _blocks(total, weight)


def _blocks(total: Block, weight: Block) -> Iterator[Block]:
    """Divide by the weight, and give out in short blocks that do not keep the whole alive.

    Shape:
        total: `[S, C, n]`; weight: `[n]`; yields `[S, C, m]`.
    """
    for start in range(0, weight.shape[0], _BLOCK_SAMPLES):
        part = slice(start, start + _BLOCK_SAMPLES)
        yield total[..., part] / weight[part]
