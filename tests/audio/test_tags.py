# mutagen's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import APIC, COMM, ID3, TCON, TIT2
from mutagen.mp4 import MP4, MP4Cover

from desmezcla.audio.formats import FORMATS
from desmezcla.audio.reader import read_audio
from desmezcla.audio.tags import Cover, Tags, copy_tags, read_tags, write_tags
from desmezcla.audio.writer import AudioWriter

Make = Callable[..., Any]

SINGLE_FORMATS = [name for name in FORMATS if name != "stem.mp4"]
JPEG = Cover(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 300 + b"\xff\xd9", "image/jpeg")
FIELDS = {
    "title": ("Canción ☃",),
    "artist": ("One", "AC/DC"),
    "album": ("Album",),
    "albumartist": ("Various",),
    "composer": ("Someone",),
    "date": ("2001-02-03",),
    "genre": ("Rock",),
    "tracknumber": ("3/12",),
    "discnumber": ("1",),
    "comment": ("two\nlines",),
    "bpm": ("120",),
    "initialkey": ("Am",),
    "isrc": ("ESA012345678",),
    "copyright": ("2001 Someone",),
    "organization": ("Label",),
}


def audio_file(path: Path, name: str, tags: Tags | None = None) -> Path:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5000)).astype(np.float32)
    with AudioWriter(path, sample_rate=48000, channels=2, format=name, tags=tags) as writer:
        writer.write(audio)
    return path


def path_for(folder: Path, name: str, stem: str) -> Path:
    return folder / f"{stem}-{name}.{FORMATS[name].extension}"


@pytest.mark.parametrize("name", SINGLE_FORMATS)
def test_tags_and_cover_survive_in_every_format(name: str, tmp_path: Path) -> None:
    plain, _ = read_audio(audio_file(tmp_path / "plain", name))
    path = audio_file(tmp_path / "tagged", name, Tags(FIELDS, JPEG))
    found = read_tags(path)
    assert found.fields == FIELDS
    assert found.cover == JPEG
    np.testing.assert_array_equal(read_audio(path)[0], plain)


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in itertools.product(SINGLE_FORMATS, repeat=2) if pair[0] != pair[1]],
)
def test_tags_are_copied_from_each_format_to_each_other(
    source: str, target: str, tmp_path: Path
) -> None:
    first = audio_file(path_for(tmp_path, source, "a"), source, Tags(FIELDS, JPEG))
    second = audio_file(path_for(tmp_path, target, "b"), target)
    copy_tags(first, second, stem="vocals", extra={"comment": "new", "encodedby": "desmezcla"})
    copied = read_tags(second)
    assert copied.fields == {**FIELDS, "title": ("Canción ☃ (vocals)",), "comment": ("new",)}
    assert copied.cover == JPEG


def test_fields_without_a_name_of_their_own_are_written_too(tmp_path: Path) -> None:
    paths = [audio_file(path_for(tmp_path, name, "a"), name) for name in ("mp3", "flac", "m4a")]
    for path in paths:
        copy_tags(paths[0], path, extra={"Stem": "vocals"})
    assert mutagen.File(paths[0])["TXXX:stem"].text == ["vocals"]
    assert mutagen.File(paths[1])["stem"] == ["vocals"]
    assert bytes(mutagen.File(paths[2])["----:com.apple.iTunes:stem"][0]) == b"vocals"


def test_a_source_without_tags_leaves_the_target_without(tmp_path: Path) -> None:
    source = audio_file(tmp_path / "a.wav", "wav")
    target = audio_file(tmp_path / "b.flac", "flac")
    before = target.read_bytes()
    copy_tags(source, target, stem="vocals")
    assert read_tags(source) == Tags()
    assert target.read_bytes() == before


def test_tags_of_aiff(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.aiff", np.zeros((100, 1)), 44100)
    file: Any = AIFF(tmp_path / "a.aiff")
    file.add_tags()
    file.tags.add(TIT2(encoding=3, text=["Song"]))
    file.save()
    assert read_tags(tmp_path / "a.aiff").fields == {"title": ("Song",)}


def test_id3_quirks(tmp_path: Path) -> None:
    path = audio_file(tmp_path / "a.mp3", "mp3")
    frames = ID3()
    frames.add(TCON(encoding=3, text=["(17)"]))
    frames.add(COMM(encoding=3, lang="eng", desc="iTunNORM", text=["0000"]))
    frames.add(COMM(encoding=3, lang="eng", desc="", text=["nice"]))
    frames.add(APIC(mime="-->", type=3, data=b"http://127.0.0.1/cover.jpg"))
    frames.add(APIC(mime="image/png", type=4, desc="back", data=b"back"))
    frames.add(APIC(mime="image/jpeg", type=3, desc="front", data=b"front"))
    frames.save(path)
    found = read_tags(path)
    assert found.fields == {"genre": ("Rock",), "comment": ("nice",)}
    assert found.cover == Cover(b"front", "image/jpeg")


def test_vorbis_quirks(tmp_path: Path) -> None:
    path = audio_file(tmp_path / "a.flac", "flac")
    file = FLAC(path)
    file.update({"TRACKNUMBER": "3", "totaltracks": "12", "DESCRIPTION": "nice", "Year": "2001"})
    file.save()
    assert read_tags(path).fields == {
        "tracknumber": ("3/12",),
        "comment": ("nice",),
        "date": ("2001",),
    }


def test_mp4_takes_numbers_only_where_it_must(tmp_path: Path) -> None:
    tags = Tags({"bpm": ("fast",), "tracknumber": ("A1",), "title": ("Song",)})
    assert read_tags(audio_file(tmp_path / "a.m4a", "m4a", tags)).fields == {"title": ("Song",)}
    tags = Tags({"bpm": ("127.6",), "tracknumber": ("3",)})
    found = read_tags(audio_file(tmp_path / "a.m4a", "m4a", tags)).fields
    assert found == {"bpm": ("128",), "tracknumber": ("3",)}


def test_covers_that_mp4_does_not_know_are_left_out(tmp_path: Path) -> None:
    tags = Tags({"title": ("Song",)}, Cover(b"RIFF....WEBP", "image/webp"))
    found = read_tags(audio_file(tmp_path / "a.m4a", "m4a", tags))
    assert found == Tags({"title": ("Song",)})


def test_png_covers_of_mp4(tmp_path: Path) -> None:
    path = audio_file(tmp_path / "a.m4a", "m4a")
    file = MP4(path)
    file["covr"] = [MP4Cover(b"\x89PNG", MP4Cover.FORMAT_PNG)]
    file.save()
    assert read_tags(path).cover == Cover(b"\x89PNG", "image/png")


@pytest.mark.parametrize("name", SINGLE_FORMATS)
def test_broken_tags_are_a_warning_and_no_error(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = audio_file(tmp_path / "a", name, Tags(FIELDS, JPEG))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(30):
        broken = bytearray(content)
        for position in rng.integers(0, len(content), 200):
            broken[position] = int(rng.integers(256))
        path.write_bytes(broken)
        for value in read_tags(path).fields.values():
            assert all(isinstance(text, str) for text in value)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_what_is_no_media_file_has_no_tags(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert read_tags(tmp_path / "a.txt") == Tags()
    assert read_tags(tmp_path / "missing.mp3") == Tags()
    assert "cannot be read" in caplog.text


def test_a_cover_that_is_too_large_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = audio_file(tmp_path / "a.mp3", "mp3")
    frames = ID3()
    frames.add(APIC(mime="image/png", type=3, data=bytes(2**24)))
    frames.add(TIT2(encoding=3, text=["Song"]))
    frames.save(path)
    assert read_tags(path) == Tags({"title": ("Song",)})
    assert "too large" in caplog.text


def test_a_wave_file_beyond_riff_gets_no_tags(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 1)), 44100, format="RF64")
    before = (tmp_path / "a.wav").read_bytes()
    write_tags(tmp_path / "a.wav", Tags(FIELDS), format="wav")
    assert (tmp_path / "a.wav").read_bytes() == before
    assert "gets no tags; choose flac" in caplog.text


@pytest.fixture(scope="module")
def untagged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("untagged")
    return {name: audio_file(folder / name, name).read_bytes() for name in SINGLE_FORMATS}


@given(
    name=st.sampled_from(SINGLE_FORMATS),
    fields=st.dictionaries(
        st.sampled_from(sorted(FIELDS)), st.text(min_size=1, max_size=20), min_size=1
    ),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_text_can_be_written_and_leaves_a_file_that_can_be_read(
    name: str, fields: dict[str, str], untagged: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(untagged[name])
    write_tags(path, Tags({key: (text,) for key, text in fields.items()}), format=name)
    assert read_audio(path)[0].shape == (2, 5000)
    title = fields.get("title", "")
    if title.isalnum():
        assert read_tags(path).fields["title"] == (title,)
