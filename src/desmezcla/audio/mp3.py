"""The header of MP3 files that tells their exact length."""

import struct
from typing import Protocol

# LAME's description of its "Info" frame: the mark, flags, number of frames, number of bytes, a
# table of 100 bytes, a quality, the encoder's name (9 bytes), 12 bytes of settings, then delay and
# padding in 12 bits each, 10 bytes, and a checksum of all before it.
_DELAY_OFFSET = 4 + 4 + 4 + 4 + 100 + 4 + 9 + 12
_CHECKSUM_OFFSET = _DELAY_OFFSET + 3 + 10
_ALL_FIELDS = 15
_MAX_HEADER_BYTES = 64


class _File(Protocol):
    def read(self, size: int = -1) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...


def set_length(file: _File, samples: int) -> None:
    """Correct the padding of a file without tags, so that it tells the length of the audio.

    FFmpeg counts the padding in the last frame only, although for some lengths LAME has to add
    another whole frame. Decoders return frames · samples per frame - delay - padding samples.

    Args:
        file: A file of one stream that FFmpeg's muxer has completed.
        samples: Length of the audio that was encoded.
    """
    file.seek(0)
    head = file.read(_MAX_HEADER_BYTES + _CHECKSUM_OFFSET)
    start = max(head.find(b"Info"), head.find(b"Xing"))
    flags, frames = struct.unpack_from(">II", head, start + 4)
    assert flags == _ALL_FIELDS, flags
    is_mpeg1 = head[1] & 0b1000
    delay = int.from_bytes(head[start + _DELAY_OFFSET :][:3], "big") >> 12
    padding = frames * (1152 if is_mpeg1 else 576) - delay - samples
    head = _replaced(head, start + _DELAY_OFFSET, (delay << 12 | padding).to_bytes(3, "big"))
    checksum = _crc16(head[: start + _CHECKSUM_OFFSET])
    head = _replaced(head, start + _CHECKSUM_OFFSET, checksum.to_bytes(2, "big"))
    file.seek(0)
    file.write(head)


def _replaced(data: bytes, offset: int, part: bytes) -> bytes:
    return data[:offset] + part + data[offset + len(part) :]


def _crc16(data: bytes) -> int:
    """Return the checksum of LAME's header: CRC-16 with the polynomial 0x8005, bits reversed."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return value
