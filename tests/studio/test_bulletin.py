"""Who follows jobs is told what they are now, what changes, and when they are gone."""

import asyncio
from collections.abc import Callable

import pytest

from desmezcla.studio import bulletin
from desmezcla.studio.bulletin import Bulletin
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.web.app import RequestError

MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulletin, "_LOOK_S", 0.01)
    monkeypatch.setattr(bulletin, "_ASK_S", 0.3)


def test_a_job_is_followed_to_its_end(store: JobStore, make_job: MakeJob) -> None:
    job = make_job()
    store.add(job)

    async def follow() -> list[tuple[str, float]]:
        told = []
        async for now in Bulletin(store).follow_job(job):
            assert now is not None
            told.append((now.state, now.fraction))
            if now.state == "waiting":
                store.claim("w")
            elif now.fraction == 0:
                store.progress(now, 0.5, 1.0)
            else:
                store.finish(now, files={}, bytes=0)
        return told

    expected = [("waiting", 0.0), ("running", 0.0), ("running", 0.5), ("done", 1.0)]
    assert asyncio.run(asyncio.wait_for(follow(), 20)) == expected


def test_a_job_that_is_removed_is_gone(store: JobStore, make_job: MakeJob) -> None:
    job = make_job()
    store.add(job)

    async def follow() -> list[str | None]:
        told = []
        async for now in Bulletin(store).follow_job(job):
            told.append(None if now is None else now.state)
            store.delete(job.id)
        return told

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == ["waiting", None]


def test_a_client_hears_of_its_own_jobs(store: JobStore, make_job: MakeJob) -> None:
    async def follow() -> str:
        news = Bulletin(store).follow_client("mine")
        first = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0.05)
        for client in ("other", "mine"):
            store.add(make_job(id=client, client=client))
        told = await first
        await news.aclose()  # type: ignore[attr-defined]
        assert told is not None
        return told.id

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == "mine"


def test_one_too_many_is_refused(store: JobStore) -> None:
    async def follow() -> None:
        board = Bulletin(store, most=1)
        board.check_room()
        first = asyncio.ensure_future(anext(board.follow_client("a")))
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError, match="follow jobs already") as caught:
            board.check_room()
        assert caught.value.status == 503
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        board.check_room()

    asyncio.run(asyncio.wait_for(follow(), 20))
