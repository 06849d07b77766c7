"""Whose jobs are whose: a cookie that nobody can guess, else the address, which is not stored."""

import hashlib
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "desmezcla_client"
_YEAR_S = 31_536_000
# Of this process only, so that what is stored does not tell an address.
_SALT = secrets.token_bytes(16)


def named_client(request: Request) -> str | None:
    """Return the name that a browser was given, None for one without."""
    given = request.cookies.get(COOKIE, "")
    return given if re.fullmatch(r"[\w-]{22}", given, re.ASCII) else None


def client_of(request: Request) -> str:
    """Return who sends a request, to count jobs; several clients may have one address."""
    if (name := named_client(request)) is not None:
        return name
    host = request.client.host if request.client is not None else ""
    return f"ip:{hashlib.blake2b(host.encode(), key=_SALT, digest_size=16).hexdigest()}"


def remember_client(request: Request, answer: Response) -> None:
    """Give a browser a name of its own, unless it has one."""
    if named_client(request) is None:
        answer.set_cookie(
            COOKIE,
            secrets.token_urlsafe(16),
            max_age=_YEAR_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
