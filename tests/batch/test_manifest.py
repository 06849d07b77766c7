from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desmezcla.batch.inputs import Refusal, Task
from desmezcla.batch.manifest import Manifest, open_manifest
from desmezcla.errors import DatasetError, DesmezclaError, ParameterError

arrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra cluster")
parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra cluster")
fsspec = pytest.importorskip("fsspec", reason="other storages need the extra cluster")


def opened(address: object, tmp_path: Path, out: str | None = None) -> Manifest:
    return open_manifest(str(address), leave_out=out or str(tmp_path / "out"), scratch=tmp_path)


def listed(address: object, tmp_path: Path, out: str | None = None) -> list[tuple[str, str]]:
    """Return paths and tracks, and check that a manifest can be read again."""
    manifest = opened(address, tmp_path, out)
    rows = list(manifest.rows())
    assert rows == list(manifest.rows())
    assert manifest.length == len(rows)
    assert not any(isinstance(row, Refusal) for row in rows)
    return [(row.path, row.track) for row in rows if isinstance(row, Task)]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    for name in ("b.flac", "a/1.mp3", "a/2.mp3", "notes.txt", ".hidden.mp3"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".csv")
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


Write = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_tables(tmp_path: Path, write: Write) -> None:
    paths = ["x/one.mp3", "/abs/two.wav", "s3://bucket/x/three.mp3", "../four.ogg"]
    table = write(tmp_path / "list", [{"year": 1999, "path": path} for path in paths])
    assert listed(table, tmp_path) == [
        (str(tmp_path / "x/one.mp3"), "x/one"),
        ("/abs/two.wav", "two"),
        ("s3://bucket/x/three.mp3", "three"),
        (str(tmp_path / "../four.ogg"), "four"),
    ]
    table = write(tmp_path / "list", [{"path": "x/one.mp3", "track": "Uno"}])
    assert listed(table, tmp_path) == [(str(tmp_path / "x/one.mp3"), "Uno")]


@pytest.mark.parametrize(
    "track", ["..", "../up", "/root", "a/../../b", "C:\\x", "\\\\host\\x", "."]
)
def test_tracks_that_lead_out_are_refused(tmp_path: Path, track: str) -> None:
    table = as_parquet(tmp_path / "list", [{"path": "a.mp3", "track": track}])
    (row,) = opened(table, tmp_path).rows()
    assert isinstance(row, Refusal)
    assert repr(track) in row.reason


def test_folders_and_patterns(music: Path, tmp_path: Path) -> None:
    found = {"b.flac": "b", "a/1.mp3": "a/1", "a/2.mp3": "a/2"}
    assert dict(listed(music, tmp_path)) == {str(music / k): v for k, v in found.items()}
    assert dict(listed(music, tmp_path, str(music / "a"))) == {str(music / "b.flac"): "b"}
    assert listed(music / "*/2.*", tmp_path) == [(str(music / "a/2.mp3"), "2")]


def test_other_storages(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        for name in ("b.flac", "a/1.mp3", "a/2.mp3", "notes.txt", "out/bass.wav"):
            memory.pipe(f"/bucket/{name}", b"")
        memory.pipe("/bucket/list.csv", b"path,track\na/1.mp3,\n/here.mp3,Here\n")
        found = {"b.flac": "b", "a/1.mp3": "a/1", "a/2.mp3": "a/2"}
        there = {f"memory:///bucket/{k}": v for k, v in found.items()}
        assert dict(listed("memory://bucket", tmp_path, "memory:///bucket/out")) == there
        assert listed("memory://bucket/*/2.mp3", tmp_path) == [("memory:///bucket/a/2.mp3", "2")]
        assert listed("memory://bucket/list.csv", tmp_path) == [
            ("memory://bucket/a/1.mp3", "a/1"),
            ("/here.mp3", "Here"),
        ]
        with pytest.raises(DesmezclaError, match="does not exist"):
            opened("memory://bucket/no.csv", tmp_path)
        with pytest.raises(ParameterError, match="does not exist"):
            opened("memory://nothing", tmp_path)
    finally:
        memory.rm("/bucket", recursive=True)
    with pytest.raises(DesmezclaError, match="abacus"):
        opened("abacus://bucket/list", tmp_path)


def corrupt_parquet(path: Path) -> None:
    parquet.write_table(arrow.table({"path": [f"{n}.mp3" for n in range(50_000)]}), path)
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"", "its columns are none"),
        ("list.csv", b"file,track\na.mp3,a\n", "its columns are 'file', 'track'"),
        ("list.csv", b"path\n", "names no tracks"),
        ("list.csv", b"path\n\xff\xfe\xfa\n", "cannot be read as CSV in UTF-8"),
        ("list.csv", b'path\n"' + b"x" * 200_000, "cannot be read as CSV"),
        ("list.parquet", b"no columns at all", "cannot be read as Parquet"),
        ("list.parquet", corrupt_parquet, "cannot be read as Parquet"),
    ],
)
def test_wrong_tables_are_told_at_once(
    tmp_path: Path, name: str, content: Any, message: str
) -> None:
    path = tmp_path / name
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        opened(path, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.csv", "does not exist"), ("song.mp3", "must be a CSV"), ("nowhere", "that exists")],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "song.mp3").touch()
    with pytest.raises(ParameterError, match=message):
        opened(tmp_path / name, tmp_path)


def test_rows_without_a_path_are_refused(tmp_path: Path) -> None:
    table = as_csv(tmp_path / "list", [{"path": "", "track": "a"}, {"path": "b.mp3", "track": "b"}])
    refused, task = opened(table, tmp_path).rows()
    assert isinstance(refused, Refusal)
    assert "line 2" in refused.path
    assert isinstance(task, Task)
