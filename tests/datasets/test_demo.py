"""The rendered song: exact lengths, fixed by its seed, and stems that sound like what they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from desmezcla.datasets.demo import STEMS, render_song
from desmezcla.errors import ParameterError

Song = dict[str, NDArray[np.float32]]

RATE = 44100


@pytest.fixture(scope="module", params=[0, 1, 2])
def song(request: pytest.FixtureRequest) -> Song:
    return render_song(seed=request.param, duration_s=8.0)


def energy_share(audio: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    hz, power = signal.welch(audio.mean(axis=0), RATE, nperseg=8192)
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum())


def loudness(audio: NDArray[np.float32], window_s: float) -> NDArray[np.float64]:
    """Return the root mean square of consecutive windows of the mono sum."""
    n = round(window_s * RATE)
    mono = audio.mean(axis=0).astype(np.float64)
    return np.asarray(np.sqrt(np.mean(mono[: len(mono) // n * n].reshape(-1, n) ** 2, axis=1)))


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    duration_s=st.floats(0.1, 1.0),
    sample_rate=st.sampled_from([8000, 22050, 44100, 48000]),
)
def test_any_song_has_four_finite_audible_stems_of_the_exact_length(
    seed: int, duration_s: float, sample_rate: int
) -> None:
    song = render_song(seed=seed, duration_s=duration_s, sample_rate=sample_rate)
    assert tuple(song) == STEMS == ("vocals", "drums", "bass", "other")
    for audio in song.values():
        assert audio.shape == (2, round(duration_s * sample_rate))
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        assert np.sqrt(np.mean(audio**2)) > 0.01


def test_the_same_seed_gives_the_same_samples() -> None:
    first, again = (render_song(seed=5, duration_s=1.0) for _ in range(2))
    for stem in STEMS:
        np.testing.assert_array_equal(first[stem], again[stem])


def test_another_seed_gives_another_song_in_every_stem() -> None:
    one, two = (render_song(seed=seed, duration_s=2.0) for seed in (7, 8))
    for stem in STEMS:
        # Equal levels, so that the difference of two unrelated songs is as loud as both together.
        difference = np.std(one[stem] / np.std(one[stem]) - two[stem] / np.std(two[stem]))
        assert difference > 0.8, stem


def test_a_longer_song_begins_with_the_same_notes() -> None:
    short, long = (render_song(seed=2, duration_s=d)["bass"][0] for d in (4.0, 6.0))
    begun = slice(0, 3 * RATE)
    assert np.corrcoef(short[begun], long[begun])[0, 1] > 0.9999


def test_the_mixture_peaks_at_minus_one_dbfs_and_no_stem_clips(song: Song) -> None:
    mixture = np.sum(list(song.values()), axis=0)
    assert 20 * np.log10(np.abs(mixture).max()) == pytest.approx(-1.0, abs=0.5)
    for stem, audio in song.items():
        peak = np.abs(audio).max()
        assert 0.05 < peak <= 0.9, stem
        assert np.sum(np.abs(audio) > 0.999 * peak) < 20, f"{stem} is flat at its peak"


def test_stems_are_balanced(song: Song) -> None:
    levels_db = [20 * np.log10(np.std(audio)) for audio in song.values()]
    assert max(levels_db) - min(levels_db) < 6


def test_the_bass_lies_below_300_hz(song: Song) -> None:
    assert energy_share(song["bass"], 0, 300) > 0.9
    assert energy_share(song["bass"], 0, 30) < 0.01


def test_the_drums_have_transients(song: Song) -> None:
    levels = loudness(song["drums"], 0.01)
    onsets = np.sum(levels[1:] > 3 * levels[:-1] + 0.01)
    # At the slowest tempo a bar lasts 2.9 s and has four strokes or more of kick and snare.
    assert onsets >= 8
    assert energy_share(song["drums"], 0, 120) > 0.1
    assert energy_share(song["drums"], 5000, 22050) > 0.005


def test_the_vocals_are_voiced_between_100_and_1000_hz_and_rest_between_phrases(
    song: Song,
) -> None:
    levels = loudness(song["vocals"], 0.05)
    assert np.mean(levels < 0.1 * levels.max()) > 0.05
    n = round(0.05 * RATE)
    mono = song["vocals"].mean(axis=0).astype(np.float64)
    loud = np.flatnonzero(levels > 0.5 * levels.max())
    voiced = [_fundamental_hz(mono[i * n : (i + 1) * n]) for i in loud]
    assert np.mean([100 < hz < 1000 for hz in voiced]) > 0.9
    assert len(set(np.round(12 * np.log2(voiced)))) >= 3, "a melody has several pitches"


def _fundamental_hz(frame: NDArray[np.float64]) -> float:
    """Return the rate of the highest peak of the autocorrelation between 60 and 1500 Hz."""
    correlation = signal.correlate(frame, frame, method="fft")[len(frame) - 1 :]
    first, last = RATE // 1500, RATE // 60
    return float(RATE / (first + np.argmax(correlation[first:last])))


def test_the_chords_hold_several_tones_at_once(song: Song) -> None:
    frame = song["other"].mean(axis=0)[RATE // 2 : RATE // 2 + 32768]
    spectrum = np.abs(np.fft.rfft(frame * np.hanning(len(frame))))
    peaks, _ = signal.find_peaks(spectrum, height=0.15 * spectrum.max(), distance=8)
    assert len(peaks) >= 3


def test_stems_are_stereo_where_they_should_be_and_survive_mono(song: Song) -> None:
    for stem, audio in song.items():
        side = np.std(audio[0] - audio[1]) / np.std(audio)
        assert (side < 1e-6) if stem == "bass" else (side > 0.02), stem
        loss_db = 20 * np.log10(np.std(audio.mean(axis=0)) / np.std(audio))
        assert loss_db > -3, f"{stem} cancels itself in mono"


def test_tones_do_not_fold_back_at_a_low_sample_rate() -> None:
    low, high = (
        render_song(seed=0, duration_s=4.0, sample_rate=r)["bass"][0] for r in (8000, RATE)
    )
    expected = signal.resample(high, len(low))
    error = np.std(low / np.std(low) - expected / np.std(expected))
    assert error < 0.02


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"seed": -1}, "seed=-1 must be 0 or more"),
        ({"sample_rate": 4000}, "sample_rate=4000 Hz must be at least 8000"),
        ({"duration_s": 0.0}, r"duration_s=0\.0 must be at least 0\.1"),
        ({"duration_s": float("nan")}, "duration_s=nan must be"),
        ({"duration_s": float("inf")}, "duration_s=inf must be"),
    ],
)
def test_arguments_out_of_range_are_refused(option: dict[str, float], rule: str) -> None:
    with pytest.raises(ParameterError, match=rule):
        render_song(**option)  # type: ignore[arg-type]
