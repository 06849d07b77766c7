import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.studio.folders import LONGEST_NAME, Folders, label_of, suffix_of
from desmezcla.studio.tables import Job


@given(st.text())
def test_a_label_is_one_line_without_a_path(name: str) -> None:
    label = label_of(name)
    assert 1 <= len(label) <= LONGEST_NAME
    assert not set(label) & set('/\\\n\r\0"\x7f') - {'"'}
    assert label.isprintable()
    assert label not in (".", "..")
    assert label_of(label) == label


@given(st.text())
def test_a_stored_ending_is_a_known_one(name: str) -> None:
    suffix = suffix_of(name)
    assert suffix == "" or (suffix[0] == "." and suffix[1:].isalnum() and len(suffix) <= 5)


@pytest.mark.parametrize(
    ("name", "label", "suffix"),
    [
        ("../../etc/passwd", "passwd", ""),
        ("..\\..\\song.MP3", "song.MP3", ".mp3"),
        ("/abs/olute.flac", "olute.flac", ".flac"),
        ("a\0b.wav", "ab.wav", ".wav"),
        ("", "audio", ""),
        ("song.exe", "song.exe", ""),
        ("x" * 500 + ".wav", "x" * (LONGEST_NAME - 4) + ".wav", ".wav"),
    ],
)
def test_labels(name: str, label: str, suffix: str) -> None:
    assert (label_of(name), suffix_of(name)) == (label, suffix)


def test_strangers_are_removed_when_they_are_old(
    tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    folders = Folders(tmp_path)
    job = make_job(attempt=2)
    folders.upload(job.id, job.suffix).touch()
    folders.attempt(job).mkdir(parents=True)
    (folders.results / "stranger").mkdir()
    folders.incoming("old").touch()
    folders.incoming("new").touch()
    for path in (*folders.uploads.iterdir(), *folders.results.iterdir()):
        if path.name != "new.part":
            os.utime(path, (time.time() - 100,) * 2)
    folders.remove_strangers({job.id}, age_s=50)
    assert {path.name for path in folders.uploads.iterdir()} == {f"{job.id}.wav", "new.part"}
    assert {path.name for path in folders.results.iterdir()} == {job.id}
    folders.remove(job)
    assert [path.name for path in folders.uploads.iterdir()] == ["new.part"]
    assert list(folders.results.iterdir()) == []


def test_an_attempt_removes_earlier_ones_and_never_a_later_one(
    tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    folders = Folders(tmp_path)
    job = make_job(attempt=3)
    for attempt in (1, 2, 3, 10):
        (folders.results / job.id / str(attempt)).mkdir(parents=True)
    folders.remove_earlier(job)
    assert {path.name for path in (folders.results / job.id).iterdir()} == {"3", "10"}
