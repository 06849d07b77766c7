import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from desmezcla.batch import storage
from desmezcla.batch.storage import is_transient, names_in, put, read, remove, stamp_of
from desmezcla.errors import AudioFileError

fsspec = pytest.importorskip("fsspec", reason="other storages need the extra cluster")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("root", ["memory://bucket-of-test", "local://{}", "{}", "file://{}"])
def test_files_are_put_read_listed_and_removed(root: str, file: Path, tmp_path: Path) -> None:
    root = root.format(tmp_path / "there")
    address = storage.join(root, "a/b.txt")
    assert (read(address), stamp_of(address), names_in(storage.join(root, "a"))) == (None, None, [])
    put(file, address)
    first = stamp_of(address)
    assert first is not None
    assert read(address) == b"content"
    assert stamp_of(address) == first
    assert names_in(storage.join(root, "a")) == ["b.txt"]
    file.write_bytes(b"other content")
    put(file, address)
    assert stamp_of(address) != first
    assert names_in(storage.join(root, "a")) == ["b.txt"]  # no temporary name is left
    remove(address)
    remove(address)
    assert read(address) is None


class ServerError(Exception):
    """As packages for storages tell of an answer by HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


EndpointConnectionError = type(
    "EndpointConnectionError", (type("ConnectionError", (Exception,), {}),), {}
)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionRefusedError(), True),
        (ConnectionResetError(), True),
        (asyncio.TimeoutError(), True),
        (EndpointConnectionError(), True),
        (ServerError(503), True),
        (ServerError(429), True),
        (caused(OSError(5, "Internal Error"), ServerError(500)), True),
        (ServerError(403), False),
        (caused(OSError(22, "Bad Request"), ServerError(400)), False),
        (FileNotFoundError(), False),
        (caused(PermissionError(), ServerError(403)), False),
        (OSError(28, "No space left on device"), False),
        (ValueError("wrong"), False),
    ],
)
def test_what_is_worth_another_try(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient


class Flaky:
    """A file system that is out of reach some times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def cat_file(self, path: str) -> bytes:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return b"content"


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(storage, "_FIRST_WAIT_S", 0.01)

    def make(failures: int, error: Exception) -> Flaky:
        fs = Flaky(failures, error)
        monkeypatch.setattr(storage, "open_storage", lambda address: (fs, address))
        return fs

    return make


def test_a_storage_out_of_reach_is_tried_again(
    flaky: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fs = flaky(3, ConnectionRefusedError("nobody there"))
    with caplog.at_level(logging.WARNING, "desmezcla"):
        assert read("x://y") == b"content"
    assert fs.calls == 4
    assert sum("nobody there" in message for message in caplog.messages) == 3


def test_but_not_for_ever(flaky: Any) -> None:
    fs = flaky(10**9, ConnectionRefusedError("nobody there"))
    start_s = time.monotonic()
    with pytest.raises(AudioFileError, match=r"nobody there; it was tried for \d+ s"):
        read("x://y", patience_s=0.2)
    assert time.monotonic() - start_s >= 0.2
    assert fs.calls > 2


def test_what_is_forbidden_is_not_tried_again(flaky: Any) -> None:
    fs = flaky(1, PermissionError("keep out"))
    with pytest.raises(AudioFileError, match="keep out; check the address and the permissions"):
        read("x://y")
    assert fs.calls == 1


def test_a_file_that_cannot_be_moved_to_its_place_is_not_left_elsewhere(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.mv", refuse)
    with pytest.raises(AudioFileError, match=r"b\.txt' cannot be written: .*not here"):
        put(file, f"local://{tmp_path}/there/b.txt")
    assert names_in(str(tmp_path / "there")) == []
