"""Raw PCM: samples without a header, as other programs pipe them, to arrays and back."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.formats import BitDepth
from desmezcla.audio.writer import quantised
from desmezcla.errors import ParameterError
from desmezcla.live.stream import Audio

# Bits that the writer of files rounds to, too.
_DEPTHS: dict[int, BitDepth] = {16: "16", 24: "24"}


@dataclass(frozen=True)
class PcmFormat:
    """How one sample is written.

    Attributes:
        name: FFmpeg's name, as in `-f s16le`.
        kind: "u" unsigned with silence at the middle, "s" signed, "f" floating point.
        bits: Bits of a sample; 24 of them take three bytes.
        order: "<" lowest byte first, ">" highest byte first.
    """

    name: str
    kind: Literal["u", "s", "f"]
    bits: int
    order: Literal["<", ">"] = "<"

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample."""
        return self.bits // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds a sample; 24 bits are in the upper bytes of 32."""
        kind = "i" if self.kind == "s" else self.kind
        return np.dtype(f"{self.order}{kind}{4 if self.bits == 24 else self.sample_bytes}")

    @property
    def upper_bytes(self) -> slice:
        """Where the highest three of four bytes stand."""
        return slice(1, 4) if self.order == "<" else slice(0, 3)


PCM_FORMATS: dict[str, PcmFormat] = {
    f.name: f
    for f in (
        PcmFormat("u8", "u", 8),
        PcmFormat("s16le", "s", 16),
        PcmFormat("s24le", "s", 24),
        PcmFormat("s32le", "s", 32),
        PcmFormat("f32le", "f", 32),
        PcmFormat("f64le", "f", 64),
        PcmFormat("s16be", "s", 16, ">"),
        PcmFormat("s24be", "s", 24, ">"),
        PcmFormat("s32be", "s", 32, ">"),
        PcmFormat("f32be", "f", 32, ">"),
        PcmFormat("f64be", "f", 64, ">"),
    )
}


def find_pcm_format(name: str) -> PcmFormat:
    """Return the format of a name, in any case.

    Errors:
        ParameterError: if there is none.
    """
    if found := PCM_FORMATS.get(name.lower()):
        return found
    raise ParameterError(
        f"PCM format {name!r} is not known; choose one of {', '.join(PCM_FORMATS)} "
        "(the names that ffmpeg has for them)"
    )


class PcmDecoder:
    """Bytes to samples, however the bytes are cut.

    Args:
        format: How the samples are written.
        channels: Samples of a frame, one for each channel.

    Attributes:
        frame_bytes: Bytes of a frame.
        replaced_samples: Samples so far that were no finite numbers (or too large for float32),
            and became silence.
    """

    def __init__(self, format: PcmFormat, channels: int) -> None:
        self.format = format
        self.channels = channels
        self.frame_bytes = format.sample_bytes * channels
        self.replaced_samples = 0
        self._rest = b""

    @property
    def rest_bytes(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._rest)

    def decode(self, data: bytes) -> Audio:
        """Return the frames that are complete with these bytes. Shape: `[C, n]`, n >= 0."""
        data = self._rest + data
        end = len(data) - len(data) % self.frame_bytes
        self._rest = data[end:]
        frames = _samples(data[:end], self.format).reshape(-1, self.channels)  # [n, C]
        finite = np.isfinite(frames)
        self.replaced_samples += finite.size - int(np.count_nonzero(finite))
        return np.ascontiguousarray(np.where(finite, frames, np.float32(0)).T)


class PcmEncoder:
    """Samples to bytes. Integers are rounded to the nearest, without dither, and saturate.

    Args:
        format: How the samples are written.

    Attributes:
        clipped_samples: Samples so far that were beyond full scale and were limited to it; a
            floating-point format keeps them.
    """

    def __init__(self, format: PcmFormat) -> None:
        self.format = format
        self.clipped_samples = 0

    def encode(self, block: Audio) -> bytes:
        """Return the bytes of a block, frame after frame. Shape: `[C, n]`."""
        format = self.format
        if format.kind == "f":
            return bytes(block.T.astype(format.dtype).tobytes())
        integers, clipped = _integers(block, format.bits)  # [n, C]
        self.clipped_samples += clipped
        if format.kind == "u":
            integers = integers + 128
        samples = integers.astype(format.dtype)
        if format.bits == 24:
            samples = samples.reshape(-1, 1).view(np.uint8)[:, format.upper_bytes]
        return samples.tobytes()


def _samples(data: bytes, format: PcmFormat) -> Audio:
    raw = np.frombuffer(data, np.uint8)
    if format.bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, format.upper_bytes] = raw.reshape(-1, 3)
        raw = wide.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # a double too large becomes infinite
        samples: Audio = raw.view(format.dtype).astype(np.float32)
    if format.kind == "u":
        samples -= 128
    if format.kind != "f":
        samples *= 2.0 ** (1 - 8 * format.dtype.itemsize)
    return samples


def _integers(block: Audio, bits: int) -> tuple[NDArray[np.signedinteger], int]:
    """Round as `quantised` does, 24 bits to the upper bytes of 32. Shape: `[C, n]`; `[n, C]`."""
    if bits in _DEPTHS:
        levels, clipped = quantised(block, _DEPTHS[bits])
        return levels.astype(np.int32), clipped
    scale = 2.0 ** (bits - 1)
    exact = np.rint(block.T.astype(np.float64) * scale)  # float32 has no 2**31 - 1
    clipped = int(np.count_nonzero(np.abs(exact) > scale))
    return np.clip(exact, -scale, scale - 1).astype(np.int32), clipped
