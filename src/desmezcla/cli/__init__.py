"""The command line: one thin file per command. Torch is imported only when a command needs it."""

import logging
import signal
import sys
from typing import Annotated, Any

import typer

from desmezcla.cli.batch import batch
from desmezcla.cli.compare import compare
from desmezcla.cli.data import app as data_app
from desmezcla.cli.diagnose import diagnose
from desmezcla.cli.evaluate import evaluate
from desmezcla.cli.export import export
from desmezcla.cli.listen import app as listen_app
from desmezcla.cli.live import live
from desmezcla.cli.models import app as models_app
from desmezcla.cli.separate import separate
from desmezcla.cli.serve import serve
from desmezcla.cli.stream import stream
from desmezcla.cli.train import train
from desmezcla.errors import DesmezclaError, ParameterError, without_torch
from desmezcla.version import VERSION

app = typer.Typer(
    name="desmezcla",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(separate)
app.command()(batch)
app.command()(live)
app.command()(stream)
app.command()(serve)
app.command()(train)
app.command()(diagnose)
app.command()(evaluate)
app.command()(compare)
app.command()(export)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(listen_app, name="listen")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"desmezcla {VERSION}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Separate songs into stems: vocals, drums, bass, other."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # Ended politely, a command removes its unfinished files first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for output in filter(None, (sys.stdout, sys.stderr)):  # None: closed by who started it
        # A file name need not be text; it is shown with escapes rather than not at all.
        output.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        # Outside of its standalone mode, typer returns the exit code and raises what goes wrong.
        code: Any = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return 130
    except DesmezclaError as error:
        typer.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, ParameterError) else 1
    except ModuleNotFoundError as error:
        if error.name != "torch":
            return _fault(error)
        typer.echo(f"error: {without_torch('this command')}", err=True)
        return 1
    except Exception as error:
        if hasattr(error, "show"):  # typer's own errors: wrong usage
            error.show()
            return int(getattr(error, "exit_code", 2))
        return _fault(error)
    return code if isinstance(code, int) else 0


def _fault(error: Exception) -> int:
    """Say that something went wrong that never should, and return the exit code."""
    logging.getLogger(__name__).debug("unexpected error", exc_info=True)
    typer.echo(
        f"error: {type(error).__name__}: {error}; this is a fault of desmezcla, please report it",
        err=True,
    )
    return 1
