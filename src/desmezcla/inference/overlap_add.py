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
        if chunk.first and chunk.last:
            yield stems  # nothing overlaps
            return
        own = plan.weights(chunk)
        kept = chunk.start if chunk.first else chunk.start + plan.context_samples
        if total is None:
            total, weight = stems * own, own
            continue
        yield _divided(total[..., : kept - start], weight[: kept - start])
        total, weight, start = total[..., kept - start :], weight[kept - start :], kept
        stems, own = stems[..., kept - chunk.start :], own[kept - chunk.start :]
        shared = weight.shape[-1]
        both = total + stems[..., :shared] * own[:shared]
        total = torch.cat([both, stems[..., shared:] * own[shared:]], dim=-1)
        weight = torch.cat([weight + own[:shared], own[shared:]])
    if total is not None:
        yield _divided(total, weight)


def _divided(total: Tensor, weight: Tensor) -> Tensor:
    """Divide by the weight up to where it stays 1. Shape: total `[S, C, n]`; weight `[n]`."""
    uneven = torch.nonzero(weight != 1)
    if len(uneven) == 0:
        return total
    end = int(uneven[-1]) + 1
    return torch.cat([total[..., :end] / weight[:end], total[..., end:]], dim=-1)
