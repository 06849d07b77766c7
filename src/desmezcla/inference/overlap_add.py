"""From separated segments back to one stream."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from desmezcla.inference.chunks import Chunk, ChunkPlan


def overlap_add(pieces: Iterable[tuple[Chunk, Tensor]], plan: ChunkPlan) -> Iterator[Tensor]:
    """Discard the context of the segments, cross-fade what is left, and give it out in order.

    The sum is divided by the sum of the weights, so an identity model gives back its input for any
    plan. Samples go out as soon as no later segment can reach them; about two segments are held.

    Shape:
        pieces: chunks with their stems `[S, C, n]`; yields `[S, C, m]`, whose m add up to the
        length of the stream.
    """
    start = 0  # position in the stream of the first sample in `total`
    total: Tensor | None = None
    weight = torch.zeros(0)
    for chunk, stems in pieces:
        if total is None:
            total = stems.new_zeros(*stems.shape[:-1], 0)
        kept = chunk.start if chunk.first else chunk.start + plan.context_samples
        if kept > start:
            yield total[..., : kept - start] / weight[: kept - start]
            total, weight, start = total[..., kept - start :], weight[kept - start :], kept
        missing = chunk.start + stems.shape[-1] - start - weight.shape[-1]
        total = torch.nn.functional.pad(total, (0, missing))
        weight = torch.nn.functional.pad(weight, (0, missing))
        own = plan.weights(chunk)[start - chunk.start :]
        total += stems[..., start - chunk.start :] * own
        weight += own
    if total is not None:
        yield total / weight
