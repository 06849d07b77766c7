"""A list of tracks: a CSV or Parquet file, a folder or a pattern, here or in another storage.

Rows are read as they are wanted. A first pass counts them and finds a manifest that is none, before
anything is done.
"""

import csv
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from desmezcla.batch.inputs import AUDIO_SUFFIXES, Refusal, Task, collect_inputs
from desmezcla.batch.storage import PATIENCE_S, fetch, is_remote, join, local_path, open_storage
from desmezcla.errors import DatasetError, ParameterError
from desmezcla.evaluation.optional import require
from desmezcla.inference.outputs import track_name

_PARQUET = (".parquet", ".pq")
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Manifest:
    """Tracks, in order.

    Attributes:
        name: What a user calls it.
        rows: Begins to read them.
        length: How many there are.
    """

    name: str
    rows: Callable[[], Iterator[Task | Refusal]]
    length: int


def open_manifest(
    address: str, *, leave_out: str, scratch: Path, patience_s: float = PATIENCE_S
) -> Manifest:
    """Open a manifest and count its rows.

    A table has the column `path`, and may have the column `track`, the name of the track in the
    names of its stems; without it, that is the path below the manifest's folder, or the name of the
    file. Paths are relative to the manifest's folder.

    Args:
        address: Of a CSV or Parquet file, a folder, or a pattern with `*`, `?`, `[…]` and `**`.
        leave_out: Folder whose files are no inputs: the one that stems are written to.
        scratch: Folder for the copy of a remote table.
        patience_s: How long a storage may be out of reach.

    Errors:
        ParameterError: if there is no such file or folder, or it is neither of these.
        DatasetError: if a table is damaged, has no rows, or lacks the column.
        AudioFileError: if a storage cannot be reached.
    """
    suffix = PurePosixPath(address).suffix.lower()
    if suffix in (".csv", *_PARQUET) and not _is_folder(address):
        path = local_path(address)
        if is_remote(address):
            path = scratch / f"manifest{suffix}"
            fetch(address, path, patience_s=patience_s)
        elif not path.is_file():
            raise ParameterError(f"manifest={address!r} does not exist; check the path")
        read = _csv_rows if suffix == ".csv" else _parquet_rows
        rows: Callable[[], Iterator[Task | Refusal]] = _Table(address, path, read)
    elif is_remote(address):
        rows = _RemoteFiles(address, leave_out)
    else:
        path = local_path(address)
        if not (path.is_dir() or glob.has_magic(address)):
            raise ParameterError(
                f"manifest={address!r} must be a CSV or Parquet file, a folder or a pattern "
                + ("such as '*.mp3'" if path.exists() else "that exists; check the path")
            )
        rows = _LocalFiles(os.fspath(path), leave_out)
    length = sum(1 for _ in rows())
    if length == 0:
        raise DatasetError(f"manifest={address!r} names no tracks; check what it holds")
    return Manifest(address, rows, length)


def _is_folder(address: str) -> bool:
    return not is_remote(address) and local_path(address).is_dir()


@dataclass(frozen=True)
class _LocalFiles:
    """The audio files of a local folder or pattern."""

    name: str
    leave_out: str

    def __call__(self) -> Iterator[Task | Refusal]:
        out = Path(os.devnull) if is_remote(self.leave_out) else local_path(self.leave_out)
        return collect_inputs([self.name], leave_out=out)


@dataclass(frozen=True)
class _RemoteFiles:
    """The audio files of a remote folder, folder by folder, or of a pattern."""

    address: str
    leave_out: str

    def __call__(self) -> Iterator[Task | Refusal]:
        fs, root = open_storage(self.address)
        for path in self._paths(fs, root.rstrip("/")):
            name = PurePosixPath(path).name
            if PurePosixPath(name).suffix.lower() not in AUDIO_SUFFIXES or name.startswith("."):
                continue
            address = fs.unstrip_protocol(path)
            if address.startswith(self.leave_out.rstrip("/") + "/"):
                continue
            track = track_name(Path(name))
            if not glob.has_magic(self.address):
                below = PurePosixPath(path).parent.relative_to(root.rstrip("/"))
                track = (below / track).as_posix()
            yield Task(address, track)

    def _paths(self, fs: Any, root: str) -> Iterator[str]:
        try:
            if glob.has_magic(self.address):
                yield from sorted(fs.glob(root))
                return
            for here, _, files in fs.walk(root, on_error="raise"):
                yield from (f"{here.rstrip('/')}/{file}" for file in sorted(files))
        except FileNotFoundError as error:
            raise ParameterError(
                f"manifest={self.address!r} does not exist; check the address"
            ) from error


_Read = Callable[[str, Path], Iterator[tuple[str, Any, Any]]]


@dataclass(frozen=True)
class _Table:
    """The rows of a CSV or Parquet file."""

    address: str
    path: Path
    read: _Read

    def __call__(self) -> Iterator[Task | Refusal]:
        folder = self.address.rpartition("/")[0]
        if not is_remote(self.address):
            folder = os.fspath(local_path(self.address).parent)
        for where, path, track in self.read(self.address, self.path):
            yield _row(folder, f"{where} of {self.address!r}", path, track)


def _row(folder: str, where: str, path: Any, track: Any) -> Task | Refusal:
    if not isinstance(path, str) or not path.strip():
        return Refusal(where, "path is empty; every row must have one")
    below = not (is_remote(path) or path.startswith("file://") or Path(path).is_absolute())
    address = join(folder, path) if below else path
    if track is None or track == "":
        name = PurePosixPath(path.partition("://")[2] or path)
        inside = below and ".." not in name.parts
        track = track_name(Path(name.name))
        track = (name.parent / track).as_posix() if inside else track
    if not isinstance(track, str) or not _is_inside(track):
        return Refusal(
            address,
            f"track={track!r} ({where}) must be a name, or a path below the output folder, "
            "without '..'",
        )
    return Task(address, track)


def _is_inside(track: str) -> bool:
    """Whether the name of a track leads nowhere but below the output folder."""
    parts = [*PurePosixPath(track).parts, *PureWindowsPath(track).parts]
    rooted = PurePosixPath(track).is_absolute() or PureWindowsPath(track).anchor
    return not rooted and ".." not in parts and bool(track.strip("./ ")) and "\0" not in track


def _csv_rows(name: str, path: Path) -> Iterator[tuple[str, Any, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(name, list(reader.fieldnames or ()))
            for row in reader:
                yield f"line {reader.line_num}", row["path"], row.get("track")
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DatasetError(
            f"manifest={name!r} cannot be read as CSV in UTF-8: {error}; export it again"
        ) from error


def _parquet_rows(name: str, path: Path) -> Iterator[tuple[str, Any, Any]]:
    parquet = require("pyarrow.parquet", needed_by="Parquet manifests", extra="cluster")
    arrow = require("pyarrow", needed_by="Parquet manifests", extra="cluster")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            _check_columns(name, there)
            columns = [column for column in ("path", "track") if column in there]
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row["path"], row.get("track")
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(
            f"manifest={name!r} cannot be read as Parquet: {error}; write it again"
        ) from error


def _check_columns(name: str, columns: list[str]) -> None:
    if "path" not in columns:
        there = ", ".join(map(repr, columns)) or "none"
        raise DatasetError(
            f"manifest={name!r} must have the column 'path', but its columns are {there}; name "
            "them in its first line"
        )
