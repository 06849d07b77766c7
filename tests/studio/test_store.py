"""The queue: one job, one worker; nothing is lost, nothing is done twice."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Base, Job

MakeJob = Callable[..., Job]
LEASE_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        self.now_s += 0.001  # as in life, no two things happen at the same time
        return self.now_s


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'queue.sqlite'}"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(url: str, clock: Clock) -> Iterator[JobStore]:
    opened = JobStore(url, lease_s=LEASE_S, max_deaths=2, clock=clock)
    yield opened
    Base.metadata.drop_all(opened._engine)
    opened.close()


def added(queue: JobStore, make_job: MakeJob, **values: object) -> str:
    job = make_job(**values)
    queue.add(job)
    return job.id


def claimed(queue: JobStore, worker: str = "w") -> Job:
    job = queue.claim(worker)
    assert job is not None
    return job


def state_of(queue: JobStore, job_id: str) -> str:
    job = queue.get(job_id)
    assert job is not None
    return job.state


def test_jobs_are_handed_out_in_their_order_and_once(queue: JobStore, make_job: MakeJob) -> None:
    ids = [added(queue, make_job) for _ in range(3)]
    assert [claimed(queue).id for _ in ids] == ids
    assert queue.claim("w") is None


def test_many_workers_at_once_never_get_the_same_job(url: str, make_job: MakeJob) -> None:
    stores = [JobStore(url) for _ in range(4)]
    ids = {added(stores[0], make_job) for _ in range(40)}
    got: list[str] = []

    def take(store: JobStore, name: str) -> None:
        while (job := store.claim(name)) is not None:
            got.append(job.id)

    threads = [
        threading.Thread(target=take, args=(store, f"w{number}"))
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(ids)
    Base.metadata.drop_all(stores[0]._engine)
    for store in stores:
        store.close()


def test_only_who_holds_a_job_can_end_it(queue: JobStore, make_job: MakeJob, clock: Clock) -> None:
    job_id = added(queue, make_job)
    first = claimed(queue, "first")
    clock.now_s += LEASE_S + 1
    assert queue.reclaim() == 1
    second = claimed(queue, "second")
    assert (first.attempt, second.attempt) == (1, 2)
    assert queue.progress(first, 0.5, 1.0) is None
    assert queue.seen("first", first) is None
    assert not queue.finish(first, files={"vocals": "vocals.wav"}, bytes=1)
    assert not queue.fail(first, "no")
    assert not queue.give_back(first)
    assert queue.finish(second, files={"vocals": "vocals.wav"}, bytes=1)
    assert not queue.finish(second, files={}, bytes=2)
    job = queue.get(job_id)
    assert job is not None
    assert (job.state, job.attempt, job.bytes) == ("done", 2, 1)


@pytest.mark.parametrize("sign", ["progress", "seen"])
def test_a_sign_of_life_keeps_a_job(
    queue: JobStore, make_job: MakeJob, clock: Clock, sign: str
) -> None:
    added(queue, make_job)
    job = claimed(queue)
    for _ in range(3):
        clock.now_s += 0.9 * LEASE_S
        kept = queue.progress(job, 0.1, None) if sign == "progress" else queue.seen("w", job)
        assert kept is False
        assert queue.reclaim() == 0
    clock.now_s += 1.1 * LEASE_S
    assert queue.reclaim() == 1


def test_a_worker_known_to_be_dead_loses_its_job_at_once(
    queue: JobStore, make_job: MakeJob
) -> None:
    mine, other = added(queue, make_job), added(queue, make_job)
    claimed(queue, "dead"), claimed(queue, "alive")
    assert queue.reclaim("dead") == 1
    assert (state_of(queue, mine), state_of(queue, other)) == ("waiting", "running")


def test_a_job_at_which_workers_die_is_given_up(queue: JobStore, make_job: MakeJob) -> None:
    job_id = added(queue, make_job)
    for worker in ("first", "second"):
        claimed(queue, worker)
        queue.reclaim(worker)
    job = queue.get(job_id)
    assert job is not None
    assert job.state == "failed"
    assert "2 worker(s) died at it" in str(job.error)
    assert queue.retry(job_id)
    assert claimed(queue).attempt == 3


def test_a_worker_that_leaves_gives_its_job_back(queue: JobStore, make_job: MakeJob) -> None:
    added(queue, make_job)
    for _ in range(5):  # which is no fault of the job
        assert queue.give_back(claimed(queue))
    assert claimed(queue).attempt == 6


def test_cancelling(queue: JobStore, make_job: MakeJob) -> None:
    waiting = added(queue, make_job)
    assert queue.cancel(waiting)
    assert state_of(queue, waiting) == "cancelled"
    running = added(queue, make_job)
    job = claimed(queue)
    assert job.id == running
    assert queue.cancel(running)
    assert queue.progress(job, 0.5, None) is True
    assert queue.stopped(job)
    assert state_of(queue, running) == "cancelled"
    assert not queue.cancel(running)
    assert queue.retry(running)
    assert queue.progress(claimed(queue), 0.5, None) is False


def test_a_cancelled_job_of_a_dead_worker_is_cancelled(queue: JobStore, make_job: MakeJob) -> None:
    job_id = added(queue, make_job)
    claimed(queue, "w")
    queue.cancel(job_id)
    queue.reclaim("w")
    assert state_of(queue, job_id) == "cancelled"


def test_a_deleted_job_is_lost_to_its_worker(queue: JobStore, make_job: MakeJob) -> None:
    job_id = added(queue, make_job)
    job = claimed(queue)
    assert queue.delete(job_id)
    assert not queue.delete(job_id)
    assert queue.progress(job, 0.5, None) is None
    assert not queue.finish(job, files={}, bytes=0)
    assert queue.get(job_id) is None


def test_what_is_retried_is_not_cleared_away(queue: JobStore, make_job: MakeJob) -> None:
    job_id = added(queue, make_job)
    queue.cancel(job_id)
    queue.retry(job_id)
    assert not queue.delete(job_id, only_ended=True)
    queue.cancel(job_id)
    assert queue.delete(job_id, only_ended=True)


def test_only_what_failed_or_was_cancelled_is_retried(queue: JobStore, make_job: MakeJob) -> None:
    job_id = added(queue, make_job)
    assert not queue.retry(job_id)
    job = claimed(queue)
    assert not queue.retry(job_id)
    queue.finish(job, files={}, bytes=0)
    assert not queue.retry(job_id)


def test_counts_and_health(queue: JobStore, make_job: MakeJob, clock: Clock) -> None:
    for client, size in (("a", 10), ("a", 20), ("b", 5)):
        added(queue, make_job, client=client, bytes=size)
    queue.seen("w", None)
    job = claimed(queue)
    assert queue.counts("a") == (2, 3, 35)
    assert queue.health() == (1, 2, 1)
    queue.finish(job, files={}, bytes=1)
    assert queue.counts("a") == (1, 2, 26)
    clock.now_s += 11 * LEASE_S
    assert queue.health()[0] == 0
    queue.forget_workers()
    with queue._engine.connect() as connection:
        assert connection.execute(text("select count(*) from workers")).scalar() == 0


def test_what_has_changed_and_what_is_over(
    queue: JobStore, make_job: MakeJob, clock: Clock
) -> None:
    old, new = added(queue, make_job), added(queue, make_job)
    clock.now_s += 100
    job = claimed(queue)
    assert [found.id for found in queue.changed_since(clock.now_s - 50)] == [old]
    queue.finish(job, files={}, bytes=0)
    clock.now_s += 100
    assert [found.id for found in queue.expired(50)] == [old]
    assert queue.expired(150) == []
    assert [found.id for found in queue.of_client("client")] == [new, old]
    assert queue.ids() == {old, new}


@pytest.mark.parametrize("url", ["nonsense", "mysql+nothing://host/name"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ParameterError, match=r"postgresql\+psycopg://user@host/name"):
        JobStore(url)


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    with pytest.raises(DesmezclaError, match="cannot be opened"):
        JobStore(f"sqlite:///{tmp_path / 'queue'}")
    pytest.importorskip("psycopg", reason="needs the driver of PostgreSQL")
    with pytest.raises(DesmezclaError, match="cannot be opened") as caught:
        JobStore("postgresql+psycopg://user:secret@127.0.0.1:1/name")
    assert "secret" not in str(caught.value)
