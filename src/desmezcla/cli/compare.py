"""`desmezcla compare`: results of several systems side by side."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time they would slow down `desmezcla --help`
    from desmezcla.evaluation.comparing.text_table import TextTable


class Average(str, Enum):
    """How scores are put together."""

    median = "median"
    mean = "mean"


class Layout(str, Enum):
    """Whose tables are printed."""

    thesis = "thesis"
    deepaudiosplit = "deepaudiosplit"


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...", help="What `desmezcla evaluate` wrote, or museval's JSON files."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("comparison"),
    names: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="What to call the systems, in order.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Of SDR, ISR, SIR, SAR, global_SDR and SI-SDR; can be repeated."),
    ] = None,
    frames: Annotated[
        Average, typer.Option(help="How frames of a track are put together.")
    ] = Average.median,
    tracks: Annotated[Average, typer.Option(help="How tracks are.")] = Average.median,
    file_format: Annotated[
        str, typer.Option("--format", help="What to write: some of md,tex,csv,html.")
    ] = "md,tex,csv,html",
    level: Annotated[float, typer.Option(help="Of the intervals, between 0 and 1.")] = 0.95,
    no_published: Annotated[
        bool, typer.Option("--no-published", help="Leave out what others have published.")
    ] = False,
    layout: Annotated[
        Layout | None, typer.Option(help="Tables in the shape of a publication instead.")
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print scores and files on standard output, as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Compare results of systems: tables, intervals, tests, ranks and a report.

    All must have been made with the same settings. Published scores of other systems stand beside
    them, labelled so.
    """
    # Deferred: they import numpy and pandas, which take longer than the rest of a short command.
    from desmezcla.evaluation.comparing.comparison import compare
    from desmezcla.evaluation.results import read_results
    from desmezcla.evaluation.scores import FRAME_METRICS

    called = _names(names, folders)
    results = [read_results(path, name=name) for path, name in zip(folders, called, strict=True)]
    done = compare(
        results,
        out,
        formats=[name.strip() for name in file_format.split(",")],
        metrics=metric or FRAME_METRICS,
        frames=frames.value,
        over=tracks.value,
        level=level,
        published=not no_published,
        layout=layout and layout.value,
    )
    files = [str(path) for path in done.files]
    if json_lines:
        rows = [_plain(row) for row in done.summary.to_dict("records")]
        event = {"event": "done", "files": files, "notes": list(done.notes), "scores": rows}
        typer.echo(json.dumps(event))
    elif not quiet:
        for table in done.tables:
            _print_table(table)
    if not quiet:
        for line in (*done.notes, f"written: {', '.join(files)}"):
            typer.echo(line, err=True)


def _names(names: str | None, folders: list[Path]) -> list[str | None]:
    if names is None:
        return [None] * len(folders)
    found = [name.strip() for name in names.split(",")]
    if len(found) != len(folders) or not all(found):
        raise ParameterError(
            f"--names {names!r} holds {len(found)} names, but must hold one for each of the "
            f"{len(folders)} folders, separated by commas"
        )
    return [*found]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def _print_table(table: "TextTable") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from desmezcla.evaluation.comparing.text_table import joined_heads, split_bold, text_columns

    # Names are text of others: not markup, no emoji codes.
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(**plain)
    if not console.is_terminal:
        console = Console(**plain, width=max(console.width, 160))
    shown = Table()
    for head, is_text in zip(joined_heads(table), text_columns(table), strict=True):
        shown.add_column(head, justify="left" if is_text else "right")
    for row in table.rows:
        shown.add_row(*(Text.assemble((b, "bold"), rest) for b, rest in map(split_bold, row)))
    console.print(Text(table.title, "bold"))
    console.print(shown)
    for note in table.notes:
        console.print(note)
    console.print()
