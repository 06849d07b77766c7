"""Reading audio from any file, in blocks, with exact lengths."""

import logging
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard
from numpy.typing import NDArray

from desmezcla.audio.container import open_container
from desmezcla.audio.decode import StreamDecoder
from desmezcla.audio.info import AudioInfo, inspect
from desmezcla.errors import AudioFileError, ParameterError

_log = logging.getLogger(__name__)

__all__ = ["AudioInfo", "AudioReader", "read_audio", "read_stems"]

Audio = NDArray[np.float32]

# Frames of a codec are gathered to blocks of at least this size, which costs what comes after
# the reader far less time per sample.
_BLOCK_SAMPLES = 16384


class AudioReader:
    """Read a part of an audio stream, in blocks.

    The format is found from the content of the file, never from its name. What an encoder added at
    the start and the end is removed where the file tells how much. A damaged file is read as far
    as it can be, with a warning.

    Args:
        path: Any audio file, or a video file with sound.
        stream: Which of its audio streams, from 0.
        start_s: Where to start, rounded to the nearest sample.
        duration_s: How much to read; None for all that follows.

    Errors:
        AudioFileError: if the file or the stream cannot be read, or has more than 8 channels.
        ParameterError: if `start_s` or `duration_s` is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        stream: int = 0,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> None:
        if not 0 <= start_s < np.inf:
            raise ParameterError(f"start_s={start_s} must be 0 or more")
        if duration_s is not None and not 0 < duration_s < np.inf:
            raise ParameterError(f"duration_s={duration_s} must be more than 0")
        self._path = Path(path)
        self._stream = stream
        self._active: Generator[Audio, None, None] | None = None
        with open_container(self._path) as container:
            self.info, self._length_is_exact = inspect(
                container, self._select(container), self._path
            )
        rate = self.info.sample_rate
        self._start = round(start_s * rate)
        # The end is rounded as a time, so that adjoining parts meet whatever their lengths.
        self._stop = None if duration_s is None else round((start_s + duration_s) * rate)

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz."""
        return self.info.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.info.channels

    @property
    def layout(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.info.layout

    @property
    def length_samples(self) -> int | None:
        """Length of the part that is read: an estimate, as in `AudioInfo`."""
        if self.info.length_samples is None:
            return None
        end = self.info.length_samples
        return max(0, (end if self._stop is None else min(end, self._stop)) - self._start)

    def blocks(self) -> Iterator[Audio]:
        """Read from the start of the part, in blocks of any size of at least one sample.

        Each call starts again, and ends what an earlier call returned.

        Shape:
            yields `[C, n]`.

        Errors:
            AudioFileError: if nothing can be decoded, the rate or the channels change, or a sample
                is NaN or infinite.
        """
        self.close()
        self._active = self._read()
        return self._active

    def close(self) -> None:
        """Close the file, if an iteration has it open."""
        if self._active is not None:
            self._active.close()
            self._active = None

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _select(self, container: InputContainer) -> AudioStream:
        name, streams = repr(str(self._path)), container.streams.audio
        if not streams:
            raise AudioFileError(f"{name} has no audio stream; give a file with sound")
        if not 0 <= self._stream < len(streams):
            raise ParameterError(
                f"stream={self._stream} must be between 0 and {len(streams) - 1}: "
                f"{name} has {len(streams)} audio stream(s)"
            )
        chosen = streams[self._stream]
        # PyAV's types do not say so, but there is none for a codec that FFmpeg cannot decode.
        if cast("AudioCodecContext | None", chosen.codec_context) is None:
            raise AudioFileError(
                f"{name} has a codec that cannot be decoded; convert it to wav or flac"
            )
        for other in container.streams:
            if other.index != chosen.index:
                other.discard = Discard.all
        return chosen

    def _read(self) -> Generator[Audio, None, None]:
        with open_container(self._path) as container:
            decoder = StreamDecoder(container, self._select(container), self._path)
            end, arrays = decoder.arrays_from(self._start)
            for block in _gathered(arrays):
                begin, end = end, end + block.shape[1]
                stop = None if self._stop is None else max(0, self._stop - begin)
                part = block[:, max(0, self._start - begin) : stop]
                if part.shape[1]:
                    self._check_finite(part, max(begin, self._start))
                    yield part
                if self._stop is not None and end >= self._stop:
                    return
            self._check_end(end)

    def _check_finite(self, block: Audio, position: int) -> None:
        # The sum of a block is finite unless a sample is not, and far cheaper to look at.
        with np.errstate(invalid="ignore"):  # infinity less infinity
            if np.isfinite(block.sum(dtype=np.float64)):
                return
        at = position + int(np.argmin(np.isfinite(block).all(axis=0)))
        raise AudioFileError(
            f"{str(self._path)!r} holds a value that is not a number or not finite at "
            f"{at / self.sample_rate:.3f} s; export the file again"
        )

    def _check_end(self, end: int) -> None:
        """Judge a file of which everything has been read and `end` is the length."""
        rate, declared = self.sample_rate, self.info.length_samples
        if end <= self._start:
            raise ParameterError(
                f"start_s={self._start / rate:g} must be before the end of {str(self._path)!r}, "
                f"which is at {end / rate:.3f} s"
            )
        if not self._length_is_exact or declared is None:
            return
        tolerance = rate // 10 if self.info.bit_depth is None else 0
        if declared > end + tolerance:
            _log.warning(
                "%r is cut short or damaged: %.3f s could be read, but it should last %.3f s",
                str(self._path),
                end / rate,
                declared / rate,
            )


def read_audio(
    path: str | os.PathLike[str],
    *,
    stream: int = 0,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> tuple[Audio, int]:
    """Read a whole stream, or a part of it, into memory; the arguments are `AudioReader`'s.

    Returns:
        The audio and its sample rate in Hz.

    Shape:
        audio: `[C, T]`.
    """
    with AudioReader(path, stream=stream, start_s=start_s, duration_s=duration_s) as reader:
        return np.concatenate(list(reader.blocks()), axis=1), reader.sample_rate


def read_stems(path: str | os.PathLike[str]) -> tuple[Audio, int]:
    """Read all streams of a stem file into memory: the mix first, then the stems.

    Returns:
        The audio and its sample rate in Hz.

    Shape:
        audio: `[S, C, T]`.

    Errors:
        AudioFileError: if the streams differ in rate, channels or length.
    """
    with AudioReader(path) as reader:
        count = reader.info.streams
    streams = [read_audio(path, stream=index) for index in range(count)]
    kinds = {(audio.shape, rate) for audio, rate in streams}
    if len(kinds) > 1:
        raise AudioFileError(
            f"{str(path)!r} has streams of different length, rate or channels: {sorted(kinds)}; "
            "read them one by one, by their number"
        )
    return np.stack([audio for audio, _ in streams]), streams[0][1]


def _gathered(arrays: Iterable[Audio]) -> Iterator[Audio]:
    waiting: list[Audio] = []
    samples = 0
    for array in arrays:
        waiting.append(array)
        samples += array.shape[1]
        if samples >= _BLOCK_SAMPLES:
            yield np.concatenate(waiting, axis=1)
            waiting, samples = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)
