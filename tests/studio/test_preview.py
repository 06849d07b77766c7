"""What the desk plays and draws is what the files hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desmezcla.studio.preview import BANDS, COLUMNS, PEAKS, make_preview, picture_file, samples_file

RATE = 44100


def previewed(tmp_path: Path, audio: NDArray[Any], **options: Any) -> tuple[dict[str, Any], Path]:
    path, folder = tmp_path / "stem.wav", tmp_path / "preview"
    soundfile.write(path, audio, RATE, **options)
    folder.mkdir()
    checks = []
    size = make_preview({"stem": (path, 0)}, folder, check=lambda: checks.append(1))
    assert checks
    assert size == sum(file.stat().st_size for file in folder.iterdir())
    return json.loads((folder / "preview.json").read_text()), folder


def test_samples_are_those_of_the_file(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).integers(-32768, 32767, (30_000, 2)).astype(np.int16)
    facts, folder = previewed(tmp_path, audio)
    samples = np.fromfile(folder / samples_file("stem"), "<i2").reshape(-1, 2)
    np.testing.assert_array_equal(samples, audio)
    assert (facts["sample_rate"], facts["channels"], facts["length_samples"]) == (RATE, 2, 30_000)


def test_what_is_too_loud_for_16_bits_is_limited(tmp_path: Path) -> None:
    audio = np.array([[2.0], [-2.0], [0.5]])
    _, folder = previewed(tmp_path, audio, subtype="FLOAT")
    samples = np.fromfile(folder / samples_file("stem"), "<i2")
    assert samples.tolist() == [32767, -32768, 16384]


def test_of_more_than_two_channels_the_front_is_heard(tmp_path: Path) -> None:
    audio = np.tile(np.arange(6) * 1000, (500, 1)).astype(np.int16)
    facts, folder = previewed(tmp_path, audio)
    assert facts["channels"] == 2
    assert np.fromfile(folder / samples_file("stem"), "<i2")[:4].tolist() == [0, 1000, 0, 1000]


def test_peaks_show_where_it_is_loud(tmp_path: Path) -> None:
    audio = np.zeros((PEAKS * 10, 1))
    audio[: PEAKS * 5] = np.tile([[0.5], [-0.25]], (PEAKS * 5 // 2, 1))
    lows, highs = previewed(tmp_path, audio)[0]["peaks"]["stem"]
    assert len(lows) == len(highs) == PEAKS
    assert set(highs[: PEAKS // 2]) == {63}
    assert set(lows[: PEAKS // 2]) == {-32}
    assert set(highs[PEAKS // 2 :]) == set(lows[PEAKS // 2 :]) == {0}


@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 10_000.0])
def test_a_tone_is_bright_in_its_band(tmp_path: Path, frequency_hz: float) -> None:
    tone = 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(RATE) / RATE)
    facts, folder = previewed(tmp_path, tone[:, None])
    levels = np.fromfile(folder / picture_file("stem"), np.uint8).reshape(COLUMNS, BANDS)
    octaves = np.log2(RATE / 2 / facts["lowest_hz"])
    expected = np.log2(frequency_hz / facts["lowest_hz"]) / octaves * BANDS
    assert abs(int(levels[COLUMNS // 2].argmax()) - expected) < 3
    assert levels[COLUMNS // 2].max() >= 250


@pytest.mark.parametrize("length", [1, 100, 5000])
def test_short_and_silent_files_are_drawn(tmp_path: Path, length: int) -> None:
    facts, folder = previewed(tmp_path, np.zeros((length, 2)))
    assert facts["length_samples"] == length
    assert not np.fromfile(folder / picture_file("stem"), np.uint8).any()
