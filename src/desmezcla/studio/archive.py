"""A zip of files, made while it is sent: nothing is stored, and memory stays flat."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_PIECE_BYTES = 1 << 18
# Beyond that a file's size does not fit into the zip's usual fields.
_LARGE_BYTES = 0x7FFF_0000


class _Outgoing(io.RawIOBase):
    """What `zipfile` writes into, and what it has written is taken out of."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        """Return what has been written since the last call."""
        data = bytes(self._written)
        self._written.clear()
        return data


def zipped(files: Sequence[tuple[str, Path]]) -> Iterator[bytes]:
    """Yield a zip of files, piece by piece.

    Audio hardly gets smaller, so the files are stored as they are.

    Args:
        files: Name in the zip, and the file.
    """
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            large = path.stat().st_size > _LARGE_BYTES
            info = zipfile.ZipInfo.from_file(path, name)
            if large:
                info.extract_version = zipfile.ZIP64_VERSION  # Python 3.10 leaves that out
            with path.open("rb") as file, archive.open(info, "w", force_zip64=large) as entry:
                while piece := file.read(_PIECE_BYTES):
                    entry.write(piece)
                    yield outgoing.taken()
    yield outgoing.taken()
