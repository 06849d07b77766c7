import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.errors import ParameterError
from desmezcla.live.ring import RingBuffer


def numbered(start: int, count: int, channels: int = 2) -> np.ndarray:
    """Return samples of which each is its own number, and the channels differ by the sign."""
    signs = np.array([[1], [-1]], np.float32)[:channels]
    return (signs * np.arange(start, start + count)).astype(np.float32)


@given(
    capacity=st.integers(1, 20),
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "silence", "read", "skip"]), st.integers(0, 25)),
        max_size=60,
    ),
)
def test_it_behaves_as_a_queue_of_bounded_length(
    capacity: int, steps: list[tuple[str, int]]
) -> None:
    ring = RingBuffer(2, capacity)
    queue: list[float] = []
    for number, (action, count) in enumerate(steps):
        fits = min(count, capacity - len(queue))
        if action == "write":
            block = numbered(1 + 100 * number, count)
            before = block.copy()
            assert ring.write(block) == fits
            np.testing.assert_array_equal(block, before)
            queue += block[0, :fits].tolist()
        elif action == "silence":
            assert ring.write_silence(count) == fits
            queue += [0.0] * fits
        elif action == "read":
            out = np.full((2, count), np.nan, np.float32)
            got = ring.read(out)
            assert got == min(count, len(queue))
            taken, queue = queue[:got], queue[got:]
            assert out[0, :got].tolist() == taken
            assert out[1, :got].tolist() == [-value for value in taken]
            assert np.isnan(out[:, got:]).all()
        else:
            got = ring.skip(count)
            assert got == min(count, len(queue))
            queue = queue[got:]
        assert (ring.available, ring.free) == (len(queue), capacity - len(queue))


def test_interleaved_views_can_be_written_and_read() -> None:
    ring = RingBuffer(2, 8)
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    out = np.zeros((5, 2), np.float32)
    assert ring.write(frames.T) == 5
    assert ring.read(out.T) == 5
    np.testing.assert_array_equal(out, frames)


@pytest.fixture
def eager() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_two_threads_lose_nothing_and_change_nothing() -> None:
    ring, total = RingBuffer(1, 97), 100_000
    sent = numbered(0, total, 1)
    errors: list[int] = []

    def produce() -> None:
        position = 0
        while position < total:
            position += ring.write(sent[:, position : position + 61])

    thread = threading.Thread(target=produce)
    thread.start()
    out, position = np.zeros((1, 53), np.float32), 0
    while position < total:
        got = ring.read(out)
        if not np.array_equal(out[:, :got], sent[:, position : position + got]):
            errors.append(position)
        position += got
    thread.join()
    assert errors == []
    assert ring.available == 0


@pytest.mark.parametrize(("channels", "capacity"), [(0, 10), (2, 0), (2, -1)])
def test_an_empty_ring_is_refused(channels: int, capacity: int) -> None:
    with pytest.raises(ParameterError, match="must be positive"):
        RingBuffer(channels, capacity)
