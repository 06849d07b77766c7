"""Forms as they come in, however they are cut."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
