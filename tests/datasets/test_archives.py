import random
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from desmezcla.datasets import archives
from desmezcla.datasets.archives import unpack
from desmezcla.errors import DatasetError

FILES = {
    "train/A - Song/vocals.wav": random.Random(0).randbytes(3_000_000),
    "test/It's – another.stem.mp4": random.Random(1).randbytes(1000),
    "test/empty.txt": b"",
}


def archive(path: Path, files: dict[str, bytes] = FILES, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as content:
        for name, data in files.items():
            content.writestr(name, data)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_appear_with_their_folders(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "deep" / "songs"
    unpack(
        archive(tmp_path / "a.zip"),
        target,
        extra={"note.txt": "made"},
        progress=lambda *counts: seen.append(counts),
    )
    assert content(target) == {**FILES, "note.txt": b"made"}
    assert seen[-1] == (3_001_000, 3_001_000)
    assert len(seen) > 3
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["songs"]


def test_an_empty_folder_may_be_there_and_mac_shadows_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    unpack(
        archive(tmp_path / "a.zip", {**FILES, "__MACOSX/train/._x": b"shadow"}), tmp_path / "songs"
    )
    assert content(tmp_path / "songs") == FILES


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "//host/evil", "C:/evil", "C:evil", "a\\..\\evil", "a\nb"],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    # zipfile changes such names when it writes them by its usual way.
    path = archive(tmp_path / "a.zip", {**FILES, "x" * len(name.encode()): b"evil"})
    path.write_bytes(path.read_bytes().replace(b"x" * len(name.encode()), name.encode()))
    with pytest.raises(DatasetError, match=r"a\.zip' is refused: its file .*official record"):
        unpack(path, tmp_path / "songs")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO):
        member = zipfile.ZipInfo("link")
        member.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
            content.writestr(member, "/etc/passwd")
        with pytest.raises(DatasetError, match="'link' is a link or a device"):
            unpack(tmp_path / "a.zip", tmp_path / "songs")


def test_encrypted_and_repeated_files_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": b"1", "A": b"2"})
    with pytest.raises(DatasetError, match="'A' comes twice"):
        unpack(path, tmp_path / "songs")
    path = archive(tmp_path / "b.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="'a' is encrypted"):
        unpack(path, tmp_path / "songs")


def test_an_unknown_compression_is_reported(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"is damaged .*compression"):
        unpack(path, tmp_path / "songs")


def test_what_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"bomb": bytes(50_000_000)})
    with pytest.raises(DatasetError, match="have 50000000 bytes, and must have between 1 and"):
        unpack(path, tmp_path / "songs")
    with pytest.raises(DatasetError, match="between 1 and 99"):
        unpack(archive(tmp_path / "b.zip"), tmp_path / "songs", max_bytes=99)
    assert not (tmp_path / "songs").exists()


def test_a_file_that_is_longer_than_it_says_is_not_written(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"bomb": bytes(50_000)})
    data = path.read_bytes()
    sizes = (50_000).to_bytes(4, "little"), (5).to_bytes(4, "little")
    path.write_bytes(data.replace(*sizes))
    with pytest.raises(DatasetError, match="is damaged"):
        unpack(path, tmp_path / "songs")
    assert not (tmp_path / "songs").exists()
    assert all(p.stat().st_size <= 5 for p in tmp_path.rglob("bomb*"))


@pytest.mark.parametrize("cut", [0, 10, 2_000_000])
def test_damaged_archives_leave_no_folder(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    if cut == 2_000_000:
        data[1000] ^= 255  # in the middle of the audio
    else:
        data = data[:cut]
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.zip' is damaged"):
        unpack(path, tmp_path / "songs")
    assert not (tmp_path / "songs").exists()


def test_an_interrupted_call_is_continued_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.zip")

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path / "songs", progress=interrupt)
    assert not (tmp_path / "songs").exists()
    (hidden,) = tmp_path.glob(".songs.*")
    assert (hidden / "train/A - Song/vocals.wav").stat().st_size == 3_000_000
    (hidden / "test").mkdir(exist_ok=True)
    (hidden / "test/It's – another.stem.mp4").write_bytes(bytes(1000))  # right size, wrong content
    written: list[str] = []
    write = archives._Unpacking.write

    def recorded(self: archives._Unpacking, member: zipfile.ZipInfo) -> None:
        written.append(member.filename)
        write(self, member)

    monkeypatch.setattr(archives._Unpacking, "write", recorded)
    unpack(path, tmp_path / "songs")
    assert content(tmp_path / "songs") == FILES
    assert "train/A - Song/vocals.wav" not in written
    assert "test/It's – another.stem.mp4" in written


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.zip")
    usage = shutil.disk_usage(tmp_path)._replace(free=60 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DatasetError, match=r"needs 0\.07 GB, but its disk has only 0\.06 GB free"):
        unpack(path, tmp_path / "songs")
    assert not list(tmp_path.rglob("*.wav*"))
