"""The pages that people see."""

import importlib.util
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from desmezcla.studio.answers import job_answer, model_answer
from desmezcla.studio.clients import remember_client
from desmezcla.studio.orders import DEFAULT_FORMAT, DEFAULT_MODEL, offered, offered_formats
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.web.app import RequestError
from desmezcla.web.pages import Pages

# What a browser can show of its own, and sends along when it asks for a page.
_HTML = "text/html"


class StudioPages:
    """Answers with pages.

    Args:
        settings: Of the server.
        store: The queue.
    """

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store
        self._pages = Pages(Path(__file__).parent)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, answer in (
            ("/", self.home),
            ("/jobs/{job_id}", self.job),
            ("/live", self.live),
            ("/docs", self.docs),
        ):
            router.add_api_route(path, answer, response_class=Response)
        return router

    def home(self, request: Request) -> Response:
        """Show the form for songs, and one's own jobs."""
        models = [model_answer(info) for info in offered()]
        answer = self._render(
            request,
            "home.html",
            models=models,
            formats=offered_formats(),
            default_model=DEFAULT_MODEL,
            default_format=DEFAULT_FORMAT,
            data={
                "models": [model.model_dump(mode="json") for model in models],
                "max_upload_bytes": self._settings.max_upload_bytes,
            },
            max_mib=self._settings.max_upload_bytes // 2**20,
            max_minutes=round(self._settings.max_duration_s / 60),
            keep_hours=round(self._settings.keep_s / 3600, 1),
        )
        remember_client(request, answer)
        return answer

    def job(self, request: Request, job_id: str) -> Response:
        """Show a job: its progress, then the mixing desk."""
        job = self._store.get(job_id) if len(job_id) <= 32 and "\0" not in job_id else None
        if job is None:
            raise RequestError(
                404, "there is no such job: its address is wrong, or it is no longer kept"
            )
        answer = job_answer(job, self._settings)
        return self._render(
            request, "job.html", job=answer, data={"job": answer.model_dump(mode="json")}
        )

    def live(self, request: Request) -> Response:
        """Show the live tab."""
        causal = [model_answer(info) for info in offered() if info.causal]
        answer = self._render(
            request,
            "live.html",
            models=causal,
            data={"models": [model.model_dump(mode="json") for model in causal]},
        )
        remember_client(request, answer)
        return answer

    def docs(self, request: Request) -> Response:
        """Show the description of the API."""
        return self._render(request, "docs.html", swagger=swagger_folder() is not None)

    def problem(self, request: Request, status: int, detail: str) -> Response:
        """Show what went wrong."""
        return self._render(request, "problem.html", status=status, detail=detail, code=status)

    def _render(self, request: Request, template: str, **values: Any) -> Response:
        return self._pages.render(request, template, **({"data": {}} | values))


def swagger_folder() -> Path | None:
    """Return the folder of Swagger UI, if it is installed: fastapi-offline carries its files."""
    found = importlib.util.find_spec("fastapi_offline")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "static"
