"""What a command shows while it works: a line of progress for people, or JSON for programs."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from desmezcla.releases.release import Release

Event = dict[str, Any]


@contextlib.contextmanager
def reporter(*, as_json: bool, quiet: bool, verbose: bool) -> Iterator[Callable[[Event], None]]:
    """Give a function that shows events, as long as the command works.

    Args:
        as_json: Print each event on standard output as one line of JSON.
        quiet: Show people errors only.
        verbose: Show people details, too.
    """
    console = Console(stderr=True)
    bars = progress_bars("{task.percentage:>3.0f} %", console=console, quiet=quiet)
    with log_to(console, quiet=quiet, verbose=verbose), bars:
        people = _People(console, bars, quiet=quiet)

        def report(event: Event) -> None:
            if as_json:
                print_line(json.dumps(event))
            people.show(event)

        yield report


def progress_bars(detail: str, *, console: Console, quiet: bool) -> Progress:
    """Return bars that are there only while a command works, and only on a terminal.

    Args:
        detail: What stands behind a bar, as rich formats it.
        console: Where they are drawn.
        quiet: Draw none.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(detail),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


@contextlib.contextmanager
def log_to(console: Console, *, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show what is logged on a console, above what is drawn there."""
    handler = RichHandler(
        console=console, show_time=False, show_path=False, markup=False, highlighter=None
    )
    log = logging.getLogger("desmezcla")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


@contextlib.contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far a download has come; the function takes the bytes so far, and in all."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escape(name), total=None)

        def update(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield update


def fetched_release(name: str, *, quiet: bool) -> "Release":
    """Return a release, fetched if it is not on this machine, and show that it is."""
    # Deferred: it takes longer to import than the rest of a short command.
    from desmezcla.releases.release import Release
    from desmezcla.releases.store import find_release, locate_release

    if quiet or isinstance(locate_release(name), Release):
        return find_release(name)
    typer.echo(f"{name} is not on this machine yet: fetching it", err=True)
    with download_bar(name) as bar:
        return find_release(name, progress=bar)


def print_line(text: str) -> None:
    """Print a line on standard output, if somebody reads it."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        # Who reads has seen enough, as `head` does; the work goes on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _People:
    """Shows events to people, on standard error."""

    def __init__(self, console: Console, bars: Progress, *, quiet: bool) -> None:
        self.console = console
        self.bars = bars
        self.quiet = quiet
        self.running: dict[str, TaskID] = {}

    def show(self, event: Event) -> None:
        """Show one event."""
        name = _printable(event.get("input") or "")
        if event["event"] == "start":
            if name in self.running:  # its worker died, and another one has begun with it
                self.bars.remove_task(self.running[name])
            self.running[name] = self.bars.add_task(escape(Path(name).name), total=1.0)
        elif event["event"] == "progress":
            self.bars.update(self.running[name], completed=event["fraction"])
        elif event["event"] in ("file", "error"):
            if name in self.running:
                self.bars.remove_task(self.running.pop(name))
            if event["event"] == "error":
                self._line(f"error: {name}: {_printable(event['message'])}", style="red")
            elif not self.quiet:
                skipped = " (there already)" if event["skipped"] else ""
                files = [_printable(path) for path in event["outputs"].values()]
                self._line(f"{name} -> {_together(files)}{skipped}")

    def _line(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _together(files: list[str]) -> str:
    """Write paths in one folder as `folder/{a.wav,b.wav}`."""
    paths = [Path(file) for file in dict.fromkeys(files)]
    if len(paths) == 1 or len({path.parent for path in paths}) > 1:
        return " ".join(map(str, paths))
    return str(paths[0].parent / f"{{{','.join(path.name for path in paths)}}}")


def _printable(text: str) -> str:
    """Show what a terminal cannot, or would act on, as escapes: a name may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
