"""Checkpoints of TensorFlow ("V2", tensor bundles), read without TensorFlow.

A checkpoint `PREFIX` is two kinds of files. `PREFIX.index` is a sorted table as LevelDB writes
them: blocks of keys and values, a block that says where they are, and a footer that says where that
is. The value of the empty key is about all of the checkpoint, and that of every other key, a
tensor's name, says its type, its shape and where its bytes are: these are messages of Protocol
Buffers. The bytes are in `PREFIX.data-00000-of-00001`, or in several such shards.

Nothing in the files is taken on trust: all sizes and places are compared with the sizes of the
files before anything is read or made, and each block and tensor with its checksum (CRC-32C).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from desmezcla.errors import ReleaseError

Array = npt.NDArray[Any]
Words = npt.NDArray[np.uint32]

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # behind a block: how it is compressed, and its checksum
MAX_INDEX_BYTES = 1 << 22
MAX_NAME_BYTES = 256
MAX_AXES, MAX_AXIS = 8, 1 << 40
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
POLYNOMIAL = np.uint32(0x82F63B78)
# Wire types of Protocol Buffers.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class _DamagedError(Exception):
    """Something in a file cannot be; the message says what."""


@dataclass(frozen=True)
class Entry:
    """What the index says of a tensor.

    Attributes:
        dtype: Number of its type.
        shape: Its shape.
        shard: Number of the file that holds it.
        offset: Where its bytes begin there.
        size_bytes: How many there are.
        checksum: Their masked CRC-32C.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int
    checksum: int


class TensorBundle:
    """A checkpoint whose index has been read.

    Args:
        index: Path of `PREFIX.index`; the data are beside it.

    Attributes:
        entries: What the index says of each tensor, by name.

    Errors:
        ReleaseError: if the index cannot be read, is damaged or is of a kind that is not known.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        try:
            if index.stat().st_size > MAX_INDEX_BYTES:
                raise _DamagedError(f"it is larger than {MAX_INDEX_BYTES} bytes")
            table = dict(_table(index.read_bytes()))
            header = _message(table.pop(b"", b""))
            self.shards = _number(header, 1)
            if _number(header, 2) != 0:
                raise _DamagedError("it was written by a machine with another order of bytes")
            self.entries = {key.decode(): _entry(value) for key, value in table.items()}
            self._check_size()
        except (_DamagedError, UnicodeDecodeError, OSError) as error:
            raise ReleaseError(
                f"{index} cannot be read as the index of a TensorFlow checkpoint ({error}); it is "
                "damaged or of another kind, so fetch it again"
            ) from error

    def _check_size(self) -> None:
        """Check that the tensors claim no more bytes than there are."""
        shards = {self._shard(entry) for entry in self.entries.values()}
        size = sum(path.stat().st_size for path in shards)
        claimed = sum(entry.size_bytes for entry in self.entries.values())
        if claimed > size:
            raise _DamagedError(f"it claims tensors of {claimed} bytes, but the data have {size}")

    def _shard(self, entry: Entry) -> Path:
        return self.index.with_suffix(f".data-{entry.shard:05d}-of-{self.shards:05d}")

    def read(self, name: str) -> Array:
        """Return a tensor.

        Errors:
            ReleaseError: if its file is missing or damaged, or it holds no plain numbers.
        """
        entry = self.entries[name]
        path = self._shard(entry)
        try:
            content = _content(path, entry)
        except (_DamagedError, OSError) as error:
            raise ReleaseError(
                f"{path}: the tensor {name} cannot be read ({error}); the file is damaged or of "
                "another checkpoint, so fetch both again"
            ) from error
        array: Array = np.frombuffer(content, DTYPES[entry.dtype]).copy()
        return array.reshape(entry.shape)


def _content(path: Path, entry: Entry) -> bytes:
    """Return the bytes of a tensor, checked against all that the index says of them."""
    if entry.dtype not in DTYPES:
        raise _DamagedError(f"its type is number {entry.dtype} instead of {list(DTYPES)}")
    expected = prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize
    if entry.size_bytes != expected:
        raise _DamagedError(f"it has {entry.size_bytes} bytes, but its shape needs {expected}")
    size = path.stat().st_size
    if entry.offset + entry.size_bytes > size:
        raise _DamagedError(
            f"it should end at byte {entry.offset + entry.size_bytes} of a file of {size}"
        )
    with path.open("rb") as stream:
        stream.seek(entry.offset)
        content = stream.read(entry.size_bytes)
    if masked(crc32c(content)) != entry.checksum:
        raise _DamagedError("its checksum is wrong")
    return content


def _entry(value: bytes) -> Entry:
    """Return what a value of the index says of a tensor."""
    message = _message(value)
    if 7 in message:
        raise _DamagedError("a tensor is stored in slices, which no release of ours has")
    sizes = [size for shape in _submessages(message, 2) for size in _submessages(shape, 2)]
    shape = tuple(_number(size, 1) for size in sizes)
    if len(shape) > MAX_AXES or max(shape, default=0) > MAX_AXIS:
        raise _DamagedError(f"a tensor has the shape {list(shape[: MAX_AXES + 1])}")
    return Entry(
        dtype=_number(message, 1),
        shape=shape,
        shard=_number(message, 3),
        offset=_number(message, 4),
        size_bytes=_number(message, 5),
        checksum=_number(message, 6),
    )


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a sorted table."""
    footer = data[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or not footer.endswith(MAGIC):
        raise _DamagedError("its last bytes are not those of a sorted table")
    place = 0
    handle = []
    for _ in range(4):  # of a block that is not needed, and of the one with the places
        number, place = _varint(footer, place)
        handle.append(number)
    end = 0
    for _, value in _pairs(_block(data, handle[2], handle[3])):
        offset, place = _varint(value, 0)
        size, _ = _varint(value, place)
        if offset < end:
            raise _DamagedError("its blocks overlap")
        end = offset + size
        yield from _pairs(_block(data, offset, size))


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if size < 4 or end + TRAILER_BYTES > len(data):
        raise _DamagedError(f"a block is said to be from byte {offset} to {end} of {len(data)}")
    compression, checksum = struct.unpack_from("<BI", data, end)
    if masked(crc32c(data[offset : end + 1])) != checksum:
        raise _DamagedError("the checksum of a block is wrong")
    if compression != 0:
        raise _DamagedError("it is compressed, which TensorFlow does not do since version 1.2")
    return data[offset:end]


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; of a key, only what the last had not is stored."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (restarts + 1)
    key, place = b"", 0
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        size, place = _varint(block, place)
        if shared > len(key) or place + own + size > end or shared + own > MAX_NAME_BYTES:
            raise _DamagedError("a key or a value is too long")
        key = key[:shared] + block[place : place + own]
        place += own + size
        yield key, block[place - size : place]


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a message by number; those of a kind that is not needed are left out."""
    fields: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == VARINT:
            value, place = _varint(data, place)
        elif kind in (FIXED32, FIXED64, BYTES):
            size = {FIXED32: 4, FIXED64: 8}.get(kind)
            if size is None:
                size, place = _varint(data, place)
            if place + size > len(data):
                raise _DamagedError("a field is longer than its message")
            value = data[place : place + size]
            if kind != BYTES:
                value = int.from_bytes(value, "little")
            place += size
        else:
            raise _DamagedError(f"a field has the unknown kind {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _number(message: dict[int, list[int | bytes]], field: int) -> int:
    """Return a field that is a number; one that is 0 is not written."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise _DamagedError(f"field {field} is no number")
    return value


def _submessages(
    message: dict[int, list[int | bytes]], field: int
) -> list[dict[int, list[int | bytes]]]:
    """Return the fields of that number, which are messages."""
    found = message.get(field, [])
    if not all(isinstance(value, bytes) for value in found):
        raise _DamagedError(f"field {field} is no message")
    return [_message(value) for value in found if isinstance(value, bytes)]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first, and the place behind it."""
    number = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise _DamagedError("a number does not end")


def masked(checksum: int) -> int:
    """Return a checksum as it is stored: turned, and with a constant added."""
    turned = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return (turned + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of no bytes, or of four or more.

    A checksum that begins with 0 is linear, and zeros in front do not change it. So the data, with
    zeros in front, are cut into lanes that are worked on together; then neighbours are joined,
    the checksum of the left one having been carried over as many zeros as the right one is long.
    """
    if not data:
        return 0
    words = -(-len(data) // 4)
    level = words.bit_length() // 2
    lanes = -(-words >> level)
    padded = bytearray(lanes << level + 2)
    first = len(padded) - len(data)
    padded[first:] = data
    # To begin with ones is the same as to turn the bits of the first four bytes.
    for place in range(first, first + 4):
        padded[place] ^= 0xFF
    columns = np.ascontiguousarray(np.frombuffer(padded, "<u4").reshape(lanes, -1).T)
    low, high = _tables()
    # Lanes in front that are all zeros have the checksum 0.
    joined = 1 << (lanes - 1).bit_length()
    checksums: Words = np.zeros(joined, np.uint32)
    own = checksums[joined - lanes :]
    for column in columns:
        own ^= column
        own[:] = low[own & 0xFFFF] ^ high[own >> 16]
    while len(checksums) > 1:
        checksums = _apply(_carry(level), checksums[0::2]) ^ checksums[1::2]
        level += 1
    return int(checksums[0]) ^ 0xFFFFFFFF


@cache
def _carry(level: int) -> Words:
    """Return what 2^level words of zeros make of each bit of a checksum, as 32 numbers."""
    if level:
        half = _carry(level - 1)
        return _apply(half, half)
    bits: Words = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(32):
        bits = bits >> np.uint32(1) ^ (bits & np.uint32(1)) * POLYNOMIAL
    return bits


def _apply(operator: Words, checksums: Words) -> Words:
    """Return what an operator, given by what it makes of each bit, makes of checksums."""
    result: Words = np.zeros_like(checksums)
    for bit, image in enumerate(operator):
        result ^= (checksums >> np.uint32(bit) & np.uint32(1)) * image
    return result


@cache
def _tables() -> tuple[Words, Words]:
    """Return what a word of zeros makes of each lower and of each upper half of a checksum."""
    halves = np.arange(1 << 16, dtype=np.uint32)
    return _apply(_carry(0), halves), _apply(_carry(0), halves << np.uint32(16))
