"""What has changed, told to those who follow jobs: one query for all of them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool

from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.web.app import RequestError

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
# Changes may be written down a little after the time that they are dated.
_OVERLAP_S = 5.0
# A job that was deleted does not show up as changed.
_ASK_S = 4.0


class _Follower:
    """One who follows jobs."""

    def __init__(self, wants: Callable[[Job], bool]) -> None:
        self.wants = wants
        self.queue: asyncio.Queue[Job] = asyncio.Queue()


class Bulletin:
    """Tells followers what has changed.

    Args:
        store: The queue.
        most: Followers at the same time.
    """

    def __init__(self, store: JobStore, *, most: int = 400) -> None:
        self._store = store
        self._most = most
        self._followers: set[_Follower] = set()
        self._looking: asyncio.Task[None] | None = None

    async def follow_job(self, job: Job) -> AsyncIterator[Job | None]:
        """Yield a job now and whenever it has changed, until it has ended; None if it is gone."""
        async for changed in self._follow(lambda other: other.id == job.id, [job.id]):
            yield changed
            if changed is None or changed.state not in ("waiting", "running"):
                return

    async def follow_client(self, client: str) -> AsyncIterator[Job | None]:
        """Yield every job of a client that changes, for as long as somebody listens."""
        async for changed in self._follow(lambda other: other.client == client, []):
            yield changed

    def check_room(self) -> None:
        """Refuse one follower too many."""
        if len(self._followers) >= self._most:
            raise RequestError(
                503, f"{self._most} clients follow jobs already; ask for the job itself, or later"
            )

    async def _follow(
        self, wants: Callable[[Job], bool], ids: list[str]
    ) -> AsyncIterator[Job | None]:
        follower = _Follower(wants)
        self._followers.add(follower)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        told: dict[str, tuple[object, ...]] = {}
        try:
            while True:
                for job in await self._news(follower, ids, first=not told):
                    if job is None:
                        yield None
                    elif told.get(job.id) != (now := _shown(job)):
                        told[job.id] = now
                        yield job
        finally:
            self._followers.discard(follower)

    async def _news(self, follower: _Follower, ids: list[str], *, first: bool) -> list[Job | None]:
        """Wait for changes; after some time without, see whether the job is still there."""
        if not (first and ids):
            try:
                return [await asyncio.wait_for(follower.queue.get(), _ASK_S)]
            except asyncio.TimeoutError:
                pass
        return [await run_in_threadpool(self._store.get, job_id) for job_id in ids]

    async def _look(self) -> None:
        since_s = time.time()
        while self._followers:
            try:
                now_s = time.time()
                changed = await run_in_threadpool(self._store.changed_since, since_s - _OVERLAP_S)
                since_s = now_s
                for follower in self._followers:
                    for job in filter(follower.wants, changed):
                        follower.queue.put_nowait(job)
            except Exception:
                _log.exception("the queue could not be read, and will be again")
                await asyncio.sleep(1.0)
            await asyncio.sleep(_LOOK_S)


def _shown(job: Job) -> tuple[object, ...]:
    return job.state, job.fraction, job.eta_s, job.error, job.attempt
