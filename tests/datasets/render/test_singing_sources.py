"""Recordings are cut into syllables where they are, and speech synthesis repeats itself."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, welch

from desmezcla.datasets.render.singing import speech
from desmezcla.datasets.render.singing.analysis import (
    ANALYSIS_RATE,
    analyse,
    cut_syllables,
    fundamental,
    pitch_marks,
)
from desmezcla.datasets.render.singing.colour import with_air
from desmezcla.datasets.render.singing.formant_singer import formant_voice
from desmezcla.datasets.render.singing.psola import Grains, overlap_add
from desmezcla.datasets.render.singing.units import UNIT_RATE
from desmezcla.errors import DesmezclaError

needs_speech = pytest.mark.skipif(
    not speech.speech_is_installed(), reason="espeakng-loader is not installed"
)


def pulses(f0_hz: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Harmonics that fall by 6 dB per octave."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / rate
    return np.asarray(sum(np.sin(k * phase) / k for k in range(1, 9)) * 0.1)


@pytest.mark.parametrize("f0_hz", [80.0, 137.0, 220.0, 440.0, 800.0])
def test_the_fundamental_is_found(f0_hz: float) -> None:
    found, strength = fundamental(pulses(np.full(ANALYSIS_RATE // 2, f0_hz), ANALYSIS_RATE))
    inner = slice(10, -10)
    np.testing.assert_allclose(found[inner], f0_hz, rtol=0.01)
    assert strength[inner].min() > 0.9


def test_there_is_one_mark_per_period_of_a_glide() -> None:
    f0_hz = np.linspace(110.0, 180.0, ANALYSIS_RATE)
    audio = pulses(f0_hz, ANALYSIS_RATE)
    marks_s, periods_s = pitch_marks(audio, analyse(audio))
    inner = (marks_s > 0.1) & (marks_s < 0.9)
    turns = np.diff(
        np.interp(marks_s[inner], np.arange(len(f0_hz)) / ANALYSIS_RATE, np.cumsum(f0_hz))
    )
    np.testing.assert_allclose(turns / ANALYSIS_RATE, 1, atol=0.03)
    np.testing.assert_allclose(np.diff(marks_s[inner]), periods_s[inner][1:], rtol=0.03)


def test_syllables_are_cut_where_they_are() -> None:
    voice = formant_voice(np.random.default_rng(4), f0_hz=160.0, count=8)
    gap = np.zeros(UNIT_RATE // 10, np.float32)
    clips = [np.concatenate([gap, voice.recording(n)]) for n in range(8)]
    starts_s = np.cumsum([0, *(len(clip) for clip in clips)])[:-1] / UNIT_RATE + 0.1
    made_s = starts_s + [unit.vowel_s for unit in voice.units]
    found = cut_syllables(np.concatenate(clips), source=7)
    assert {unit.source for unit in found} == {7}
    found_s = np.array([unit.vowel_s for unit in found])
    near = np.abs(made_s[:, None] - found_s).min(axis=1)
    assert np.sum(near < 0.06) >= 7
    assert all(abs(unit.f0_hz / 160 - 1) < 0.35 for unit in found)
    for unit in found:
        assert unit.start_s <= unit.vowel_s <= unit.stable_s < unit.release_s <= unit.end_s


@pytest.mark.parametrize("length", [0, 100, 20_000])
def test_silence_has_no_syllables(length: int) -> None:
    assert cut_syllables(np.zeros(length, np.float32), source=0) == []


def test_grains_at_their_own_periods_give_the_sound_back() -> None:
    rng = np.random.default_rng(0)
    bank = rng.standard_normal(9600).astype(np.float32)
    at = np.arange(200, 9400, 100).astype(float)
    size = np.full(len(at), 100.0)
    grains = Grains(at / 48_000, at, size, size / 48_000, np.ones(len(at)))
    out = overlap_add(bank, grains, sample_rate=48_000, samples=9600)
    np.testing.assert_allclose(out[300:9200], bank[300:9200], atol=2e-5)


def test_no_grains_are_silence() -> None:
    none = np.zeros(0)
    out = overlap_add(
        np.zeros(8, np.float32), Grains(none, none, none, none, none), sample_rate=8000, samples=5
    )
    np.testing.assert_array_equal(out, np.zeros(5))


@needs_speech
@pytest.mark.parametrize("f0_hz", [110.0, 260.0])
def test_speech_repeats_itself_whatever_was_said_between(f0_hz: float) -> None:
    first = speech.speech_voice(np.random.default_rng(1), f0_hz=f0_hz)
    speech.speech_voice(np.random.default_rng(2), f0_hz=400.0)
    again = speech.speech_voice(np.random.default_rng(1), f0_hz=f0_hz)
    assert len(first.units) > 20
    assert 0.6 < first.natural_hz / f0_hz < 1.6
    for source in range(9):
        np.testing.assert_array_equal(first.recording(source), again.recording(source))


def test_missing_speech_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DesmezclaError, match="pip install espeakng-loader"):
        speech.speech_voice(np.random.default_rng(0), f0_hz=120.0)


@needs_speech
def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(DesmezclaError, match="tlh"):
        speech._say(["qapla"], "tlh", 50)


@pytest.mark.parametrize("cutoff_hz", [6500.0, 9000.0, 13_000.0])
def test_a_voice_that_ends_early_gets_air_to_the_top(cutoff_hz: float) -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(44_100).astype(np.float32)
    sos = butter(8, cutoff_hz, fs=44_100, output="sos")
    dull = np.asarray(0.01 * sosfilt(sos, white), np.float32)
    airy = with_air(dull, rng, 44_100)
    hz, before = welch(dull, 44_100, nperseg=512)
    _, after = welch(airy, 44_100, nperseg=512)
    kept = (hz > 300) & (hz < 5000)
    np.testing.assert_allclose(after[kept], before[kept], rtol=0.2)
    middle = after[(hz > 3000) & (hz < 6000)].mean()
    top_db = 10 * np.log10(after[(hz > 14_500) & (hz < 15_500)].mean() / middle)
    assert -22 < top_db < -10
    np.testing.assert_array_equal(with_air(white, rng, 44_100), white)


@needs_speech
@pytest.mark.parametrize("language", speech._LANGUAGES)
def test_every_language_speaks(language: str) -> None:
    (sound,) = speech._say(["tara"], f"{language}+m1", 50)
    assert np.abs(sound).max() > 0.01


@needs_speech
@pytest.mark.parametrize("variant", [*speech._LOW, *speech._HIGH])
def test_every_variant_of_a_voice_speaks(variant: str) -> None:
    (sound,) = speech._say(["tara"], f"en-us+{variant}", 50)
    assert np.abs(sound).max() > 0.01
