"""Opening media files safely, and what their frames hold as arrays."""

import contextlib
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from desmezcla.errors import AudioFileError

# Demuxers of files that hold audio. What is missing here on purpose are those that open further
# files or addresses named inside the file: playlists (hls, dash, concat) and session descriptions.
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,oma,rm,tak,truehd,tta,voc,w64,wav,webm,wv"
)

# The header of a frame of layer III without and with a checksum, in MPEG 1, 2 and 2.5, and ID3.
_MP3_STARTS = {b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2", b"ID"}

# The layout of a file that gives only a number of channels, as WAVE and FLAC have it.
DEFAULT_LAYOUTS: dict[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}

# Sample types by the name of FFmpeg's packed format, and the factor to [-1, 1].
_SAMPLE_TYPES: dict[str, tuple[str, float]] = {
    "u8": ("u1", 2.0**-7),
    "s16": ("i2", 2.0**-15),
    "s32": ("i4", 2.0**-31),
    "s64": ("i8", 2.0**-63),
    "flt": ("f4", 1.0),
    "dbl": ("f8", 1.0),
}


class _Bytes:
    """A file without a name: FFmpeg then judges by content, and no name can be an address."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        # Damaged files send FFmpeg to places that are none, which it is told by -1; PyAV would
        # write an exception to standard error.
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError(f"a media file may not open another one ({url!r})")


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, by content, whatever its name.

    Errors:
        AudioFileError: if the path is no readable media file.
    """
    with _open_file(path) as file:
        # A very short MP3 file has too few frames to be recognised among other data.
        is_mp3 = path.suffix.lower() == ".mp3" and file.peek(2)[:2] in _MP3_STARTS
        try:
            try:
                container = _demuxer(file)
            except FFmpegError:
                if not is_mp3:
                    raise
                file.seek(0)
                container = _demuxer(file, "mp3")
        except (FFmpegError, ValueError) as error:
            raise AudioFileError(
                f"{str(path)!r} is not audio that can be read ({_reason(error)}); "
                "if a player plays it, convert it to wav or flac"
            ) from error
        except OSError as error:
            raise read_error(path, error) from error
        with container:
            yield container


def _demuxer(file: BufferedReader, format: str | None = None) -> InputContainer:
    return av.open(
        _Bytes(file),
        "r",
        format=format,
        container_options={"format_whitelist": _DEMUXERS},
        metadata_errors="replace",
        io_open=_refuse_to_open,
    )


def read_error(path: Path, error: Exception) -> AudioFileError:
    """Return the error, with its remedy, for a failure of the system while reading a file."""
    name = repr(str(path))
    if isinstance(error, FileNotFoundError):
        # Path("http://host") is "http:/host"; a drive of Windows has one letter only.
        is_url = re.match(r"\w\w+:/", str(path))
        remedy = "download it first" if is_url else "check the spelling"
        return AudioFileError(f"{name} does not exist; {remedy}")
    if isinstance(error, PermissionError):
        return AudioFileError(f"{name} may not be read; change its permissions")
    # A loop of links, a null byte in the name, a broken disk.
    return AudioFileError(f"{name} cannot be read: {_reason(error)}; check the path and the disk")


def _open_file(path: Path) -> BufferedReader:
    name = repr(str(path))
    try:
        status = path.stat()
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise AudioFileError(f"{name} is {what}; give an audio file")
        if status.st_size == 0:
            raise AudioFileError(f"{name} is empty (0 bytes); copy or export it again")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise read_error(path, error) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()


def frame_layout(frame: AudioFrame) -> tuple[str, ...]:
    """Return the names of a frame's channels, or the usual ones if the file does not say."""
    names = tuple(channel.name for channel in frame.layout.channels)
    if len(set(names)) < len(names) or "NONE" in names:
        return DEFAULT_LAYOUTS.get(len(names), names)
    return names


def frame_to_array(frame: AudioFrame) -> NDArray[np.float32]:
    """Return a frame's samples as float32; integers are divided by their full scale, a power of 2.

    PyAV's own `to_ndarray` and its `planes` run past the end of frames with eight planes, so the
    planes are counted here.

    Shape:
        returns `[C, n]`.
    """
    dtype, scale = _SAMPLE_TYPES[frame.format.packed.name]
    channels = len(frame.layout.channels)
    planes = [memoryview(cast(Any, plane)) for plane in frame.planes[:channels]]
    if frame.format.is_planar:
        samples = np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in planes])
    else:
        packed = np.frombuffer(planes[0], dtype, frame.samples * channels)
        samples = packed.reshape(-1, channels).T
    # A double beyond the range of float32 becomes Inf, which the reader refuses.
    with np.errstate(over="ignore"):
        audio = samples.astype(np.float32, order="C")
    if dtype == "u1":
        audio -= np.float32(128)
    if scale != 1.0:
        audio *= np.float32(scale)
    return audio
