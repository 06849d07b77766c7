"""`desmezcla train`: a model from a recipe and a dataset."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from desmezcla.cli.options import DeviceOption, JsonOption, QuietOption, VerboseOption
from desmezcla.errors import ParameterError

if TYPE_CHECKING:
    from rich.console import Console

Event = dict[str, Any]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="Name of a recipe, or path of its file; not needed to resume.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset: a folder or a manifest; the recipe's if not given."),
    ] = None,
    material: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Recorded sounds for recipes that render their own songs."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the run; runs/RECIPE if not given."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.0001"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Epochs in all.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop after so many steps in all, wherever that is.")
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop after that much time: 90s, 20m, 8h or 2d."),
    ] = None,
    device: DeviceOption = "auto",
    devices: Annotated[
        int, typer.Option(help="GPUs, or processes of the CPU, that share each step.")
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that share each step.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that read examples.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without tracks that have a bad file.")
    ] = False,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="List the recipes and end.")
    ] = False,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a model on a dataset.

    The run's folder gets the recipe, a record, checkpoints to resume from, events for TensorBoard,
    and the best weights as a release: desmezcla separate --model OUT/release
    """
    # Deferred: they import torch, which takes longer than the rest of a short command.
    from desmezcla import training

    if list_recipes:
        for name in training.list_recipes():
            typer.echo(f"{name}: {training.read_recipe(name).description}")
        return
    if recipe is None and not (resume and out):
        raise ParameterError(
            "a RECIPE is needed to train, or --resume with --out to go on; the recipes are "
            f"{', '.join(training.list_recipes())}"
        )
    changes = training.parse_changes(settings or ())
    changes |= {"epochs": epochs} if epochs is not None else {}
    changes |= {"data.workers": workers} if workers is not None else {}
    changes |= {"data.material": str(material.resolve())} if material is not None else {}
    with _shown(as_json=json_lines, quiet=quiet, verbose=verbose) as report:
        training.train(
            recipe,
            out=out or Path("runs") / Path(str(recipe)).stem,
            data=data,
            changes=changes,
            resume=resume,
            options=training.RunOptions(
                steps=steps,
                time_limit_s=_seconds(time_limit),
                device=device,
                devices=devices,
                nodes=nodes,
                skip_bad=skip_bad,
            ),
            report=report,
        )


def _seconds(text: str | None) -> float | None:
    """Read 90s, 20m, 8h or 2d."""
    if text is None:
        return None
    with contextlib.suppress(ValueError, KeyError, IndexError):
        return float(text[:-1]) * _UNITS_S[text[-1]]
    raise ParameterError(f"--time-limit={text!r} must be a time, as in 90s, 20m, 8h or 2d")


@contextlib.contextmanager
def _shown(*, as_json: bool, quiet: bool, verbose: bool) -> Iterator[Callable[[Event], None]]:
    """Give a function that shows events: a line per epoch, and a bar where there is a terminal."""
    from rich.console import Console

    from desmezcla.cli.report import log_to, progress_bars

    console = Console(stderr=True)
    bar = progress_bars("{task.fields[facts]}", console=console, quiet=quiet)
    with log_to(console, quiet=quiet, verbose=verbose), bar:
        task = bar.add_task("starting", total=1.0, facts="")

        def report(event: Event) -> None:
            if as_json and event["event"] not in ("progress", "render"):
                typer.echo(json.dumps(event))
            if event["event"] == "render":
                bar.update(task, completed=event["fraction"], description="rendering songs")
            elif event["event"] == "progress":
                name = f"epoch {event['epoch']}"
                bar.update(task, completed=event["fraction"], description=name, facts=_facts(event))
            elif not quiet:
                _print(console, event)

        yield report


def _facts(event: Event) -> str:
    loss = f", loss {event['loss']['total']:.4g}" if event["loss"] else ""
    return f"step {event['step']}/{event['steps']}{loss}, {event['examples_per_s']:.1f} examples/s"


def _print(console: "Console", event: Event) -> None:
    """Say in a line what has happened."""
    lines = {"start": _start_line, "epoch": _epoch_line, "done": _done_line}
    show = lines.get(event["event"])
    if show:
        console.print(show(event), markup=False, highlight=False, soft_wrap=True)


def _start_line(event: Event) -> str:
    held = " (held out of the training tracks)" if event["held_out"] else ""
    at = event["resumed_at_step"]
    return (
        f"{event['model']} for {', '.join(event['stems'])} on {event['dataset']}: "
        f"{event['training_tracks']} tracks to train on, {event['validation_tracks']} to validate "
        f"on{held}; {event['epochs']} epochs of {event['steps_per_epoch']} steps in {event['out']}"
        f"{f'; going on at step {at}' if at is not None else ''}"
    )


def _epoch_line(event: Event) -> str:
    line = (
        f"epoch {event['epoch']}: loss {event['loss']['total']:.4g}, "
        f"{event['examples_per_s']:.1f} examples/s"
    )
    if validation := event.get("validation"):
        sdr_db = ", ".join(f"{stem} {value:.2f}" for stem, value in validation["sdr_db"].items())
        best = " (best)" if event["best"]["epoch"] == event["epoch"] else ""
        line += f"; validation loss {validation['loss']['total']:.4g}{best}, SDR {sdr_db} dB"
    return line


def _done_line(event: Event) -> str:
    reason = {"steps": "the steps asked for", "time limit": "the time limit"}.get(event["stopped"])
    how = f"stopped at {reason}" if reason else "finished"
    return f"{how} after {event['steps']} steps; the release is {event['release']}"
