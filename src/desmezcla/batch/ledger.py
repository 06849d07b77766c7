"""The ledger of a batch: what became of every track, as Parquet files in the folder `ledger`.

A few seconds' rows make one file, which appears when it is complete, so a driver that is killed has
lost no more than these; files are put together when they become many, and at the end. Of two rows
of a track the one in the later file counts. While a batch runs, its rows are kept in a table on
disk: their number costs no memory.
"""

import dataclasses
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from desmezcla.batch.storage import PATIENCE_S, fetch, is_remote, join, local_path, names_in, put
from desmezcla.batch.storage import remove as remove_file
from desmezcla.errors import DatasetError
from desmezcla.evaluation.optional import require

FOLDER = "ledger"

# When a file is written: after so many rows, or seconds; how many files are put together.
_ROWS = 1000
_FLUSH_S = 5.0
_MANY_FILES = 64

_SQL_TYPES = {str: "TEXT", float: "REAL", int: "INTEGER"}


@dataclass(frozen=True)
class Row:
    """What became of a track; the columns of the ledger.

    Attributes:
        input: Its address, as it was found.
        track: Its name in the names of the stems.
        state: "done" or "failed".
        reason: Why it failed; empty if it is done.
        seconds: How long it took, from fetching to the last file.
        audio_seconds: How long it is.
        worker: Machine and process that did it.
        attempts: How often it was tried; 0 if it was refused without a try.
        release: Name of the release.
        release_sha256: Of its weights.
        version: Of desmezcla.
        request: What identifies release, version and options.
        input_stamp: What changes with the input.
        record: Name of its `separation.json` below the output folder.
        record_stamp: What changes with that.
        ended: When, in seconds since 1970; a time in the files.
    """

    input: str
    track: str
    state: str
    reason: str
    seconds: float
    audio_seconds: float
    worker: str
    attempts: int
    release: str
    release_sha256: str
    version: str
    request: str
    input_stamp: str
    record: str
    record_stamp: str
    ended: float


_COLUMNS = [field.name for field in dataclasses.fields(Row)]


class Ledger:
    """The ledger of an output folder.

    Args:
        out: Address of the output folder.
        scratch: Folder for files on their way.
        patience_s: How long the storage may be out of reach.

    Errors:
        DesmezclaError: if pyarrow is not installed.
        DatasetError: if a file of the ledger is damaged.
        AudioFileError: if the storage cannot be reached.
    """

    def __init__(self, out: str, scratch: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._arrow = require("pyarrow", needed_by="ledgers", extra="cluster")
        self._parquet = require("pyarrow.parquet", needed_by="ledgers", extra="cluster")
        self._out = out
        self._scratch = scratch
        self._patience_s = patience_s
        self._new: list[Row] = []
        self._oldest_s = 0.0
        # A table without a name lies in a file without one, which ends with the connection.
        self._table = sqlite3.connect("", isolation_level=None)
        types = [f"{f.name} {_SQL_TYPES[f.type]}" for f in dataclasses.fields(Row)]  # type: ignore[index]
        self._table.execute("PRAGMA journal_mode=OFF")
        self._table.execute(f"CREATE TABLE rows ({', '.join(types)}, PRIMARY KEY (input, track))")
        self._table.execute("CREATE TABLE taken (name TEXT PRIMARY KEY, input TEXT)")
        try:
            self._files = [n for n in names_in(self._folder, patience_s=patience_s) if _is_part(n)]
            for name in self._files:
                self._load(name)
        except BaseException:
            self._table.close()
            raise

    @property
    def _folder(self) -> str:
        return join(self._out, FOLDER)

    def find(self, input: str, track: str) -> Row | None:
        """Return the row of a track."""
        found = self._table.execute(
            "SELECT * FROM rows WHERE input = ? AND track = ?", (input, track)
        ).fetchone()
        return Row(*found) if found else None

    def claim(self, names: list[str], input: str) -> str | None:
        """Give names of files to an input; return which one has one of them already, if so."""
        marks = ", ".join("?" * len(names))
        found = self._table.execute(
            f"SELECT input FROM taken WHERE name IN ({marks}) LIMIT 1", names
        ).fetchone()
        if found:
            return str(found[0])
        rows = [(name, input) for name in names]
        self._table.executemany("INSERT INTO taken VALUES (?, ?)", rows)
        return None

    def add(self, row: Row) -> None:
        """Add a row, which is in a file some seconds later at the latest."""
        self._keep(row)
        self._oldest_s = self._oldest_s if self._new else time.monotonic()
        self._new.append(row)
        self.tick()

    def tick(self) -> None:
        """Write what is due; to be called now and then."""
        due = self._new and time.monotonic() - self._oldest_s >= _FLUSH_S
        if due or len(self._new) >= _ROWS:
            self._flush()

    def close(self) -> None:
        """Write all rows, and put all files together."""
        self._flush()
        if len(self._files) > 1:
            self._compact()
        self._table.close()

    def _keep(self, row: Row) -> None:
        marks = ", ".join("?" * len(_COLUMNS))
        values = dataclasses.astuple(row)
        self._table.execute(f"INSERT OR REPLACE INTO rows VALUES ({marks})", values)

    def _load(self, name: str) -> None:
        address = join(self._folder, name)
        path = self._scratch / name
        try:
            if is_remote(address):
                fetch(address, path, patience_s=self._patience_s)
            else:
                path = local_path(address)
            with self._parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=_COLUMNS):
                    for found in batch.to_pylist():
                        self._keep(Row(**found | {"ended": found["ended"].timestamp()}))
        except (self._arrow.ArrowException, KeyError, TypeError) as error:
            raise DatasetError(
                f"{address!r} is no ledger of desmezcla, or damaged ({error}); move it away, and "
                "what it tells of is found out again"
            ) from error
        finally:
            if is_remote(address):
                path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._new:
            self._files.append(self._write(iter([self._new])))
            self._new = []
        if len(self._files) > _MANY_FILES:
            self._compact()

    def _compact(self) -> None:
        """Put all files together; only when that is done are they removed."""
        before, self._files = self._files, [self._write(self._all_rows())]
        for name in before:
            remove_file(join(self._folder, name), patience_s=self._patience_s)

    def _all_rows(self) -> Iterator[list[Row]]:
        cursor = self._table.execute("SELECT * FROM rows ORDER BY input, track")
        while found := cursor.fetchmany(_ROWS):
            yield [Row(*values) for values in found]

    def _write(self, parts: Iterator[list[Row]]) -> str:
        """Write rows to a new file of the ledger, and return its name."""
        # Later names are greater; two drivers never have the same.
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.parquet"
        schema = self._schema()
        path = self._scratch / name
        try:
            with self._parquet.ParquetWriter(path, schema) as writer:
                for rows in parts:
                    table = self._arrow.Table.from_pylist([_cells(row) for row in rows], schema)
                    writer.write_table(table)
            put(path, join(self._folder, name), patience_s=self._patience_s)
        finally:
            path.unlink(missing_ok=True)
        return name

    def _schema(self) -> Any:
        types = {str: self._arrow.string(), float: self._arrow.float64(), int: self._arrow.int32()}
        fields = {f.name: types[f.type] for f in dataclasses.fields(Row)}  # type: ignore[index]
        fields["ended"] = self._arrow.timestamp("us", tz="UTC")
        return self._arrow.schema(list(fields.items()))


def _cells(row: Row) -> dict[str, Any]:
    cells = dataclasses.asdict(row)
    return cells | {"ended": datetime.fromtimestamp(row.ended, timezone.utc)}


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(".")
