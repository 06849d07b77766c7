"""Forms as they come in, however they are cut."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from desmezcla.studio import uploads
from desmezcla.studio.uploads import Upload
from desmezcla.web.app import RequestError

BOUNDARY = b"boundary"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--boundary\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--boundary--\r\n"


def read(path: Path, data: bytes, *, piece: int = 1 << 16, max_bytes: int = 1000) -> Upload:
    upload = Upload(path, BOUNDARY, max_bytes=max_bytes)
    try:
        for start in range(0, len(data), piece):
            upload.write(data[start : start + piece])
    finally:
        upload.close()
    return upload


@given(content=st.binary(min_size=1, max_size=300), piece=st.integers(1, 50))
def test_a_file_comes_whole_however_the_form_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int
) -> None:
    path = tmp_path_factory.mktemp("upload") / "file"
    data = form(part("model", b"default"), part("file", content, "ä.wav"), part("stems", b"a,b"))
    upload = read(path, data, piece=piece)
    assert upload.check() == "ä.wav"
    assert path.read_bytes() == content
    assert upload.size_bytes == len(content)
    assert upload.fields == {"model": "default", "stems": "a,b"}


def test_a_field_that_comes_twice_is_a_list(tmp_path: Path) -> None:
    data = form(part("stems", b"vocals"), part("stems", b"bass"), part("file", b"x", "a"))
    assert read(tmp_path / "file", data).fields == {"stems": "vocals,bass"}


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (form(part("model", b"x")), 422, "has no file"),
        (form(part("file", b"", "a.wav")), 422, "empty"),
        (form(part("file", b"x")), 422, "must be a file"),
        (form(part("file", b"x", "a"), part("file", b"y", "b")), 422, "two files"),
        (form(part("file", bytes(1001), "a")), 413, "larger than"),
        (form(part("model", bytes(5000)), part("file", b"x", "a")), 422, "longer than"),
        (form(*(part(f"f{n}", b"x") for n in range(30))), 400, "more than 20 fields"),
        (form(part("file", b"x", "a"))[:-8], 400, "ends in the middle"),
        (b"no form at all", 400, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, status: int, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read(tmp_path / "file", data).check()
    assert caught.value.status == status


def test_no_more_is_written_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(RequestError):
        read(path, form(part("file", bytes(100_000), "a")), piece=100, max_bytes=1000)
    assert path.stat().st_size <= 1000


def request_of(messages: list[dict[str, Any]]) -> Request:
    """Return a request that gets these messages, and then waits for ever."""

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(60)
        raise AssertionError

    headers = [(b"content-type", b"multipart/form-data; boundary=boundary")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        ([], 408, "nothing has come"),
        ([{"type": "http.disconnect"}], 400, "the connection ended in the middle"),
    ],
)
def test_a_client_that_stops_in_the_middle_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: list[dict[str, Any]],
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(uploads, "_PATIENCE_S", 0.1)
    path = tmp_path / "file"
    begun = part("file", b"x" * 100, "a.wav")
    messages = [{"type": "http.request", "body": begun, "more_body": True}, *last]

    async def take() -> None:
        async with uploads.received(request_of(messages), path, max_bytes=1000):
            raise AssertionError("it is not complete")

    with pytest.raises(RequestError, match=words) as caught:
        asyncio.run(take())
    assert caught.value.status == status
    assert not path.exists()
