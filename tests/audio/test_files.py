import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from desmezcla.audio.files import PendingFile, write_error
from desmezcla.audio.formats import FORMATS
from desmezcla.audio.reader import read_audio
from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.audio.stems import StemWriter
from desmezcla.audio.writer import AudioWriter
from desmezcla.errors import AudioFileError

SECOND = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48_000)).astype(np.float32)
SINGLE_FORMATS = [name for name in FORMATS if name != "stem.mp4"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    header = (
        "import numpy as np, os, sys, resource\n"
        "from desmezcla.audio.writer import AudioWriter\n"
        "from desmezcla.audio.stems import StemWriter\n"
        "from desmezcla.errors import AudioFileError\n"
        "noise = np.random.default_rng(0).uniform(-.5, .5, (2, 48000)).astype(np.float32)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", header + code], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", SINGLE_FORMATS)
def test_the_final_name_appears_only_at_the_end(name: str, tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a", sample_rate=48000, channels=1, format=name) as writer:
        writer.write(SECOND)
        (temporary,) = names_in(tmp_path)
        assert temporary.startswith(f".a.{os.getpid()}-")
        assert temporary.endswith(".part")
    assert names_in(tmp_path) == ["a"]


@pytest.mark.parametrize("name", SINGLE_FORMATS)
@pytest.mark.parametrize("blocks", [0, 3])
def test_an_exception_leaves_the_old_file_as_it_was(
    name: str, blocks: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("old")

    def interrupted() -> None:
        with AudioWriter(tmp_path / "a", sample_rate=48000, channels=1, format=name) as writer:
            for _ in range(blocks):
                writer.write(SECOND)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capfd.readouterr() == ("", "")
    assert names_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("old")
    with AudioWriter(tmp_path / "a.wav", sample_rate=48000, channels=1) as writer:
        writer.write(SECOND)
    assert read_audio(tmp_path / "a.wav")[0].shape == SECOND.shape


@pytest.mark.parametrize("name", SINGLE_FORMATS)
def test_a_file_without_samples_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="would hold no samples"):
        AudioWriter(tmp_path / "a", sample_rate=48000, channels=1, format=name).close()
    assert names_in(tmp_path) == []


def test_no_stem_appears_if_one_fails(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.wav" for name in "abc"}
    writer = StemWriter(paths, sample_rate=48000, channels=1)
    writer.write(np.stack([SECOND] * 3))
    with pytest.raises(AudioFileError, match=r"b\.wav.*not a finite number"), writer:
        writer.write(np.stack([SECOND, SECOND * np.nan, SECOND]))
    assert names_in(tmp_path) == []


def test_no_stem_appears_if_one_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "b.wav").mkdir()
    paths = {name: tmp_path / f"{name}.wav" for name in "abc"}
    with pytest.raises(AudioFileError, match="is a folder"):
        StemWriter(paths, sample_rate=48000, channels=1)
    assert names_in(tmp_path) == ["b.wav"]


def test_no_stem_file_appears_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "a.stem.mp4"
    writer = StemMp4Writer(path, ["x", "y"], sample_rate=48000, channels=1)
    writer.write(np.stack([SECOND] * 2))
    with pytest.raises(ZeroDivisionError), writer:
        raise ZeroDivisionError
    assert names_in(tmp_path) == []


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "x" / "y" / "a.wav", sample_rate=48000, channels=1) as writer:
        writer.write(SECOND)
    assert names_in(tmp_path / "x" / "y") == ["a.wav"]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(AudioFileError, match="a part of the path is a file"):
        AudioWriter(tmp_path / "x" / "a.wav", sample_rate=48000, channels=1)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="every folder may be written here"
)
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AudioFileError, match="you may not write there"):
        AudioWriter(tmp_path / "a.wav", sample_rate=48000, channels=1)


@pytest.mark.parametrize(
    "name",
    ["two words.wav", 'it\'s "so".wav', "line\nbreak.wav", "🎸é.wav", "\udcff.wav", "é" * 120],
)
def test_any_file_name(name: str, tmp_path: Path) -> None:
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system does not take such names")
    with AudioWriter(tmp_path / name, sample_rate=48000, channels=1, format="flac") as writer:
        writer.write(SECOND)
    assert names_in(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="the name is too long"):
        AudioWriter(tmp_path / ("x" * 300 + ".wav"), sample_rate=48000, channels=1)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("name", SINGLE_FORMATS)
def test_a_disk_without_room_is_a_clear_error_and_nothing_is_left(
    name: str, tmp_path: Path
) -> None:
    # A limit on the size of files fails as a full disk does: some write gets an error.
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with AudioWriter("a", sample_rate=48000, channels=2, format={name!r}) as writer:
        for _ in range(4):
            writer.write(noise)
except AudioFileError as error:
    print(error)
"""
    done = run(code, tmp_path)
    assert done.stdout.strip().endswith("choose a smaller format (flac, mp3) or another disk")
    assert done.stderr == ""
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EROFS, "can only be read; choose another"),
        (errno.EIO, "Input/output error; choose another folder"),
    ],
)
def test_failures_of_the_system_come_with_a_remedy(number: int, remedy: str) -> None:
    error = write_error(Path("a.wav"), OSError(number, os.strerror(number)))
    assert "'a.wav' cannot be written: " in str(error)
    assert remedy in str(error)


def test_the_first_failure_is_kept_although_the_next_write_works(tmp_path: Path) -> None:
    file = PendingFile(tmp_path / "a")
    file.error = OSError(errno.ENOSPC, "full")
    file.write(b"more")
    with pytest.raises(AudioFileError, match="the disk is full"):
        file.finish()
    file.discard()
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_a_killed_process_leaves_no_file_under_a_final_name(tmp_path: Path) -> None:
    code = """
with StemWriter({"a": "a.wav", "b": "b.mp3"}, sample_rate=48000, channels=2) as writer:
    for _ in range(5):
        writer.write(np.stack([noise, noise]))
    os.kill(os.getpid(), 9)
"""
    assert run(code, tmp_path).returncode == -signal.SIGKILL
    assert all(name.startswith(".") for name in names_in(tmp_path))
