"""Uploads: the parts of a form as they come in, the file straight to the disk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from desmezcla.web.app import RequestError

FILE_FIELD = "file"
_MAX_FIELDS = 20
_MAX_FIELD_BYTES = 4096
# What a form has besides its file: boundaries, headers, other fields.
_AROUND_BYTES = 128 * 1024
# A client that sends nothing for so long holds the place of others.
_PATIENCE_S = 30.0


class Upload:
    """A form on its way in: one file, which is written as it comes, and short fields.

    Args:
        path: Where the file is written.
        boundary: Of the form's parts.
        max_bytes: Largest file.

    Attributes:
        name: What the client calls the file; None as long as none has come.
        size_bytes: Of the file so far.
        fields: The other fields; one that comes several times is joined by commas.
    """

    def __init__(self, path: Path, boundary: bytes, *, max_bytes: int) -> None:
        self.name: str | None = None
        self.size_bytes = 0
        self.fields: dict[str, str] = {}
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._count = 0
        self._ended = False
        self._field = ""
        self._value = bytearray()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data_comes,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next piece of the request."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise RequestError(400, f"the form cannot be read ({error}); send it again") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def check(self) -> str:
        """Return the file's name, once everything has come.

        Errors:
            RequestError: if the form is not complete or has no file.
        """
        if not self._ended:
            raise RequestError(400, "the form ends in the middle; send it again")
        if self.name is None:
            raise RequestError(
                422, f"the form has no file in the field {FILE_FIELD!r}; add one, with its name"
            )
        if self.size_bytes == 0:
            raise RequestError(422, "the file is empty (0 bytes); export it again")
        return self.name

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > _MAX_FIELDS:
            raise RequestError(400, f"the form has more than {_MAX_FIELDS} fields; send fewer")
        self._field, self._disposition = "", b""
        self._value.clear()

    def _header_ends(self) -> None:
        if bytes(self._header[0]).lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        for part in self._header:
            part.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == FILE_FIELD:
            if self._file is not None:
                raise RequestError(422, "the form has two files; send one job for each")
            if b"filename" not in options:
                raise RequestError(422, f"the field {FILE_FIELD!r} must be a file, with its name")
            self.name = options[b"filename"].decode("utf-8", "replace")
            self._file = self._path.open("xb")

    def _data_comes(self, data: bytes, start: int, end: int) -> None:
        if self._field == FILE_FIELD and self._file is not None:
            self.size_bytes += end - start
            if self.size_bytes > self._max_bytes:
                raise too_large(self._max_bytes)
            self._file.write(memoryview(data)[start:end])
            return
        if len(self._value) + end - start > _MAX_FIELD_BYTES:
            raise RequestError(
                422, f"the field {self._field[:40]!r} is longer than {_MAX_FIELD_BYTES} bytes"
            )
        self._value.extend(data[start:end])

    def _part_ends(self) -> None:
        if self._field and self._field != FILE_FIELD:
            value = self._value.decode("utf-8", "replace").strip()
            before = self.fields.get(self._field)
            self.fields[self._field] = value if before is None else f"{before},{value}"

    def _form_ends(self) -> None:
        self._ended = True


def too_large(max_bytes: int) -> RequestError:
    """Return the refusal of a file that is too large."""
    return RequestError(
        413,
        f"the file is larger than {max_bytes / 2**20:g} MiB, the most that this server takes; "
        "send a shorter song, or as flac or mp3",
    )


@contextlib.asynccontextmanager
async def received(request: Request, path: Path, *, max_bytes: int) -> AsyncIterator[Upload]:
    """Receive a form; its file is removed in the end, unless it has been moved away.

    Args:
        request: With a form as its body.
        path: Where the file is written.
        max_bytes: Largest file.

    Errors:
        RequestError: if it is no form, is too large, or does not come to its end.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RequestError(
            415, "the request must be a form, multipart/form-data, with the song in 'file'"
        )
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes + _AROUND_BYTES:
        raise too_large(max_bytes)
    try:
        upload = Upload(path, boundary, max_bytes=max_bytes)
    except FormParserError as error:
        raise RequestError(400, f"the form cannot be read ({error}); send it again") from error
    total = 0
    try:
        async for piece in _pieces(request):
            total += len(piece)
            if total > max_bytes + _AROUND_BYTES:
                raise too_large(max_bytes)
            # Writing to a slow disk must not hold up the others.
            await run_in_threadpool(upload.write, piece)
        upload.close()
        upload.check()
        yield upload
    except ClientDisconnect as error:
        raise RequestError(400, "the connection ended in the middle of the file") from error
    finally:
        upload.close()
        path.unlink(missing_ok=True)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the pieces of a request's body, as long as they come."""
    stream = aiter(request.stream())
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), _PATIENCE_S)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise RequestError(
                408, f"nothing has come for {_PATIENCE_S:g} s; send the file again"
            ) from error
