"""Serving a test until it is interrupted."""

from collections.abc import Callable
from pathlib import Path

from desmezcla.listening.app import listening_app
from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.store import Store
from desmezcla.web.access import check_token, new_token
from desmezcla.web.run import address_of, bind, run


def serve_test(
    folder: Path,
    tell: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    token: str | None = None,
    open: bool = False,
    links: int = 0,
) -> None:
    """Serve a test until it is interrupted.

    Args:
        folder: The test.
        tell: Called with lines for who runs it: where the pages are.
        host: The address to listen at.
        port: 0 for any that is free.
        token: What who runs it must show; None for a new one.
        open: Whether anybody may begin.
        links: How many links to make first.

    Errors:
        ParameterError: if the folder is no test, or the address cannot be listened at.
        DesmezclaError: if the test is damaged.
    """
    design = read_design(folder)
    token = token or new_token()
    check_token(host, token)
    with Store(folder / ANSWERS_FILE) as store, bind(host, port) as listening:
        app = listening_app(folder, design, store, host=host, token=token, open=open)
        address = address_of(listening, host)
        tell(f"for you: {address}admin?token={token}")
        if open:
            tell(f"for anybody: {address}join")
        for id in store.add_listeners(links) or ():
            tell(f"for a listener: {address}p/{id}")
        run(app, listening)
