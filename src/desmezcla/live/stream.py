"""What the live room asks of a stream of stems."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class StemStream(Protocol):
    """Takes a mixture in blocks and gives out its stems, as `inference.realtime.StreamSeparator`.

    Attributes:
        stems: Names of the stems, in order.
        sample_rate: Rate of the blocks, Hz.
        channels: Channels of the blocks.
        latency_samples: After n samples have been taken, at least `n - latency_samples` have been
            given out, and what is given out is sample by sample in step with what was taken.
    """

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in order."""

    @property
    def sample_rate(self) -> int:
        """Rate of the blocks, Hz."""

    @property
    def channels(self) -> int:
        """Channels of the blocks."""

    @property
    def latency_samples(self) -> int:
        """How far what is given out can lag behind what was taken, samples."""

    def process(self, block: Audio) -> Audio:
        """Take a block and return what is ready. Shape: `[C, n]`, n >= 0; `[S, C, m]`, m >= 0."""

    def flush(self) -> Audio:
        """Return what is still inside; what came out has then the length of what went in."""

    def reset(self) -> None:
        """Forget everything, ready for another stream."""
