"""The REST API."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from sse_starlette import EventSourceResponse, JSONServerSentEvent

from desmezcla.studio.answers import (
    HealthAnswer,
    JobAnswer,
    ModelAnswer,
    Problem,
    job_answer,
    model_answer,
)
from desmezcla.studio.archive import zipped
from desmezcla.studio.bulletin import Bulletin
from desmezcla.studio.clients import named_client
from desmezcla.studio.folders import Folders
from desmezcla.studio.intake import Intake
from desmezcla.studio.preview import FACTS_FILE, picture_file, samples_file
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.studio.worker import PREVIEW, RECORD_FILE
from desmezcla.version import VERSION
from desmezcla.web.app import RequestError

_PING_S = 15

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The song, in any format with sound.",
                        },
                        "model": {
                            "type": "string",
                            "default": "default",
                            "description": "Release; see /api/models.",
                        },
                        "format": {
                            "type": "string",
                            "default": "wav",
                            "description": "wav, flac, mp3, ogg, opus, m4a, alac or stem.mp4.",
                        },
                        "stems": {
                            "type": "string",
                            "default": "",
                            "description": "As in vocals,drums; all if not given.",
                        },
                    },
                }
            }
        },
    }
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in statuses}


def _content(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


@dataclass(frozen=True)
class Api:
    """The answers of the API.

    Attributes:
        settings: Of the server.
        store: The queue.
        folders: Where the files are.
        bulletin: Tells what changes.
        intake: Takes in jobs.
        releases: Tells the releases that there are.
    """

    settings: Settings
    store: JobStore
    folders: Folders
    bulletin: Bulletin
    intake: Intake
    releases: Callable[[], list[Any]]

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/api")
        job, add = "/jobs/{job_id}", router.add_api_route
        missing, events = _problems(404), _content("text/event-stream")
        add("/health", self.health, response_model=HealthAnswer)
        add("/models", self.models, response_model=list[ModelAnswer])
        add("/events", self.events, responses=events | _problems(503), response_class=Response)
        add("/jobs", self.jobs, response_model=list[JobAnswer])
        add(
            "/jobs",
            self.create,
            methods=["POST"],
            status_code=202,
            response_model=JobAnswer,
            responses=_problems(400, 408, 413, 415, 422, 429, 503, 507),
            openapi_extra=FORM,
        )
        add(job, self.job, response_model=JobAnswer, responses=missing)
        add(job, self.delete, methods=["DELETE"], status_code=204, responses=missing)
        add(
            f"{job}/events",
            self.job_events,
            responses=events | _problems(404, 503),
            response_class=Response,
        )
        changing = _problems(404, 409, 429, 503, 507)
        for path, change in (("/cancel", self.cancel), ("/retry", self.retry)):
            add(
                job + path,
                change,
                methods=["POST"],
                response_model=JobAnswer,
                responses=changing,
            )
        absent, plain = _problems(404, 409, 416), "application/octet-stream"
        files: tuple[tuple[str, Callable[..., Response], str], ...] = (
            ("/stems/{stem}", self.stem, "audio/*"),
            ("/archive", self.archive, "application/zip"),
            ("/preview", self.preview, "application/json"),
            ("/preview/{stem}/samples", self.samples, plain),
            ("/preview/{stem}/spectrogram", self.spectrogram, plain),
        )
        for path, answer, kind in files:
            add(job + path, answer, responses=_content(kind) | absent, response_class=Response)
        return router

    def health(self) -> HealthAnswer:
        """Say whether workers live, and how long the queue is."""
        workers, waiting, running = self.store.health()
        return HealthAnswer(
            status="ok" if workers else "no workers",
            version=VERSION,
            workers=workers,
            waiting=waiting,
            running=running,
        )

    def models(self) -> list[ModelAnswer]:
        """List the releases."""
        return [model_answer(info) for info in self.releases()]

    async def create(self, request: Request) -> Any:
        """Send a song to be separated."""
        try:
            job = await self.intake.take(request)
        except RequestError as error:
            # What is left of the file is not waited for.
            return JSONResponse(
                {"detail": str(error)}, error.status, headers={"Connection": "close"}
            )
        answer = job_answer(job, self.settings).model_dump(mode="json")
        return JSONResponse(answer, 202, headers={"Location": f"/api/jobs/{job.id}"})

    def jobs(self, request: Request) -> list[JobAnswer]:
        """List one's own jobs, the latest first: those sent with the page's cookie."""
        client = named_client(request)
        found = [] if client is None else self.store.of_client(client)
        return [job_answer(job, self.settings) for job in found]

    def job(self, job_id: str) -> JobAnswer:
        """Say how a job is."""
        return job_answer(self._find(job_id), self.settings)

    def delete(self, job_id: str) -> Response:
        """Remove a job and its files; if it waits or runs, it is stopped."""
        job = self._find(job_id)
        self.store.delete(job.id)
        self.folders.remove(job)
        return Response(status_code=204)

    def cancel(self, job_id: str) -> JobAnswer:
        """Stop a job that waits or runs; it can be retried."""
        job = self._find(job_id)
        if not self.store.cancel(job.id):
            raise RequestError(409, f"the job is {job.state} and cannot be stopped any more")
        return self.job(job_id)

    def retry(self, job_id: str) -> JobAnswer:
        """Put a job that failed or was cancelled into the queue again."""
        self.intake.again(self._find(job_id))
        return self.job(job_id)

    def job_events(self, job_id: str) -> Response:
        """Follow a job: an event `job` now and at every change, and `gone` if it is removed."""
        job = self._find(job_id)
        self.bulletin.check_room()
        return EventSourceResponse(self._events(self.bulletin.follow_job(job)), ping=_PING_S)

    def events(self, request: Request) -> Response:
        """Follow one's own jobs: an event `job` at every change of one of them."""
        self.bulletin.check_room()
        changes = self.bulletin.follow_client(named_client(request) or "")
        return EventSourceResponse(self._events(changes), ping=_PING_S)

    def stem(self, job_id: str, stem: str) -> Response:
        """Fetch the file of a stem."""
        job = self._done(job_id)
        path = self._file(job, job.files[self._stem(job, stem)])
        return FileResponse(path, filename=f"{Path(job.name).stem} - {path.name}")

    def archive(self, job_id: str) -> Response:
        """Fetch all files of a job, and the record of how they were made, as a zip."""
        job = self._done(job_id)
        names = [*dict.fromkeys(job.files.values()), RECORD_FILE]
        title = Path(job.name).stem
        files = [(f"{title}/{name}", self._file(job, name)) for name in names]
        disposition = f"attachment; filename*=utf-8''{quote(title, safe='')}.zip"
        return StreamingResponse(
            zipped(files),
            media_type="application/zip",
            headers={"Content-Disposition": disposition},
        )

    def preview(self, job_id: str) -> Response:
        """Fetch what the mixing desk shows: rate, length and waveforms."""
        job = self._done(job_id)
        return FileResponse(self._file(job, f"{PREVIEW}/{FACTS_FILE}"))

    def samples(self, job_id: str, stem: str) -> Response:
        """Fetch samples of a stem, with `Range` for a part: 16 bits, little-endian, interleaved."""
        return self._part(job_id, stem, samples_file)

    def spectrogram(self, job_id: str, stem: str) -> Response:
        """Fetch the spectrogram of a stem: a byte for each column and band, low bands first."""
        return self._part(job_id, stem, picture_file)

    def _part(self, job_id: str, stem: str, name: Callable[[str], str]) -> Response:
        job = self._done(job_id)
        path = self._file(job, f"{PREVIEW}/{name(self._stem(job, stem))}")
        return FileResponse(path, media_type="application/octet-stream")

    async def _events(self, changes: AsyncIterator[Job | None]) -> AsyncIterator[Any]:
        async for job in changes:
            if job is None:
                yield JSONServerSentEvent({}, event="gone")
                return
            answer = job_answer(job, self.settings).model_dump(mode="json")
            yield JSONServerSentEvent(answer, event="job")

    def _find(self, job_id: str) -> Job:
        job = self.store.get(job_id) if len(job_id) <= 32 and "\0" not in job_id else None
        if job is None:
            raise RequestError(
                404, "there is no such job: its address is wrong, or it is no longer kept"
            )
        return job

    def _done(self, job_id: str) -> Job:
        job = self._find(job_id)
        if job.state != "done":
            raise RequestError(409, f"the job is {job.state}; its files are there when it is done")
        return job

    def _stem(self, job: Job, stem: str) -> str:
        if stem not in job.files:
            raise RequestError(
                404, f"the job has no stem {stem[:40]!r}; it has {', '.join(job.files)}"
            )
        return stem

    def _file(self, job: Job, name: str) -> Path:
        path = self.folders.attempt(job) / name
        if not path.is_file():
            raise RequestError(404, "the files of the job are gone; send the song again")
        return path
