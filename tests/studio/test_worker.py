"""What a worker does with a job that does not simply go well."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from desmezcla.studio.folders import Folders
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.studio.worker import Worker

MakeJob = Callable[..., Job]
Queued = Callable[..., Job]


@pytest.fixture
def folders(settings: Settings) -> Folders:
    return Folders(settings.data)


@pytest.fixture
def queued(store: JobStore, folders: Folders, song: bytes, make_job: MakeJob) -> Queued:
    """Return what puts a song into the queue and claims it."""

    def make(content: bytes = song, **values: Any) -> Job:
        job = make_job(**values)
        folders.upload(job.id, job.suffix).write_bytes(content)
        store.add(job)
        claimed = store.claim("worker-1")
        assert claimed is not None
        return claimed

    return make


def now(store: JobStore, job: Job) -> Job:
    found = store.get(job.id)
    assert found is not None
    return found


def left(folders: Folders, job: Job) -> list[str]:
    return [path.name for path in (folders.results / job.id).glob("*")]


def test_a_job_that_is_done_keeps_its_results_and_not_its_upload(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    worker.do(job)
    done = now(store, job)
    assert done.state == "done"
    assert left(folders, job) == ["1"]
    assert list(folders.uploads.iterdir()) == []
    files = [path for path in folders.attempt(job).rglob("*") if path.is_file()]
    assert done.bytes == sum(path.stat().st_size for path in files)


def test_a_cancelled_job_stops_and_leaves_nothing(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    store.cancel(job.id)
    worker.do(job)
    assert now(store, job).state == "cancelled"
    assert left(folders, job) == []
    assert folders.upload(job.id, job.suffix).exists()  # to try again


def test_a_worker_told_to_leave_puts_its_job_back(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    worker.leaving.set()
    worker.do(job)
    again = now(store, job)
    assert (again.state, again.worker, again.deaths) == ("waiting", None, 0)
    assert left(folders, job) == []


def test_a_job_that_another_has_taken_is_let_go(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    store.reclaim("worker-1")
    other = store.claim("worker-2")
    assert other is not None
    folders.attempt(other).mkdir(parents=True)
    worker.do(job)
    held = now(store, job)
    assert (held.state, held.worker, held.attempt) == ("running", "worker-2", 2)
    assert left(folders, job) == ["2"]


def test_a_deleted_job_leaves_nothing(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    store.delete(job.id)
    folders.remove(job)
    worker.do(job)
    assert store.get(job.id) is None
    assert left(folders, job) == []


def test_a_song_that_cannot_be_read_fails_under_its_own_name(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued(b"RIFF no song", name="My song.wav")
    worker.do(job)
    failed = now(store, job)
    assert failed.state == "failed"
    assert "'My song.wav' is not audio" in str(failed.error)
    assert str(folders.uploads) not in str(failed.error)
    assert left(folders, job) == []


def test_an_unexpected_error_is_one_of_the_job_only(
    worker: Worker,
    store: JobStore,
    queued: Queued,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = queued()
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_measure", lambda *_: 1 / 0)
        worker.do(job)
    failed = now(store, job)
    assert failed.error == "ZeroDivisionError: this is a fault of desmezcla, please report it"
    assert "division by zero" in caplog.text  # for who runs the server
    other = queued()
    worker.do(other)
    assert now(store, other).state == "done"


def test_progress_grows_to_the_end(
    worker: Worker, store: JobStore, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    note = store.__class__.progress

    def progress(self: JobStore, job: Job, fraction: float, eta_s: float | None) -> bool | None:
        told.append(fraction)
        return note(self, job, fraction, eta_s)

    monkeypatch.setattr(JobStore, "progress", progress)
    monkeypatch.setattr("desmezcla.studio.worker._WRITE_S", 0.0)
    worker.do(queued())
    assert len(told) >= 3
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] < 1


def test_the_model_stays_loaded_between_jobs(worker: Worker, queued: Queued) -> None:
    worker.do(queued())
    first = worker._separator
    worker.do(queued())
    assert worker._separator is first
    assert first is not None


def test_the_record_calls_the_song_by_its_name(
    worker: Worker, folders: Folders, queued: Queued
) -> None:
    job = queued(name="Ñandú.wav")
    worker.do(job)
    record = json.loads((folders.attempt(job) / "separation.json").read_text())
    assert record["input"]["name"] == "Ñandú.wav"


def test_no_attempt_goes_where_another_was(
    worker: Worker, store: JobStore, folders: Folders, queued: Queued
) -> None:
    job = queued()
    folders.attempt(job).mkdir(parents=True)
    worker.do(job)
    assert now(store, job).state == "failed"


def test_a_full_disk_is_told(
    worker: Worker, store: JobStore, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("desmezcla.studio.worker.make_preview", full)
    job = queued()
    worker.do(job)
    assert "disk is full" in str(now(store, job).error)


def test_a_song_longer_than_it_said_must_still_fit_on_the_disk(
    settings: Settings, store: JobStore, queued: Queued
) -> None:
    worker = Worker("worker-1", settings.model_copy(update={"max_disk_bytes": 1_000_000}))
    job = queued(bytes=1000)
    worker.do(job)
    worker.store.close()
    failed = now(store, job)
    assert failed.state == "failed"
    assert "longer than it says" in str(failed.error)
