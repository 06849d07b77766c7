"""Storage as S3 has it, against a server that is killed and started again in the middle."""

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desmezcla.batch import storage
from desmezcla.batch.batching import run_batch
from desmezcla.batch.engines import Engine
from desmezcla.batch.track import BatchJob

from .conftest import WriteSongs, tree
from .doing import InsideEngine

pytest.importorskip("moto", reason="a server like S3")
s3fs = pytest.importorskip("s3fs", reason="what reaches S3")
pytest.importorskip("pyarrow", reason="the ledger needs the extra cluster")

# The packages' own business.
pytestmark = pytest.mark.filterwarnings("ignore")

INSIDE: dict[str, Any] = {"engine": InsideEngine()}

SERVER = Path(__file__).with_name("s3_server.py")


class Server:
    """moto's server in a process that can be killed."""

    def __init__(self, journal: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.journal = journal
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), str(self.port), str(self.journal)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(tmp_path / "journal")
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # the last one knew another server
    yield server
    server.kill()


def test_a_server_killed_in_the_middle_costs_nothing(
    server: Server, write_songs: WriteSongs, tmp_path: Path
) -> None:
    songs = write_songs(5)
    here = tmp_path / "here"
    assert run_batch(BatchJob("baseline", str(here)), str(songs[0].parent), _nothing, **INSIDE) == (
        5,
        0,
    )
    fs, _ = storage.open_storage("s3://bucket")
    fs.mkdir("bucket")
    for song in songs:
        storage.put(song, f"s3://bucket/music/{song.name}")
    restarts: list[threading.Timer] = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "file" and not restarts:
            server.kill()
            restarts.append(threading.Timer(3.0, server.start))
            restarts[0].start()

    job = BatchJob("baseline", "s3://bucket/out", patience_s=240)
    ended = run_batch(job, "s3://bucket/music", report, engine=Engine(jobs=2))
    restarts[0].join()
    assert ended == (5, 0)
    there = tmp_path / "there"
    fs.get("bucket/out/baseline", str(there / "baseline"), recursive=True)
    assert tree(there) == tree(here)
    assert not list(Path(tempfile.gettempdir()).iterdir())
    assert len(fs.ls("bucket/out/ledger")) == 1

    events: list[dict[str, Any]] = []
    assert run_batch(job, "s3://bucket/music", events.append, **INSIDE) == (5, 0)
    assert all(event["skipped"] for event in events if event["event"] == "file")
    assert not [e for e in events if e["event"] == "start" and e["input"] != job.out]


def test_a_server_that_stays_away_is_a_failure_with_its_reason(
    server: Server, write_songs: WriteSongs, tmp_path: Path
) -> None:
    (song,) = write_songs(1)
    fs, _ = storage.open_storage("s3://bucket")
    fs.mkdir("bucket")
    storage.put(song, "s3://bucket/song0.wav")
    table = tmp_path / "list.csv"
    table.write_text("path\ns3://bucket/song0.wav\ns3://bucket/missing.wav\n")
    job = BatchJob("baseline", str(tmp_path / "out"), patience_s=0.5)
    events: list[dict[str, Any]] = []
    assert run_batch(job, str(table), events.append, **INSIDE) == (1, 1)
    messages = [event["message"] for event in events if event["event"] == "error"]
    assert "'s3://bucket/missing.wav' does not exist" in messages[0]
    server.kill()
    table.write_text("path,track\ns3://bucket/song0.wav,again\n")
    events.clear()
    assert run_batch(job, str(table), events.append, **INSIDE) == (0, 1)
    (message,) = [event["message"] for event in events if event["event"] == "error"]
    assert "it was tried for" in message
    assert not list(Path(tempfile.gettempdir()).iterdir())


def _nothing(event: dict[str, Any]) -> None:
    pass
