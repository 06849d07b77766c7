"""What a file says about one of its audio streams."""

from dataclasses import dataclass
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

from desmezcla.audio.container import frame_layout
from desmezcla.audio.decode import StreamDecoder, declared_length
from desmezcla.audio.formats import BitDepth
from desmezcla.errors import AudioFileError

MAX_CHANNELS = 8

# The depth that keeps every sample of a lossless codec, by FFmpeg's name of its sample format.
_BIT_DEPTHS: dict[str, BitDepth] = {
    "u8": "16",
    "s16": "16",
    "s32": "24",
    "s64": "24",
    "flt": "32f",
    "dbl": "32f",
}


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about one of its audio streams.

    Attributes:
        path: The file.
        container: FFmpeg's name of the container's format.
        codec: FFmpeg's name of the codec.
        sample_rate: In Hz.
        channels: Number of channels.
        layout: Their names, as in `("FL", "FR")`.
        bit_depth: "16", "24" or "32f": what keeps every sample; None for a lossy codec.
        length_samples: The length that the container declares, which can be an estimate and can
            be wrong; None if it declares none.
        streams: Number of audio streams in the file.
        titles: The title of each of them, or an empty text.
    """

    path: Path
    container: str
    codec: str
    sample_rate: int
    channels: int
    layout: tuple[str, ...]
    bit_depth: BitDepth | None
    length_samples: int | None
    streams: int
    titles: tuple[str, ...]


def inspect(container: InputContainer, stream: AudioStream, path: Path) -> tuple[AudioInfo, bool]:
    """Decode the beginning of a stream, which tells more than headers do, and describe it.

    Returns:
        The description, and whether its length can be believed.

    Errors:
        AudioFileError: if nothing can be decoded, or there are more than 8 channels.
    """
    frame = next(StreamDecoder(container, stream, path).frames(), None)
    if frame is None:
        raise AudioFileError(
            f"{str(path)!r} holds no audio that can be decoded (0 samples); export it again"
        )
    channels = len(frame.layout.channels)
    if channels > MAX_CHANNELS:
        raise AudioFileError(
            f"{str(path)!r} has {channels} channels, and at most {MAX_CHANNELS} can be read; "
            "split it into files with fewer"
        )
    length, is_exact = declared_length(container, stream, path, frame.sample_rate)
    codec = stream.codec_context.codec
    info = AudioInfo(
        path=path,
        container=container.format.name,
        codec=codec.canonical_name,
        sample_rate=frame.sample_rate,
        channels=channels,
        layout=frame_layout(frame),
        bit_depth=_BIT_DEPTHS[frame.format.packed.name] if codec.lossless else None,
        length_samples=length,
        streams=len(container.streams.audio),
        titles=tuple(_title(other.metadata) for other in container.streams.audio),
    )
    return info, is_exact


def _title(metadata: dict[str, str]) -> str:
    # Programs that have nothing to say write "SoundHandler" and the like.
    handler = metadata.get("handler_name", "")
    title = metadata.get("title") or metadata.get("name")  # the latter in MP4
    return title or ("" if "handler" in handler.lower() else handler)
