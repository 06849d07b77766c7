"""`desmezcla diagnose`: a page about a training run, while it runs or after."""

import json
from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The page; RUN/diagnostics/index.html if not given."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print what was found on standard output, as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Show activations, gradients, stability and overfitting of a training run.

    The run may be running, have ended or have been killed. The page is one HTML file, and holds
    all that it needs.
    """
    # Deferred: it imports torch, which takes longer than the rest of a short command.
    from desmezcla.training.diagnostics.page import diagnose

    found = diagnose(run, out)
    if json_lines:
        typer.echo(json.dumps({"event": "done", **found}))
    if not quiet:
        for name, judgement in found["judgements"].items():
            typer.echo(f"{name}: {judgement['level']}, {judgement['text']}", err=True)
        typer.echo(f"{found['state']} after {found['steps']} steps; see {found['out']}", err=True)
    if show:
        typer.launch(Path(found["out"]).resolve().as_uri())
