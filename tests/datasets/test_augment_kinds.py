"""The property that defines each augmentation, checked with other means than it is made with."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from desmezcla.datasets.augment import (
    Audio,
    BatchMixing,
    ChannelMute,
    ChannelSwap,
    Codec,
    Eq,
    Gain,
    GainDb,
    GaussianNoise,
    LowPass,
    Normalise,
    PitchShift,
    Polarity,
    Reverb,
    SignalAugmentation,
    SoftClip,
    StereoWidth,
    StftMixing,
    TempoStretch,
    augment_from,
)
from desmezcla.datasets.augment.codec import Coding, coded
from desmezcla.datasets.augment.colour import biquad
from desmezcla.datasets.augment.spectrum import biquads, convolve, fast_length
from desmezcla.errors import ParameterError

RATE = 44100


def noise(*shape: int, seed: int = 1) -> Audio:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def sine(hz: float, samples: int, rate: int = RATE) -> Audio:
    """Return a tone. Shape: `[1, 1, T]`."""
    return np.sin(2 * np.pi * hz * np.arange(samples) / rate).astype(np.float32)[None, None]


def applied(augmentation: SignalAugmentation, audio: Audio, seed: int = 0) -> Audio:
    return augmentation(audio, np.random.default_rng(seed), sample_rate=RATE)


def loudest_hz(audio: Audio, rate: int = RATE) -> float:
    hz, power = signal.periodogram(audio.reshape(-1), rate, "hann", nfft=2**19)
    return float(hz[np.argmax(power)])


def level_db(audio: Audio | NDArray[np.float64]) -> float:
    return 10 * math.log10(float(np.square(audio, dtype=np.float64).mean()))


def test_gain_is_a_factor_within_its_range() -> None:
    audio = noise(500, 2, 10)
    factors = (applied(Gain(factor=(0.25, 1.25)), audio) / audio).reshape(500, -1)
    np.testing.assert_allclose(factors, factors[:, :1].repeat(20, axis=1), rtol=1e-5)
    assert 0.25 <= factors.min() < 0.27
    assert 1.23 < factors.max() <= 1.2501


def test_gain_db_is_a_level_within_its_range() -> None:
    audio = noise(500, 2, 10)
    levels = 20 * np.log10(applied(GainDb(range_db=(-12, 6)), audio) / audio)
    assert -12.01 <= levels.min() < -11.5
    assert 5.5 < levels.max() <= 6.01


def test_polarity_swap_and_mute() -> None:
    audio = noise(1, 2, 100)
    np.testing.assert_array_equal(applied(Polarity(p=1), audio), -audio)
    np.testing.assert_array_equal(applied(ChannelSwap(p=1), audio)[:, 0], audio[:, 1])
    np.testing.assert_array_equal(applied(ChannelSwap(p=1), audio)[:, 1], audio[:, 0])
    silent = {tuple(np.abs(applied(ChannelMute(p=1), audio, s)[0]).max(1) == 0) for s in range(20)}
    assert silent == {(True, False), (False, True)}


def test_width_scales_the_difference_and_keeps_the_middle() -> None:
    audio = noise(200, 2, 50)
    changed = applied(StereoWidth(width=(0.2, 0.6)), audio)
    np.testing.assert_allclose(changed.mean(axis=1), audio.mean(axis=1), atol=1e-6)
    factors = (changed[:, 0] - changed[:, 1]) / (audio[:, 0] - audio[:, 1])
    np.testing.assert_allclose(factors, factors[:, :1].repeat(50, axis=1), rtol=1e-2)
    assert 0.19 < factors.min() < 0.25
    assert 0.55 < factors.max() < 0.61


def test_normalise_gives_mixture_and_targets_the_same_gain() -> None:
    stems = noise(4, 2, 1000)
    mixture, targets = Normalise(peak=0.8)(stems.sum(axis=0), stems, np.random.default_rng(0))
    assert np.abs(mixture).max() == pytest.approx(0.8)
    np.testing.assert_allclose(mixture, targets.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(targets / stems, (targets / stems)[0, 0, 0], rtol=1e-5)


@settings(max_examples=15)
@given(snr_db=st.floats(-10, 60), gain_db=st.floats(-40, 0), seed=st.integers(0, 99))
def test_noise_has_the_ratio(snr_db: float, gain_db: float, seed: int) -> None:
    audio = np.float32(10 ** (gain_db / 20)) * noise(1, 2, 4000)
    noisy = applied(GaussianNoise(on="stems", snr_db=(snr_db, snr_db)), audio, seed)
    added = noisy.astype(np.float64) - audio
    assert level_db(audio) - level_db(added) == pytest.approx(snr_db, abs=0.02)
    assert abs(np.corrcoef(added[0])[0, 1]) < 0.1


@settings(max_examples=15)
@given(
    shape=st.sampled_from(["peak", "low_shelf", "high_shelf"]),
    hz=st.floats(60, 15000),
    gain_db=st.floats(-12, 12),
    q=st.floats(0.4, 4),
)
def test_a_filter_has_its_gain_where_it_should(
    shape: str, hz: float, gain_db: float, q: float
) -> None:
    b, a = biquad(shape, hz=hz, gain_db=gain_db, q=q, sample_rate=RATE)
    _, response = signal.freqz(b, a, worN=[1e-3, hz, RATE / 2 - 1e-3], fs=RATE)
    low, centre, high = 20 * np.log10(np.abs(response))
    expected = {
        "peak": (0, gain_db, 0),
        "low_shelf": (gain_db, gain_db / 2, 0),
        "high_shelf": (0, gain_db / 2, gain_db),
    }[shape]
    # The middle of a shelf is at half its gain for every q.
    np.testing.assert_allclose((low, centre, high), expected, atol=1e-3)
    assert np.abs(np.roots(a)).max() < 1


def test_biquads_filter_as_scipy_does() -> None:
    sections = [
        biquad("low_shelf", hz=80, gain_db=6, q=0.7, sample_rate=RATE),
        biquad("peak", hz=60, gain_db=9, q=1, sample_rate=RATE),
        biquad("peak", hz=70, gain_db=-9, q=1, sample_rate=RATE),
        biquad("peak", hz=400, gain_db=-9, q=2, sample_rate=RATE),
        biquad("high_shelf", hz=9000, gain_db=4, q=0.7, sample_rate=RATE),
    ]
    audio = noise(2, 2, 7000)
    expected = signal.sosfilt([np.concatenate([b, a]) / a[0] for b, a in sections], audio)
    found = biquads(audio, [(b / a[0], a / a[0]) for b, a in sections], tail=20000)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_eq_is_a_linear_filter_without_a_wrapped_tail() -> None:
    click = np.zeros((1, 1, 20000), np.float32)
    click[..., 10000] = 1
    for seed in range(5):
        heard = applied(Eq(on="stems", peaks=4, gain_db=(-12, 12), q=(0.5, 8)), click, seed)
        before, after = heard[..., :10000], heard[..., 10000:]
        assert level_db(after) - level_db(before) > 100


def test_eq_works_at_low_rates() -> None:
    audio = noise(1, 1, 4000)
    heard = Eq(on="stems")(audio, np.random.default_rng(0), sample_rate=8000)
    assert np.isfinite(heard).all()


def test_low_pass_keeps_what_is_below_and_leaves_nothing_above() -> None:
    song = applied(LowPass(p=1, cutoff_hz=(4000, 4000)), noise(3, 2, 3 * RATE))
    hz, power = signal.welch(song, RATE, nperseg=8192)
    _, before = signal.welch(noise(3, 2, 3 * RATE), RATE, nperseg=8192)
    ratio_db = 10 * np.log10(power / before + 1e-20)
    assert np.abs(ratio_db[..., (hz > 20) & (hz < 3300)]).max() < 0.01
    assert ratio_db[..., hz > 4030].max() < -60


def test_low_pass_has_neither_delay_nor_a_wrapped_tail() -> None:
    click = np.zeros((1, 1, 8000), np.float32)
    click[..., 300] = 1.0
    rung = applied(LowPass(p=1, cutoff_hz=(3000, 3000)), click)
    assert int(rung.argmax()) == 300
    np.testing.assert_allclose(rung[..., 100:300], rung[..., 500:300:-1], atol=1e-6)
    assert np.abs(rung[..., 6000:]).max() < 1e-5


def test_low_pass_is_of_the_whole_song_and_draws_within_its_range() -> None:
    stems = noise(4, 2, RATE)
    draw = LowPass(p=1, cutoff_hz=(3000, 9000))
    for seed in range(5):
        _, power = signal.welch(applied(draw, stems, seed).mean(axis=1), RATE, nperseg=4096)
        edges = (power > 1e-4 * power.max(axis=-1, keepdims=True)).sum(axis=-1) * RATE / 4096
        assert np.ptp(edges) < 150
        assert 2600 < edges.mean() < 9100
    half = LowPass(p=0.5)
    changed = [
        np.abs(applied(half, stems, seed) - stems).max(axis=(1, 2)) > 0 for seed in range(20)
    ]
    assert all(len(set(each)) == 1 for each in changed)
    assert len({each[0] for each in changed}) == 2


def test_low_pass_above_half_the_rate_changes_nothing() -> None:
    audio = noise(2, 2, 4000)
    unchanged = LowPass(p=1, cutoff_hz=(30000, 40000))(
        audio, np.random.default_rng(0), sample_rate=RATE
    )
    np.testing.assert_array_equal(unchanged, audio)


def test_soft_clip_keeps_peak_and_sign_and_adds_odd_harmonics() -> None:
    audio = 0.3 * sine(1000, RATE // 2)
    clipped = applied(SoftClip(drive_db=(12, 12)), audio)
    assert np.abs(clipped).max() == pytest.approx(0.3, rel=1e-5)
    assert (np.sign(clipped) == np.sign(audio)).all()
    spectrum = np.abs(np.fft.rfft(clipped[0, 0]))  # bins of 2 Hz
    assert spectrum[1500] > 0.05 * spectrum[500]
    assert spectrum[1000] < 1e-4 * spectrum[500]


def test_soft_clip_does_not_depend_on_the_level() -> None:
    audio = noise(1, 2, 1000)
    quiet, loud = (applied(SoftClip(), np.float32(g) * audio) / g for g in (0.01, 1.0))
    np.testing.assert_allclose(quiet, loud, rtol=1e-4)


def test_reverb_keeps_the_direct_sound_and_decays() -> None:
    click = np.zeros((1, 2, RATE), np.float32)
    click[..., 1000] = 1
    room = Reverb(rt60_s=(0.5, 0.5), delay_s=(0.01, 0.01), wet_db=(-10, -10))
    heard = applied(room, click)[0]
    assert np.abs(heard[:, :1000]).max() < 1e-6
    np.testing.assert_allclose(heard[:, 1000], 1, atol=1e-6)
    assert np.abs(heard[:, 1001:1441]).max() < 1e-6
    tail = heard[:, 1441:]
    for channel in tail:
        assert 10 * math.log10(float(np.square(channel).sum())) == pytest.approx(-10, abs=0.1)
        fall = level_db(channel[:4410]) - level_db(channel[11025:15435])
        assert fall == pytest.approx(60 * 0.25 / 0.5, abs=1.5)
    assert abs(np.corrcoef(tail[:, :20000])[0, 1]) < 0.1


def test_convolution_is_scipys() -> None:
    audio, kernel = noise(2, 3, 1000), noise(3, 300, seed=2)
    expected = signal.fftconvolve(audio, kernel[None], axes=-1)[..., :1000]
    np.testing.assert_allclose(convolve(audio, kernel), expected, atol=1e-6)


@given(st.integers(1, 10**7))
def test_fast_lengths_are_little_more(samples: int) -> None:
    assert samples <= fast_length(samples) <= max(8, 1.25 * samples)


@pytest.mark.parametrize("semitones", [-5.0, -1.0, 0.5, 2.0])
@pytest.mark.parametrize("hz", [110.0, 1000.0])
def test_pitch_shift_moves_a_tone_by_semitones(hz: float, semitones: float) -> None:
    heard = applied(PitchShift(semitones=(semitones, semitones)), sine(hz, 2 * RATE))
    assert loudest_hz(heard) == pytest.approx(hz * 2 ** (semitones / 12), rel=2e-3)
    middle = heard[..., RATE // 4 : -RATE // 4]
    assert level_db(middle) == pytest.approx(-3, abs=0.5)


@pytest.mark.parametrize("rate", [0.8, 0.93, 1.07, 1.25])
def test_tempo_stretch_keeps_the_pitch(rate: float) -> None:
    heard = applied(TempoStretch(rate=(rate, rate)), sine(440, 2 * RATE))
    assert loudest_hz(heard) == pytest.approx(440, rel=2e-3)


def clicks_at(times: NDArray[np.float64], samples: int) -> Audio:
    audio = np.zeros(samples, np.float32)
    for time in times:
        start = round(time)
        burst = np.hanning(200) * np.sin(0.3 * np.arange(200))
        audio[start : start + 200] = burst[: samples - start]
    return audio


def centre_of(energy: NDArray[np.float32]) -> float:
    return float((energy * np.arange(len(energy))).sum() / energy.sum())


@pytest.mark.parametrize("rate", [0.8, 0.93, 1.07, 1.25])
def test_tempo_stretch_moves_events_in_time(rate: float) -> None:
    samples = 4 * RATE
    times = np.arange(0.3, 2.8, 0.5) * RATE
    heard = applied(TempoStretch(rate=(rate, rate)), clicks_at(times, samples)[None, None])[0, 0]
    for time in (times + 100) / rate:
        found = centre_of(heard[round(time) - 5000 : round(time) + 5000] ** 2) - 5000
        # Pieces are moved to where they fit, within a window of 46 ms.
        assert abs(found) < 0.015 * RATE
    end = round(samples / rate)
    assert not heard[end:].any()


def test_stems_that_are_stretched_together_stay_together() -> None:
    click = clicks_at(np.arange(0.2, 1.8, 0.3) * RATE, 2 * RATE)
    audio = np.stack([click, 0.01 * click, click + noise(2 * RATE)])[:, None]
    for augmentation in (TempoStretch(rate=(1.1, 1.1)), PitchShift(semitones=(1.5, 1.5))):
        heard = applied(augmentation, audio)
        np.testing.assert_allclose(heard[1], 0.01 * heard[0], atol=1e-6)


def lag(a: Audio, b: Audio) -> int:
    """Return by how many samples the second signal comes after the first."""
    return int(np.argmax(signal.correlate(b, a)) - (len(a) - 1))


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("kbps", [64, 192])
@pytest.mark.parametrize("coding", ["mp3", "aac"])
def test_codec_keeps_samples_in_their_places(coding: Coding, kbps: int, rate: int) -> None:
    low = signal.butter(4, 3000, fs=rate, output="sos")
    audio = signal.sosfilt(low, noise(2, 20000)).astype(np.float32)
    heard = coded(audio, coding, kbps, rate)
    assert heard.shape == audio.shape
    for channel in range(2):
        assert lag(audio[channel], heard[channel]) == 0
    # The beginning and the end are there too, and something is lost.
    for part in (slice(0, 2000), slice(-2000, None)):
        error_db = level_db(heard[:, part] - audio[:, part]) - level_db(audio[:, part])
        assert -90 < error_db < -3


@pytest.mark.parametrize("coding", ["mp3", "aac"])
def test_codec_takes_a_single_sample(coding: Coding) -> None:
    assert coded(np.ones((2, 1), np.float32), coding, 128, RATE).shape == (2, 1)


def test_codec_loses_less_at_a_higher_rate() -> None:
    audio = sine(220, 30000) + sine(330, 30000) + 0.1 * noise(1, 1, 30000)
    for coding in ("mp3", "aac"):
        low, high = (
            level_db(applied(Codec(codings=(coding,), bitrates_kbps=(kbps,)), audio) - audio)
            for kbps in (64, 256)
        )
        assert high < low - 3


@pytest.mark.parametrize("coding", ["mp3", "aac"])
def test_codec_keeps_levels_above_full_scale(coding: Coding) -> None:
    audio = 3 * sine(440, 20000)
    heard = applied(Codec(codings=(coding,), bitrates_kbps=(256,)), audio)
    assert level_db(heard - audio) - level_db(audio) < -25


def test_codec_refuses_rates_that_it_does_not_have() -> None:
    for rate in (44000, 96000):
        with pytest.raises(ParameterError, match=f"sample_rate={rate} Hz.*codings"):
            augment_from([{"kind": "codec"}], stems=("vocals",), sample_rate=rate)
    augment_from([{"kind": "codec", "codings": ["aac"]}], stems=("vocals",), sample_rate=96000)


def labelled(examples: int, stems: int) -> Audio:
    """Return stems `[B, S, 1, 1]` that tell by their value which they are."""
    return np.arange(examples * stems, dtype=np.float32).reshape(examples, stems, 1, 1)


@settings(max_examples=20)
@given(
    examples=st.integers(1, 9), group_size=st.integers(2, 5) | st.none(), seed=st.integers(0, 99)
)
def test_batch_mixing_permutes_each_stem_within_groups(
    examples: int, group_size: int | None, seed: int
) -> None:
    stems = labelled(examples, 3)
    rng = np.random.default_rng(seed)
    mixture, mixed = BatchMixing(group_size=group_size)(stems.sum(axis=1), stems, rng)
    np.testing.assert_array_equal(mixture, mixed.sum(axis=1))
    size = group_size or examples
    for start in range(0, examples, size):
        before, after = (np.sort(s[start : start + size], axis=0) for s in (stems, mixed))
        np.testing.assert_array_equal(before, after)


def test_batch_mixing_separates_the_stems_of_a_song() -> None:
    stems = labelled(16, 3)
    _, mixed = BatchMixing()(stems.sum(axis=1), stems, np.random.default_rng(0))
    songs = mixed[:, :, 0, 0] // 3
    assert (songs != songs[:, :1]).any(axis=1).mean() > 0.5


def test_stft_mixing_adds_magnitudes() -> None:
    stems = noise(3, 4, 1, 8192)
    mixture, mixed = StftMixing(p=1)(stems.sum(axis=1), stems, np.random.default_rng(0))

    def magnitude(audio: Audio) -> NDArray[np.float64]:
        return np.asarray(np.abs(signal.stft(audio, nperseg=1024, noverlap=768)[2]))

    wanted = magnitude(mixed).sum(axis=1)
    found, plain = (np.linalg.norm(magnitude(m) - wanted) for m in (mixture, mixed.sum(axis=1)))
    assert found < 0.7 * plain
    assert {float(s[0, 0]) for s in mixed[:, 0]} <= {float(s[0, 0]) for s in stems[:, 0]}


def test_stft_mixing_is_a_sum_where_stems_do_not_overlap() -> None:
    low, high = sine(300, 8192)[0], sine(9000, 8192)[0]
    stems = np.stack([np.stack([low, high])] * 2)
    mixture, _ = StftMixing(p=1)(stems.sum(axis=1), stems, np.random.default_rng(0))
    error = mixture - stems.sum(axis=1)
    # At the edges, reflection bends the tones.
    assert np.abs(error[..., 1024:-1024]).max() < 0.01
