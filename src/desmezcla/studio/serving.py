"""Serving: the web process, and beside it the supervisor of the workers."""

import contextlib
from collections.abc import Callable

from desmezcla.errors import ParameterError
from desmezcla.studio.app import studio_app
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import open_store
from desmezcla.studio.supervisor import Supervisor
from desmezcla.web.access import check_token
from desmezcla.web.run import address_of, bind, run


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    announce: Callable[[str], None],
) -> None:
    """Serve until interrupted.

    Args:
        settings: Of the server.
        host: Name or address to listen at.
        port: 0 for any that is free.
        token: What requests must show, or None.
        announce: Called with the address when it can be opened.

    Errors:
        ParameterError: if the address cannot be listened at, or needs a token.
        DesmezclaError: if the queue cannot be opened.
    """
    check_token(host, token)
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"--data {settings.data} cannot be made ({error.strerror}); choose another folder"
        ) from error
    with contextlib.ExitStack() as ending:
        listening = ending.enter_context(bind(host, port))
        store = open_store(settings)
        ending.callback(store.close)
        app = studio_app(settings, store, host=host, token=token)
        supervisor = Supervisor(settings, store)
        supervisor.start()
        ending.callback(supervisor.stop)
        announce(address_of(listening, host))
        run(app, listening)
