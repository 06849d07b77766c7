"""Files by their address: a local path, or one of another storage such as `s3://bucket/song.mp3`.

Addresses of other storages are those of fsspec, which reaches them by the package made for each
(s3fs, gcsfs, adlfs, …). A file appears under its name only when it is complete: an object of an
object store does so by itself; anywhere else it is moved there from a temporary name.
"""

import contextlib
import logging
import os
import random
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from desmezcla.audio.files import PendingFile, write_error
from desmezcla.errors import AudioFileError
from desmezcla.evaluation.optional import require

_log = logging.getLogger(__name__)

# How long a storage may be out of reach before that counts as a failure, in seconds.
PATIENCE_S = 300.0

# The first and the longest wait before something is tried again, in seconds.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0

# Where an object appears when it is complete.
_OBJECT_STORES = frozenset(
    ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "obs", "tos", "memory")
)

# Names of exceptions of botocore, aiohttp, requests and others for a storage that is out of reach.
_TRANSIENT = frozenset(
    (
        *("ConnectionError", "ClientConnectionError", "HTTPClientError", "ClientPayloadError"),
        *("IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "TransportError"),
        *("TimeoutError", "Timeout", "FSTimeoutError", "SSLError"),
    )
)

_Result = TypeVar("_Result")


def is_remote(address: str) -> bool:
    """Whether an address is not a local path.

    >>> is_remote("s3://bucket/song.mp3"), is_remote("music/song.mp3"), is_remote("file:///song")
    (True, False, False)
    """
    return "://" in address and not address.startswith("file://")


def local_path(address: str) -> Path:
    """Return the path of an address that is not remote."""
    return Path(address.removeprefix("file://"))


def join(address: str, name: str) -> str:
    """Return the address of a file below a folder.

    >>> join("s3://bucket/stems/", "song/vocals.wav")
    's3://bucket/stems/song/vocals.wav'
    """
    if is_remote(address):
        return f"{address.rstrip('/')}/{name}"
    return os.fspath(local_path(address) / name)


def open_storage(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of a remote address, and the path in it.

    Errors:
        DesmezclaError: if fsspec is not installed.
        AudioFileError: if the storage is unknown or its package is not installed.
    """
    fsspec = require("fsspec.core", needed_by=f"addresses such as {address!r}", extra="cluster")
    try:
        # What another process has written must be seen.
        found: tuple[Any, str] = fsspec.url_to_fs(address, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise AudioFileError(f"{address!r} cannot be reached: {error}") from error
    return found


def stamp_of(address: str, *, patience_s: float = PATIENCE_S) -> str | None:
    """Return what changes with the content of a file: size and time, or the storage's checksum.

    Returns:
        None if there is no such file.

    Errors:
        AudioFileError: if the storage cannot be reached.
    """
    if not is_remote(address):
        try:
            status = local_path(address).stat()
        except OSError:
            return None
        return f"{status.st_size}-{status.st_mtime_ns}"
    fs, path = open_storage(address)
    info = _patiently(lambda: _info(fs, path), address, "looked at", patience_s)
    if info is None or info.get("type") == "directory":
        return None
    marks = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified")
    mark = next((info[key] for key in (*marks, "updated", "modified", "created") if key in info), 0)
    return f"{info.get('size')}-{mark}"


def _info(fs: Any, path: str) -> dict[str, Any] | None:
    try:
        info: dict[str, Any] = fs.info(path)
    except FileNotFoundError:
        return None
    return info


def fetch(address: str, path: Path, *, patience_s: float = PATIENCE_S) -> None:
    """Copy a remote file to a local one.

    Errors:
        AudioFileError: if it is not there, or cannot be fetched.
    """
    fs, there = open_storage(address)
    try:
        _patiently(lambda: fs.get_file(there, os.fspath(path)), address, "fetched", patience_s)
    except FileNotFoundError as error:
        raise AudioFileError(f"{address!r} does not exist; check the address") from error


def read(address: str, *, patience_s: float = PATIENCE_S) -> bytes | None:
    """Return the content of a small file; None if there is none."""
    if not is_remote(address):
        try:
            return local_path(address).read_bytes()
        except FileNotFoundError:
            return None
    fs, path = open_storage(address)
    try:
        content: bytes = _patiently(lambda: fs.cat_file(path), address, "read", patience_s)
    except FileNotFoundError:
        return None
    return content


def put(path: Path, address: str, *, patience_s: float = PATIENCE_S) -> None:
    """Copy a local file to an address, where it appears when it is complete.

    Errors:
        AudioFileError: if it cannot be written.
    """
    if not is_remote(address):
        _put_locally(path, local_path(address))
        return
    fs, there = open_storage(address)
    local = os.fspath(path)
    if address.partition("://")[0] in _OBJECT_STORES:
        _patiently(lambda: fs.put_file(local, there), address, "written", patience_s)
        return
    folder, _, name = there.rpartition("/")
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
    try:
        _patiently(lambda: fs.makedirs(folder, exist_ok=True), address, "written", patience_s)
        _patiently(lambda: fs.put_file(local, temporary), address, "written", patience_s)
        _patiently(lambda: fs.mv(temporary, there), address, "written", patience_s)
    except BaseException:
        with contextlib.suppress(Exception):  # what went wrong first is told
            fs.rm_file(temporary)
        raise


def _put_locally(path: Path, target: Path) -> None:
    file = PendingFile(target)
    try:
        with path.open("rb") as source:
            shutil.copyfileobj(source, file)
        file.finish()
        file.publish()
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        file.discard()


def remove(address: str, *, patience_s: float = PATIENCE_S) -> None:
    """Remove a file, if it is there."""
    if not is_remote(address):
        local_path(address).unlink(missing_ok=True)
        return
    fs, path = open_storage(address)
    with contextlib.suppress(FileNotFoundError):
        _patiently(lambda: fs.rm_file(path), address, "removed", patience_s)


def names_in(address: str, *, patience_s: float = PATIENCE_S) -> list[str]:
    """Return the names of the files in a folder, sorted; none if there is no folder."""
    if not is_remote(address):
        folder = local_path(address)
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    fs, path = open_storage(address)
    try:
        found = _patiently(lambda: fs.ls(path, detail=False), address, "listed", patience_s)
    except FileNotFoundError:
        return []
    return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


def _patiently(
    work: Callable[[], _Result], address: str, done_to_it: str, patience_s: float
) -> _Result:
    """Do something with a remote file; while its storage is out of reach, again and again.

    Errors:
        FileNotFoundError: if there is no such file.
        AudioFileError: if it went wrong otherwise, or for so long.
    """
    start_s, wait_s = time.monotonic(), _FIRST_WAIT_S
    while True:
        try:
            return work()
        except FileNotFoundError:
            raise
        except Exception as error:
            what = f"{address!r} cannot be {done_to_it}: {type(error).__name__}: {error}"
            if not is_transient(error):
                raise AudioFileError(f"{what}; check the address and the permissions") from error
            spent_s = time.monotonic() - start_s
            if spent_s >= patience_s:
                raise AudioFileError(
                    f"{what}; it was tried for {spent_s:.0f} s: check the network and the storage"
                ) from error
            _log.warning("%s; it is tried again", what)
        # At random, so that not all workers come back at once; never later than the last moment.
        wait = min(
            wait_s * random.uniform(0.5, 1.0), max(0.0, start_s + patience_s - time.monotonic())
        )
        time.sleep(wait)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def is_transient(error: BaseException) -> bool:
    """Whether a storage was out of reach, or overloaded, so that trying again may help."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FileNotFoundError | PermissionError):
            return False
        if isinstance(seen, ConnectionError | TimeoutError):
            return True
        if _TRANSIENT & {kind.__name__ for kind in type(seen).__mro__}:
            return True
        status = _status(seen)
        if status is not None:
            return status in (408, 429) or status >= 500
        seen = seen.__cause__ or seen.__context__
    return False


def _status(error: BaseException) -> int | None:
    """Return the status of an answer by HTTP, wherever the package for a storage keeps it."""
    response = getattr(error, "response", None)
    places = [
        getattr(error, "status", None),
        getattr(error, "status_code", None),
        getattr(error, "code", None),
        getattr(response, "status_code", None),
    ]
    if isinstance(response, dict):
        places.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    return next((p for p in places if isinstance(p, int) and 400 <= p < 600), None)
