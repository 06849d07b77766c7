import io
import zipfile
from pathlib import Path

import pytest

from desmezcla.studio import archive


def test_a_zip_holds_the_files(tmp_path: Path) -> None:
    contents = {"Canción/vocals.wav": b"v" * 700_001, "Canción/empty": b"", "x": b"\0\1"}
    files = []
    for number, (name, content) in enumerate(contents.items()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        files.append((name, path))
    pieces = list(archive.zipped(files))
    # Nobody holds more than a piece.
    assert max(map(len, pieces)) < archive._PIECE_BYTES + 1000
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == contents


def test_a_large_file_has_the_fields_of_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_LARGE_BYTES", 10)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    data = b"".join(archive.zipped([("name", path)]))
    assert int.from_bytes(data[4:6], "little") == zipfile.ZIP64_VERSION
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        assert read.read("name") == b"x" * 100
