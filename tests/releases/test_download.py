import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from desmezcla.errors import ReleaseError
from desmezcla.releases.catalog import SourceFile
from desmezcla.releases.download import download

CONTENT = random.Random(0).randbytes(700_000)
Answer = Callable[[BaseHTTPRequestHandler], None]


def source(url: str, **fields: Any) -> SourceFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return SourceFile.model_validate({"url": f"{url}/a.pth", "sha256": digest} | fields)


def answer(
    status: int = 200, content: bytes = b"", *, sent: int | None = None, **headers: str
) -> Answer:
    """Answer with the content, of which only `sent` bytes really come."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content[:sent])
        handler.close_connection = True

    return send


def ranges(content: bytes, etag: str) -> Answer:
    """Answer as a server does that can continue files."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        wanted, condition = handler.headers["Range"], handler.headers["If-Range"]
        if wanted is None or (condition and condition != etag):
            return answer(200, content, ETag=etag)(handler)
        begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(content):
            return answer(416, Content_Range=f"bytes */{len(content)}")(handler)
        end = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return answer(206, content[begin:], ETag=etag, Content_Range=end)(handler)

    return send


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


def test_a_file_is_fetched_checked_and_reported(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, CONTENT)]
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "out" / "a.pth"
    done = download(source(server.url), target, progress=lambda n, total: seen.append((n, total)))
    assert done.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert sizes(tmp_path / "out") == {"a.pth": len(CONTENT)}
    download(source(server.url), target)
    assert len(server.requests) == 1  # what is there and right is not fetched again


def test_an_interrupted_file_is_continued_and_only_the_rest_is_sent(
    server: Any, tmp_path: Path
) -> None:
    server.answers = [answer(200, CONTENT, sent=300_000, ETag='"v1"'), ranges(CONTENT, '"v1"')]
    target = tmp_path / "out" / "a.pth"
    with pytest.raises(ReleaseError, match="in 1 attempts"):
        download(source(server.url), target, attempts=1)
    assert sizes(tmp_path / "out")["a.pth.part"] == 300_000
    received: list[int] = []
    download(source(server.url), target, progress=lambda n, _: received.append(n))
    assert server.requests[1]["Range"] == "bytes=300000-"
    assert server.requests[1]["If-Range"] == '"v1"'
    assert received[0] > 300_000
    assert target.read_bytes() == CONTENT
    assert sizes(tmp_path / "out") == {"a.pth": len(CONTENT)}


def test_a_file_that_changed_meanwhile_is_fetched_whole(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, b"x" * 1000, sent=500, ETag='"v1"'), ranges(CONTENT, '"v2"')]
    done = download(source(server.url), tmp_path / "a.pth", backoff_s=0)
    assert done.read_bytes() == CONTENT


def test_a_server_that_cannot_continue_sends_it_whole(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, CONTENT, sent=300_000), answer(200, CONTENT)]
    done = download(source(server.url), tmp_path / "a.pth", backoff_s=0)
    assert done.read_bytes() == CONTENT
    assert "Range" in server.requests[1]
    assert "If-Range" not in server.requests[1]


def test_errors_that_may_pass_are_tried_again(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(500), answer(503), answer(429), answer(200, CONTENT)]
    done = download(source(server.url), tmp_path / "a.pth", backoff_s=0)
    assert done.read_bytes() == CONTENT
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [403, 404, 410])
def test_errors_that_stay_are_reported_at_once(server: Any, tmp_path: Path, status: int) -> None:
    server.answers = [answer(status)]
    with pytest.raises(ReleaseError, match=rf"/a\.pth could not be fetched: HTTP {status}.*mirror"):
        download(source(server.url), tmp_path / "a.pth")
    assert len(server.requests) == 1


def test_a_wrong_checksum_removes_the_file_and_says_so(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, b"something else")]
    expected, got = (hashlib.sha256(c).hexdigest() for c in (CONTENT, b"something else"))
    with pytest.raises(ReleaseError, match=rf"/a\.pth .*{expected}, got {got}; .*--from-dir"):
        download(source(server.url), tmp_path / "out" / "a.pth")
    assert sizes(tmp_path / "out") == {}


def test_a_prefix_of_the_checksum_and_a_second_checksum_both_count(
    server: Any, tmp_path: Path
) -> None:
    server.answers = [answer(200, CONTENT)]
    known = {"sha256": None, "sha256_prefix": hashlib.sha256(CONTENT).hexdigest()[:8]}
    right = hashlib.sha512(CONTENT).hexdigest()
    download(source(server.url, **known, sha512=right), tmp_path / "a.pth")
    with pytest.raises(ReleaseError, match="expected sha512"):
        download(source(server.url, **known, sha512="0" * 128), tmp_path / "b.pth")
    with pytest.raises(ReleaseError, match="expected sha256 beginning with 00000000"):
        download(source(server.url, sha256=None, sha256_prefix="0" * 8), tmp_path / "b.pth")


def test_a_truncated_file_is_continued_where_the_size_is_known(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, CONTENT[:100_000], ETag='"v"'), ranges(CONTENT, '"v"')]
    known = source(server.url, size_bytes=len(CONTENT))
    assert download(known, tmp_path / "a.pth", backoff_s=0).read_bytes() == CONTENT
    server.answers = [answer(200, CONTENT[:100_000])]
    with pytest.raises(ReleaseError, match="only a part of the file"):
        download(known, tmp_path / "b.pth", attempts=2, backoff_s=0)


def test_a_complete_part_is_accepted_and_an_overlong_one_fetched_again(
    server: Any, tmp_path: Path
) -> None:
    server.answers = [ranges(CONTENT, '"v"')]
    for kept in (CONTENT, CONTENT + b"more"):
        (tmp_path / "a.pth.part").write_bytes(kept)
        done = download(source(server.url), tmp_path / "a.pth", backoff_s=0)
        assert done.read_bytes() == CONTENT
        done.unlink()


@pytest.mark.parametrize("fields", [{"size_bytes": 1000}, {}])
def test_a_file_that_is_too_large_is_refused(
    server: Any, tmp_path: Path, fields: dict[str, int]
) -> None:
    server.answers = [answer(200, CONTENT)]
    with pytest.raises(ReleaseError, match="larger than the 1000 bytes"):
        download(source(server.url, **fields), tmp_path / "out" / "a.pth", max_bytes=1000)
    assert sizes(tmp_path / "out") == {}


def test_no_connection_and_no_address_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="in 2 attempts"):
        download(source("http://127.0.0.1:9"), tmp_path / "a.pth", attempts=2, backoff_s=0)
    with pytest.raises(ReleaseError, match="'http://' or 'https://'"):
        download(source("http://127.0.0.1:9"), tmp_path / "a.pth", url="mirror/a.pth")


def test_offline_never_asks_the_server(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    with pytest.raises(ReleaseError, match=r"DESMEZCLA_OFFLINE forbids.*--from-dir"):
        download(source(server.url), tmp_path / "a.pth")
    assert server.requests == []


def test_a_folder_that_cannot_be_written_is_reported(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ReleaseError, match="cannot be written"):
        download(source(server.url), tmp_path / "file" / "a.pth")


def test_two_at_once_fetch_it_once(server: Any, tmp_path: Path) -> None:
    server.answers = [answer(200, CONTENT)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(download, source(server.url), tmp_path / "out" / "a.pth") for _ in range(4)
        ]
        assert [job.result().read_bytes() == CONTENT for job in jobs] == [True] * 4
    assert len(server.requests) == 1
    assert sizes(tmp_path / "out") == {"a.pth": len(CONTENT)}


def test_a_killed_process_leaves_no_file_and_the_next_one_continues(
    server: Any, tmp_path: Path
) -> None:
    killed = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        answer(200, CONTENT, sent=300_000, ETag='"v"')(handler)
        handler.wfile.flush()
        killed.wait(20)

    server.answers = [stall, ranges(CONTENT, '"v"')]
    target = tmp_path / "out" / "a.pth"
    script = (
        "import sys, pathlib\n"
        "from desmezcla.releases.catalog import SourceFile\n"
        "from desmezcla.releases.download import download\n"
        "source = SourceFile(url=sys.argv[1], sha256=sys.argv[2])\n"
        "tell = lambda n, total: print(n, flush=True)\n"
        "download(source, pathlib.Path(sys.argv[3]), progress=tell)\n"
    )
    wanted = source(server.url)
    arguments = [wanted.url, str(wanted.sha256), str(target)]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.kill()
    killed.set()
    assert not target.exists()
    have = (tmp_path / "out" / "a.pth.part").stat().st_size
    assert download(wanted, target).read_bytes() == CONTENT
    assert server.requests[1].get("Range") == (f"bytes={have}-" if have else None)
