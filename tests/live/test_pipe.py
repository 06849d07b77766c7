"""The pipe with a stream of known stems instead of a model."""

import contextlib
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.errors import AudioFileError, ParameterError
from desmezcla.live.pcm import PcmDecoder, PcmEncoder, find_pcm_format
from desmezcla.live.pipe import PcmPipe, read_from, side_by_side, write_to
from desmezcla.live.stream import Audio

F32 = find_pcm_format("f32le")
FACTORS = np.array([0.5, 0.25, -1.0], np.float32)


class Scaled:
    """Gives back the mixture, late, and scaled by a factor for each stem."""

    stems = ("vocals", "drums", "bass")
    sample_rate = 1000

    def __init__(self, channels: int = 2, latency_samples: int = 7) -> None:
        self.channels = channels
        self.latency_samples = latency_samples
        self._inside = np.zeros((channels, 0), np.float32)

    def process(self, block: Audio) -> Audio:
        self._inside = np.concatenate([self._inside, block], axis=1)
        return self._give(max(0, self._inside.shape[1] - self.latency_samples))

    def flush(self) -> Audio:
        return self._give(self._inside.shape[1])

    def reset(self) -> None:
        self._inside = self._inside[:, :0]

    def _give(self, samples: int) -> Audio:
        ready, self._inside = self._inside[:, :samples], self._inside[:, samples:]
        return FACTORS[:, None, None] * ready


ALL = side_by_side(Scaled.stems, Scaled.stems)


def pipe_of(*, channels: int = 2, block_samples: int = 64) -> PcmPipe:
    return PcmPipe(
        Scaled(channels),
        ALL,
        PcmDecoder(F32, channels),
        PcmEncoder(F32),
        block_samples=block_samples,
    )


def noise(samples: int, channels: int = 2) -> Audio:
    return np.random.default_rng(0).uniform(-1, 1, (channels, samples)).astype(np.float32)


def raw(audio: Audio) -> bytes:
    return bytes(audio.T.tobytes())


def expected(audio: Audio) -> bytes:
    """Return the frames of all stems: the channels of the first, of the second, and so on."""
    return raw(np.concatenate([factor * audio for factor in FACTORS]))


class Source:
    """Reads bytes in pieces of given sizes."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        self.data = data
        self.sizes = sizes

    def __call__(self, size: int) -> bytes:
        size = min(size, next(self.sizes, size))
        piece, self.data = self.data[:size], self.data[size:]
        return piece


@given(
    st.integers(0, 300), st.lists(st.integers(1, 500)), st.integers(1, 100), st.sampled_from([1, 2])
)
def test_the_stems_are_the_same_however_the_input_arrives(
    samples: int, sizes: list[int], block_samples: int, channels: int
) -> None:
    audio = noise(samples, channels)
    written: list[bytes] = []
    pipe = pipe_of(channels=channels, block_samples=block_samples)
    statistics = pipe.run(Source(raw(audio), iter(sizes)), written.append)
    assert b"".join(written) == expected(audio)
    assert (statistics.samples_in, statistics.samples_out) == (samples, samples)
    assert (statistics.dropped_bytes, statistics.broken_pipe) == (0, False)


def test_what_is_there_is_written_before_more_is_read() -> None:
    audio, written = noise(1000), bytearray()
    source = Source(raw(audio), iter([]))
    largest_lag = 0

    def read(size: int) -> bytes:
        nonlocal largest_lag
        taken = audio.shape[1] - len(source.data) // 8
        largest_lag = max(largest_lag, taken - len(written) // 24)
        assert size == 64 * 8
        return source(size)

    pipe_of().run(read, written.extend)
    assert largest_lag == Scaled().latency_samples


def test_memory_does_not_grow_with_what_passes() -> None:
    piece = raw(noise(4096))
    left = 200_000_000 // len(piece)
    received = 0

    def read(size: int) -> bytes:
        nonlocal left
        left -= 1
        return piece[:size] if left >= 0 else b""

    def write(data: bytes) -> None:
        nonlocal received
        received += len(data)

    pipe = pipe_of(block_samples=4096)
    tracemalloc.start()
    try:
        statistics = pipe.run(read, write)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert statistics.samples_in * 8 > 199_000_000
    assert received == 3 * statistics.samples_in * 8
    assert peak < 40 * len(piece)


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Two pipes of the system: where to write and to read the input, and so the output."""
    into, begin = os.pipe()
    end, out = os.pipe()
    yield begin, into, out, end
    for descriptor in (begin, into, out, end):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_waits_stops_the_writer_and_loses_nothing(
    pipes: tuple[int, int, int, int], blocking: bool
) -> None:
    begin, into, out, end = pipes
    os.set_blocking(into, blocking)
    os.set_blocking(out, blocking)
    audio = noise(500_000)

    def feed() -> None:
        write_to(begin)(raw(audio))
        os.close(begin)

    def separate() -> None:
        pipe_of(block_samples=4096).run(read_from(into), write_to(out))
        os.close(out)

    threads = [threading.Thread(target=target, daemon=True) for target in (feed, separate)]
    for thread in threads:
        thread.start()
    # Nobody reads: 4 MB cannot have gone in, since the two pipes of the system and one piece hold
    # less than that.
    threads[0].join(timeout=0.3)
    assert threads[0].is_alive()
    received = b""
    while data := os.read(end, 10_000):
        received += data
    for thread in threads:
        thread.join(timeout=60)
    assert received == expected(audio)


def test_who_stops_reading_ends_it_without_an_error(
    pipes: tuple[int, int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    *_, out, end = pipes
    os.close(end)
    statistics = pipe_of().run(Source(raw(noise(10_000)), iter([])), write_to(out))
    assert statistics.broken_pipe
    assert statistics.samples_in < 10_000
    assert caplog.messages == []


def test_half_a_frame_at_the_end_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    audio, written = noise(100), bytearray()
    statistics = pipe_of().run(Source(raw(audio) + b"\0" * 5, iter([])), written.extend)
    assert bytes(written) == expected(audio)
    assert statistics.dropped_bytes == 5
    (message,) = caplog.messages
    assert "in the middle of a frame: its last 5 bytes" in message
    assert "f32le with 2 channels" in message


def test_what_is_no_number_is_said_when_it_comes_and_counted_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    audio, written = noise(400), bytearray()
    audio[0, 150:160] = np.nan
    statistics = pipe_of().run(Source(raw(audio), iter([])), written.extend)
    assert bytes(written) == expected(np.nan_to_num(audio))
    assert statistics.replaced_samples == 10
    first, last = caplog.messages
    assert "no finite numbers after 0.128 s" in first  # where their block begins
    assert last.startswith("10 samples")


def test_clipped_samples_are_said(caplog: pytest.LogCaptureFixture) -> None:
    encoder = PcmEncoder(find_pcm_format("s16le"))
    pipe = PcmPipe(Scaled(), ALL, PcmDecoder(F32, 2), encoder)
    statistics = pipe.run(
        Source(raw(np.full((2, 10), 1.5, np.float32)), iter([])), bytearray().extend
    )
    assert statistics.clipped_samples == 20  # of the one stem with a factor of 1
    assert "20 samples of the output were beyond full scale" in caplog.text


def test_a_model_that_gives_no_numbers_is_an_error() -> None:
    class Broken(Scaled):
        def _give(self, samples: int) -> Audio:
            return np.full_like(super()._give(samples), np.nan)

    pipe = PcmPipe(Broken(), ALL, PcmDecoder(F32, 2), PcmEncoder(F32))
    with pytest.raises(AudioFileError, match="check that the format of the input is f32le"):
        pipe.run(Source(raw(noise(100)), iter([])), bytearray().extend)


def test_ends_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(AudioFileError, match=r"standard input cannot be read .*directory"):
            read_from(folder)(10)
        with pytest.raises(AudioFileError, match="standard output cannot be written"):
            write_to(folder)(b"1234")
    finally:
        os.close(folder)


def test_some_stems_in_the_order_wanted() -> None:
    stems = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)
    arranged = side_by_side(Scaled.stems, ["bass", "vocals"])(stems)
    np.testing.assert_array_equal(arranged, [*stems[2], *stems[0]])
    assert side_by_side(Scaled.stems, ["bass"])(stems[..., :0]).shape == (2, 0)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["vocal"], r"stem 'vocal' is not made .* choose from vocals, drums, bass"),
        (["drums", "drums"], "each once"),
        ([], "one stem or more"),
    ],
)
def test_choices_that_cannot_be_are_refused(chosen: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        side_by_side(Scaled.stems, chosen)
