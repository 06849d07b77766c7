import errno
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.audio.files import PendingFile
from desmezcla.datasets import cache, clips
from desmezcla.datasets.cache import CachedClip, entry_path, existing_entry, make_entry
from desmezcla.datasets.clips import FileClip, prepare
from desmezcla.datasets.reading import read_source
from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.errors import DatasetError, ParameterError

RATE = 8000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write(
    path: Path,
    *,
    seconds: float = 1.0,
    channels: int = 2,
    rate: int = RATE,
    subtype: str = "PCM_16",
) -> Source:
    samples = np.random.default_rng(len(path.name)).normal(
        0, 0.2, (round(seconds * rate), channels)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return Source(path)


def song(folder: Path, **sources: Source) -> Dataset:
    track = Track("song", {stem: (source,) for stem, source in sources.items()})
    return Dataset("songs", folder, (track,))


def read(clip: clips.Clip, channels: int, start: int, samples: int) -> Any:
    out = np.full((channels, samples), np.nan, np.float32)
    clip.read(start, out)
    return out


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "kind"), [("a.wav", {}), ("a.ogg", {"subtype": "VORBIS"}), ("a.wav", {"rate": 11025})]
)
def test_an_entry_holds_what_the_decoder_gives(
    tmp_path: Path, name: str, kind: dict[str, Any], channels: int
) -> None:
    source = write(tmp_path / name, **kind)
    path = entry_path(tmp_path / "cache", source, sample_rate=RATE, channels=channels)
    clip = make_entry(path, source, sample_rate=RATE, channels=channels)
    expected = read_source(source, sample_rate=RATE, channels=channels)
    assert clip.length_samples == expected.shape[1]
    step = np.abs(expected).max() / 32767
    got = read(clip, channels, 100, 5000)
    assert np.abs(got - expected[:, 100:5100]).max() <= 0.51 * step


def test_silence_is_kept_as_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", np.zeros((RATE, 2)), RATE)
    source = Source(tmp_path / "a.ogg")
    clip = make_entry(tmp_path / "c" / "e.audio", source, sample_rate=RATE, channels=2)
    assert not read(clip, 2, 0, RATE).any()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("own", [1, 2])
def test_files_at_the_rate_wanted_are_read_in_place(
    tmp_path: Path, subtype: str, channels: int, own: int
) -> None:
    source = write(tmp_path / "a.wav", subtype=subtype, channels=own)
    songs = song(tmp_path, vocals=source)
    (track,) = prepare(songs, stems=("vocals",), sample_rate=RATE, channels=channels)
    (clip,) = track.stems["vocals"]
    assert isinstance(clip, FileClip)
    expected = read_source(source, sample_rate=RATE, channels=channels)
    np.testing.assert_allclose(
        read(clip, channels, 1234, 2000), expected[:, 1234:3234], rtol=0, atol=1e-7
    )
    assert not cache.default_cache().exists()


def test_one_channel_of_a_file_can_be_a_source(tmp_path: Path) -> None:
    source = Source(write(tmp_path / "a.wav").path, channel=1)
    (track,) = prepare(
        song(tmp_path, vocals=source), stems=("vocals",), sample_rate=RATE, channels=2
    )
    audio, _ = soundfile.read(source.path, dtype="float32")
    got = read(track.stems["vocals"][0], 2, 0, RATE)
    np.testing.assert_array_equal(got, np.stack([audio[:, 1]] * 2))


def test_only_files_that_need_it_are_decoded_once(tmp_path: Path) -> None:
    songs = song(
        tmp_path,
        vocals=write(tmp_path / "v.ogg", subtype="VORBIS"),
        drums=write(tmp_path / "dr.flac"),
        bass=write(tmp_path / "bas.wav", rate=11025),
    )
    wanted: dict[str, Any] = {"stems": ("vocals", "drums", "bass"), "cache": tmp_path / "c"}
    seen: list[tuple[int, int]] = []
    tell = lambda *counts: seen.append(counts)  # noqa: E731
    prepare(songs, sample_rate=RATE, channels=2, jobs=2, progress=tell, **wanted)
    assert seen == [(2, 3), (3, 3)]
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "c").iterdir()}
    assert len(times) == 2
    prepare(songs, sample_rate=RATE, channels=2, **wanted)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "c").iterdir()} == times
    prepare(songs, sample_rate=RATE, channels=1, **wanted)
    assert len(files(tmp_path / "c")) == 4


def test_a_file_that_changes_gets_a_new_entry(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    before = entry_path(tmp_path, source, sample_rate=RATE, channels=2)
    os.utime(source.path, (1, 1))
    after = entry_path(tmp_path, source, sample_rate=RATE, channels=2)
    assert before != after
    other = Source(source.path, channel=0)
    assert entry_path(tmp_path, other, sample_rate=RATE, channels=2) != after


@pytest.mark.parametrize("damage", [lambda b: b[:-2], lambda b: b"x" + b[1:], lambda b: b""])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: Any) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    path = tmp_path / "c" / "e.audio"
    make_entry(path, source, sample_rate=RATE, channels=2)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert existing_entry(path) is None
    make_entry(path, source, sample_rate=RATE, channels=2)
    assert path.read_bytes() == whole


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    path = tmp_path / "c" / "e.audio"
    left = PendingFile(path)
    left.write(b"half")
    make_entry(path, source, sample_rate=RATE, channels=2)
    assert files(tmp_path / "c") == ["e.audio"]
    left.discard()


def test_several_at_once_decode_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    decoded: list[Source] = []

    def counted(source: Source, **options: Any) -> Any:
        decoded.append(source)
        return read_source(source, **options)

    monkeypatch.setattr(cache, "read_source", counted)
    path = tmp_path / "c" / "e.audio"
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(make_entry, path, source, sample_rate=RATE, channels=2) for _ in range(4)
        ]
        assert {job.result().length_samples for job in jobs} == {RATE}
    assert decoded == [source]


def test_a_full_disk_is_reported_before_and_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    wanted: dict[str, Any] = {"stems": ("vocals",), "sample_rate": RATE, "channels": 2}
    wanted |= {"cache": tmp_path / "c", "skip_bad": True}

    def full(file: PendingFile, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PendingFile, "write", full)
        with pytest.raises(DatasetError, match="the disk is full"):
            prepare(song(tmp_path, vocals=source), **wanted)
    assert files(tmp_path / "c") == []
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DatasetError, match=r"/c' needs 0\.07 GB, but its disk has only 0\.00 GB"):
        prepare(song(tmp_path, vocals=source), **wanted)


def test_a_process_that_gets_a_clip_maps_the_file_itself(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS", seconds=3)
    clip = make_entry(tmp_path / "c" / "e.audio", source, sample_rate=RATE, channels=2)
    expected = read(clip, 2, 10, 100)
    sent = pickle.dumps(clip)
    assert len(sent) < 1000
    np.testing.assert_array_equal(read(pickle.loads(sent), 2, 10, 100), expected)


def test_an_entry_that_vanished_is_reported(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", subtype="VORBIS")
    clip = make_entry(tmp_path / "c" / "e.audio", source, sample_rate=RATE, channels=2)
    clip.path.unlink()
    with pytest.raises(DatasetError, match=r"e\.audio' of the cache .* start again"):
        read(clip, 2, 0, 10)
    with pytest.raises(DatasetError, match="of the cache"):
        CachedClip(clip.path)


def broken_files(folder: Path) -> dict[str, Source]:
    (folder / "text.wav").write_text("no audio")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "nothing.wav", np.zeros((0, 2)), RATE)
    soundfile.write(folder / "three.wav", np.zeros((100, 3)), RATE)
    return {
        p: Source(folder / p) for p in ("text.wav", "empty.wav", "nothing.wav", "three.wav")
    } | {"gone.wav": Source(folder / "gone.wav")}


@pytest.mark.parametrize("name", ["text.wav", "empty.wav", "nothing.wav", "three.wav", "gone.wav"])
def test_bad_files_are_named_or_their_tracks_left_out(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = Track("good", {"vocals": (write(tmp_path / "good.wav"),)})
    bad = Track("bad", {"vocals": (broken_files(tmp_path)[name],)})
    songs = Dataset("songs", tmp_path, (bad, good))
    wanted: dict[str, Any] = {"stems": ("vocals",), "sample_rate": RATE, "channels": 2}
    with pytest.raises(DatasetError, match=name):
        prepare(songs, **wanted)
    tracks = prepare(songs, skip_bad=True, **wanted)
    assert [track.name for track in tracks] == ["good"]
    (record,) = caplog.records
    assert "'bad' is left out" in record.message
    assert name in record.message
    with pytest.raises(DatasetError, match="no readable track"):
        prepare(song(tmp_path, vocals=Source(tmp_path / name)), skip_bad=True, **wanted)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    songs = song(tmp_path, vocals=write(tmp_path / "a.wav"))
    with pytest.raises(DatasetError, match="the stem 'guitar'; the dataset's stems are: vocals"):
        prepare(songs, stems=("vocals", "guitar"), sample_rate=RATE, channels=2)
    with pytest.raises(ParameterError, match="channels=3"):
        prepare(songs, stems=("vocals",), sample_rate=RATE, channels=3)
    with pytest.raises(ParameterError, match="each once"):
        prepare(songs, stems=("vocals", "vocals"), sample_rate=RATE, channels=2)
