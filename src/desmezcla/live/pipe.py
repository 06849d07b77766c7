"""Raw PCM in, raw PCM of stems out: what `desmezcla stream` does between two programs."""

import errno
import logging
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from desmezcla.errors import AudioFileError, ParameterError
from desmezcla.live.pcm import PcmDecoder, PcmEncoder
from desmezcla.live.stream import Audio, StemStream

_log = logging.getLogger(__name__)

Read = Callable[[int], bytes]
"""Gives what is there, up to a number of bytes, and waits if there is nothing; b"" at the end."""

Write = Callable[[bytes], None]
"""Takes all bytes, and waits until they are taken; `BrokenPipeError` if nobody reads them."""

Arrange = Callable[[Audio], Audio]
"""Makes the channels of the output of the stems: `[S, C, n] -> [C', n]`, as `Mixer.mix` does."""


def side_by_side(stems: Sequence[str], chosen: Sequence[str]) -> Arrange:
    """Return what puts the channels of the first stem chosen, of the second, … side by side.

    Args:
        stems: All stems of the stream, in order.
        chosen: Those that are wanted, in the order wanted.

    Errors:
        ParameterError: if a stem is not among those of the stream, or is chosen twice.
    """
    for stem in chosen:
        if stem not in stems:
            raise ParameterError(
                f"stem {stem!r} is not made by this release; choose from {', '.join(stems)}"
            )
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ParameterError(f"stems={list(chosen)} must name one stem or more, each once")
    places = [stems.index(stem) for stem in chosen]

    def arrange(audio: Audio) -> Audio:
        _, channels, samples = audio.shape
        return audio[places].reshape(len(places) * channels, samples)

    return arrange


@dataclass
class PipeStatistics:
    """What went through a pipe.

    Attributes:
        samples_in: Samples of a channel that were read.
        samples_out: Samples of a channel that were made; the last ones were not written if nobody
            read them.
        compute_s: Time that making the stems took.
        replaced_samples: Samples of all channels that were no finite numbers.
        clipped_samples: Samples of all channels that were beyond full scale of the output.
        dropped_bytes: Bytes of an incomplete frame at the end of the input.
        broken_pipe: Whether the reader of the output went away before the end.
    """

    samples_in: int = 0
    samples_out: int = 0
    compute_s: float = 0.0
    replaced_samples: int = 0
    clipped_samples: int = 0
    dropped_bytes: int = 0
    broken_pipe: bool = False


class PcmPipe:
    """Reads a mixture, separates it and writes its stems, a piece at a time.

    It reads only when everything before has been written, so no more than a piece is held, and a
    slow reader slows down the writer. It takes what is there rather than wait for a whole piece.

    Args:
        stream: Makes the stems.
        arrange: Makes of them what is written.
        decoder: Understands the input.
        encoder: Writes the output.
        block_samples: The largest piece that is read.
    """

    def __init__(
        self,
        stream: StemStream,
        arrange: Arrange,
        decoder: PcmDecoder,
        encoder: PcmEncoder,
        *,
        block_samples: int = 16384,
    ) -> None:
        self.statistics = PipeStatistics()
        self._stream = stream
        self._arrange = arrange
        self._decoder = decoder
        self._encoder = encoder
        self._piece_bytes = block_samples * decoder.frame_bytes

    def run(self, read: Read, write: Write) -> PipeStatistics:
        """Go on until the input ends, or nobody reads the output any more; that is no error.

        Errors:
            AudioFileError: if the input cannot be read or the output not be written, or the
                model gives a sample that is no finite number.
        """
        try:
            while data := read(self._piece_bytes):
                self._put(self._decoded(data), write)
            self._put(None, write)
        except BrokenPipeError:
            self.statistics.broken_pipe = True
        else:
            self.statistics.dropped_bytes = self._decoder.rest_bytes
        self._warn()
        return self.statistics

    def _decoded(self, data: bytes) -> Audio:
        statistics = self.statistics
        block = self._decoder.decode(data)
        if self._decoder.replaced_samples and not statistics.replaced_samples:
            _log.warning(
                "the input has samples that are no finite numbers after %.3f s; they become "
                "silence; check that its format is %s",
                statistics.samples_in / self._stream.sample_rate,
                self._decoder.format.name,
            )
        statistics.replaced_samples = self._decoder.replaced_samples
        statistics.samples_in += block.shape[1]
        return block

    def _put(self, block: Audio | None, write: Write) -> None:
        """Separate a block, or at the end what is still inside, and write what comes out."""
        statistics, start_s = self.statistics, time.perf_counter()
        # Samples of a wrong format are as large as numbers get; what becomes of them is checked.
        with np.errstate(over="ignore", invalid="ignore"):
            stems = self._stream.flush() if block is None else self._stream.process(block)
            output = self._arrange(stems)
        statistics.compute_s += time.perf_counter() - start_s
        samples = output.shape[1]
        if samples == 0:
            return
        if not np.isfinite(output).all():
            raise AudioFileError(
                "the model gave samples that are no finite numbers after "
                f"{statistics.samples_out / self._stream.sample_rate:.3f} s; check that the format "
                f"of the input is {self._decoder.format.name}"
            )
        statistics.samples_out += samples
        data = self._encoder.encode(output)
        statistics.clipped_samples = self._encoder.clipped_samples
        write(data)

    def _warn(self) -> None:
        statistics = self.statistics
        if statistics.replaced_samples:
            _log.warning(
                "%d samples of the input were no finite numbers and became silence",
                statistics.replaced_samples,
            )
        if statistics.clipped_samples:
            _log.warning(
                "%d samples of the output were beyond full scale and were limited to it; choose "
                "the output format f32le to keep them",
                statistics.clipped_samples,
            )
        if statistics.dropped_bytes:
            _log.warning(
                "the input ended in the middle of a frame: its last %d bytes were dropped; check "
                "that its format is %s with %d channels",
                statistics.dropped_bytes,
                self._decoder.format.name,
                self._decoder.channels,
            )


def read_from(descriptor: int) -> Read:
    """Return what reads standard input, blocking or not, by its file descriptor."""

    def read(size: int) -> bytes:
        while True:
            try:
                return os.read(descriptor, size)
            except BlockingIOError:
                select.select([descriptor], [], [])
            except OSError as error:
                raise AudioFileError(
                    f"standard input cannot be read ({error.strerror}); give it the output of a "
                    "program, or a file of samples"
                ) from error

    return read


def write_to(descriptor: int) -> Write:
    """Return what writes to standard output, blocking or not, by its file descriptor."""

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                select.select([], [descriptor], [])
            except OSError as error:
                if _nobody_reads(error):
                    raise BrokenPipeError from error
                raise AudioFileError(
                    f"standard output cannot be written ({error.strerror}); what was written "
                    "before is not complete"
                ) from error

    return write


def _nobody_reads(error: OSError) -> bool:
    # A socket says that it was reset, and Windows that a pipe without a reader is invalid.
    broken = {errno.EPIPE, errno.ECONNRESET} | ({errno.EINVAL} if os.name == "nt" else set())
    return error.errno in broken
