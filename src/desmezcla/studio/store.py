"""The queue: jobs in a database, handed to one worker at a time.

Every change of a job is one statement that names the state it starts from, so of two processes
that want the same thing one gets it and the other is told. That holds for SQLite and PostgreSQL
alike; nothing is kept in memory.
"""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import and_, case, delete, func, select, update
from sqlalchemy.orm import sessionmaker

from desmezcla.studio.database import open_database
from desmezcla.studio.settings import Settings
from desmezcla.studio.tables import ACTIVE, ENDED, Job, WorkerRow


class JobStore:
    """The jobs of a server. Its methods may be called from any thread.

    Args:
        url: Address of the database.
        lease_s: How long a worker may be silent.
        max_deaths: Workers that may die at a job before it is given up.
        clock: Tells the time, in seconds since 1970.

    Errors:
        DesmezclaError: if the database cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        lease_s: float = 15.0,
        max_deaths: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lease_s = lease_s
        self._max_deaths = max_deaths
        self._clock = clock
        self._engine = open_database(url)
        self._session = sessionmaker(self._engine, expire_on_commit=False)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # What the web process asks and changes.

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        job.created_s = job.changed_s = self._clock()
        with self._session.begin() as session:
            session.add(job)

    def get(self, job_id: str) -> Job | None:
        """Return a job as it is now, None if there is none."""
        with self._session() as session:
            return session.get(Job, job_id)

    def of_client(self, client: str, *, limit: int = 100) -> list[Job]:
        """Return the jobs of a client, the latest first."""
        query = select(Job).where(Job.client == client).order_by(Job.created_s.desc()).limit(limit)
        return self._all(query)

    def changed_since(self, since_s: float) -> list[Job]:
        """Return the jobs that were changed at a time or later."""
        return self._all(select(Job).where(Job.changed_s >= since_s))

    def counts(self, client: str) -> tuple[int, int, int]:
        """Return the active jobs of a client, those of all, and the bytes that all jobs need."""
        active = Job.state.in_(ACTIVE)
        query = select(
            func.coalesce(func.sum(case((and_(active, Job.client == client), 1), else_=0)), 0),
            func.coalesce(func.sum(case((active, 1), else_=0)), 0),
            func.coalesce(func.sum(Job.bytes), 0),
        )
        with self._session() as session:
            mine, everyone, size = session.execute(query).one()
        return int(mine), int(everyone), int(size)

    def health(self) -> tuple[int, int, int]:
        """Return the number of workers that live, of jobs that wait, and of jobs that run."""
        with self._session() as session:
            alive = select(func.count()).where(WorkerRow.seen_s >= self._clock() - self._lease_s)
            query = select(Job.state, func.count()).group_by(Job.state)
            states = {row[0]: row[1] for row in session.execute(query)}
            workers = session.scalars(alive).one()
        return workers, states.get("waiting", 0), states.get("running", 0)

    def cancel(self, job_id: str) -> bool:
        """Stop a job: at once if it waits, soon if it runs. False if it had ended already."""
        stopped = self._change(
            job_id, Job.state == "waiting", state="cancelled", ended_s=self._clock()
        )
        return stopped or self._change(job_id, Job.state == "running", cancel=True)

    def retry(self, job_id: str) -> bool:
        """Put a job that failed or was cancelled into the queue again. False if it had not."""
        return self._change(
            job_id,
            Job.state.in_(("failed", "cancelled")),
            state="waiting",
            cancel=False,
            deaths=0,
            fraction=0.0,
            eta_s=None,
            error=None,
            started_s=None,
            ended_s=None,
        )

    def delete(self, job_id: str, *, only_ended: bool = False) -> bool:
        """Forget a job; a worker that has it finds out and stops. False if there is none."""
        gone = delete(Job).where(Job.id == job_id)
        if only_ended:
            gone = gone.where(Job.state.in_(ENDED))
        with self._session.begin() as session:
            return _rows(session.execute(gone)) == 1

    # What the supervisor does.

    def reclaim(self, worker: str | None = None) -> int:
        """Take the jobs of dead workers back into the queue, or end them; return how many.

        Args:
            worker: One that is known to be dead; None for all whose lease has run out.
        """
        now_s = self._clock()
        dead = Job.lease_until_s < now_s if worker is None else Job.worker == worker
        lost = and_(Job.state == "running", dead)
        ended = {"worker": None, "lease_until_s": None, "changed_s": now_s}
        reason = (
            f"{self._max_deaths} worker(s) died at it, perhaps for want of memory; try a shorter "
            "song or another release"
        )
        with self._session.begin() as session:
            if worker is not None:
                session.execute(delete(WorkerRow).where(WorkerRow.id == worker))
            cancelled = session.execute(
                update(Job)
                .where(lost, Job.cancel)
                .values(state="cancelled", ended_s=now_s, **ended)
            )
            failed = session.execute(
                update(Job)
                .where(lost, Job.deaths + 1 >= self._max_deaths)
                .values(state="failed", deaths=Job.deaths + 1, error=reason, ended_s=now_s, **ended)
            )
            again = session.execute(
                update(Job)
                .where(lost)
                .values(state="waiting", deaths=Job.deaths + 1, fraction=0.0, eta_s=None, **ended)
            )
        return _rows(cancelled) + _rows(failed) + _rows(again)

    def expired(self, keep_s: float) -> list[Job]:
        """Return the jobs that ended so long ago that they are not kept."""
        return self._all(
            select(Job).where(Job.state.in_(ENDED), Job.ended_s < self._clock() - keep_s)
        )

    def ids(self) -> set[str]:
        """Return the ids of all jobs."""
        with self._session() as session:
            return set(session.scalars(select(Job.id)))

    def forget_workers(self) -> None:
        """Remove the workers that have not been heard of for long."""
        with self._session.begin() as session:
            old_s = self._clock() - 10 * self._lease_s
            session.execute(delete(WorkerRow).where(WorkerRow.seen_s < old_s))

    # What a worker does.

    def claim(self, worker: str) -> Job | None:
        """Give the job that has waited longest to a worker; None if none waits."""
        now_s = self._clock()
        # PostgreSQL looks past what another worker is just taking; SQLite lets one in at a time.
        first = (
            select(Job.id)
            .where(Job.state == "waiting")
            .order_by(Job.created_s, Job.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        taken = (
            update(Job)
            .where(Job.id == first, Job.state == "waiting")
            .values(
                state="running",
                worker=worker,
                attempt=Job.attempt + 1,
                lease_until_s=now_s + self._lease_s,
                fraction=0.0,
                eta_s=None,
                started_s=now_s,
                changed_s=now_s,
            )
            .returning(Job)
        )
        with self._session.begin() as session:
            return session.scalars(taken).one_or_none()

    def seen(self, worker: str, job: Job | None) -> bool | None:
        """Note that a worker lives, and that it still has its job.

        Returns:
            Whether the job is to be stopped; None if it is no longer this worker's.
        """
        now_s = self._clock()
        with self._session.begin() as session:
            session.merge(WorkerRow(id=worker, seen_s=now_s))
            if job is None:
                return False
            kept = (
                update(Job)
                .where(*_held(job))
                .values(lease_until_s=now_s + self._lease_s)
                .returning(Job.cancel)
            )
            return session.scalars(kept).one_or_none()

    def progress(self, job: Job, fraction: float, eta_s: float | None) -> bool | None:
        """Note how far a job has come; the answer is `seen`'s."""
        now_s = self._clock()
        noted = (
            update(Job)
            .where(*_held(job))
            .values(
                fraction=fraction,
                eta_s=eta_s,
                lease_until_s=now_s + self._lease_s,
                changed_s=now_s,
            )
            .returning(Job.cancel)
        )
        with self._session.begin() as session:
            return session.scalars(noted).one_or_none()

    def reserve(self, job: Job, bytes: int) -> int:
        """Note what a job needs on the disk, and return what all jobs need."""
        with self._session.begin() as session:
            session.execute(update(Job).where(*_held(job)).values(bytes=bytes))
            return int(session.scalars(select(func.coalesce(func.sum(Job.bytes), 0))).one())

    def finish(self, job: Job, *, files: dict[str, str], bytes: int) -> bool:
        """Make the results of an attempt those of the job. False if it is not this worker's."""
        done = {"state": "done", "files": files, "bytes": bytes, "fraction": 1.0, "eta_s": 0.0}
        return self._end(job, ended_s=self._clock(), **done)

    def fail(self, job: Job, error: str) -> bool:
        """End a job with an error."""
        return self._end(job, state="failed", error=error, ended_s=self._clock())

    def stopped(self, job: Job) -> bool:
        """End a job because that was asked for."""
        return self._end(job, state="cancelled", ended_s=self._clock())

    def give_back(self, job: Job) -> bool:
        """Put a job back into the queue, because its worker is told to leave."""
        return self._end(job, state="waiting", fraction=0.0, eta_s=None)

    def _end(self, job: Job, **values: Any) -> bool:
        return self._change(job.id, *_held(job), worker=None, lease_until_s=None, **values)

    def _change(self, job_id: str, *rules: Any, **values: Any) -> bool:
        changed = (
            update(Job).where(Job.id == job_id, *rules).values(changed_s=self._clock(), **values)
        )
        with self._session.begin() as session:
            return _rows(session.execute(changed)) == 1

    def _all(self, query: Any) -> list[Job]:
        with self._session() as session:
            return list(session.scalars(query))


def open_store(settings: Settings) -> JobStore:
    """Open the queue of a server."""
    settings.data.mkdir(parents=True, exist_ok=True)
    return JobStore(settings.database_url, lease_s=settings.lease_s, max_deaths=settings.max_deaths)


def _held(job: Job) -> tuple[Any, ...]:
    """Return the rule by which a job is still in the hands of who claimed it."""
    return (
        Job.id == job.id,
        Job.state == "running",
        Job.worker == job.worker,
        Job.attempt == job.attempt,
    )


def _rows(result: Any) -> int:
    return int(result.rowcount)
