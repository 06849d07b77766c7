"""Taking in a job: limits first, then the file, then what it is, then the queue."""

import collections
import contextlib
import secrets
import threading
from collections.abc import Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from desmezcla.errors import ParameterError
from desmezcla.studio.clients import client_of
from desmezcla.studio.folders import Folders, label_of, suffix_of
from desmezcla.studio.orders import estimated_bytes, read_order
from desmezcla.studio.probe import Prober
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.studio.uploads import Upload, received
from desmezcla.web.app import RequestError

# Files that come in at the same time; each is written to the disk as it comes.
_MOST_UPLOADS = 32
# Of one client; a page sends one song after the other.
_MOST_UPLOADS_OF_ONE = 8
# What a song is taken to last that does not say; the worker finds out.
_GUESS_S = 300.0


class Intake:
    """Takes in jobs.

    Args:
        settings: Of the server.
        store: The queue.
        folders: Where uploads are stored.
    """

    def __init__(self, settings: Settings, store: JobStore, folders: Folders) -> None:
        self._settings = settings
        self._store = store
        self._folders = folders
        self._prober = Prober(max_duration_s=settings.max_duration_s)
        self._adding = threading.Lock()
        self._uploads: collections.Counter[str] = collections.Counter()

    async def take(self, request: Request) -> Job:
        """Take in the job of a request.

        Errors:
            RequestError: if there is no room for it, or it cannot be done.
        """
        client = client_of(request)
        await run_in_threadpool(self._check_room, client, 0)
        job_id = secrets.token_urlsafe(16)
        path = self._folders.incoming(job_id)
        with self._uploading(client):
            async with received(request, path, max_bytes=self._settings.max_upload_bytes) as upload:
                job = await self._checked(job_id, client, upload)
                await run_in_threadpool(self._add, job)
        return job

    def again(self, job: Job) -> None:
        """Put a job that failed or was cancelled into the queue again.

        Errors:
            RequestError: if there is no room for it, or it has not ended so.
        """
        with self._adding:
            self._check_room(job.client, 0)
            if not self._folders.upload(job.id, job.suffix).is_file() or not self._store.retry(
                job.id
            ):
                raise RequestError(
                    409, f"the job is {job.state}; only what failed or was cancelled can be retried"
                )

    async def _checked(self, job_id: str, client: str, upload: Upload) -> Job:
        """Return the job of a whole upload, if it can be done."""
        name = label_of(upload.check())
        order = read_order(upload.fields)
        song = await self._prober.look(self._folders.incoming(job_id), name)
        try:
            order.fits(song)
        except ParameterError as error:
            raise RequestError(422, str(error)) from error
        duration_s = _GUESS_S if song.duration_s is None else song.duration_s
        samples = duration_s * song.sample_rate * song.channels
        results = estimated_bytes(samples, len(order.stems or order.of_model))
        return Job(
            id=job_id,
            client=client,
            name=name,
            suffix=suffix_of(name),
            model=order.model,
            format=order.format,
            stems=list(order.stems),
            duration_s=song.duration_s,
            state="waiting",
            bytes=results + upload.size_bytes,
        )

    def _add(self, job: Job) -> None:
        with self._adding:  # of two jobs for one free place, one is refused
            self._check_room(job.client, job.bytes)
            self._folders.incoming(job.id).rename(self._folders.upload(job.id, job.suffix))
            self._store.add(job)

    def _check_room(self, client: str, needed_bytes: int) -> None:
        settings = self._settings
        mine, everyone, size = self._store.counts(client)
        if mine >= settings.max_jobs_per_client:
            raise RequestError(
                429,
                f"you have {mine} jobs that wait or run, and {settings.max_jobs_per_client} are "
                "allowed; wait for one to end, or delete one",
            )
        if everyone >= settings.max_queue:
            raise RequestError(
                503, f"{everyone} jobs wait or run already, which is all that fit; try later"
            )
        if size + needed_bytes > settings.max_disk_bytes:
            raise RequestError(
                507,
                f"the server's disk is full: {size / 2**20:.0f} of "
                f"{settings.max_disk_bytes / 2**20:.0f} MiB are in use or promised, and this job "
                f"needs up to {needed_bytes / 2**20:.0f}; delete jobs, or try later",
            )

    @contextlib.contextmanager
    def _uploading(self, client: str) -> Iterator[None]:
        if self._uploads[client] >= _MOST_UPLOADS_OF_ONE:
            raise RequestError(
                429, f"you send {_MOST_UPLOADS_OF_ONE} files already; wait for one to end"
            )
        if self._uploads.total() >= _MOST_UPLOADS:
            raise RequestError(
                503, f"{_MOST_UPLOADS} files are being sent already; try again in a minute"
            )
        self._uploads[client] += 1
        try:
            yield
        finally:
            self._uploads[client] -= 1
            self._uploads += collections.Counter()  # which drops those at zero
