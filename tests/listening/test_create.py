"""What is cut, how loud it is, and what the folder gives away."""

import re
from pathlib import Path

import numpy as np
import pyloudnorm  # type: ignore[import-untyped]
import pytest
import soundfile

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.listening.create import CreateOptions, create_test
from desmezcla.listening.design import ListeningTest, audio_path, read_design
from desmezcla.listening.loudness import PEAK_DBFS, levelled, loudness_lufs
from desmezcla.listening.shaping import FADE_S, damaged, faded, low_passed

from .conftest import RATE, SONG_S, write_songs


def audio_of(folder: Path, name: str) -> np.ndarray:
    audio, rate = soundfile.read(audio_path(folder, name), dtype="float64", always_2d=True)
    assert rate == RATE
    return np.asarray(audio)


def all_audio(folder: Path, design: ListeningTest) -> dict[tuple[str, str, str], np.ndarray]:
    return {
        (excerpt.song, excerpt.stem, stimulus.condition): audio_of(folder, stimulus.file)
        for excerpt in design.excerpts
        for stimulus in excerpt.stimuli
    }


def test_everything_is_there_in_one_shape_and_at_one_loudness(finished_test: Path) -> None:
    design = read_design(finished_test)
    assert [c.name for c in design.conditions] == ["good", "bad", "reference", "anchor"]
    assert [(e.song, e.stem) for e in design.excerpts] == [
        ("one", "vocals"),
        ("one", "drums"),
        ("two", "vocals"),
        ("two", "drums"),
    ]
    for (song, stem, _), audio in all_audio(finished_test, design).items():
        excerpt = next(e for e in design.excerpts if (e.song, e.stem) == (song, stem))
        assert audio.shape == (RATE, 2)
        # Measured again on what is in the file, with nothing of the package.
        lufs = pyloudnorm.Meter(RATE).integrated_loudness(audio)
        assert lufs == pytest.approx(excerpt.level_lufs, abs=0.1)
        assert np.abs(audio).max() <= 10 ** (PEAK_DBFS / 20) + 1 / 2**15


def test_excerpts_are_of_the_loudest_part_and_faded(finished_test: Path) -> None:
    design = read_design(finished_test)
    assert all(abs(e.start_s + 0.5 - SONG_S / 2) <= 0.5 for e in design.excerpts)
    fade = round(FADE_S * RATE)
    for audio in all_audio(finished_test, design).values():
        assert np.abs(audio[[0, -1]]).max() < 1e-3
        inside = np.abs(audio[fade:-fade]).max()
        for half in (audio[: fade // 2], audio[-fade // 2 :]):
            assert np.abs(half).max() < 0.75 * inside


def test_versions_are_what_the_folders_hold(finished_test: Path, results: Path) -> None:
    design = read_design(finished_test)
    audio = all_audio(finished_test, design)
    for excerpt in design.excerpts:
        start = round(excerpt.start_s * RATE)
        for folder, condition in (("good", "good"), ("bad", "bad"), ("true", "reference")):
            path = results / folder / excerpt.song / f"{excerpt.stem}.wav"
            source, _ = soundfile.read(path, start=start, frames=RATE)
            gain_db = next(s.gain_db for s in excerpt.stimuli if s.condition == condition)
            fade = round(FADE_S * RATE)
            expected = source * 10 ** (gain_db / 20)
            found = audio[excerpt.song, excerpt.stem, condition]
            assert np.allclose(found[fade:-fade], expected[fade:-fade], atol=1e-4)


def test_names_dates_and_tags_of_files_tell_nothing(finished_test: Path) -> None:
    design = read_design(finished_test)
    files = sorted((finished_test / "audio").iterdir())
    assert {path.stem for path in files} == set(design.files())
    # 16 stimuli, 4 open references, 2 songs, 3 examples.
    assert len(files) == len(set(design.files())) == 16 + 4 + 2 + 3
    assert all(re.fullmatch(r"[0-9a-f]{24}\.flac", path.name) for path in files)
    for path in files:
        content = path.read_bytes()[:4096].lower()
        assert not any(word in content for word in (b"good", b"bad", b"anchor", b"vocals"))


def test_the_open_reference_is_the_hidden_one_under_another_name(finished_test: Path) -> None:
    for excerpt in read_design(finished_test).excerpts:
        hidden = next(s.file for s in excerpt.stimuli if s.condition == "reference")
        assert excerpt.open_reference not in (None, hidden)
        assert np.array_equal(
            audio_of(finished_test, hidden), audio_of(finished_test, excerpt.open_reference or "")
        )


def test_without_true_stems_systems_are_compared_and_the_mixture_is_their_sum(
    results: Path, tmp_path: Path
) -> None:
    options = CreateOptions(
        {"a": results / "good", "b": results / "bad"}, stems=("vocals",), excerpt_s=1.0
    )
    design = create_test(tmp_path / "t", options)
    assert [c.role for c in design.conditions] == ["system", "system"]
    assert [e.stem for e in design.excerpts] == ["vocals", "vocals"]
    assert all(song.mixture is not None for song in design.songs)
    assert [example.kind for example in design.calibration] == ["contaminated", "damaged"]


def test_starts_and_songs_can_be_given(results: Path, tmp_path: Path) -> None:
    options = CreateOptions(
        {"a": results / "good", "b": results / "bad"},
        songs=("t*",),
        starts_s={"two": 0.5},
        excerpt_s=1.0,
    )
    design = create_test(tmp_path / "t", options)
    assert {(e.song, e.start_s) for e in design.excerpts} == {("two", 0.5)}


def test_a_song_that_a_system_lacks_is_left_out_and_told(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_songs(tmp_path / "one only", 0.1, songs=("one", "other song"))
    options = CreateOptions({"a": results / "good", "b": tmp_path / "one only"}, excerpt_s=1.0)
    design = create_test(tmp_path / "t", options)
    assert [song.name for song in design.songs] == ["one"]
    assert "two is left out" in caplog.text


def test_silence_is_not_amplified_and_is_told(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = write_songs(tmp_path / "silent", 0.0)
    for path in silent.rglob("vocals.wav"):
        soundfile.write(path, 1e-5 * np.ones((round(SONG_S * RATE), 2)), RATE)
    options = CreateOptions({"a": results / "good", "quiet": silent}, excerpt_s=1.0)
    design = create_test(tmp_path / "t", options)
    vocals = next(e for e in design.excerpts if e.stem == "vocals")
    assert [(s.lufs is None, s.gain_db) for s in vocals.stimuli][1] == (True, 0.0)
    assert "one, vocals: quiet is silent" in caplog.text
    # A true stem that is silent leaves nothing to judge.
    both = CreateOptions({"a": results / "good"}, reference=silent, excerpt_s=1.0)
    design = create_test(tmp_path / "t2", both)
    assert {e.stem for e in design.excerpts} == {"drums"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"excerpt_s": 0.5}, "--excerpt-s 0.5 must be"),
        ({"target_lufs": 0.0}, "--lufs 0 must be"),
        ({"anchor": True}, "needs the true stems"),
        ({"mushra": True}, "needs the true stems"),
        ({"repeats": 1000}, "at most half"),
        ({"songs": ("x*",)}, "fits none of the 2 songs"),
        ({"stems": ("tuba",)}, "into tuba"),
        ({"starts_s": {"three": 1.0}}, "--start three"),
        ({"starts_s": {"one": 4.9}}, "must lie in the song"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    options: dict[str, object], message: str, results: Path, tmp_path: Path
) -> None:
    systems = {"a": results / "good", "b": results / "bad"}
    with pytest.raises(ParameterError, match=re.escape(message)):
        create_test(tmp_path / "t", CreateOptions(systems, **{"excerpt_s": 1.0} | options))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_names_and_folders_that_are_taken_are_refused(results: Path, tmp_path: Path) -> None:
    taken = CreateOptions({"reference": results / "good", "b": results / "bad"})
    with pytest.raises(ParameterError, match="stands for the reference itself"):
        create_test(tmp_path / "t", taken)
    with pytest.raises(ParameterError, match="is there already"):
        create_test(tmp_path, CreateOptions({"a": results / "good", "b": results / "bad"}))
    with pytest.raises(ParameterError, match="one condition only"):
        create_test(tmp_path / "t", CreateOptions({"a": results / "good"}))
    with pytest.raises(DesmezclaError):
        create_test(tmp_path / "t", CreateOptions({"a": tmp_path / "x", "b": results / "bad"}))


def test_one_level_that_clips_nothing() -> None:
    rng = np.random.default_rng(0)
    click = np.zeros((2, 2 * RATE), np.float32)
    click[:, RATE] = 0.9
    click += 1e-2 * rng.standard_normal(click.shape).astype(np.float32)
    noise = 0.1 * rng.standard_normal(click.shape).astype(np.float32)
    versions = levelled({"click": click, "noise": noise}, RATE, target_lufs=-10)
    assert versions.level_lufs < -10
    peaks = [np.abs(audio).max() for audio in versions.audio.values()]
    assert max(peaks) == pytest.approx(10 ** (PEAK_DBFS / 20), rel=1e-4)
    for audio in versions.audio.values():
        assert loudness_lufs(audio, RATE) == pytest.approx(versions.level_lufs, abs=0.05)


def test_loudness_of_the_calibration_tone_of_the_recommendation() -> None:
    # A sine of 997 Hz at full scale in one channel has -3.01 LUFS.
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000).astype(np.float32)
    stereo = np.stack([tone, np.zeros_like(tone)])
    assert loudness_lufs(stereo, 48000) == pytest.approx(-3.01, abs=0.05)


def test_the_anchor_has_nothing_above_its_cutoff() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 4 * 44100)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(low_passed(noise, 44100)))
    hz = np.fft.rfftfreq(noise.shape[1], 1 / 44100)
    level = {
        name: 20 * np.log10(spectrum[:, chosen].mean() / np.abs(np.fft.rfft(noise)).mean())
        for name, chosen in (("low", hz < 2500), ("edge", abs(hz - 3500) < 20), ("high", hz > 5000))
    }
    assert level["low"] == pytest.approx(0, abs=0.5)
    assert level["edge"] == pytest.approx(-6, abs=1)
    assert level["high"] < -40


def test_fades_and_damage_keep_the_shape_and_change_nothing_in_place() -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 8000)).astype(np.float32)
    copy = audio.copy()
    worse = damaged(audio, RATE, seed=0)
    assert faded(audio, RATE).shape == worse.shape == audio.shape
    assert np.array_equal(audio, copy)
    # Worse than any separation: less of it is the sound than is not.
    assert np.square(worse - audio).sum() > np.square(audio).sum() / 2
    assert np.array_equal(worse, damaged(audio, RATE, seed=0))
