"""Streams as iterators of blocks: keeping several in step, counting, resampling."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import StreamResampler

Block: TypeAlias = NDArray[np.float32]
"""Samples of one stretch of time, `[C, n]` or `[S, C, n]`."""


def in_step(streams: Iterable[Iterable[Block]]) -> Iterator[list[Block]]:
    """Cut several streams of equal length into blocks of the same lengths.

    Each stream is asked for more only when it has nothing left, so no more than the longest block
    of each is held. It ends with the shortest stream.

    Shape:
        streams: blocks `[..., n]` each; yields one block `[..., m]` per stream.
    """
    sources = [iter(stream) for stream in streams]
    waiting: list[Block | None] = [None] * len(sources)
    while True:
        for index, source in enumerate(sources):
            held = waiting[index]
            while held is None or held.shape[-1] == 0:
                held = next(source, None)
                if held is None:
                    return
            waiting[index] = held
        ready = [block for block in waiting if block is not None]
        length = min(block.shape[-1] for block in ready)
        yield [block[..., :length] for block in ready]
        waiting = [block[..., length:] for block in ready]


class Counter:
    """Passes blocks through and counts their samples: the length is known once they are spent."""

    def __init__(self) -> None:
        self.samples = 0

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Pass blocks through.

        Shape:
            blocks: `[..., n]`.
        """
        for block in blocks:
            self.samples += block.shape[-1]
            yield block


def resampled(
    blocks: Iterable[Block],
    rate_in: int,
    rate_out: int,
    *,
    length: Callable[[], int] | None = None,
) -> Iterator[Block]:
    """Change the sample rate of a stream, without delay.

    Args:
        blocks: The stream.
        rate_in: Its rate, in Hz.
        rate_out: The rate wanted, in Hz.
        length: Asked at the end for the number of samples to give out. Resampling there and back
            changes a length by a sample or two; this puts it right.

    Shape:
        blocks: `[..., n]`; yields `[..., m]`.
    """
    if rate_in == rate_out:
        yield from blocks
        return
    resampler: StreamResampler | None = None
    axes: tuple[int, ...] = ()
    for block in blocks:
        axes = block.shape[:-1]
        resampler = resampler or StreamResampler(rate_in, rate_out, math.prod(axes))
        yield resampler.process(block.reshape(-1, block.shape[-1])).reshape(*axes, -1)
    if resampler is not None:
        yield resampler.flush(length() if length else None).reshape(*axes, -1)
