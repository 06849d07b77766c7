"""Who may talk to a server: hosts, tokens and the pages that requests come from."""

import hmac
import ipaddress
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from desmezcla.errors import ParameterError

COOKIE = "desmezcla_token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens at this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def check_token(host: str, token: str | None) -> None:
    """Refuse to be open to a network without a token.

    Args:
        host: The address to listen at.
        token: What requests must show, or None.

    Errors:
        ParameterError: if there is none but one is needed, or it is short enough to be guessed.
    """
    if token is None and not is_loopback(host):
        raise ParameterError(
            f"--host {host} can be reached from other machines, so a token is needed: add "
            f"--token {new_token()} (or another), or stay with --host 127.0.0.1"
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ParameterError(
            f"the token has {len(token)} characters, but must have {_SHORTEST_TOKEN} or more, so "
            f"that it cannot be guessed; for example {new_token()}"
        )


class Guard:
    """Lets through only requests that may be answered. An ASGI middleware.

    A server on loopback answers only to names of loopback: a page elsewhere could have its own
    name resolve to 127.0.0.1. What changes something must come from a page of this server, if
    from a page at all. Where there is a token, it is shown as `Authorization: Bearer`, as a
    cookie, or once as `?token=`, which then becomes the cookie.

    Args:
        app: What is guarded.
        host: The address the server listens at.
        token: What requests must show, or None.
        open_paths: Beginnings of paths that need no token.
        entrance: Makes the page that asks people for the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        token: str | None,
        open_paths: tuple[str, ...] = (),
        entrance: Callable[[Request], Response] | None = None,
    ) -> None:
        self.app = app
        self.local = is_loopback(host)
        self.token = token
        self.open_paths = open_paths
        self.entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            # Before it is accepted, closing a connection answers 403.
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.local and not is_loopback(_name(host)):
            return _refused(
                400, f"this server answers to localhost and 127.0.0.1 only, not to host {host!r}"
            )
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and origin is not None and urlsplit(origin).netloc != host:
            return _refused(403, f"requests from pages of {origin!r} are not answered")
        if self.token is None or scope["path"].startswith(self.open_paths or ("\0",)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        shown = dict(query).get("token")
        if shown is not None and self._is_right(shown) and scope["type"] == "http":
            return self._entered(scope, query) if scope["method"] == "GET" else None
        bearer = headers.get("authorization", "").partition("Bearer ")[2]
        if any(self._is_right(given) for given in (bearer, _cookie(headers))):
            return None
        if self.entrance and scope["type"] == "http" and _is_for_people(scope, headers):
            return self.entrance(Request(scope))
        return _refused(
            401,
            "a token is needed: open the address with ?token=…, or send Authorization: Bearer …",
        )

    def _is_right(self, given: str) -> bool:
        assert self.token is not None
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _entered(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        # The token leaves the address, which is shown, stored and sent on.
        assert self.token is not None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: two would name another host.
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), status_code=303)
        answer.set_cookie(
            COOKIE, self.token, httponly=True, samesite="strict", secure=scope["scheme"] == "https"
        )
        return answer


def _name(host: str) -> str:
    """Return the name of a `Host` header, without the port."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    return name.lower()


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _is_for_people(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _refused(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
