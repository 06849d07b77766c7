"""`desmezcla listen`: build, serve and analyse a listening test."""

import json
from pathlib import Path
from typing import Annotated

import typer

from desmezcla.cli.options import QuietOption, read_names, read_number
from desmezcla.errors import ParameterError

app = typer.Typer(
    help="Build a listening test, run it in the browser, and analyse it.", no_args_is_help=True
)

Test = Annotated[Path, typer.Argument(metavar="FOLDER", help="What `listen create` made.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def create(
    folder: Annotated[Path, typer.Argument(help="Folder of the test; it must not exist.")],
    system: Annotated[
        list[str],
        typer.Option(
            metavar="LABEL=FOLDER",
            help="A system and its results, TRACK/STEM.EXT; repeat for each.",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="Dataset with the true stems: they become the hidden reference."),
    ] = None,
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Add the true stems, low-passed, as a condition.")
    ] = False,
    stems: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Stems; all that there are if not given.")
    ] = None,
    songs: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Songs; names or patterns with * and ?.")
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SONG=SECONDS", help="Where excerpts of a song begin; chosen if not given."
        ),
    ] = None,
    excerpt_s: Annotated[
        float, typer.Option("--excerpt-s", help="Length of the excerpts in seconds.")
    ] = 8.0,
    repeats: Annotated[
        int, typer.Option(min=0, help="Trials that each listener hears twice, without knowing.")
    ] = 0,
    mushra: Annotated[
        bool, typer.Option("--mushra", help="Add pages that compare all versions, 0 to 100.")
    ] = False,
    lufs: Annotated[float, typer.Option(help="Loudness of all excerpts.")] = -23.0,
    min_played: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of an excerpt to hear before rating it."),
    ] = 0.8,
    organiser: Annotated[
        str, typer.Option(help="Who answers for the test; listeners read it before they agree.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build a test from what several systems have separated."""
    # Deferred, here and below: they import what takes longer than the rest of a short command.
    from desmezcla.cli.report import reporter
    from desmezcla.listening.create import CreateOptions, create_test

    options = CreateOptions(
        systems={label: Path(path) for label, path in _pairs("system", system).items()},
        reference=reference,
        anchor=anchor,
        songs=read_names(songs) or (),
        stems=read_names(stems) or (),
        starts_s={
            song: read_number("start", text, "SONG=SECONDS")
            for song, text in _pairs("start", start or []).items()
        },
        excerpt_s=excerpt_s,
        repeats=repeats,
        mushra=mushra,
        target_lufs=lufs,
        min_played=min_played,
        organiser=organiser,
        seed=seed,
    )
    with reporter(as_json=False, quiet=quiet, verbose=False):
        design = create_test(folder, options)
    facts = {
        "folder": str(folder),
        "songs": len(design.songs),
        "excerpts": len(design.excerpts),
        "conditions": [condition.name for condition in design.conditions],
        "trials": design.trials(),
        "minutes": design.minutes(),
    }
    if json_output:
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(
            f"{folder}: {len(design.excerpts)} excerpts of {len(design.songs)} songs, "
            f"{', '.join(c.name for c in design.conditions)}; {design.trials()} trials for each "
            f"listener, about {design.minutes()} minutes",
            err=True,
        )


@app.command()
def serve(
    folder: Test,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8001,
    token: Annotated[
        str | None, typer.Option(help="What you must show for progress; drawn if not given.")
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open", help="Let anybody begin, at /join.")
    ] = False,
    links: Annotated[int, typer.Option(min=0, help="Make so many links for listeners.")] = 0,
) -> None:
    """Run a test in the browser until it is interrupted."""
    from desmezcla.listening.serve import serve_test

    serve_test(
        folder,
        lambda line: typer.echo(line),
        host=host,
        port=port,
        token=token,
        open=open_to_all,
        links=links,
    )


@app.command()
def report(
    folder: Test,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output folder; FOLDER/report if not given.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=FOLDER",
            help="What `evaluate` wrote for a system, to correlate with; repeat for each.",
        ),
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Count listeners who break a rule of screening, too.")
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Analyse the answers: scores with intervals, models, tests, correlations, a page."""
    from desmezcla.evaluation.comparing.text_table import markdown
    from desmezcla.listening.analysis.report import write_listening_report
    from desmezcla.listening.analysis.tables import overall_table

    done = write_listening_report(
        folder,
        out or folder / "report",
        scores={label: Path(path) for label, path in _pairs("scores", scores or []).items()},
        screened=not keep_all,
    )
    if json_output:
        overall = done.analysis.overall.to_json(orient="records")
        files = [str(path) for path in done.files]
        typer.echo(json.dumps({"files": files, "scores": json.loads(overall)}))
    elif not quiet:
        typer.echo(markdown(overall_table(done.analysis)))
        typer.echo(f"written: {', '.join(map(str, done.files))}", err=True)


def _pairs(option: str, given: list[str]) -> dict[str, str]:
    """Read values such as NAME=VALUE, each name once."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ParameterError(f"--{option} {text!r} must be NAME=VALUE, with both")
        if name in found:
            raise ParameterError(f"--{option} names {name!r} twice; each must have its own name")
        found[name] = value
    return found
