"""Encoders: arrays of samples to the bytes of a file, the same bytes each time."""

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.error import FFmpegError
from numpy.typing import NDArray

from desmezcla.audio.container import DEFAULT_LAYOUTS
from desmezcla.audio.files import PendingFile, write_error
from desmezcla.audio.formats import BitDepth, OutputFormat
from desmezcla.audio.mp3 import set_length
from desmezcla.errors import AudioFileError

# Samples given to an encoder at once.
_PIECE_SAMPLES = 2**15

# FFmpeg's packed sample format for each bit depth; lossy encoders take floats.
SAMPLE_FORMATS: dict[BitDepth | None, str] = {"16": "s16", "24": "s32", "32f": "flt", None: "flt"}

# The layouts that an encoder's format has for a number of channels, where it has not all. Channel
# i of the file is channel i of the audio whatever its name. The layouts of AAC are those that
# take no channel for a subwoofer, which would lose its treble, except where players expect one.
_LAYOUTS: dict[str, dict[int, str]] = {
    "alac": {},
    "aac": {3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1(back)", 8: "7.1"},
    "libopus": {3: "3.0", 4: "quad", 6: "5.1", 8: "7.1"},
    "libmp3lame": {},
}
_USUAL = {1: "mono", 2: "stereo"}


class Encoder(Protocol):
    """What writes samples into an open file."""

    def write(self, samples: NDArray[np.generic], stream: int = 0) -> None:
        """Encode samples `[n, C]` of the type of `SAMPLE_FORMATS`."""

    def finish(self) -> None:
        """Encode what is still inside, and complete the file's structure."""

    def abandon(self) -> None:
        """Free the encoder after its file has been discarded."""


def open_encoder(
    file: PendingFile,
    output: OutputFormat,
    *,
    layout: Sequence[str] | None = None,
    titles: Sequence[str] = ("",),
) -> Encoder:
    """Return the encoder of a format.

    Args:
        file: Where it writes.
        output: The format.
        layout: Names of the channels, kept where the format can; None for the usual ones.
        titles: One title for each stream; only MP4 takes more than one stream.
    """
    if output.codec == "vorbis":
        # Its library is loaded only by those who need it.
        from desmezcla.audio.vorbis import VorbisEncoder

        return VorbisEncoder(file, output)
    return FFmpegEncoder(file, output, layout=layout, titles=titles)


class FFmpegEncoder:
    """An encoder and a muxer of FFmpeg; the arguments are those of `open_encoder`."""

    def __init__(
        self,
        file: PendingFile,
        output: OutputFormat,
        *,
        layout: Sequence[str] | None,
        titles: Sequence[str],
    ) -> None:
        self._file = file
        self._output = output
        self._layout = _encoder_layout(output, layout)
        self._format = SAMPLE_FORMATS[output.bit_depth]
        with _translated(file):
            self._container = av.open(
                file,
                "w",
                format=output.format.muxer,
                container_options=_muxer_options(output),
                buffer_size=2**16,
            )
            self._streams = [self._add_stream(title) for title in titles]
        self._written = [0] * len(titles)

    def write(self, samples: NDArray[np.generic], stream: int = 0) -> None:
        """Encode samples `[n, C]` of the type of `SAMPLE_FORMATS`."""
        for start in range(0, len(samples), _PIECE_SAMPLES):
            piece = samples[start : start + _PIECE_SAMPLES]
            # Packed frames, because PyAV cannot fill frames of eight planes; its encoder turns
            # them to planes where a codec wants those.
            frame = AudioFrame.from_ndarray(
                piece.reshape(1, -1),  # type: ignore[arg-type]
                format=self._format,
                layout=self._layout,
            )
            frame.sample_rate = self._output.sample_rate
            frame.time_base = Fraction(1, self._output.sample_rate)
            frame.pts = self._written[stream]
            self._written[stream] += frame.samples
            with _translated(self._file):
                self._container.mux(self._streams[stream].encode(frame))

    def finish(self) -> None:
        """Encode what is still inside, and complete the file's structure."""
        with _translated(self._file):
            for stream in self._streams:
                self._container.mux(stream.encode(None))
            self._container.close()
            if self._output.codec == "libmp3lame":
                set_length(self._file, self._written[0])

    def abandon(self) -> None:
        """Free the encoder after its file has been discarded."""
        # As the file is closed no trailer is written, and packets that wait find no place.
        with contextlib.suppress(FFmpegError, OSError, ValueError):
            self._container.close()

    def _add_stream(self, title: str) -> AudioStream:
        output = self._output
        stream = self._container.add_stream(
            output.codec, rate=output.sample_rate, options={"flags": "+bitexact"}
        )
        assert isinstance(stream, AudioStream), stream
        formats = stream.codec_context.codec.audio_formats or []
        stream.format = next(f for f in formats if f.packed.name == self._format)
        stream.layout = self._layout
        stream.time_base = Fraction(1, output.sample_rate)
        if output.bitrate is not None:
            stream.bit_rate = output.bitrate
        if title:
            stream.metadata["title"] = title
        return stream


def _muxer_options(output: OutputFormat) -> dict[str, str]:
    options = {"fflags": "+bitexact"}  # no dates, versions or random numbers
    if output.format.muxer == "wav":
        options["rf64"] = "auto"  # for more than 4 GB
    elif output.format.muxer == "mp3":
        options["id3v2_version"] = "0"  # tags come later, from `write_tags`
    elif output.format.muxer in ("mp4", "ipod"):
        # Edit lists then give the length in samples, not in milliseconds.
        options["movie_timescale"] = str(output.sample_rate)
    return options


def _encoder_layout(output: OutputFormat, layout: Sequence[str] | None) -> str:
    own = _LAYOUTS.get(output.codec)
    if own is not None:
        return {**_USUAL, **own}[output.channels]
    if layout is not None:
        try:
            return av.AudioLayout("+".join(layout)).name
        except ValueError:  # names that only another format knows
            pass
    return "+".join(DEFAULT_LAYOUTS[output.channels])


@contextlib.contextmanager
def _translated(file: PendingFile) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError) as error:
        reason = file.error or error
        if isinstance(reason, FFmpegError):
            raise AudioFileError(
                f"{str(file.path)!r} cannot be written: the encoder failed ({reason.strerror}); "
                "choose another format, such as wav"
            ) from error
        raise write_error(file.path, reason) from error
