"""A dataset as a list of tracks in a CSV or YAML file, with the paths of their files."""

import csv
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast

import yaml

from desmezcla.datasets import layout
from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.errors import DatasetError

SUFFIXES = (".csv", ".yaml", ".yml")

# Columns that are no stem.
COLUMNS = ("track", "split", "genre", "licence", "mixture")

# What people write for one of them, so that it is not taken for a stem.
_CONFUSED = {
    "name": "track",
    "title": "track",
    "song": "track",
    "subset": "split",
    "mix": "mixture",
}


def read_manifest(path: Path) -> Dataset:
    """Read a manifest.

    A CSV file has a header and one line for each track; a YAML file is a list of mappings. The
    columns, or keys, are track, split (train, valid or test; train if it is left out), genre,
    licence, mixture, and one for each stem. Paths are relative to the manifest's folder and stay
    in it; in YAML, a stem can be a list of paths, whose sum it is.

    Errors:
        DatasetError: if the file is not such a manifest, a path leads out of the folder, there is
            no track, or two have the same name.
    """
    tracks: list[Track] = []
    problems: list[str] = []
    for where, row in _rows(path):
        try:
            tracks.append(_track(path.parent, row, f"{str(path)!r}, {where}"))
        except layout.Faulty as fault:
            problems.append(str(fault))
    return layout.dataset_of(path.resolve().stem, path, tracks, problems)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield where each row stands, and its values by column, without empty ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{str(path)!r} cannot be read ({error}); a manifest is a CSV or YAML file in UTF-8"
        ) from error
    yield from _csv_rows(path, text) if path.suffix.lower() == ".csv" else _yaml_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_columns(header, str(path))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                raise DatasetError(
                    f"{str(path)!r}, {where} has {len(cells)} values, but there are {len(header)} "
                    "columns; put a value with a comma in quotes"
                )
            pairs = zip(header, (cell.strip() for cell in cells), strict=True)
            yield where, {column: value for column, value in pairs if value}
    except csv.Error as error:
        raise DatasetError(
            f"{str(path)!r}, line {reader.line_num} is not CSV ({error}); check its quotes"
        ) from error


def _yaml_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DatasetError(f"{str(path)!r} is not YAML ({error}); check its indents") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DatasetError(
            f"{str(path)!r} must be a list with one mapping for each track, as in "
            "'- {track: Song, vocals: song/vocals.wav}'"
        )
    for number, row in enumerate(cast("list[dict[Any, Any]]", content), 1):
        where = f"entry {number}"
        _check_columns([str(key) for key in row], f"{path}, {where}")
        yield where, {str(key): value for key, value in row.items() if value not in (None, "", [])}


def _check_columns(columns: list[str], where: str) -> None:
    if "track" not in columns:
        raise DatasetError(
            f"{where!r} has no column 'track'; the columns are {', '.join(COLUMNS)} and the stems"
        )
    for column in columns:
        close = difflib.get_close_matches(column, COLUMNS, 1, 0.8)
        meant = _CONFUSED.get(column) or next(iter(close), None)
        if column in COLUMNS:
            meant = None
        if not column or meant:
            hint = f"did you mean {meant!r}?" if meant else "give it a name"
            raise DatasetError(f"{where!r} has an unknown column {column!r}; {hint}")
        if columns.count(column) > 1:
            raise DatasetError(f"{where!r} has two columns {column!r}; keep one of them")


def _track(folder: Path, row: Mapping[str, Any], where: str) -> Track:
    texts = {column: _text(row, column, where) for column in ("track", "split", "genre", "licence")}
    name, split = texts["track"], texts["split"] or "train"
    if not name:
        raise DatasetError(f"{where} has no track; give every track a name")
    if split not in layout.SPLITS:
        raise DatasetError(
            f"{where}: split={split!r} must be one of {', '.join(layout.SPLITS)}, or left out"
        )
    sources = {
        stem: _sources(folder, name, value, f"{where}, {stem}")
        for stem, value in row.items()
        if stem == "mixture" or stem not in COLUMNS
    }
    mixture = sources.pop("mixture", (None,))
    if len(mixture) != 1:
        raise DatasetError(f"{where}: mixture must be one path; leave it out for the stems' sum")
    if not sources:
        raise layout.Faulty(name, f"{where} names no stem; add a column for each")
    return Track(name, sources, mixture[0], split, texts["genre"], texts["licence"])


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column, "")
    if not isinstance(value, str):
        raise DatasetError(f"{where}: {column}={value!r} must be a text; put it in quotes")
    return value


def _sources(folder: Path, track: str, value: object, where: str) -> tuple[Source, ...]:
    paths = value if isinstance(value, list) else [value]
    sources = []
    for path in paths:
        if not isinstance(path, str) or not path:
            raise DatasetError(f"{where}={path!r} must be a path, or a list of paths in YAML")
        _check_inside(path, where)
        if not (folder / path).is_file():
            raise layout.Faulty(
                track, f"{where}: file {path!r} is missing; a stem's column holds paths"
            )
        sources.append(Source(folder / path))
    return tuple(sources)


def _check_inside(path: str, where: str) -> None:
    """Refuse what leads out of the folder on any system, so that a manifest is safe everywhere."""
    windows = PureWindowsPath(path)
    if PurePosixPath(path).is_absolute() or windows.anchor or ".." in windows.parts:
        raise DatasetError(
            f"{where}={path!r} leads out of the manifest's folder; name a path below it, or put "
            "the manifest above all files"
        )
