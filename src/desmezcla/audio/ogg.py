"""The Ogg container: making its files the same each time."""

import struct
from typing import Protocol

# A page: "OggS", version, flags, position (8 bytes), serial number of the stream, page number,
# checksum, number of segments, and the sizes of those (RFC 3533, section 6).
_PAGE = struct.Struct("<4sBBqIIIB")
_SERIAL_OFFSET = 14
_CHECKSUM_OFFSET = 22
_POLYNOMIAL = 0x04C11DB7


class _File(Protocol):
    def read(self, size: int = -1) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...


def set_serial_number(file: _File, serial: int) -> None:
    """Replace the serial number, which libsndfile draws at random, of a file with one stream.

    The checksum is a remainder of polynomials, hence linear: that of a page changes by the
    checksum of what changes in it, the four bytes of the number followed by zeros to the end.
    """
    position = 0
    # The checksum of the change followed by 0, 1, 2, … zeros.
    effects: list[int] = []
    while True:
        file.seek(position)
        head = file.read(_PAGE.size)
        if len(head) < _PAGE.size:
            return
        _, _, _, _, old_serial, _, checksum, segments = _PAGE.unpack(head)
        length = _PAGE.size + segments + sum(file.read(segments))
        if not effects:
            effects.append(_checksum((old_serial ^ serial).to_bytes(4, "little")))
        while len(effects) <= length - _SERIAL_OFFSET - 4:
            effects.append(_shifted(effects[-1]))
        checksum ^= effects[length - _SERIAL_OFFSET - 4]
        file.seek(position + _SERIAL_OFFSET)
        file.write(struct.pack("<I", serial))
        file.seek(position + _CHECKSUM_OFFSET)
        file.write(struct.pack("<I", checksum))
        position += length


def _checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _shifted(value ^ byte << 24)
    return value


def _shifted(value: int) -> int:
    """Return the remainder of a polynomial that is moved up by one byte."""
    for _ in range(8):
        value = (value << 1) ^ (_POLYNOMIAL if value & 0x8000_0000 else 0)
        value &= 0xFFFF_FFFF
    return value
