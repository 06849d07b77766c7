"""Workers are started, replaced when they die, and not too often."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from desmezcla.studio import supervisor
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.supervisor import Supervisor
from desmezcla.studio.tables import Job

Started = list[str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Let workers be processes that do nothing, and note their names."""
    names: Started = []

    def start(name: str, settings: Settings) -> "subprocess.Popen[str]":
        names.append(name)
        code = "import sys; sys.stdin.read()" if settings.device == "cpu" else "raise SystemExit(3)"
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)

    monkeypatch.setattr(supervisor, "_started", start)
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.02)
    return names


def until(wanted: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not wanted():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.02)


def test_as_many_workers_run_as_are_wanted(
    started: Started, settings: Settings, store: JobStore
) -> None:
    keeper = Supervisor(settings.model_copy(update={"workers": 3}), store)
    keeper.start()
    until(lambda: len(keeper.pids()) == 3)
    assert len(set(started)) == 3
    keeper.stop()
    assert keeper.pids() == []


def test_the_job_of_a_dead_worker_waits_again_before_its_lease_ends(
    started: Started,
    settings: Settings,
    store: JobStore,
    make_job: Callable[..., Job],
) -> None:
    keeper = Supervisor(settings.model_copy(update={"lease_s": 3600.0}), store)
    keeper.start()
    until(lambda: len(keeper.pids()) == 1)
    store.add(make_job())
    job = store.claim(started[0])
    assert job is not None
    (slot,) = keeper._slots
    assert slot.process is not None
    slot.process.kill()
    until(lambda: len(started) == 2)
    keeper.stop()
    again = store.get(job.id)
    assert again is not None
    assert (again.state, again.deaths) == ("waiting", 1)


def test_what_dies_at_once_is_not_started_all_the_time(
    started: Started, settings: Settings, store: JobStore
) -> None:
    keeper = Supervisor(settings.model_copy(update={"device": "none"}), store)
    keeper.start()
    time.sleep(2.5)
    keeper.stop()
    assert 1 <= len(started) <= 3


def test_a_queue_that_is_away_for_a_while_does_not_end_it(
    started: Started,
    settings: Settings,
    store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = Supervisor(settings.model_copy(update={"workers": 0}), store)
    looks: list[int] = []

    def reclaim() -> int:
        looks.append(1)
        if len(looks) == 1:
            raise ConnectionError("the database is away")
        return 0

    monkeypatch.setattr(store, "reclaim", reclaim)
    keeper.start()
    until(lambda: len(looks) >= 2)
    keeper.stop()
    assert "tries again" in caplog.text
