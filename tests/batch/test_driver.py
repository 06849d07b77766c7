import logging
import multiprocessing
import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desmezcla.batch import processes
from desmezcla.batch.driver import Lost, Ready, drive
from desmezcla.batch.processes import LocalWorkers
from desmezcla.errors import DesmezclaError

from . import doing
from .doing import Pretending


def run(folder: Path, tasks: list[str], *, jobs: int = 2, **options: Any) -> doing.Handled:
    handled: doing.Handled = []
    workers = LocalWorkers(doing.make, (folder,), jobs=jobs)
    drive(workers, tasks, lambda *what: handled.append(what), name=str, **options)
    assert not multiprocessing.active_children()
    return handled


def ends(handled: doing.Handled) -> dict[str, tuple[str, int]]:
    """Return how each task ended, and for which time it was tried."""
    found = [(t, e, n) for t, e, n in handled if e["event"] in ("file", "error")]
    assert len(found) == len({task for task, _, _ in found})
    return {task: (event.get("message", "done"), n) for task, event, n in found}


def test_a_worker_that_dies_costs_only_the_task_it_had_which_is_done_by_another(
    tmp_path: Path,
) -> None:
    tasks = ["one", "kill once", "two", "three", "four"]
    ended = ends(run(tmp_path, tasks))
    assert ended == {task: ("done", 2 if "kill" in task else 1) for task in tasks}
    first, second = (tmp_path / "kill once").read_text().split()
    assert first != second
    for task in tasks:
        assert len((tmp_path / task).read_text().splitlines()) == (2 if "kill" in task else 1)


def test_a_task_that_takes_workers_along_is_set_aside(tmp_path: Path) -> None:
    ended = ends(run(tmp_path, ["kill always", "one"], attempts=2, jobs=1))
    assert ended["one"] == ("done", 1)
    message, attempts = ended["kill always"]
    assert attempts == 2
    assert message.startswith("2 worker(s) died of it, the last one so: ")
    assert "SIGKILL" in message
    assert len((tmp_path / "kill always").read_text().splitlines()) == 2


def test_errors_are_told_and_logs_passed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "desmezcla"):
        ended = ends(run(tmp_path, ["fail", "fault", "log"], jobs=1))
    assert ended["fail"] == ("fail cannot be done", 1)
    assert "ZeroDivisionError: too bad; this is a fault of desmezcla" in ended["fault"][0]
    assert "said by log" in caplog.messages


@pytest.mark.parametrize(
    ("make", "message"), [(doing.refuse, "the model is broken"), (doing.die, "exit code 3")]
)
def test_workers_that_cannot_start_are_an_error(make: Any, message: str) -> None:
    with pytest.raises(DesmezclaError, match=f"no worker can be started: .*{message}"):
        drive(LocalWorkers(make, (), jobs=1), ["one"], lambda *_: None, name=str)
    assert not multiprocessing.active_children()


def test_an_interruption_ends_the_workers(tmp_path: Path) -> None:
    def interrupt(task: str, event: dict[str, Any], attempt: int) -> None:
        if event["event"] == "progress":
            raise KeyboardInterrupt

    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        drive(LocalWorkers(doing.make, (tmp_path,), jobs=1), ["slow"], interrupt, name=str)
    assert not multiprocessing.active_children()
    assert time.monotonic() - start_s < 25  # it did not wait for the task


def test_no_more_tasks_are_read_than_there_are_workers_for_them() -> None:
    read = 0
    most = 0

    def tasks() -> Iterator[int | None]:
        nonlocal read
        for number in range(30):
            read += 1
            yield number
            yield None

    def handle(task: int, event: dict[str, Any], attempt: int) -> None:
        nonlocal most
        most = max(most, read - task)

    drive(Pretending(), tasks(), handle, name=str)
    assert read == 30
    assert most <= 2 * Pretending.slots


def test_a_hundred_thousand_tasks_take_no_memory() -> None:
    done = 0

    def handle(*_: object) -> None:
        nonlocal done
        done += 1

    tasks = (f"{number}" + "x" * 1000 for number in range(100_000))
    tracemalloc.start()
    try:
        drive(Pretending(), tasks, handle, name=str)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done == 100_000
    assert peak_bytes < 1 << 20  # all tasks have 100 MB


def test_slots_that_fail_now_and_then_are_started_again() -> None:
    class Flaky(Pretending):
        starts = 0

        def start(self, slot: int) -> None:
            self.starts += 1
            ready = self.starts % 2 == 0
            self.messages.append(Ready(slot) if ready else Lost(slot, "no luck"))

    seen: list[int] = []
    drive(Flaky(), range(20), lambda task, *_: seen.append(task), name=str)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize(
    ("before", "threads"),
    [({}, "4 4 4"), ({"OMP_NUM_THREADS": "1"}, "1 1 1"), ({"MKL_NUM_THREADS": "2"}, "4 4 2")],
)
def test_the_environment_limits_the_threads_of_workers(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], threads: str
) -> None:
    for name in processes._THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with processes._threads_of_processes(4):
        found = [os.environ[name] for name in processes._THREADS]
    assert found == threads.split()
    assert {n: os.environ[n] for n in processes._THREADS if n in os.environ} == before
