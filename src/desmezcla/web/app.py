"""An application with guard, headers, static files, and errors that people can read."""

import logging
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.version import VERSION
from desmezcla.web.access import Guard
from desmezcla.web.headers import SecurityHeaders

_log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"


class RequestError(DesmezclaError):
    """A request that cannot be answered as it was asked.

    Args:
        status: The status of the answer, 400 to 599.
        message: What was given, the rule, and the remedy.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def make_app(
    title: str,
    *,
    host: str,
    token: str | None,
    static: Mapping[str, Path],
    open_paths: tuple[str, ...] = (),
    description: str = "",
) -> FastAPI:
    """Return an application without routes.

    Args:
        title: Name in the OpenAPI description.
        host: The address it will listen at.
        token: What requests must show, or None; see `access.Guard`.
        static: Folders that are served as they are, by the path they are served at.
        open_paths: Beginnings of paths that need no token; static files never do.
        description: Of the API.
    """
    # The pages for /docs of FastAPI load scripts from another host.
    app = FastAPI(
        title=title, version=VERSION, description=description, docs_url=None, redoc_url=None
    )
    folders = {"/static/web": STATIC, **static}
    for path, folder in folders.items():
        app.mount(path, StaticFiles(directory=folder), name=path)
    app.add_middleware(Guard, host=host, token=token, open_paths=(*folders, *open_paths))
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(DesmezclaError, _explained)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _explained(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RequestError):
        status = error.status
    else:
        status = 422 if isinstance(error, ParameterError) else 500
    return JSONResponse({"detail": str(error)}, status)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    message = f"{type(error).__name__}: this is a fault of desmezcla, please report it"
    return JSONResponse({"detail": message}, 500)
