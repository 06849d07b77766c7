import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from desmezcla.datasets import download
from desmezcla.datasets.download import (
    ARCHIVES,
    RECORD_FILE,
    DatasetArchive,
    dataset_archive,
    download_dataset,
)
from desmezcla.errors import DatasetError, ParameterError

VOCALS = random.Random(0).randbytes(400_000)


def zipped() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as content:
        content.writestr("train/Song/vocals.wav", VOCALS)
        content.writestr("test/Song/vocals.wav", b"short")
    return memory.getvalue()


CONTENT = zipped()
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """Gives its answers one after the other, the last one for ever, and keeps the requests."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append({"path": self.path, **self.headers})
            served.answers[min(len(served.requests), len(served.answers)) - 1](self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        served = Server(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield served
        listener.shutdown()
        thread.join()


def whole(content: bytes, *, sent: int | None = None) -> Answer:
    """Answer with all of the content, of which only `sent` bytes really come."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:sent])
        handler.close_connection = True

    return send


def rest(content: bytes) -> Answer:
    """Answer with what is asked for."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        begin = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[begin:])

    return send


@pytest.fixture(autouse=True)
def archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetArchive:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    for name in ("DESMEZCLA_MIRROR", "DESMEZCLA_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    archive = DatasetArchive(
        name="songs",
        description="Two songs",
        url=f"{server.url}/songs.zip",
        md5=hashlib.md5(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
    )
    monkeypatch.setitem(ARCHIVES, "songs", archive)
    return archive


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dataset_is_fetched_unpacked_and_recorded(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT)]
    seen: list[tuple[str, int, int | None]] = []
    folder = tmp_path / "data" / "my songs"
    done = download_dataset("songs", folder, progress=lambda *told: seen.append(told))
    assert done == folder
    assert (folder / "train/Song/vocals.wav").read_bytes() == VOCALS
    assert (folder / "test/Song/vocals.wav").read_bytes() == b"short"
    record = json.loads((folder / RECORD_FILE).read_text())
    assert record["url"].endswith("/songs.zip")
    assert "not for commercial use" in record["terms"]
    assert names(tmp_path / "data") == ["my songs"]
    assert [kind for kind, *_ in seen] == sorted(kind for kind, *_ in seen)
    assert seen[-1] == ("unpack", 400_005, 400_005)
    assert ("download", len(CONTENT), len(CONTENT)) in seen
    download_dataset("songs", folder)
    assert len(server.requests) == 1  # what is there is not fetched again


def test_a_cut_connection_is_continued(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT, sent=150_000), rest(CONTENT)]
    folder = download_dataset("songs", tmp_path / "songs", keep_archive=True)
    assert server.requests[1]["Range"] == "bytes=150000-"
    assert (folder / "train/Song/vocals.wav").read_bytes() == VOCALS
    assert (tmp_path / "songs.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [bytes(len(CONTENT)), CONTENT + b"more"])
def test_another_archive_is_refused(server: Server, tmp_path: Path, sent: bytes) -> None:
    server.answers = [whole(sent)]
    with pytest.raises(DatasetError, match=r"songs\.zip .*(wrong checksum|larger than)"):
        download_dataset("songs", tmp_path / "songs")
    assert not (tmp_path / "songs").exists()
    assert not (tmp_path / "songs.zip").exists()


def test_an_unsafe_archive_is_refused_though_its_checksum_is_right(
    server: Server, tmp_path: Path, archive: DatasetArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = CONTENT.replace(b"test/Song", b"../../evi")
    known = replace(archive, md5=hashlib.md5(evil).hexdigest(), size_bytes=len(evil))
    monkeypatch.setitem(ARCHIVES, "songs", known)
    server.answers = [whole(evil)]
    with pytest.raises(DatasetError, match="lies outside its folder"):
        download_dataset("songs", tmp_path / "songs")
    assert names(tmp_path) == ["home", "songs.zip"]


def test_unpacking_that_was_interrupted_goes_on_without_the_network(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [whole(CONTENT)]

    def interrupt(kind: str, done: int, total: int | None) -> None:
        if kind == "unpack":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_dataset("songs", tmp_path / "songs", progress=interrupt)
    assert not (tmp_path / "songs").exists()
    folder = download_dataset("songs", tmp_path / "songs")
    assert len(server.requests) == 1
    assert (folder / "train/Song/vocals.wav").read_bytes() == VOCALS
    assert names(tmp_path) == ["home", "songs", "songs.zip"]


def test_an_archive_that_is_there_is_used_and_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"OFFLINE forbids .* put it at '.*/songs\.zip'"):
        download_dataset("songs", tmp_path / "songs")
    (tmp_path / "songs.zip").write_bytes(CONTENT)
    folder = download_dataset("songs", tmp_path / "songs")
    assert (folder / "test/Song/vocals.wav").read_bytes() == b"short"
    assert names(tmp_path) == ["home", "songs", "songs.zip"]
    assert server.requests == []


def test_a_mirror_is_asked_instead(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT)]
    download_dataset("songs", tmp_path / "songs", mirror=f"{server.url}/copies/")
    assert server.requests[0]["path"] == "/copies/songs.zip"


def test_a_folder_with_something_else_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="holds something else than songs"):
        download_dataset("songs", tmp_path / "songs")
    assert names(tmp_path / "songs") == ["mine.wav"]
    assert server.requests == []


def test_a_disk_that_is_too_small_is_told_before_the_download(
    server: Server, tmp_path: Path, archive: DatasetArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHIVES, "songs", replace(archive, size_bytes=10**15))
    with pytest.raises(DatasetError, match=r"needs 2000000\.\d+ GB, but its disk has only"):
        download_dataset("songs", tmp_path / "songs")
    assert server.requests == []


def test_the_official_archives_are_known() -> None:
    with pytest.raises(ParameterError, match="one of musdb18hq, musdb18, musdb18-sample"):
        dataset_archive("musdb19")
    for name in ("musdb18hq", "musdb18", "musdb18-sample"):
        known = dataset_archive(name)
        assert known.url.startswith("https://zenodo.org/records/")
        assert len(bytes.fromhex(known.md5)) == 16
        assert "research and education" in known.terms
    assert download.dataset_archive("musdb18").filename == "musdb18.zip"
