"""Serving an application until it is interrupted."""

import contextlib
import errno
import socket

import uvicorn
from fastapi import FastAPI

from desmezcla.errors import ParameterError


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that a port that is taken is known before anything starts.

    Args:
        host: Name or address.
        port: 0 for any that is free.

    Errors:
        ParameterError: if the address cannot be listened at.
    """
    if not 0 <= port <= 65535:
        raise ParameterError(f"--port {port} is not possible; it must be in 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as unless_done:
            listening = unless_done.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
            unless_done.pop_all()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "; choose another with --port, or 0 for any" if taken else ""
        raise ParameterError(f"--host {host} --port {port}: {error}{remedy}") from error
    return listening


def address_of(listening: socket.socket, host: str) -> str:
    """Return the address that a browser opens."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}/"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish those that are open."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=15,
        ws_max_size=1 << 20,
    )
    uvicorn.Server(config).run(sockets=[listening])
