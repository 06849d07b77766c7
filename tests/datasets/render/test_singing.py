"""Songs are sung in tune, in time, by their singers only, and the same again for a seed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import find_peaks, stft

from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import Part, Song, Syllable
from desmezcla.datasets.render.singing import choir, sing
from desmezcla.datasets.render.singing.cast import Sources
from desmezcla.datasets.render.singing.character import Character, draw_character
from desmezcla.datasets.render.singing.formant_singer import formant_voice
from desmezcla.datasets.render.singing.performance import perform
from desmezcla.datasets.render.singing.units import Voice

RATE = 44_100
MATERIAL = Path(os.environ.get("DESMEZCLA_MATERIAL", "../shared/material"))
needs_material = pytest.mark.skipif(
    not (MATERIAL / "index.tsv").is_file(), reason="the material folder is not here"
)

PLAIN = Character(
    formant=1.0,
    bright=0.0,
    breath=0.0,
    rough=0.0,
    scream=0.0,
    jitter=0.003,
    vibrato_hz=5.5,
    vibrato=0.2,
    vibrato_delay_s=0.3,
    glide_s=0.05,
    scoop=0.3,
    drift=0.02,
    consonants=1.0,
    late_s=0.0,
    inhale=0.0,
    dynamics=0.5,
    whispers=False,
)


def melody(*pitches: float, manner: str = "sung", gap_s: float = 0.4) -> tuple[Syllable, ...]:
    return tuple(
        Syllable(
            start_s=0.5 + index * (0.6 + gap_s),
            duration_s=0.6,
            pitch=pitch,
            velocity=0.8,
            manner=manner,  # type: ignore[arg-type]
            first=True,
            word=index % 3,
        )
        for index, pitch in enumerate(pitches)
    )


def song_of(**parts: tuple[Syllable, ...]) -> Song:
    roles = {name: name.rstrip("_2") for name in parts}
    sung = tuple(Part(n, "vocals", roles[n], "voice", events) for n, events in parts.items())
    drums = Part("kit", "drums", "drums", "kit", ())
    return Song("pop", 100.0, 4, 0, "major", 8.0, (), (), (*sung, drums))


def sung(song: Song, seed: int = 1, *, seconds: float = 6.0) -> dict[str, NDArray[np.float32]]:
    return sing(
        song,
        rng=np.random.default_rng(seed),
        material=None,
        sample_rate=RATE,
        samples=int(seconds * RATE),
    )


def performed(
    notes: tuple[Syllable, ...], voice: Voice, character: Character = PLAIN, *, seed: int = 0
) -> NDArray[np.float32]:
    return perform(
        notes,
        [note.word for note in notes],
        voice,
        character,
        rng=np.random.default_rng(seed),
        sample_rate=RATE,
        samples=int((notes[-1].end_s + 0.5) * RATE),
    )


def f0_of(sound: NDArray[np.float32]) -> float:
    """Return the fundamental of a steady sound: the shortest lag at which it repeats itself."""
    window = np.hanning(len(sound))
    size = 8 * len(sound)
    correlation, fading = (
        np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2)[: RATE // 60]
        for x in (sound * window, window)
    )
    correlation /= fading
    lags, _ = find_peaks(correlation)
    lags = lags[lags > RATE / 1200]
    lag = lags[correlation[lags] > 0.9 * correlation[lags].max()][0]
    left, top, right = correlation[lag - 1 : lag + 2]
    return float(RATE / (lag + 0.5 * (left - right) / (left - 2 * top + right)))


def middle(sound: NDArray[np.float32], note: Syllable) -> NDArray[np.float32]:
    return sound[int((note.start_s + 0.15) * RATE) : int((note.end_s - 0.12) * RATE)]


@pytest.fixture(scope="module")
def voice() -> Voice:
    return formant_voice(np.random.default_rng(3), f0_hz=220.0, count=12)


@pytest.mark.parametrize("pitch", [50.0, 57.0, 60.5, 69.0])
def test_notes_are_in_tune(voice: Voice, pitch: float) -> None:
    notes = melody(pitch, pitch + 4, pitch - 3)
    sound = performed(notes, voice)
    cents = [1200 * np.log2(f0_of(middle(sound, n)) / 440) - 100 * (n.pitch - 69) for n in notes]
    assert np.abs(cents).max() < 30


def test_vowels_begin_with_the_notes(voice: Voice) -> None:
    notes = melody(57, 59, 60, 57)
    sound = performed(notes, voice)
    for note in notes:
        level = [
            np.sqrt(np.mean(sound[int(t * RATE) :][: RATE // 50] ** 2))
            for t in note.start_s + np.array([-0.3, 0.1])
        ]
        assert level[0] < 0.1 * level[1]


def test_nobody_is_heard_where_nobody_sings(voice: Voice) -> None:
    notes = melody(57, 59, gap_s=1.5)
    sound = performed(notes, voice)
    assert not sound[: int(0.15 * RATE)].any()
    assert np.abs(sound[int(1.3 * RATE) : int(2.2 * RATE)]).max() < 1e-4


def test_formants_move_with_the_tract_and_the_pitch_stays(voice: Voice) -> None:
    notes = melody(45, 45, 45)

    def peak_and_pitch(formant: float) -> tuple[float, float]:
        sound = middle(performed(notes, voice, replace(PLAIN, formant=formant)), notes[1])
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), RATE)) ** 2
        # The centre of the spectrum on a logarithmic scale, so that a shift is a shift.
        hz = np.arange(200, 5000)
        centre = np.sum(np.log(hz) * spectrum[hz] / hz) / np.sum(spectrum[hz] / hz)
        return float(np.exp(centre)), f0_of(sound)

    (low, low_f0), (high, high_f0) = peak_and_pitch(0.87), peak_and_pitch(1.15)
    assert 1.1 < high / low < 1.6
    assert abs(1200 * np.log2(high_f0 / low_f0)) < 30


def test_the_same_word_is_the_same_sound(voice: Voice) -> None:
    notes = melody(57, 57, 57, 57)  # its words are 0, 1, 2, 0
    sound = performed(notes, voice)

    def colour(index: int) -> NDArray[np.float64]:
        _, _, frames = stft(middle(sound, notes[index]), RATE, nperseg=1024)
        level = np.log(np.abs(frames[:120]).mean(axis=1) + 1e-6)
        return np.asarray(level - level.mean())

    same = np.corrcoef(colour(0), colour(3))[0, 1]
    others = max(np.corrcoef(colour(0), colour(i))[0, 1] for i in (1, 2))
    assert same > 0.97
    assert same > others


def test_a_melisma_is_one_syllable(voice: Voice) -> None:
    first, second, _ = melody(57, 59, 60, gap_s=0.0)
    second = replace(second, word=first.word, first=False)
    sound = performed((first, second), voice)
    join = sound[int((second.start_s - 0.06) * RATE) : int((second.start_s + 0.06) * RATE)]
    frames = np.sqrt(np.mean(join[: len(join) // 10 * 10].reshape(10, -1) ** 2, axis=1))
    assert frames.min() > 0.5 * frames.max()


def test_no_clicks(voice: Voice) -> None:
    sound = performed(melody(57, 59, 60, 62, 60, gap_s=0.0), voice)
    steps = np.abs(np.diff(sound))
    # A jump would stand out from the steepest slopes of the pulses of the voice.
    assert steps.max() < 6 * np.percentile(steps[np.abs(sound[1:]) > 1e-3], 99)


def test_a_song_has_its_vocal_parts_at_their_level() -> None:
    lead = melody(57, 59, 60, 62, 57)
    harmony = tuple(replace(note, pitch=note.pitch + 4) for note in lead)
    oohs = melody(60, 64, manner="ooh")
    song = song_of(lead=lead, double=lead, harmony=harmony, backing=oohs, lead_2=())
    out = sung(song)
    assert list(out) == ["lead", "double", "harmony", "backing", "lead_2"]
    assert not out["lead_2"].any()
    for name in ("lead", "double", "harmony", "backing"):
        sound = out[name]
        assert sound.shape == (1, 6 * RATE)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() < 1
        frames = np.sqrt(np.mean(sound[0, : 100 * 2646].reshape(100, -1) ** 2, axis=1))
        loud = frames[frames > 0.03 * frames.max()]
        assert -24 < 20 * np.log10(np.sqrt(np.mean(loud**2))) < -18
    assert not np.allclose(out["lead"], out["double"], atol=1e-3)


@pytest.mark.parametrize("manner", ["sung", "rap", "speech", "ooh"])
def test_the_same_seed_is_the_same_sound(manner: str) -> None:
    song = song_of(lead=melody(50, 52, 55, manner=manner, gap_s=0.02))
    first, again, other = sung(song, 5), sung(song, 5), sung(song, 6)
    assert first["lead"].any()
    np.testing.assert_array_equal(first["lead"], again["lead"])
    assert not np.array_equal(first["lead"], other["lead"])


def test_it_sings_without_material_and_without_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desmezcla.datasets.render.singing.cast.speech_is_installed", lambda: False)
    assert Sources(None, None).draw(60.0, sings=True, rng=np.random.default_rng(0)).units
    assert sung(song_of(lead=melody(60, 62)))["lead"].any()


def test_a_song_without_singers_is_no_error() -> None:
    assert sung(song_of()) == {}


def test_metal_screams_more_than_folk() -> None:
    rng = np.random.default_rng(0)
    screams = {
        style: sum(draw_character(rng, style=style).scream > 0 for _ in range(200))
        for style in ("metal", "folk")
    }
    assert screams["metal"] > 40 > 10 > screams["folk"]


@needs_material
def test_a_recorded_voice_sings_in_tune_with_and_without_the_cache(tmp_path: Path) -> None:
    from desmezcla.datasets.render.singing import voices

    material = Material(MATERIAL)
    speaker = next(
        s for s in voices.list_speakers(material) if s.name == "sms-tools/singing-female"
    )
    voices._analysed.clear()
    plain = voices.load_voice(material, speaker, cache_dir=None)
    for _ in range(2):
        voices._analysed.clear()
        cached = voices.load_voice(material, speaker, cache_dir=tmp_path)
    assert plain is not None
    assert cached is not None
    assert len(plain.units) == len(cached.units)
    np.testing.assert_array_equal(plain.units[5].marks_s, cached.units[5].marks_s)
    notes = melody(64, 66, 69)
    sounds = [performed(notes, voice) for voice in (plain, cached)]
    np.testing.assert_array_equal(sounds[0], sounds[1])
    cents = [
        1200 * np.log2(f0_of(middle(sounds[0], n)) / 440) - 100 * (n.pitch - 69) for n in notes
    ]
    assert np.median(np.abs(cents)) < 30


@needs_material
def test_a_damaged_cache_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from desmezcla.datasets.render.singing import voices

    material = Material(MATERIAL)
    speaker = next(
        s for s in voices.list_speakers(material) if s.name == "gcompris/he/he_jorge-mariano"
    )
    voices._analysed.clear()
    first = voices.load_voice(material, speaker, cache_dir=tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    voices._analysed.clear()
    again = voices.load_voice(material, speaker, cache_dir=tmp_path)
    assert "damaged" in caplog.text
    assert first is not None
    assert again is not None
    assert len(first.units) == len(again.units)


def test_a_voice_out_of_reach_moves_by_octaves(voice: Voice) -> None:
    notes = list(melody(24, 26))
    moved = choir._reachable(notes, voice)
    assert [b.pitch - a.pitch for a, b in zip(notes, moved, strict=True)] == [36, 36]
    assert choir._reachable(list(melody(57, 60)), voice) == list(melody(57, 60))
