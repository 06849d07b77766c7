"""Decoding one stream of an open file, without what its encoder added at the edges."""

import logging
import os
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from desmezcla.audio.container import frame_to_array, read_error
from desmezcla.errors import AudioFileError

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]

# The end of a stream is held back so that padding can be cut from it: more than any encoder adds.
_HELD_SAMPLES = 8192

# Edit lists give the length in the time scale of the whole file, 1/600 s at the coarsest.
_EDIT_LIST_S = Fraction(1, 600)

# Containers in which FFmpeg finds any sample exactly.
_EXACT_SEEK = frozenset({"wav", "w64", "aiff", "au", "caf", "flac"})

# Containers whose declared length can be believed, so that less than it means a file cut short.
_EXACT_LENGTH = _EXACT_SEEK | {"mov"}

# Programs that cannot go back to the header of a WAVE file write sizes from here on.
_UNKNOWN_RIFF_BYTES = 0x7FFF_F000


class StreamDecoder:
    """Decode one audio stream to arrays of float32.

    Pieces that cannot be decoded are left out, with one warning. FFmpeg removes the encoder's delay
    and most padding; the padding that it leaves in MP4 and in short Ogg files is removed here.

    Args:
        container: An open file.
        stream: One of its audio streams.
        path: The file's name, for messages.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, path: Path) -> None:
        self._container = container
        self._stream = stream
        self._path = path
        self._kind = container.format.name.split(",")[0]
        self._last: tuple[Packet[AudioStream], AudioFrame] | None = None
        self._one_page_vorbis = False

    def frames(self) -> Iterator[AudioFrame]:
        """Decode from the container's position to the end of what can be decoded."""
        damaged = samples = 0
        first: AudioFrame | None = None
        for packet in self._packets():
            try:
                frames = packet.decode()
            except FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                if frame.samples:
                    first = first or frame
                    samples += frame.samples
                    self._last = packet, frame
                    yield frame
        if damaged and not self._is_whole_flac(first, samples):
            _log.warning(
                "%r: %d damaged pieces could not be decoded and are left out",
                str(self._path),
                damaged,
            )

    def _is_whole_flac(self, first: AudioFrame | None, samples: int) -> bool:
        """Return whether all samples from a first frame to the end of a FLAC file were decoded.

        FFmpeg's parser may find what looks like the start of a frame within the last one, and
        makes a packet of its rest, which is none.
        """
        end = self._stream.duration
        return (
            self._kind == "flac"
            and first is not None
            and first.pts is not None
            and first.pts + samples == end
        )

    def arrays(self) -> Iterator[Audio]:
        """Decode from the beginning, without the encoder's padding.

        Shape:
            yields `[C, n]`.

        Errors:
            AudioFileError: if the sample rate or the number of channels changes.
        """
        held: deque[Audio] = deque()
        waiting = total = 0
        for array in self._checked(self.frames()):
            held.append(array)
            waiting += array.shape[1]
            total += array.shape[1]
            while waiting - held[0].shape[1] >= _HELD_SAMPLES:
                waiting -= held[0].shape[1]
                yield held.popleft()
        keep = waiting - min(self._padding_samples(total), waiting)
        for array in held:
            if keep > 0:
                yield array[:, :keep]
            keep -= array.shape[1]

    def arrays_from(self, sample: int) -> tuple[int, Iterator[Audio]]:
        """Decode from a sample, or from one before it where the format does not allow to jump.

        Returns:
            The position of the first sample, and the arrays.
        """
        rate = self._stream.sample_rate
        if sample and self._kind in _EXACT_SEEK and self._stream.time_base == Fraction(1, rate):
            self._container.seek(sample, stream=self._stream)
            frames = self.frames()
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= sample:
                return first.pts, self._checked(_chained(first, frames))
            self._container.seek(0, stream=self._stream)
        return 0, self.arrays()

    def _packets(self) -> Iterator["Packet[AudioStream]"]:
        packets = self._container.demux(self._stream)
        first = True
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                _log.warning("%r is damaged: %s", str(self._path), error.strerror)
                return
            except OSError as error:
                raise read_error(self._path, error) from error
            if first and self._kind == "ogg":
                self._prepare_vorbis(packet)
            first = False
            yield packet

    def _prepare_vorbis(self, packet: "Packet[AudioStream]") -> None:
        """Find Vorbis streams of a single page, whose end FFmpeg cuts at a wrong place."""
        # Of the first packet nothing is heard, so that its time is negative; FFmpeg computes it
        # from the end of the first page, but not if that is the last one too.
        if self._stream.codec_context.codec.canonical_name == "vorbis" and packet.pts == 0:
            self._one_page_vorbis = True
            self._stream.codec_context.flags2 |= Flags2.skip_manual

    def _checked(self, frames: Iterator[AudioFrame]) -> Iterator[Audio]:
        position, shape = 0, None
        for frame in frames:
            found = frame.sample_rate, len(frame.layout.channels)
            if shape is None:
                shape = found
                if self._one_page_vorbis:  # the frame that FFmpeg would have left out
                    continue
            if found != shape:
                raise AudioFileError(
                    f"{str(self._path)!r} changes from {shape[0]} Hz and {shape[1]} channels to "
                    f"{found[0]} Hz and {found[1]} channels at {position / shape[0]:.2f} s; "
                    "convert it to wav with one rate first"
                )
            position += frame.samples
            yield frame_to_array(frame)

    def _padding_samples(self, total: int) -> int:
        """Return how many samples at the end of `total` decoded ones the encoder added."""
        if self._last is None:
            return 0
        rate = self._last[1].sample_rate
        itunes = _itunes_length(self._container)
        declared = _in_samples(self._stream.duration, self._stream.time_base, rate)
        excess = total - (itunes or declared or total)
        if not 0 <= excess < _HELD_SAMPLES:
            excess = 0  # no encoder adds so much, so the header is wrong
        if self._kind == "mov" and itunes is None:
            padding = self._beyond_last_packet(rate)
            # The edit list is coarser than the packets, so it counts where it says much more.
            return excess if excess > padding + rate * _EDIT_LIST_S else padding
        is_exact = (
            itunes or self._one_page_vorbis or _has_lame_header(self._container, self._stream)
        )
        return excess if is_exact else 0

    def _beyond_last_packet(self, rate: int) -> int:
        """Return how far the last frame goes beyond the duration of its packet."""
        assert self._last is not None
        packet, frame = self._last
        ticks = packet.time_base * rate
        if packet.pts is None or not packet.duration or frame.pts is None or ticks.denominator > 1:
            return 0
        end = frame.pts * ticks + frame.samples
        return max(0, int(end - (packet.pts + packet.duration) * ticks))


def _chained(first: AudioFrame, rest: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    yield first
    yield from rest


def _in_samples(duration: int | None, time_base: Fraction | None, rate: int) -> int | None:
    if not duration or duration < 0 or time_base is None:
        return None
    return round(duration * time_base * rate)


def _itunes_length(container: InputContainer) -> int | None:
    """Return the length in samples that Apple's encoder writes: the fourth of some hex numbers."""
    fields = container.metadata.get("iTunSMPB", "").split()
    is_mp4 = container.format.name.startswith("mov")
    if not is_mp4 or len(fields) < 4 or len(container.streams.audio) != 1:
        return None
    try:
        return int(fields[3], 16) or None
    except ValueError:
        return None


def declared_length(
    container: InputContainer, stream: AudioStream, path: Path, rate: int
) -> tuple[int | None, bool]:
    """Return the length in samples that a file declares, and whether it can be believed."""
    length = _itunes_length(container) or _in_samples(stream.duration, stream.time_base, rate)
    if length is None:
        return _in_samples(container.duration, Fraction(1, 1_000_000), rate), False
    kind = container.format.name.split(",")[0]
    if kind == "wav" and stream.bit_rate:
        # FFmpeg takes the length from the size of the file where the header says more.
        length = _riff_data_bytes(path) * 8 * rate // stream.bit_rate or length
    return length, kind in _EXACT_LENGTH or _has_lame_header(container, stream)


def _has_lame_header(container: InputContainer, stream: AudioStream) -> bool:
    """Return whether an MP3 file tells its length; else FFmpeg guesses it from the bitrate."""
    # The audio then starts late, by the delay that the header gives.
    return container.format.name == "mp3" and bool(stream.start_time)


def _riff_data_bytes(path: Path) -> int:
    """Return how much audio a WAVE file says that it holds, in bytes; 0 if it does not say."""
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return 0
        while len(header := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            if kind == b"data":
                return int(size) if size < _UNKNOWN_RIFF_BYTES else 0
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0
