"""A ring of samples between two threads, of which neither ever waits."""

import numpy as np

from desmezcla.errors import ParameterError
from desmezcla.live.stream import Audio


class RingBuffer:
    """Passes samples from one thread to another in order, without locks and without allocating.

    One thread writes and one thread reads. Each has a count of its own that only it changes, and
    changes it after the samples are in their place; so the other can be behind with what it knows,
    but never sees a sample that is not there.

    Args:
        channels: Number of channels.
        capacity: How many samples of each channel can wait to be read.

    Errors:
        ParameterError: if either is not positive.

    >>> ring = RingBuffer(1, 4)
    >>> ring.write(np.array([[1, 2, 3, 4, 5]], np.float32))
    4
    >>> out = np.zeros((1, 3), np.float32)
    >>> ring.read(out), out
    (3, array([[1., 2., 3.]], dtype=float32))
    """

    def __init__(self, channels: int, capacity: int) -> None:
        for name, value in {"channels": channels, "capacity": capacity}.items():
            if value <= 0:
                raise ParameterError(f"{name}={value} must be positive")
        self.channels = channels
        self.capacity = capacity
        self._samples = np.zeros((channels, capacity), np.float32)
        self._written = 0
        self._read = 0

    @property
    def available(self) -> int:
        """Samples that wait to be read."""
        return self._written - self._read

    @property
    def free(self) -> int:
        """Samples for which there is room."""
        return self.capacity - self.available

    def write(self, block: Audio) -> int:
        """Put in the beginning of a block, as far as there is room for it.

        Args:
            block: Any array or view of one.

        Returns:
            How many samples were taken.

        Shape:
            block: `[C, n]`.
        """
        count = min(int(block.shape[1]), self.free)
        start, first = self._place(self._written, count)
        self._samples[:, start : start + first] = block[:, :first]
        self._samples[:, : count - first] = block[:, first:count]
        self._written += count
        return count

    def write_silence(self, samples: int) -> int:
        """Put in zeros as far as there is room, and return how many."""
        count = min(samples, self.free)
        start, first = self._place(self._written, count)
        self._samples[:, start : start + first] = 0
        self._samples[:, : count - first] = 0
        self._written += count
        return count

    def read(self, out: Audio) -> int:
        """Take samples out into the beginning of an array; the rest of it is left as it is.

        Returns:
            How many samples there were, at most n.

        Shape:
            out: `[C, n]`.
        """
        count = min(int(out.shape[1]), self.available)
        start, first = self._place(self._read, count)
        out[:, :first] = self._samples[:, start : start + first]
        out[:, first:count] = self._samples[:, : count - first]
        self._read += count
        return count

    def skip(self, samples: int) -> int:
        """Take samples out without looking at them, and return how many there were."""
        count = min(samples, self.available)
        self._read += count
        return count

    def _place(self, position: int, count: int) -> tuple[int, int]:
        """Return where a stretch starts, and how much of it lies before the end of the array."""
        start = position % self.capacity
        return start, min(count, self.capacity - start)
