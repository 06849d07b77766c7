"""Refusals that are heard: who is refused may still be sending."""

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of the rest of a body that nobody wants, so much is taken, for so long.
_MOST_BYTES = 1 << 20
_PATIENCE_S = 2.0


class HeardRefusals:
    """Takes the rest of a request before it is refused. An ASGI middleware.

    A server closes the connection after its answer if the request is not complete. What then still
    comes from the client is answered by a reset, which may overtake the answer: the client learns
    that something broke, and not what. Bodies that are longer, or slower, are left to their fate,
    and who waits to be asked for the body (`Expect: 100-continue`) is not asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, once there is somebody who hears it."""
        if scope["type"] != "http" or "expect" in Headers(scope=scope):
            await self.app(scope, receive, send)
            return
        complete = False

        async def receiving() -> Message:
            nonlocal complete
            message = await receive()
            complete = complete or not message.get("more_body", False)
            return message

        async def take_the_rest() -> None:
            taken = 0
            with anyio.move_on_after(_PATIENCE_S):
                while not complete and taken < _MOST_BYTES:
                    taken += len((await receiving()).get("body", b""))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                await take_the_rest()
            await send(message)

        await self.app(scope, receiving, sending)
