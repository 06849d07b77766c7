"""The live tab's end of the line: a WebSocket in front of a process that separates.

The client's first message is JSON with `model`, `sample_rate`, `channels` and `gains`; the answer
is JSON with the stems and the latency, or an `error`. After that the client sends audio (float32,
little-endian, `[n, C]`) and gets the mixed stems in the same form, sample by sample in step; JSON
with `gains` changes these.
"""

import asyncio
import contextlib
import json
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from desmezcla.live.mixer import MAX_GAIN
from desmezcla.studio.child import child
from desmezcla.studio.live_process import HEADER, MOST_BYTES
from desmezcla.studio.orders import offered
from desmezcla.studio.settings import Settings
from desmezcla.web.app import findings

_START_S = 60.0
# A client that neither sends nor hears for so long has gone.
_SILENT_S = 30.0

Gains = dict[str, Annotated[float, Field(ge=0, le=MAX_GAIN, allow_inf_nan=False)]]


class Start(BaseModel):
    """The first message of a client."""

    model_config = ConfigDict(extra="forbid")

    model: str
    sample_rate: int = Field(ge=8000, le=192_000)
    channels: int = Field(ge=1, le=2)
    gains: Gains = {}


class Change(BaseModel):
    """A change of gains."""

    model_config = ConfigDict(extra="forbid")

    gains: Gains


class Refused(Exception):
    """What a client sent cannot be taken."""


class Live:
    """Serves live tabs, so many at a time.

    Args:
        settings: Of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.live_sessions
        self._running = 0

    def router(self) -> APIRouter:
        """Return the route."""
        router = APIRouter()
        router.add_api_websocket_route("/api/live", self.session)
        return router

    async def session(self, socket: WebSocket) -> None:
        """Serve one tab from its beginning to its end."""
        await socket.accept()
        try:
            if self._running >= self._most:
                raise Refused(
                    f"{self._running} live session(s) run already, which is all that this server "
                    "allows; try again when one has ended"
                )
            self._running += 1
            try:
                await self._serve(socket)
            finally:
                self._running -= 1
        except Refused as refused:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_json({"error": str(refused)})
                await socket.close(1008)
        except (WebSocketDisconnect, asyncio.TimeoutError):
            pass

    async def _serve(self, socket: WebSocket) -> None:
        message = await asyncio.wait_for(socket.receive(), _SILENT_S)
        if message["type"] == "websocket.disconnect":
            return
        start: Start = _read(Start, message.get("text") or "")
        model = next((info for info in offered() if info.name == start.model), None)
        if model is None or not model.causal:
            names = ", ".join(info.name for info in offered() if info.causal)
            raise Refused(f"release {start.model[:64]!r} cannot run live; choose from {names}")
        unknown = sorted(set(start.gains) - set(model.stems))
        if unknown:
            raise Refused(f"there is no stem {unknown[0][:40]!r}")
        async with child(
            "desmezcla.studio.live_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        ) as process:
            await _send(process, b"j", start.model_dump_json().encode())
            facts = await asyncio.wait_for(_receive(process), _START_S)
            if facts is None:
                raise Refused("the separation could not be started; see the server's messages")
            await socket.send_text(facts[1].decode())
            if "error" in json.loads(facts[1]):
                return
            frame_bytes = 4 * start.channels
            await _both(
                asyncio.create_task(_from_client(socket, process, frame_bytes, model.stems)),
                asyncio.create_task(_to_client(socket, process)),
            )


def _read(kind: type[Any], text: str) -> Any:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise Refused(f"the message is not understood: {findings(error)}") from error


async def _both(*tasks: "asyncio.Task[None]") -> None:
    """Wait until one of two directions ends, and end the other."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _from_client(
    socket: WebSocket,
    process: asyncio.subprocess.Process,
    frame_bytes: int,
    stems: tuple[str, ...],
) -> None:
    while True:
        message = await asyncio.wait_for(socket.receive(), _SILENT_S)
        if message["type"] == "websocket.disconnect":
            return
        audio, text = message.get("bytes"), message.get("text")
        if text is not None:
            change = _read(Change, text)
            if unknown := sorted(set(change.gains) - set(stems)):
                raise Refused(f"there is no stem {unknown[0][:40]!r}")
            await _send(process, b"j", text.encode())
        elif audio:
            if len(audio) % frame_bytes or len(audio) > MOST_BYTES:
                raise Refused(
                    f"a message of {len(audio)} bytes must be whole samples of all channels, and "
                    f"{MOST_BYTES} at most"
                )
            await _send(process, b"a", audio)


async def _to_client(socket: WebSocket, process: asyncio.subprocess.Process) -> None:
    while (message := await _receive(process)) is not None:
        kind, content = message
        if kind == b"a":
            await asyncio.wait_for(socket.send_bytes(content), _SILENT_S)
        else:
            raise Refused(json.loads(content)["error"])


async def _send(process: asyncio.subprocess.Process, kind: bytes, content: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(HEADER.pack(kind, len(content)) + content)
        # If the model does not keep up, the client is read no faster, and notices.
        await process.stdin.drain()
    except ConnectionError as error:
        raise Refused("the separation has ended unexpectedly; start it again") from error


async def _receive(process: asyncio.subprocess.Process) -> tuple[bytes, bytes] | None:
    assert process.stdout is not None
    try:
        kind, length = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        return kind, await process.stdout.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
