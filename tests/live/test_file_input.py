import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.audio.reader import AudioReader
from desmezcla.audio.resample import resample
from desmezcla.errors import AudioFileError, ParameterError
from desmezcla.live.file_input import FileSource, fold_matrix
from desmezcla.live.stream import Audio

RATE = 8000
PATIENCE_S = 30.0


def write(path: Path, channels: int, samples: int, rate: int = RATE) -> Audio:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)
    soundfile.write(path, audio.T, rate, subtype="FLOAT", format="WAV")
    return audio


def read_all(source: FileSource, block: int = 160) -> Audio:
    """Read as a device does, which asks again and again."""
    blocks, end = [], time.monotonic() + PATIENCE_S
    while not source.ended:
        assert time.monotonic() < end
        out = np.full((2, block), np.nan, np.float32)
        got = source.read(out)
        blocks.append(out[:, :got])
        if got < block:
            time.sleep(0.001)
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_comes_out_to_the_last_sample(channels: int, tmp_path: Path) -> None:
    # Ten times as long as what is decoded ahead.
    audio = write(tmp_path / "a.wav", channels, 16_001)
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2, ahead_s=0.2)
    assert source.length_s == 16_001 / RATE
    source.start()
    out = np.zeros((2, 1600), np.float32)
    assert source.read(out) == 1600  # all that is decoded ahead is ready
    np.testing.assert_array_equal(out, np.broadcast_to(audio[:, :1600], (2, 1600)))
    rest = read_all(source)
    np.testing.assert_array_equal(rest, np.broadcast_to(audio[:, 1600:], (2, 14_401)))
    source.check()
    source.close()


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    audio = write(tmp_path / "a.wav", 2, 11_025, rate=11_025)
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2)
    source.start()
    found = read_all(source)
    np.testing.assert_allclose(found, resample(audio, 11_025, RATE), atol=1e-6)
    assert found.shape == (2, RATE)
    source.close()


def test_it_can_start_later(tmp_path: Path) -> None:
    audio = write(tmp_path / "a.wav", 2, 4000)
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2, start_s=0.25)
    source.start()
    np.testing.assert_array_equal(read_all(source), audio[:, 2000:])
    source.close()


def test_a_file_longer_than_its_ring_can_be_left_at_any_time(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 2, 16_000)
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2, ahead_s=0.1)
    source.close()  # before it has begun, too
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2, ahead_s=0.1)
    source.start()
    assert not source.ended
    source.close()
    source.close()
    assert "decoding" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("content", [None, b"", b"This is no music." * 100])
def test_what_is_no_audio_file_is_an_error_at_once(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioFileError, match=r"a\.mp3"):
        FileSource(path, sample_rate=RATE, channels=2)


def test_a_file_without_anything_to_decode_is_an_error_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((100, 2), np.nan), RATE, subtype="FLOAT")
    source = FileSource(path, sample_rate=RATE, channels=2)
    with pytest.raises(AudioFileError, match="not a number"):
        source.start()
    source.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_breaks_off_says_so_when_it_has_been_read(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = write(tmp_path / "a.wav", 2, 4000)

    def broken(reader: AudioReader) -> Any:
        yield audio[:, :1000]
        raise AudioFileError("'a.wav' is damaged") if known else OSError("disk is gone")

    monkeypatch.setattr(AudioReader, "blocks", broken)
    source = FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2)
    source.start()
    np.testing.assert_array_equal(read_all(source), audio[:, :1000])
    with pytest.raises(AudioFileError, match="damaged" if known else r"a\.wav.*disk is gone"):
        source.check()
    source.close()


def test_the_centre_of_surround_sound_goes_to_both_sides() -> None:
    half = np.sqrt(0.5)
    matrix = fold_matrix(("FL", "FR", "FC", "LFE", "SL", "SR"), 2)
    assert matrix is not None
    np.testing.assert_allclose(matrix, [[1, 0, half, 0, half, 0], [0, 1, half, 0, 0, half]])


@pytest.mark.parametrize(
    ("layout", "channels", "matrix"),
    [
        (("FL", "FR"), 2, None),
        (("FC",), 1, None),
        (("FL", "FR"), 1, [[0.5, 0.5]]),
        (("1", "2", "3"), 2, [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_other_layouts(layout: tuple[str, ...], channels: int, matrix: Any) -> None:
    found = fold_matrix(layout, channels)
    assert (found if found is None else found.tolist()) == matrix


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 2, 100)
    with pytest.raises(ParameterError, match=r"channels=4 must not be more than the 2"):
        FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=4)
    with pytest.raises(ParameterError, match=r"ahead_s=0 must be from 0.1 to 600"):
        FileSource(tmp_path / "a.wav", sample_rate=RATE, channels=2, ahead_s=0)
