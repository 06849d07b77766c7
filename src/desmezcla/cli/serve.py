"""`desmezcla serve`: separation in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from desmezcla.cli.options import DeviceOption
from desmezcla.errors import DesmezclaError

_MIB = 1 << 20


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DESMEZCLA_TOKEN", help="What requests must show; at least 16 characters."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of uploads, results and queue; the user's if not given."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="DESMEZCLA_DATABASE",
            help="Database of the queue, as SQLAlchemy writes it; SQLite if not given.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Songs to separate at the same time.")
    ] = 1,
    device: DeviceOption = "auto",
    max_upload: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest file.")] = 512,
    max_duration: Annotated[
        float, typer.Option(min=0.01, metavar="MINUTES", help="Longest song.")
    ] = 60.0,
    max_jobs: Annotated[int, typer.Option(min=1, help="Jobs of one client that wait or run.")] = 20,
    max_disk: Annotated[
        float, typer.Option(min=0.01, metavar="GIB", help="Uploads and results together.")
    ] = 20.0,
    keep: Annotated[
        float, typer.Option(min=0.01, metavar="HOURS", help="How long results are kept.")
    ] = 24.0,
    live_sessions: Annotated[
        int, typer.Option(min=0, max=64, help="Live tabs at the same time.")
    ] = 1,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Separate songs in the browser: a page, a REST API, and a queue behind them.

    It serves this machine only, unless --host says otherwise. A server that is ended goes on with
    its queue when it is started again.
    """
    # Deferred: the packages of the web are an extra, and take a while to import.
    try:
        from desmezcla.studio.serving import serve as serve_until_interrupted
        from desmezcla.studio.settings import make_settings
    except ImportError as error:
        raise DesmezclaError(
            f"serve needs the package {error.name}, which is not installed; install it with: "
            "pip install 'desmezcla[web]'"
        ) from error
    chosen = {} if data is None else {"data": data}
    settings = make_settings(
        **chosen,
        database=database,
        workers=workers,
        device=device,
        max_upload_bytes=max_upload * _MIB,
        max_duration_s=max_duration * 60,
        max_jobs_per_client=max_jobs,
        max_disk_bytes=round(max_disk * 1024 * _MIB),
        keep_s=keep * 3600,
        live_sessions=live_sessions,
    )

    def announce(address: str) -> None:
        opened = address if token is None else f"{address}?token={token}"
        typer.echo(f"open {opened} in a browser; end with Ctrl-C", err=True)
        if show:
            typer.launch(opened)

    serve_until_interrupted(settings, host=host, port=port, token=token, announce=announce)
