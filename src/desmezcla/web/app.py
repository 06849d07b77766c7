"""An application with guard, headers, static files, and errors that people can read."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.version import VERSION
from desmezcla.web.access import Guard
from desmezcla.web.headers import SecurityHeaders
from desmezcla.web.pages import Pages
from desmezcla.web.refusals import HeardRefusals

_log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
# Errors that are told to whoever sent the request.
EXPLAINED = (DesmezclaError, HTTPException, RequestValidationError)


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
    # The last one that is added sees a request first.
    app.add_middleware(_Surprises)
    pages = Pages(STATIC.parent)
    app.add_middleware(
        Guard,
        host=host,
        token=token,
        open_paths=(*folders, *open_paths),
        entrance=lambda request: pages.render(request, "entrance.html", status=401),
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeardRefusals)
    for kind in EXPLAINED:
        app.add_exception_handler(kind, explained)
    return app


def told(error: Exception) -> tuple[int, str]:
    """Return the status and the text of an error that has a handler."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        return 422, findings(error)
    return (422 if isinstance(error, ParameterError) else 500), str(error)


def findings(error: RequestValidationError | ValidationError) -> str:
    """Return what is wrong with a request: places and rules, without what was sent."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


async def explained(request: Request, error: Exception) -> Response:
    """Answer an error as JSON."""
    status, detail = told(error)
    # In ASCII: a name that was sent may be what UTF-8 cannot hold.
    content = json.dumps({"detail": detail})
    headers = getattr(error, "headers", None)
    return Response(content, status, headers=headers, media_type="application/json")


class _Surprises:
    """Answers 500 where something went wrong that nobody thought of. An ASGI middleware.

    Handlers for `Exception` of Starlette stand before all middlewares, so that their answers had no
    security headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what has begun as an answer cannot be replaced, and is broken off."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            _log.error("%s failed", scope.get("path"), exc_info=error)
            if begun or scope["type"] != "http":
                raise
            message = f"{type(error).__name__}: this is a fault of desmezcla, please report it"
            await JSONResponse({"detail": message}, 500)(scope, receive, send)
