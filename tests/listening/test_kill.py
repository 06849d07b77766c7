"""Nothing that a listener was told is saved is lost, however the server ends."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import kill
from pathlib import Path

import httpx
import pytest

from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.store import Store

from .conftest import plain_design, written

KILLS = 50
LISTENERS = 3
TOKEN = "k" * 20

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="this system has no signal that cannot be caught"
)


@dataclass
class Respawning:
    """A server that comes back, and the process that serves now."""

    address: str
    process: "subprocess.Popen[str]"
    pids: list[int] = field(default_factory=list)

    def read_pids(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.pids.append(int(line))

    def kill(self) -> None:
        number = len(self.pids)
        kill(self.pids[-1], signal.SIGKILL)
        while len(self.pids) == number:
            time.sleep(0.001)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Respawning]:
    folder = written(plain_design(6, songs=5, stems=4), tmp_path / "t")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("respawning.py"))]
    with subprocess.Popen(
        [*command, str(folder), str(port), TOKEN], stdout=subprocess.PIPE, text=True
    ) as process:
        running = Respawning(f"http://127.0.0.1:{port}", process)
        reader = threading.Thread(target=running.read_pids)
        reader.start()
        try:
            yield running
        finally:
            process.kill()  # first, or it would start another one
            process.wait()
            reader.join(timeout=0)
            with contextlib.suppress(ProcessLookupError):
                kill(running.pids[-1], signal.SIGKILL)
            reader.join()


@dataclass
class Listener:
    """Gives answers as a page does: each is sent until it is acknowledged."""

    link: str
    seed: int
    acknowledged: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    count: int = 0
    given: int = 0
    tries: int = 0
    faults: list[str] = field(default_factory=list)

    def send(self, client: httpx.Client, item: str, scale: str, value: str, end: float) -> None:
        revision = self.acknowledged.get((item, scale), ("", 0))[1]
        self.given += 1
        body = {"value": value, "revision": revision, "change": f"{self.given:016x}"}
        while time.monotonic() < end:
            self.tries += 1
            try:
                answer = client.put(f"/api{self.link}/answers/{item}/{scale}", json=body)
            except httpx.TransportError:
                time.sleep(0.002)
                continue
            if answer.status_code != 200:
                self.faults.append(answer.text)
                return
            state = answer.json()
            if (state["value"], state["revision"]) != (value, revision + 1):
                self.faults.append(f"{body} was answered {state}")
            self.acknowledged[item, scale] = (value, revision + 1)
            self.count += 1
            return
        self.faults.append(f"no answer to {body}")

    def listen(self, address: str, stop: threading.Event) -> None:
        rng = random.Random(self.seed)
        end = time.monotonic() + 600
        with httpx.Client(base_url=address, timeout=10) as client:
            self.send(client, "consent", "agree", "yes", end)
            while not stop.is_set() and not self.faults:
                item, scale = f"t{rng.randint(1, 120)}", rng.choice(["quality", "contamination"])
                self.send(client, item, scale, str(rng.randint(1, 5)), end)


def wait_for_more(listeners: list[Listener], *, limit_s: float = 60) -> None:
    known = sum(one.count for one in listeners)
    end = time.monotonic() + limit_s
    while sum(one.count for one in listeners) == known:
        assert time.monotonic() < end, "nothing is answered any more"
        time.sleep(0.002)


def make_links(server: Respawning) -> list[str]:
    for _ in range(2000):
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(
                f"{server.address}/api/admin/listeners",
                json={"count": LISTENERS},
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
            return [str(link) for link in answer.json()]
        time.sleep(0.01)
    raise AssertionError("the server did not start")


def test_no_answer_is_lost_when_the_server_is_killed_fifty_times(
    server: Respawning, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    listeners = [Listener(link, seed) for seed, link in enumerate(make_links(server))]
    stop = threading.Event()
    threads = [
        threading.Thread(target=listener.listen, args=(server.address, stop), daemon=True)
        for listener in listeners
    ]
    for thread in threads:
        thread.start()
    rng = random.Random(0)
    for _ in range(KILLS):
        # It has answered since it started, however slow the machine is.
        wait_for_more(listeners)
        time.sleep(rng.uniform(0, 0.1))
        server.kill()
    time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert [fault for listener in listeners for fault in listener.faults] == []
    assert len(server.pids) == KILLS + 1
    server.kill()  # once more, so that nothing is tidied up before it is read
    given = sum(listener.given for listener in listeners)
    record_property("answers", given)
    record_property("sent again", sum(listener.tries for listener in listeners) - given)
    assert given >= KILLS
    with Store(tmp_path / "t" / ANSWERS_FILE) as store:
        for listener in listeners:
            state = store.listener(listener.link[3:])
            assert state is not None
            stored = {key: (one.value, one.revision) for key, one in state.answers.items()}
            assert stored == listener.acknowledged
            # Every answer once in the log, and none of them refused.
            changes = store.changes(listener.link[3:])
            assert len(changes) == listener.given
            assert all(accepted for *_, accepted in changes)
    assert read_design(tmp_path / "t").trials() == 120
