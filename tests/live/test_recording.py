import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desmezcla.audio.stems import StemWriter
from desmezcla.errors import AudioFileError, ParameterError
from desmezcla.live.mixer import Mixer
from desmezcla.live.recording import MixRecorder, StemRecorder

STEMS = ("vocals", "drums")
RATE = 8000


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    shape = (len(STEMS), 2, samples)
    return np.random.default_rng(seed).uniform(-0.9, 0.9, shape).astype(np.float32)


def read(path: Path) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0].T
    return audio


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 30 s")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what lets a disk go that stands still at first."""
    go = threading.Event()
    write = StemWriter.write

    def slow(writer: StemWriter, stems: Any) -> None:
        assert go.wait(30)
        write(writer, stems)

    monkeypatch.setattr(StemWriter, "write", slow)
    return go


def test_the_files_hold_what_was_written(tmp_path: Path) -> None:
    stems = noise(1000)
    folder = tmp_path / "takes" / "one"
    with StemRecorder(folder, STEMS, RATE, 2, bit_depth="32f") as recorder:
        for start in range(0, 1000, 130):
            recorder.write(stems[..., start : start + 130])
        assert not any(name.endswith(".wav") and name[0] != "." for name in names(folder))
    assert recorder.paths == {stem: folder / f"{stem}.wav" for stem in STEMS}
    assert names(folder) == {"vocals.wav", "drums.wav"}
    assert (recorder.recorded_samples, recorder.lost_samples, recorder.error) == (1000, 0, None)
    for stem, audio in zip(STEMS, stems, strict=True):
        np.testing.assert_array_equal(read(folder / f"{stem}.wav"), audio)


def test_a_block_may_be_changed_after_it_was_given(tmp_path: Path, disk: threading.Event) -> None:
    with StemRecorder(tmp_path, STEMS, RATE, 2, bit_depth="32f") as recorder:
        block = noise(100)
        recorder.write(block)
        block[:] = 0
        disk.set()
    np.testing.assert_array_equal(read(tmp_path / "vocals.wav"), noise(100)[0])


@pytest.mark.parametrize(
    ("options", "name", "subtype"),
    [
        ({}, "drums.wav", "PCM_24"),
        ({"bit_depth": "16"}, "drums.wav", "PCM_16"),
        ({"format": "flac"}, "drums.flac", "PCM_24"),
        ({"format": "mp3"}, "drums.mp3", "MPEG_LAYER_III"),
    ],
)
def test_formats(tmp_path: Path, options: dict[str, Any], name: str, subtype: str) -> None:
    with StemRecorder(tmp_path, STEMS, 44100, 2, **options) as recorder:
        recorder.write(noise(5000))
    info = soundfile.info(tmp_path / name)
    assert (info.subtype, info.samplerate, info.channels) == (subtype, 44100, 2)


def test_writing_does_not_wait_for_the_disk_and_what_is_lost_becomes_silence(
    tmp_path: Path, disk: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    with StemRecorder(tmp_path, STEMS, RATE, 2, bit_depth="32f", buffer_s=0.1) as recorder:
        for seed in range(10):  # 0.5 s, though the disk has not taken anything yet
            recorder.write(noise(400, seed))
        assert recorder.lost_samples == 8 * 400
        disk.set()
        wait_until(lambda: recorder.recorded_samples >= 2 * 400)
        recorder.write(noise(400, seed=10))
    for index, stem in enumerate(STEMS):
        audio = read(tmp_path / f"{stem}.wav")
        assert audio.shape == (2, 11 * 400), "the files stay in step with the music"
        for seed in (0, 1, 10):
            piece = audio[:, 400 * seed : 400 * (seed + 1)]
            np.testing.assert_array_equal(piece, noise(400, seed)[index])
        assert not audio[:, 800:4000].any()
    assert "0.400 s of the recording are silence, at 0.100 s" in caplog.text


def test_what_is_lost_at_the_very_end_is_silence_too(tmp_path: Path, disk: threading.Event) -> None:
    with StemRecorder(tmp_path, STEMS, RATE, 2, buffer_s=0.1) as recorder:
        for seed in range(5):
            recorder.write(noise(400, seed))
        disk.set()
    assert recorder.recorded_samples == 5 * 400
    assert read(tmp_path / "drums.wav").shape == (2, 5 * 400)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_recorded_before_an_interruption_is_kept(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def record() -> None:
        with StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
            recorder.write(noise(1234))
            raise error

    with pytest.raises(error):
        record()
    assert names(tmp_path) == {"vocals.wav", "drums.wav"}
    assert soundfile.info(tmp_path / "vocals.wav").frames == 1234


def test_nothing_recorded_is_nothing_left(tmp_path: Path) -> None:
    with StemRecorder(tmp_path / "take", STEMS, RATE, 2) as recorder:
        recorder.write(noise(0))
    assert recorder.close() == {}
    assert names(tmp_path) == set()


def test_the_output_is_recorded_in_step_with_the_stems(tmp_path: Path) -> None:
    mixer = Mixer(STEMS, RATE, {"vocals": 0.0, "drums": 0.5})
    with StemRecorder(tmp_path, (*STEMS, "output"), RATE, 2, bit_depth="32f") as recorder:
        both = MixRecorder(mixer, recorder)
        played = [both.mix(noise(100, seed)) for seed in range(3)]
    drums = read(tmp_path / "drums.wav")
    np.testing.assert_array_equal(read(tmp_path / "output.wav"), np.concatenate(played, axis=1))
    np.testing.assert_array_equal(read(tmp_path / "output.wav"), 0.5 * drums)


def test_no_recording_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "drums.wav").write_text("an earlier take")
    with pytest.raises(ParameterError, match=r"drums\.wav' is there already"):
        StemRecorder(tmp_path, STEMS, RATE, 2)
    assert names(tmp_path) == {"drums.wav"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "wma"}, "format='wma'"),
        ({"format": "stem.mp4"}, "stem.mp4"),
        ({"format": "mp3"}, "8000"),  # no such rate in MP3 above its 7000
        ({"format": "flac", "bit_depth": "32f"}, "bit_depth=32f"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_at_once(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    rate = 7000 if options["format"] == "mp3" else RATE
    with pytest.raises(ParameterError, match=message):
        StemRecorder(tmp_path / "take", STEMS, rate, 2, **options)
    assert names(tmp_path) == set()


def test_a_folder_that_is_a_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "take").write_text("in the way")
    with pytest.raises(AudioFileError, match="is a file, not a folder"):
        StemRecorder(tmp_path / "take", STEMS, RATE, 2)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30 - 2**20, 2**20))
    with pytest.raises(AudioFileError, match="has only 1 MiB left"):
        StemRecorder(tmp_path, STEMS, RATE, 2)
    assert names(tmp_path) == set()


def test_when_the_disk_fills_up_what_there_is_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked = iter([2**30, 2**30, 2**20])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 0, next(looked)))
    recorder = StemRecorder(tmp_path, STEMS, RATE, 2)
    with recorder:
        for seed in range(5):
            recorder.write(noise(RATE // 2, seed))
        wait_until(lambda: recorder.error is not None)
        wait_until(lambda: names(tmp_path) == {"vocals.wav", "drums.wav"})  # not only at the end
        recorder.write(noise(100))
    assert "MiB left" in str(recorder.error)
    assert "the 2.000 s before that are kept" in caplog.text
    assert {soundfile.info(path).frames for path in recorder.paths.values()} == {2 * RATE}


def test_a_failing_disk_ends_the_recording_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise AudioFileError("the disk is gone")

    monkeypatch.setattr(StemWriter, "write", fails)
    with StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
        recorder.write(noise(100))
        wait_until(lambda: recorder.error is not None)
        recorder.write(noise(100))
    assert str(recorder.error) == "the disk is gone"
    assert (recorder.paths, names(tmp_path)) == ({}, set())
    assert "nothing of it is kept, and the music goes on" in caplog.text


def test_a_disk_that_refuses_the_last_bytes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
        recorder.write(noise(100))
        monkeypatch.setattr(Path, "replace", refuses)
    assert "the disk is full" in str(recorder.error)
    assert (recorder.paths, names(tmp_path)) == ({}, set())
    assert "the recording is lost" in caplog.text


def test_a_sample_that_is_no_number_ends_the_recording_with_all_files_of_one_length(
    tmp_path: Path,
) -> None:
    bad = noise(100)
    bad[1, 0, 50] = np.nan
    with StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
        recorder.write(noise(300))
        recorder.write(bad)
    assert "no numbers" in str(recorder.error)
    assert {soundfile.info(path).frames for path in recorder.paths.values()} == {300}


def test_a_block_of_another_shape_is_refused(tmp_path: Path) -> None:
    with StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
        for shape in [(3, 2, 10), (2, 1, 10), (2, 10)]:
            with pytest.raises(ParameterError, match=r"\[2, 2, n\]"):
                recorder.write(np.zeros(shape, np.float32))
    with pytest.raises(ParameterError, match="closed"):
        recorder.write(noise(10))


def test_samples_beyond_full_scale_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), StemRecorder(tmp_path, STEMS, RATE, 2) as recorder:
        recorder.write(np.full((2, 2, 10), 1.5, np.float32))
    assert "20 samples were beyond full scale" in caplog.text
