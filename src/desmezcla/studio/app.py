"""The application: API, pages and live tab, with nothing behind them that computes."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from desmezcla.releases.store import list_releases
from desmezcla.studio.api import Api
from desmezcla.studio.bulletin import Bulletin
from desmezcla.studio.folders import Folders
from desmezcla.studio.intake import Intake
from desmezcla.studio.live import Live
from desmezcla.studio.pages import StudioPages, swagger_folder
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.web.app import EXPLAINED, explained, make_app, told

_HERE = Path(__file__).parent
_ABOUT = """Separates songs into stems.

Send a song to `POST /api/jobs`, follow it at `/api/jobs/{id}/events` or ask for `/api/jobs/{id}`
until its `state` is `done`, and fetch what `links` names. The id is all that is needed to read a
job, so keep it to yourself."""


def studio_app(
    settings: Settings, store: JobStore, *, host: str = "127.0.0.1", token: str | None = None
) -> FastAPI:
    """Return the application.

    Args:
        settings: Of the server.
        store: The queue.
        host: The address that it will listen at.
        token: What requests must show, or None.
    """
    static = {"/static/studio": _HERE / "static"}
    if (swagger := swagger_folder()) is not None:
        static["/static/swagger"] = swagger
    app = make_app("desmezcla", host=host, token=token, static=static, description=_ABOUT)
    folders = Folders(settings.data)
    pages = StudioPages(settings, store)
    api = Api(
        settings,
        store,
        folders,
        Bulletin(store),
        Intake(settings, store, folders),
        list_releases,
    )
    app.include_router(api.router())
    app.include_router(Live(settings).router())
    app.include_router(pages.router())
    for kind in EXPLAINED:
        app.add_exception_handler(kind, _explaining(pages))
    return app


def _explaining(pages: StudioPages) -> Callable[[Request, Any], Awaitable[Response]]:
    async def explain(request: Request, error: Exception) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "")
        if wants_page and not request.url.path.startswith("/api/"):
            return pages.problem(request, *told(error))
        return await explained(request, error)

    return explain
