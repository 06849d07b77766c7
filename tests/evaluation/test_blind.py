"""Signals made so that each finding must appear, and others so that it must not."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.blind import (
    BlindReport,
    blind_report,
    text,
)
from desmezcla.evaluation.blind.measure import measured
from desmezcla.evaluation.blind.meters import Meters
from desmezcla.evaluation.signals import ArraySignals

Audio = NDArray[np.float32]

RATE = 8000


def noise(seed: int, duration_s: float = 4.0, *, rate: int = RATE, channels: int = 2) -> Audio:
    """Return white noise of -20 dBFS."""
    rng = np.random.default_rng(seed)
    audio: Audio = 0.1 * rng.standard_normal((channels, round(duration_s * rate)), np.float32)
    return audio


def filtered(audio: Audio, gain: Callable[[NDArray[Any]], NDArray[Any]], rate: int) -> Audio:
    """Return audio whose spectrum was multiplied by a function of the frequency in Hz."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(audio.shape[-1], 1 / rate)
    result: Audio = np.fft.irfft(spectrum * gain(hz), audio.shape[-1]).astype(np.float32)
    return result


def low_passed(audio: Audio, hz: float, rate: int) -> Audio:
    return filtered(audio, lambda f: f <= hz, rate)


def report_of(
    stems: dict[str, Audio], mixture: Audio | None = None, rate: int = RATE
) -> BlindReport:
    """Report on stems whose sum is the song, unless that is given."""
    song = np.sum(list(stems.values()), axis=0) if mixture is None else mixture
    return blind_report(
        ArraySignals(("mixture",), (song,)),
        ArraySignals(tuple(stems), tuple(stems.values())),
        rate,
        song="song.wav",
        system="test",
    )


def kinds(report: BlindReport, severity: str | None = None) -> set[tuple[str, str]]:
    """Return what was found: kind and stem."""
    return {
        (finding.kind, finding.stem)
        for finding in report.findings
        if severity in (None, finding.severity)
    }


def assert_alike(one: Any, other: Any) -> None:
    """Compare nested values: numbers nearly, as sums may be added in another order."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    else:
        assert one == (pytest.approx(other, abs=1e-6) if isinstance(one, float) else other)


def two_stems() -> dict[str, Audio]:
    return {"a": noise(1), "b": noise(2)}


def test_separate_stems_that_add_up_give_no_warning() -> None:
    report = report_of(two_stems())
    assert kinds(report) == {("sum", "")}
    assert report.warnings == ()
    assert [stem.kind for stem in report.stems.values()] == ["active", "active"]
    assert report.sum.reconstruction_db > 130
    assert report.sum.energies_db == pytest.approx(0, abs=0.1)


def test_levels_shares_and_windows_are_plain_mean_squares() -> None:
    stems = {"a": noise(1, 1.7), "b": 0.25 * noise(2, 1.7)}
    report = report_of(stems)
    song = np.sum(list(stems.values()), axis=0)
    energy = {name: float(np.mean(np.float64(audio) ** 2)) for name, audio in stems.items()}
    b = report.stems["b"]
    assert b.level_dbfs == pytest.approx(10 * np.log10(energy["b"]), abs=1e-6)
    assert b.share == pytest.approx(energy["b"] / sum(energy.values()), abs=1e-6)
    relative = energy["b"] / np.mean(np.float64(song) ** 2)
    assert b.relative_db == pytest.approx(10 * np.log10(relative), abs=1e-4)
    windows = [stems["b"][:, i : i + 4000] for i in range(0, 13600, 4000)]
    expected = [10 * np.log10(np.mean(np.float64(window) ** 2)) for window in windows]
    assert b.levels_dbfs == pytest.approx(expected, abs=1e-6)
    assert report.times_s == (0.0, 0.5, 1.0, 1.5)
    assert report.duration_s == pytest.approx(1.7)
    assert report.mixture.peak_dbfs == pytest.approx(20 * np.log10(np.abs(song).max()), abs=1e-4)


@pytest.mark.parametrize(("level_db", "silent"), [(-70, True), (-50, False)])
def test_a_stem_is_silent_more_than_60_db_below_the_song(level_db: float, silent: bool) -> None:
    report = report_of({"a": noise(1), "b": 10 ** (level_db / 20) * noise(2)})
    assert (("silent", "b") in kinds(report, "info")) == silent
    assert (report.stems["b"].kind == "silent") == silent


def test_a_stem_with_one_short_sound_is_not_silent() -> None:
    burst = np.zeros_like(noise(1))
    burst[:, 9000:10000] = noise(2)[:, :1000]
    report = report_of({"a": noise(1), "b": burst})
    assert report.stems["b"].kind == "faint"
    assert not kinds(report, "warning")


def test_all_stems_silent_and_a_silent_song_are_warnings() -> None:
    nothing = np.zeros_like(noise(1))
    report = report_of({"a": nothing, "b": nothing}, noise(1))
    assert ("silent", "") in kinds(report, "warning")
    assert report.sum.reconstruction_db == pytest.approx(0)
    report = report_of({"a": nothing, "b": noise(1)}, nothing)
    assert {("silent", "mixture"), ("sum", "")} <= kinds(report, "warning")
    assert [stem.kind for stem in report.stems.values()] == ["silent", "active"]
    report = report_of({"a": nothing}, nothing)
    assert ("silent", "mixture") in kinds(report, "warning")
    assert report.sum.reconstruction_db == 200  # silence adds up to silence
    json.dumps(report.as_dict(), allow_nan=False)


def test_soft_leakage_is_a_phantom_and_a_soft_instrument_is_faint() -> None:
    a, c = noise(1), noise(3)
    leak = 0.01 * filtered(a, lambda hz: 1 / (1 + hz / 500), RATE)
    report = report_of({"a": a, "b": leak, "c": c, "d": 0.01 * noise(4)})
    assert ("phantom", "b") in kinds(report, "warning")
    assert report.stems["b"].source == "a"
    assert report.stems["b"].source_part > 0.9
    assert report.stems["a"].source != "b"  # leakage goes from loud to soft
    assert ("leakage", "a") not in kinds(report)
    assert ("faint", "d") in kinds(report, "info")
    assert ("phantom", "d") not in kinds(report)


def test_leakage_from_all_stems_together_is_a_phantom() -> None:
    stems = {name: noise(seed) for seed, name in enumerate("abcde")}
    leak: Audio = 0.005 * np.sum(list(stems.values()), axis=0)
    report = report_of({**stems, "x": leak})
    assert report.stems["x"].kind == "phantom"
    assert report.stems["x"].source == "the rest"


def test_a_soft_instrument_with_a_solo_in_a_quiet_passage_is_active() -> None:
    loud, soft = noise(1, 6.0), 0.01 * noise(2, 6.0)
    loud[:, : 2 * RATE] = 0
    stem = report_of({"loud": loud, "soft": soft}).stems["soft"]
    assert stem.kind == "active"
    assert stem.active_share == pytest.approx(1 / 3)
    assert stem.heard_db == pytest.approx(0, abs=0.1)


def test_a_residual_is_no_phantom() -> None:
    a = noise(1)
    report = report_of({"a": a, "b": noise(2), "residual": 0.01 * a})
    assert not {stem for kind, stem in kinds(report) if kind in ("phantom", "faint")}


def test_stems_that_share_a_sound_are_told_apart_from_those_that_do_not() -> None:
    a, b, shared = noise(1), noise(2), noise(3)
    report = report_of({"a": 0.5 * (a + 3 * shared), "b": 0.6 * (b + 3 * shared), "c": noise(4)})
    assert {stem for kind, stem in kinds(report, "info") if kind == "leakage"} == {"a"}
    assert report.stems["c"].follows["a"] < 0.1


def test_stems_that_only_begin_and_end_together_do_not_follow_each_other() -> None:
    gate = np.repeat([0, 1, 1, 0], RATE).astype(np.float32)
    report = report_of({"a": gate * noise(1), "b": gate * noise(2)})
    assert report.stems["a"].follows["b"] < 0.2


def test_following_does_not_depend_on_level_or_filter() -> None:
    a = noise(1)
    for leak in (a, 1e-3 * a, filtered(a, lambda hz: 1 / (1 + (hz / 300) ** 2), RATE)):
        report = report_of({"a": a, "b": leak})
        assert report.stems["b"].follows["a"] > 0.95


def test_clipping_is_found_in_the_song_and_in_stems() -> None:
    t = np.arange(2 * RATE) / RATE
    sine = np.sin(2 * np.pi * 110 * t).astype(np.float32)[None]
    report = report_of({"a": np.clip(2 * sine, -1, 1), "b": 0.5 * sine}, np.clip(3 * sine, -1, 1))
    assert {("clipped", "a"), ("clipped", "mixture")} <= kinds(report, "warning")
    assert ("clipped", "b") not in kinds(report)
    assert report.stems["a"].clipped_runs == 2 * 110 * 2  # both halves of each period
    assert report.stems["a"].over_samples == 0
    assert report.stems["b"].full_scale_samples == 0


def test_a_wave_that_only_touches_full_scale_is_not_clipped() -> None:
    peaks = np.tile(np.array([0, 1, 0, -1], np.float32), RATE)[None]
    report = report_of({"a": peaks, "b": noise(1, 4.0, channels=1)}, peaks)
    assert report.stems["a"].full_scale_samples == 2 * RATE
    assert not {kind for kind, _ in kinds(report)} & {"clipped", "over"}


def test_samples_beyond_full_scale_are_a_warning_in_stems_only() -> None:
    report = report_of({"a": 20 * noise(1), "b": noise(2)})
    assert ("over", "a") in kinds(report, "warning")
    assert ("over", "mixture") in kinds(report, "info")
    assert ("over", "b") not in kinds(report)
    assert report.stems["a"].over_samples == np.count_nonzero(np.abs(20 * noise(1)) > 1)


def test_a_true_peak_lies_between_the_samples() -> None:
    n = np.arange(2 * RATE)
    # Sampled at 45° from its peaks, which therefore are 3 dB above all samples.
    sine = (1.1 * np.sin(np.pi / 2 * n + np.pi / 4)).astype(np.float32)[None]
    sine *= np.hanning(sine.shape[-1]).astype(np.float32)
    report = report_of({"a": sine, "b": 0.5 * sine}, sine)
    assert report.stems["a"].peak_dbfs == pytest.approx(20 * math.log10(1.1) - 3.01, abs=0.01)
    assert report.stems["a"].true_peak_dbtp == pytest.approx(20 * math.log10(1.1), abs=0.02)
    assert ("true peak", "a") in kinds(report, "info")
    assert ("true peak", "b") not in kinds(report)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([1.0, -1.0, 1.5, 0.3]), min_size=1, max_size=60),
    st.lists(st.integers(1, 12), min_size=30, max_size=30),
)
def test_runs_are_counted_the_same_however_the_audio_is_cut(
    samples: list[float], sizes: list[int]
) -> None:
    runs = [(value, len(list(group))) for value, group in itertools.groupby(samples)]
    expected = sum(abs(value) >= 1 and length >= 3 for value, length in runs)
    meters = Meters(2, 1, RATE, 1000)
    audio = np.broadcast_to(np.array(samples, np.float32), (2, 1, len(samples)))
    for start, stop in itertools.pairwise([0, *itertools.accumulate(sizes)]):
        if audio[..., start:stop].size:
            meters.add(audio[..., start:stop])
    rest = audio[..., sum(sizes) :]
    if rest.size:
        meters.add(rest)
    assert meters.runs.tolist() == [expected, expected]


@pytest.mark.parametrize(("offset", "found"), [(0.02, True), (0.001, False)])
def test_an_offset_is_judged_by_the_level_of_the_song(offset: float, found: bool) -> None:
    a = noise(1)
    a[0] += offset
    report = report_of({"a": a, "b": noise(2)})
    assert (("offset", "a") in kinds(report, "warning")) == found
    assert ("offset", "b") not in kinds(report)


def test_values_that_are_not_finite_are_counted_and_taken_as_zeros() -> None:
    broken = noise(1)
    broken[0, 100:103] = [np.nan, np.inf, -np.inf]
    report = report_of({"a": broken, "b": noise(2)}, noise(1) + noise(2))
    assert ("not finite", "a") in kinds(report, "warning")
    assert report.stems["a"].nonfinite_samples == 3
    assert report.stems["b"].nonfinite_samples == report.mixture.nonfinite_samples == 0
    assert report.stems["a"].level_dbfs == pytest.approx(-20, abs=0.1)
    assert 30 < report.sum.reconstruction_db < 60  # three samples are missing
    assert np.isnan(broken[0, 100])


def test_stems_out_of_phase_wide_and_narrow_are_told() -> None:
    mono = noise(1, channels=1)
    third = np.float32(0.3)
    stems: dict[str, Audio] = {
        "opposite": third * np.concatenate([mono, -mono]),
        "mono": 2 * np.repeat(noise(2, channels=1), 2, axis=0),
        "left": third * np.concatenate([noise(3, channels=1), np.zeros_like(mono)]),
    }
    report = report_of(stems)
    assert kinds(report, "warning") == {("phase", "opposite")}
    assert report.stems["opposite"].width_db == 200
    assert report.stems["left"].width_db == pytest.approx(0, abs=0.01)
    assert report.stems["mono"].width_db == -200
    assert {("narrow", "mono"), ("wide", "left")} <= kinds(report, "info")
    assert report_of({"a": noise(1, channels=1)}).stems["a"].width_db is None


def test_mono_stems_of_a_stereo_song_are_a_warning() -> None:
    mono = noise(1, channels=1)
    report = report_of({"a": mono, "b": mono}, noise(2))
    assert ("mono", "") in kinds(report, "warning")
    assert report.channels == 2
    wide = report_of({"a": np.repeat(mono, 2, axis=0), "b": noise(3)})
    assert ("mono", "") not in kinds(wide)


@pytest.mark.parametrize("error_db", [-40, -25, -15])
def test_the_error_of_the_sum_is_measured_and_judged(error_db: float) -> None:
    stems = two_stems()
    song = stems["a"] + stems["b"]
    error = noise(9) * (10 ** (error_db / 20) * np.std(song) / np.std(noise(9)))
    report = report_of(stems, song + error)
    assert report.sum.reconstruction_db == pytest.approx(-error_db, abs=0.2)
    assert (("sum", "") in kinds(report, "warning")) == (error_db > -20)
    assert not {kind for kind, _ in kinds(report)} & {"level", "delay"}


@pytest.mark.parametrize("gain", [0.5, -1.0, 1.5])
def test_a_song_at_another_level_is_found_with_its_gain(gain: float) -> None:
    stems = two_stems()
    report = report_of(stems, gain * (stems["a"] + stems["b"]))
    assert ("level", "") in kinds(report, "warning")
    assert report.sum.gain_db == pytest.approx(20 * math.log10(abs(gain)), abs=1e-3)
    assert report.sum.inverted == (gain < 0)
    assert report.sum.reconstruction_with_gain_db > 100


@pytest.mark.parametrize("late", [57, -120])
def test_late_and_early_stems_are_found(late: int) -> None:
    stems = two_stems()
    song = np.roll(stems["a"] + stems["b"], -late, axis=-1)
    report = report_of(stems, song)
    assert ("delay", "") in kinds(report, "warning")
    assert report.sum.lag_samples == late


def test_stems_of_another_song_are_neither_late_nor_at_another_level() -> None:
    report = report_of(two_stems(), noise(7) + noise(8))
    assert kinds(report, "warning") == {("sum", "")}
    assert report.sum.alignment < 0.3


def test_a_passage_that_does_not_add_up_is_found_where_the_whole_does() -> None:
    stems = {name: noise(seed, 8.0) for name, seed in (("a", 1), ("b", 2))}
    stems["a"][:, : 2 * RATE] *= 0.03
    stems["b"][:, : 2 * RATE] *= 0.03
    song = stems["a"] + stems["b"]
    song[:, : 2 * RATE] *= -1
    report = report_of(stems, song)
    assert report.sum.reconstruction_db > 20
    assert ("sum", "") in kinds(report, "warning")
    assert report.sum.frames_db[0] == pytest.approx(-6.02, abs=0.01)
    assert report.sum.frames_db[-1] > 100


def test_stems_that_cancel_each_other_are_found() -> None:
    stems = two_stems()
    report = report_of({"a": stems["a"] + 0.5 * noise(5), "b": stems["b"] - 0.5 * noise(5)})
    assert ("cancel", "") not in kinds(report)  # less than twice the energy
    report = report_of({"a": stems["a"] + 2 * noise(5), "b": stems["b"] - 2 * noise(5)})
    assert ("cancel", "") in kinds(report, "warning")
    assert report.sum.energies_db == pytest.approx(10 * math.log10(5), abs=0.2)


@pytest.mark.parametrize("hz", [10_000, 16_000])
@pytest.mark.parametrize("tilt_db", [0, -6])
def test_an_abrupt_end_of_the_spectrum_is_found(hz: float, tilt_db: float) -> None:
    rate = 44100

    def tilted(f: NDArray[Any]) -> NDArray[Any]:
        gains: NDArray[Any] = np.maximum(f, 20.0) ** (tilt_db / 6.02)
        return gains

    full = filtered(noise(1, 2.0, rate=rate), tilted, rate)
    report = report_of({"a": low_passed(full, hz, rate), "b": full}, rate=rate)
    assert report.stems["a"].cutoff_hz == pytest.approx(hz, abs=100)
    assert report.stems["b"].cutoff_hz is None
    assert report.mixture.cutoff_hz is None
    assert ("band", "a") in kinds(report, "info")
    assert not {found for found in kinds(report) if found in {("band", "b"), ("band", "mixture")}}


def test_bands_of_the_song_and_of_all_stems_are_told() -> None:
    rate = 44100
    song = noise(1, 2.0, rate=rate)
    limited = low_passed(song, 16_000, rate)
    report = report_of({"a": 0.3 * limited, "b": 0.7 * limited}, song, rate=rate)
    assert ("band", "") in kinds(report, "warning")
    assert ("band", "mixture") not in kinds(report)
    report = report_of({"a": 0.3 * limited, "b": 0.7 * limited}, rate=rate)
    assert ("band", "mixture") in kinds(report, "info")
    assert ("band", "") not in kinds(report)


def test_a_spectrum_that_falls_like_an_instrument_has_no_abrupt_end() -> None:
    rate = 44100
    steep = filtered(noise(1, 2.0, rate=rate), lambda f: 1 / (1 + (f / 300) ** 3), rate)
    assert report_of({"a": steep}, rate=rate).stems["a"].cutoff_hz is None


def test_the_highest_of_some_tones_is_no_end_of_the_spectrum() -> None:
    t = np.arange(2 * 44100) / 44100
    tones = sum(np.sin(2 * np.pi * 500 * k * t) for k in range(1, 11))
    audio = (0.05 * tones + 1e-4 * noise(1, 2.0, rate=44100)).astype(np.float32)  # as of 16 bits
    assert report_of({"a": audio}, rate=44100).stems["a"].cutoff_hz is None


def test_unequal_lengths_are_told_and_continued_by_silence() -> None:
    full = noise(1, 3.0)
    report = report_of({"a": full[:, :16000]}, full)
    assert ("length", "") in kinds(report, "warning")
    assert report.stems["a"].length_samples == 16000
    assert report.stems["a"].levels_dbfs[-2:] == (-200, -200)
    assert report.sum.frames_db[-1] == pytest.approx(0)
    longer = report_of({"a": full}, full[:, :16001])
    assert longer.duration_s == 3.0
    assert longer.sum.frames_db[-1] == -200
    assert ("length", "") not in kinds(report_of({"a": full}))


@pytest.mark.parametrize("channels", [1, 8])
def test_any_number_of_channels_is_measured(channels: int) -> None:
    report = report_of({"a": noise(1, channels=channels), "b": noise(2, channels=channels)})
    assert report.channels == channels
    assert kinds(report) == {("sum", "")}
    assert report.stems["a"].width_db is None


@pytest.mark.parametrize("samples", [1, 2, 100, 3999, 4000, 4001])
def test_the_shortest_audio_is_measured(samples: int) -> None:
    report = report_of({"a": noise(1)[:, :samples], "b": noise(2)[:, :samples]})
    assert ("short", "") in kinds(report, "info")
    assert not report.warnings
    assert report.stems["a"].follows == {}
    assert (report.stems["a"].source, report.stems["a"].source_part) == ("", 0.0)
    assert len(report.times_s) == -(-samples // 4000)
    json.dumps(report.as_dict(), allow_nan=False)
    assert "short" in text(report)


def test_one_stem_follows_nothing() -> None:
    stem = report_of({"a": noise(1)}).stems["a"]
    assert (stem.follows, stem.follows_rest) == ({}, None)


def test_channels_and_mixtures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EvaluationError, match="stems have 6"):
        report_of({"a": noise(1, channels=6)}, noise(1))
    pair = ArraySignals(("a", "b"), (noise(1), noise(2)))
    with pytest.raises(EvaluationError, match="must have one"):
        blind_report(pair, pair, RATE)
    empty = ArraySignals(("a",), (np.zeros((2, 0), np.float32),))
    with pytest.raises(EvaluationError, match="no samples"):
        blind_report(empty, pair, RATE)


RELATIVE = ("kind", "relative_db", "share", "loudest_db", "heard_db", "active_share", "width_db")


def relative_measures(report: BlindReport) -> list[Any]:
    stems = [
        [*(getattr(stem, name) for name in RELATIVE), dict(stem.follows), stem.cutoff_hz]
        for stem in report.stems.values()
    ]
    return [asdict(report.sum), report.mixture.cutoff_hz, *stems]


SONG = {
    "a": noise(1, 2.5),
    "b": 0.02 * noise(1, 2.5) + 0.001 * noise(2, 2.5),
    "c": low_passed(noise(3, 2.5), 2500, RATE),
}
SUM: Audio = np.sum(list(SONG.values()), axis=0) + 0.05 * noise(4, 2.5)


@settings(max_examples=12)
@given(st.integers(-20, 2))
def test_a_change_of_volume_changes_nothing_that_is_relative(power: int) -> None:
    gain = np.float32(2.0**power)  # exact in floating point
    scaled = report_of({name: gain * audio for name, audio in SONG.items()}, gain * SUM)
    assert_alike(relative_measures(scaled), relative_measures(report_of(SONG, SUM)))
    level = report_of(SONG, SUM).mixture.level_dbfs + 20 * math.log10(gain)
    assert scaled.mixture.level_dbfs == pytest.approx(level)


@settings(max_examples=6)
@given(st.permutations(list(SONG)))
def test_the_order_of_the_stems_does_not_matter(order: list[str]) -> None:
    report, turned = report_of(SONG, SUM), report_of({name: SONG[name] for name in order}, SUM)
    assert list(turned.stems) == order
    for name, stem in report.stems.items():
        assert turned.stems[name].kind == stem.kind
        assert turned.stems[name].follows == pytest.approx(dict(stem.follows), abs=1e-9)
        assert turned.stems[name].level_dbfs == pytest.approx(stem.level_dbfs)


@settings(max_examples=12)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=10), st.integers(1, 20000))
def test_the_report_does_not_depend_on_the_size_of_the_blocks(sizes: list[int], other: int) -> None:
    def cut(audio: Audio, lengths: list[int]) -> list[Audio]:
        edges = list(itertools.takewhile(lambda e: e < audio.shape[-1], _sums(lengths)))
        return np.split(audio, edges, axis=-1)

    stems = np.stack(list(SONG.values()))
    streams = [cut(SUM[None], sizes), cut(stems, [other])]
    report = measured(streams, tuple(SONG), RATE, song="song.wav", system="test")
    assert_alike(asdict(report), asdict(report_of(SONG, SUM)))


def _sums(sizes: list[int]) -> Iterator[int]:
    return itertools.accumulate(itertools.cycle(sizes))
