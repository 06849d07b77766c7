"""`desmezcla models`: list, show, fetch, import and check releases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # at run time they would slow down `desmezcla --help`
    from desmezcla.releases.release import Release, Scores
    from desmezcla.releases.store import ReleaseInfo

app = typer.Typer(help="List, fetch, import and check releases.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a release, or path of a release folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the release if it is installed.")]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List all releases: installed, bundled, and those that can be fetched."""
    from desmezcla.releases.store import list_releases

    infos = list_releases()
    if as_json:
        _print_json([_as_dict(info) for info in infos])
        return
    from rich.table import Table

    table = Table("name", "stems", "model", "licence", "trained on", "scores", "size", "installed")
    for info in infos:
        names = [info.name, *(f"= {alias}" for alias in info.aliases)]
        table.add_row(
            "\n".join(names),
            "\n".join(info.stems),
            f"{info.model}{', causal' if info.causal else ''}",
            info.license,
            info.trained_on,
            "\n".join(map(_score_text, info.scores)) or f"none measured\n{info.description}",
            _size_text(info),
            "bundled" if info.bundled else "yes" if info.installed else "no",
            end_section=True,
        )
    _console().print(table)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show one release and its card; nothing is fetched."""
    from desmezcla.releases.release import CARD_FILE, Release, card_text
    from desmezcla.releases.store import locate_release, release_info

    found = locate_release(name)
    info, folder = release_info(found), found.folder if isinstance(found, Release) else None
    card = card_text(found.info if isinstance(found, Release) else found)
    if folder and (folder / CARD_FILE).is_file():
        card = (folder / CARD_FILE).read_text(encoding="utf-8")
    if as_json:
        _print_json(_as_dict(info) | {"folder": str(folder) if folder else None, "card": card})
        return
    from rich.markdown import Markdown

    console = _console()
    console.print(Markdown(card))
    console.print(f"\nSize: {_size_text(info)}")
    console.print(f"Folder: {folder}" if folder else "Not installed.", soft_wrap=True)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="Name of a release of the catalog.")],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Fetch URL/FILE instead of each file's own address."),
    ] = None,
    from_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take the original files from this folder."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fetch a release of the catalog, check it and install it."""
    from desmezcla.releases.catalog import aliases, catalog
    from desmezcla.releases.store import catalog_entry, installed_release

    name = aliases().get(name, name)
    release = installed_release(name)
    if release is None or (force and name in catalog()):
        from desmezcla.cli.report import download_bar
        from desmezcla.releases.fetch import fetch_release

        with download_bar(name) as progress:
            release = fetch_release(
                catalog_entry(name),
                mirror=mirror,
                from_dir=from_dir,
                replace=force,
                progress=progress,
            )
    _print_installed(release, as_json=as_json)


@app.command("import")
def import_command(
    path: Annotated[
        Path, typer.Argument(help="Checkpoint file, folder of one, or YAML file of a demucs bag.")
    ],
    name: Annotated[str, typer.Option(help="What to call the release.")],
    format: Annotated[
        str,
        typer.Option(
            help="auto, asteroid, bs_roformer, demucs, desmezcla_folder, open_unmix or spleeter."
        ),
    ] = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Bring in a checkpoint of another program. No code from the file is run."""
    from desmezcla.releases.importers import import_release

    release = import_release(path, name, format=format, replace=force)
    _print_installed(release, as_json=as_json)


@app.command()
def verify(name: Name, as_json: Json = False) -> None:
    """Recompute the checksums of a release."""
    from desmezcla.releases.store import find_release, verify_release

    release = find_release(name, download=False)
    files = verify_release(release)
    if as_json:
        _print_json({"name": release.name, "folder": str(release.folder), "verified": list(files)})
        return
    typer.echo(f"{release.name}: {', '.join(files) or 'no files'}: as they were made")


@app.command("path")
def path_command(name: Name) -> None:
    """Print the folder of an installed release."""
    from desmezcla.releases.store import find_release

    typer.echo(find_release(name, download=False).folder)


def _as_dict(info: "ReleaseInfo") -> dict[str, Any]:
    """Return a record for JSON; the scores are records too."""
    fields = dict(vars(info))
    return fields | {"scores": [scores.model_dump(mode="json") for scores in info.scores]}


def _score_text(scores: "Scores") -> str:
    values = ", ".join(f"{stem} {value:.2f}" for stem, value in scores.values_db.items())
    details = (scores.dataset, scores.averaging, scores.source)
    return "\n".join((f"{scores.metric} {values} dB", *details))


def _size_text(info: "ReleaseInfo") -> str:
    from rich.filesize import decimal

    return f"{'' if info.installed else 'about '}{decimal(info.size_bytes)}"


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _print_installed(release: "Release", *, as_json: bool) -> None:
    facts = {
        "name": release.name,
        "stems": list(release.info.stems),
        "license": release.info.license,
        "sha256": release.sha256,
        "folder": str(release.folder),
    }
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"{release.name} is installed in {release.folder}")
    typer.echo(f"stems: {', '.join(release.info.stems)}; licence: {release.info.license}")


def _console() -> Any:
    """Return a console that is wide enough for tables where nobody said how wide it is."""
    from rich.console import Console

    # Names and licences are text of others: not markup, no emoji codes.
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(**plain)
    return console if console.is_terminal else Console(**plain, width=max(console.width, 160))
