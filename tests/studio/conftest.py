import io
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from desmezcla.studio.app import studio_app
from desmezcla.studio.settings import Settings, make_settings
from desmezcla.studio.store import JobStore, open_store
from desmezcla.studio.tables import Job
from desmezcla.studio.worker import Worker

RATE = 44100
LOCAL = "http://127.0.0.1"

MakeSong = Callable[..., bytes]


def sound(
    samples: int = RATE, *, rate: int = RATE, channels: int = 2, format: str = "WAV"
) -> bytes:
    """Return a file of tones and noise."""
    time_s = np.arange(samples) / rate
    tones = np.sin(2 * np.pi * np.array([[220.0], [331.0]])[:channels] * time_s)
    noise = np.random.default_rng(0).standard_normal((channels, samples))
    file = io.BytesIO()
    soundfile.write(file, (0.3 * tones + 0.05 * noise).T, rate, format=format)
    return file.getvalue()


@pytest.fixture(scope="session")
def make_song() -> MakeSong:
    return sound


@pytest.fixture(scope="session")
def song(make_song: MakeSong) -> bytes:
    return make_song()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(data=tmp_path / "data", device="cpu", lease_s=5.0)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings, store: JobStore) -> Iterator[TestClient]:
    with TestClient(studio_app(settings, store), base_url=LOCAL) as opened:
        yield opened


@pytest.fixture
def make_client(store: JobStore) -> Iterator[Callable[[Settings], TestClient]]:
    """Return what makes a client of a server with other settings, but the same queue."""
    clients: list[TestClient] = []

    def make(settings: Settings, **options: Any) -> TestClient:
        client = TestClient(studio_app(settings, store, **options), base_url=LOCAL)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    """Return a worker in this process; it works when it is told to."""
    made = Worker("worker-1", settings)
    yield made
    made.store.close()


@pytest.fixture
def work(worker: Worker, store: JobStore) -> Callable[[], int]:
    """Return what does all jobs that wait, and tells how many."""

    def run() -> int:
        count = 0
        while (job := store.claim(worker.name)) is not None:
            worker.do(job)
            count += 1
        return count

    return run


@pytest.fixture
def make_job() -> Callable[..., Job]:
    def make(**values: Any) -> Job:
        fields: dict[str, Any] = {
            "id": secrets.token_urlsafe(16),
            "client": "client",
            "name": "song.wav",
            "suffix": ".wav",
            "model": "baseline",
            "format": "wav",
            "stems": [],
            "duration_s": 1.0,
            "state": "waiting",
        }
        return Job(**fields | values)

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server and return its address; skip where there is none."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("no PostgreSQL server is installed (initdb and postgres on the path)")
    folder = Path(tempfile.mkdtemp(prefix="desmezcla-pg-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    data, log = folder / "data", folder / "log"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    create = ["initdb", "-D", str(data), "-U", "desmezcla", "-A", "trust", "--no-sync"]
    subprocess.run(create, check=True, cwd=folder, **user, **quiet)
    options = f"-c listen_addresses= -k {folder} -c fsync=off"
    start = ["pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w"]
    subprocess.run([*start, "start"], check=True, cwd=folder, **user, **quiet)
    try:
        yield f"postgresql+psycopg://desmezcla@/postgres?host={folder}"
    finally:
        stop = ["pg_ctl", "-D", str(data), "-m", "immediate", "stop"]
        subprocess.run(stop, check=False, cwd=folder, **user, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


PATIENCE_S = 60.0
COMMAND = "import typer; from desmezcla.cli.serve import serve; typer.run(serve)"


@dataclass
class Server:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    address: str

    def end(self, sign: int) -> int:
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE_S)


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a server, on the same data each time."""
    servers: list[Server] = []

    def run(*options: str) -> Server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", COMMAND, "--port", "0", "--device", "cpu"),
                *("--data", str(tmp_path / "data"), *options),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        servers.append(Server(process, found[0]))
        return servers[-1]

    yield run
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        assert server.process.stderr is not None
        server.process.stderr.close()
