"""`desmezcla data`: render, check and fetch datasets."""

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from desmezcla.datasets.render.library import SongDone

app = typer.Typer(help="Render, check and fetch datasets.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print events, one JSON object a line.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print details.")]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, help="Processes; one for each core if not given."),
]


class BitDepth(str, Enum):
    """Samples of a rendered file."""

    int16 = "16"
    int24 = "24"


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    songs: Annotated[int, typer.Option(min=1, help="How many songs.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other songs.")] = 0,
    material: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Recorded sounds; all is synthesised if not given."),
    ] = None,
    style: Annotated[str | None, typer.Option(help="Style of all songs; any if not given.")] = None,
    duration: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="About how long each is; whole songs if not given."),
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 44100,
    bit_depth: Annotated[BitDepth, typer.Option(help="Of the files.")] = BitDepth.int16,
    valid: Annotated[
        float, typer.Option(metavar="SHARE", help="Part of the songs that goes to valid/.")
    ] = 0.0,
    exclude_licence: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out sounds under it, as in GPL; can be repeated."),
    ] = None,
    exclude_files: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out files of the material; can be repeated."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a page to listen to, preview.html.")
    ] = False,
    jobs: Jobs = None,
    json_lines: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Render whole songs with their stems, in the layout of MUSDB18-HQ.

    The same seed gives the same songs. With more songs, a dataset grows; an interrupted command
    goes on where it was.
    """
    from desmezcla.cli.report import reporter
    from desmezcla.datasets.render.library import render_dataset

    with reporter(as_json=json_lines, quiet=quiet, verbose=verbose) as report:
        report(_event("start", out))

        def progress(song: "SongDone") -> None:
            report(_written(song.name, {"folder": str(song.folder)}, skipped=song.skipped))
            fraction = song.done / song.songs
            report(_event("progress", out) | {"fraction": fraction, "eta_s": song.eta_s})

        folders = render_dataset(
            out,
            songs=songs,
            seed=seed,
            material=material,
            jobs=jobs,
            style=style,
            duration_s=duration,
            sample_rate=sample_rate,
            bit_depth=_bits(bit_depth),
            valid_share=valid,
            exclude_licences=exclude_licence or (),
            exclude_files=exclude_files or (),
            progress=progress,
        )
        if preview:
            from desmezcla.datasets.render.preview import write_preview

            page = write_preview(out, out / "preview.html")
            report(_written("preview", {"page": str(page)}))
        report({"event": "done", "input": None, "done": len(folders), "failed": 0})


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder or manifest of a dataset.")],
    kind: Annotated[
        str, typer.Option(help="Its layout; found out if not given, see the documentation.")
    ] = "auto",
    jobs: Jobs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a track.")] = False,
) -> None:
    """Decode every file of a dataset, and tell what is wrong. Exits with 1 if there are errors."""
    import os

    from desmezcla.cli.report import reporter
    from desmezcla.datasets.check import check_dataset
    from desmezcla.datasets.opening import open_dataset

    dataset = open_dataset(path, kind=kind, skip_faulty=True)
    with reporter(as_json=False, quiet=False, verbose=False) as report:
        report(_event("start", path))

        def progress(_: str, done: int, total: int) -> None:
            report(_event("progress", path) | {"fraction": done / total})

        reports = check_dataset(dataset, jobs=jobs or os.cpu_count() or 1, progress=progress)
    for found in reports:
        typer.echo(json.dumps(found.as_dict()) if as_json else "\n".join(found.lines()))
    failed = sum(not found.ok for found in reports) + len(dataset.problems)
    for problem in dataset.problems:
        typer.echo(f"error: {problem}", err=True)
    verdict = f"{failed} have errors" if failed else "no errors"
    typer.echo(f"{len(reports) + len(dataset.problems)} tracks, {verdict}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="musdb18hq, musdb18 or musdb18-sample.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Its folder; NAME if not given.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Fetch URL/FILE instead of the official file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fetch a dataset from its official record, check it and unpack it.

    An interrupted command goes on where it was.
    """
    from desmezcla.cli.report import download_bar
    from desmezcla.datasets.download import dataset_archive, download_dataset

    archive = dataset_archive(name)
    typer.echo(archive.terms, err=True)
    with download_bar(name) as bar:
        folder = download_dataset(
            name,
            out or Path(name),
            mirror=mirror,
            progress=lambda _, done, total: bar(done, total),
        )
    typer.echo(json.dumps({"name": name, "folder": str(folder)}) if as_json else str(folder))


def _event(kind: str, path: Path) -> dict[str, Any]:
    return {"event": kind, "input": str(path)}


def _written(name: str, outputs: dict[str, str], *, skipped: bool = False) -> dict[str, Any]:
    return {"event": "file", "input": name, "outputs": outputs, "skipped": skipped}


def _bits(depth: BitDepth) -> Literal["16", "24"]:
    return "16" if depth is BitDepth.int16 else "24"
