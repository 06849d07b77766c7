"""Who is refused may still be sending, and hears the refusal all the same."""

from typing import Any

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from desmezcla.web import refusals
from desmezcla.web.refusals import HeardRefusals

PIECE = bytes(1000)


def exchange(status: int, pieces: int, *, headers: Any = (), hangs: bool = False) -> list[str]:
    """Let an application answer without asking for the body, and return what happens in order."""
    log: list[str] = []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}

    async def receive() -> Message:
        number = len(log)
        if number == pieces and hangs:
            await anyio.sleep_forever()
        log.append("taken")
        return {"type": "http.request", "body": PIECE, "more_body": number + 1 < pieces}

    async def send(message: Message) -> None:
        log.append(message["type"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", status)(scope, receive, send)

    anyio.run(HeardRefusals(app), scope, receive, send)
    return log


ANSWER = ["http.response.start", "http.response.body"]


def test_the_rest_of_the_request_is_taken_before_a_refusal() -> None:
    assert exchange(503, 4) == ["taken"] * 4 + ANSWER
    assert exchange(200, 4) == ANSWER


def test_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_MOST_BYTES", 2500)
    assert exchange(413, 100) == ["taken"] * 3 + ANSWER
    monkeypatch.setattr(refusals, "_PATIENCE_S", 0.05)
    assert exchange(413, 2, hangs=True) == ["taken"] * 2 + ANSWER


def test_who_asks_before_sending_is_not_told_to_send() -> None:
    assert exchange(413, 4, headers=[(b"expect", b"100-continue")]) == ANSWER
