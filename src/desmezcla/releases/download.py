"""Files over HTTP: resumed, repeated, checked, and under their final name only when right.

With `DESMEZCLA_OFFLINE=1` in the environment the network is never used.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import httpx
from filelock import FileLock

from desmezcla.errors import ReleaseError
from desmezcla.releases.store import home_folder

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]

MAX_BYTES = 1 << 30
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
OTHER_WAY = "give a folder with the files (--from-dir or DESMEZCLA_OFFLINE_DIR)"


class Published(Protocol):
    """A file as its authors published it."""

    @property
    def url(self) -> str:
        """Its address."""

    @property
    def size_bytes(self) -> int | None:
        """Its size, where it is known."""

    def mismatch(self, path: Path) -> str | None:
        """Return how a file differs from the published one, None if it does not."""


class _TransientError(Exception):
    """A failure that another attempt may not meet."""


def download(
    source: Published,
    target: Path,
    *,
    url: str | None = None,
    progress: Progress | None = None,
    attempts: int = 5,
    backoff_s: float = 0.5,
    timeout_s: float = 30.0,
    max_bytes: int = MAX_BYTES,
    other_way: str = OTHER_WAY,
) -> Path:
    """Fetch a file to `target` and check it; what an interrupted call has fetched is kept.

    The bytes go to `target.part`, which the next call continues if the server can, and which gets
    its final name when its checksum is right. Attempts that fail for a reason that may pass are
    repeated, with pauses that double.

    Args:
        source: Address, checksums and, where known, size.
        target: Where the file shall be; if it is there already and right, nothing is fetched.
        url: Address to use instead, for a mirror.
        progress: Called with the bytes so far and the bytes in all, None if not known.
        attempts: Attempts in a row that bring no new bytes before it gives up.
        backoff_s: First pause, seconds.
        timeout_s: Of the connection and of each read, seconds.
        max_bytes: Largest size that is accepted, where the source does not say its own.
        other_way: How to get the file without the network, which errors advise.

    Errors:
        ReleaseError: if the file cannot be fetched or its checksum is wrong.
    """
    url = url or source.url
    remedy = f"try again later, name a mirror (--mirror or DESMEZCLA_MIRROR), or {other_way}"
    with locked(target), _writing(target):
        if target.is_file() and source.mismatch(target) is None:
            return target
        if os.environ.get("DESMEZCLA_OFFLINE", "") not in ("", "0"):
            raise ReleaseError(
                f"{url} is needed, but DESMEZCLA_OFFLINE forbids the network; unset it, or "
                f"{other_way}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer = _Transfer(
            url,
            target.with_name(f"{target.name}.part"),
            size_bytes=source.size_bytes,
            limit=source.size_bytes or max_bytes,
            progress=progress,
            remedy=remedy,
        )
        with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(timeout_s)) as client:
            transfer.run(client, attempts, backoff_s)
        if difference := source.mismatch(transfer.part):
            transfer.discard()
            raise ReleaseError(
                f"{url} sent a file with a wrong checksum, which was removed: {difference}; "
                f"{remedy}"
            )
        transfer.part.replace(target)
        transfer.discard()
    return target


class _Transfer:
    """Brings a `.part` file to the end of the file at an address."""

    def __init__(
        self,
        url: str,
        part: Path,
        *,
        size_bytes: int | None,
        limit: int,
        progress: Progress | None,
        remedy: str,
    ) -> None:
        self.url, self.remedy = url, remedy
        self.part, self.tag_file = part, part.with_name(f"{part.name}.etag")
        self.size_bytes, self.limit, self.progress = size_bytes, limit, progress

    def run(self, client: httpx.Client, attempts: int, backoff_s: float) -> None:
        """Try until the file is complete, or `attempts` in a row have brought no new bytes."""
        failures, best = 0, self.have()
        while True:
            try:
                return self.attempt(client)
            except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise ReleaseError(
                    f"{self.url} could not be fetched ({error}); {self.remedy}"
                ) from error
            except (_TransientError, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
                failures = 1 if self.have() > best else failures + 1
                best = max(best, self.have())
                if failures >= attempts:
                    raise ReleaseError(
                        f"{self.url} could not be fetched in {attempts} attempts ({reason}); "
                        f"{self.remedy}"
                    ) from error
                logger.info("fetching %s again, because: %s", self.url, reason)
                time.sleep(backoff_s * 2 ** (failures - 1))

    def attempt(self, client: httpx.Client) -> None:
        """Ask once for what is missing, and write what comes."""
        have = self.have()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            # With If-Range the server sends the whole file if it is another one by now.
            if self.tag_file.is_file():
                headers["If-Range"] = self.tag_file.read_text(encoding="utf-8")
        with client.stream("GET", self.url, headers=headers) as response:
            if response.status_code == 416:
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return
                self.discard()
                raise _TransientError("the server refused to continue the file")
            self.check_status(response)
            if response.status_code == 200:
                have = 0
                self.keep_tag(response.headers.get("ETag", ""))
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                self.discard()
                raise _TransientError("the server sent another part than asked for")
            self.write(response, have)
        if self.have() < (self.size_bytes or 0):
            raise _TransientError("the server sent only a part of the file")

    def check_status(self, response: httpx.Response) -> None:
        """Raise if the answer is not the file, or not by the way that the address promises."""
        status = f"HTTP {response.status_code} {response.reason_phrase}"
        if response.status_code in TRANSIENT:
            raise _TransientError(status)
        if response.status_code not in (200, 206):
            raise ReleaseError(f"{self.url} could not be fetched: {status}; {self.remedy}")
        if self.url.startswith("https:") and response.url.scheme != "https":
            raise ReleaseError(
                f"{self.url} leads to {response.url}, which is not encrypted; {self.remedy}"
            )

    def write(self, response: httpx.Response, have: int) -> None:
        """Append the answer to the first `have` bytes."""
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with self.part.open("ab" if have else "wb") as stream:
            for block in response.iter_raw():
                have += len(block)
                if max(have, total or 0) > self.limit:
                    break
                stream.write(block)
                if self.progress:
                    self.progress(have, total)
        if max(have, total or 0) > self.limit:
            self.discard()
            raise ReleaseError(
                f"{self.url} is larger than the {self.limit} bytes that it may have; {self.remedy}"
            )

    def keep_tag(self, tag: str) -> None:
        """Remember what identifies the content; a weak tag (W/) may not be used to continue."""
        self.tag_file.unlink(missing_ok=True)
        if tag.startswith('"'):
            self.tag_file.write_text(tag, encoding="utf-8")

    def discard(self) -> None:
        """Remove what is left of the transfer."""
        self.part.unlink(missing_ok=True)
        self.tag_file.unlink(missing_ok=True)

    def have(self) -> int:
        """Return the bytes that are there."""
        return self.part.stat().st_size if self.part.exists() else 0


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReleaseError(
            f"{target} cannot be written ({error}); free space or correct its folder's permissions"
        ) from error


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let one process at a time work on `target`; the others wait.

    The lock is a file in desmezcla's own folder, so that none stays behind beside `target`.
    """
    folder = home_folder() / "locks"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{sha256(str(target.resolve()).encode()).hexdigest()[:16]}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
