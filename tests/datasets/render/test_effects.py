"""Each effect against what its equation, or SciPy, says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from desmezcla.datasets.render.effects import dynamics, modulation, panning, saturation
from desmezcla.datasets.render.effects.convolution import convolve
from desmezcla.datasets.render.effects.delay import echo, echo_response
from desmezcla.datasets.render.effects.eq import Band, equalise, sections
from desmezcla.datasets.render.effects.reverb import Space, decay_times_s, impulse_response

RATE = 16000
Audio = NDArray[np.float32]


def noise(seconds: float = 0.5, *, channels: int = 2, level: float = 0.1, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def sine(hz: float, seconds: float = 1.0, *, amplitude: float = 0.5) -> Audio:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * time_s))[None].astype(np.float32)


def rms_db(audio: Audio) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64))))


def test_convolution_is_scipys_cut_to_the_length_of_the_audio() -> None:
    audio = noise(3.0)
    response = noise(0.3, seed=1)
    expected = signal.fftconvolve(audio.astype(float), response.astype(float), axes=1)
    np.testing.assert_allclose(convolve(audio, response), expected[:, : audio.shape[1]], atol=2e-5)


def test_convolution_passes_over_silence_and_makes_mono_stereo() -> None:
    audio = np.zeros((1, 5 * RATE), np.float32)
    audio[0, 4 * RATE] = 1.0
    response = noise(0.1)
    result = convolve(audio, response)
    assert not result[:, : 2 * RATE].any()
    np.testing.assert_allclose(result[:, 4 * RATE :][:, :1600], response, atol=1e-6)


BANDS = [
    Band("bell", 1000.0, 6.0, 1.4),
    Band("bell", 300.0, -9.0, 0.7),
    Band("low_shelf", 200.0, 5.0),
    Band("high_shelf", 3000.0, -7.0),
    Band("high_pass", 80.0),
    Band("low_pass", 4000.0),
]


@pytest.mark.parametrize("bands", [*[[b] for b in BANDS], BANDS], ids=str)
def test_the_equaliser_has_the_response_of_its_sections(bands: list[Band]) -> None:
    impulse = np.zeros((1, RATE), np.float32)
    impulse[0, 0] = 1.0
    measured = np.abs(np.fft.rfft(equalise(impulse, bands, RATE)[0]))
    hz = np.arange(RATE // 2 + 1)
    _, expected = signal.freqz_sos(sections(bands, RATE), worN=hz, fs=RATE)
    np.testing.assert_allclose(measured, np.abs(expected), atol=2e-3)


@pytest.mark.parametrize("band", BANDS, ids=str)
def test_a_band_has_its_gain_where_it_says(band: Band) -> None:
    def gain_db(hz: float) -> float:
        _, response = signal.freqz_sos(sections([band], RATE), worN=[hz], fs=RATE)
        return float(20 * np.log10(np.abs(response[0])))

    low, high = gain_db(1.0), gain_db(7990.0)
    if band.kind == "bell":
        assert gain_db(band.frequency_hz) == pytest.approx(band.gain_db, abs=0.01)
        assert [low, high] == pytest.approx([0, 0], abs=0.05)
    elif band.kind == "low_shelf":
        assert [low, high] == pytest.approx([band.gain_db, 0], abs=0.05)
    elif band.kind == "high_shelf":
        assert [low, high] == pytest.approx([0, band.gain_db], abs=0.05)
    else:
        assert gain_db(band.frequency_hz) == pytest.approx(-3.01, abs=0.05)
        assert (low if band.kind == "high_pass" else high) < -60


@given(level_db=st.floats(-60, 0), threshold_db=st.floats(-40, -5), ratio=st.floats(1, 20))
def test_a_steady_level_is_compressed_as_the_static_curve_says(
    level_db: float, threshold_db: float, ratio: float
) -> None:
    level = np.full(4000, 10 ** (level_db / 20))
    gain = dynamics.compressor_gain(
        level, RATE, threshold_db=threshold_db, ratio=ratio, knee_db=6.0, attack_s=0.005
    )
    over = level_db - threshold_db
    bent = max(over, 0.0) if abs(over) > 3 else (over + 3) ** 2 / 12
    assert 20 * np.log10(gain[-1]) == pytest.approx(-(1 - 1 / ratio) * bent, abs=1e-3)


def test_a_compressor_attacks_and_lets_go_with_its_time_constants() -> None:
    level = np.full(3000, 1e-3)
    level[1000:2000] = 1.0  # 20 dB above the threshold, with a ratio that takes off 10 dB
    gain_db = 20 * np.log10(
        dynamics.compressor_gain(
            level, RATE, threshold_db=-20, ratio=2.0, attack_s=0.05, release_s=0.2, knee_db=0
        )
    )
    step = RATE / dynamics.HOP
    assert gain_db[1000 + round(0.05 * step)] == pytest.approx(-10 * (1 - np.exp(-1)), abs=0.3)
    assert gain_db[1999] == pytest.approx(-10, abs=0.05)
    # The attack smooths the way back, too, and delays it by its own time constant.
    late = np.interp(0.2 + 0.05, np.arange(1000) / step, gain_db[2000:3000])
    assert late == pytest.approx(-10 * np.exp(-1), abs=0.35)


def test_both_channels_get_one_gain() -> None:
    audio = noise(level=0.5)
    audio[1] *= 0.1
    result = dynamics.compress(audio, RATE, threshold_db=-30, ratio=8)
    np.testing.assert_allclose(result[0] / audio[0], result[1] / audio[1], rtol=1e-4)
    assert rms_db(result) < rms_db(audio) - 6


@given(
    seed=st.integers(0, 1000),
    level=st.floats(0.01, 5),
    ceiling_db=st.floats(-12, 0),
    lookahead_s=st.floats(0.0, 0.01),
)
def test_no_sample_gets_past_the_limiter(
    seed: int, level: float, ceiling_db: float, lookahead_s: float
) -> None:
    rng = np.random.default_rng(seed)
    audio = (level * rng.standard_normal((2, 3001)) ** 3).astype(np.float32)
    gain = dynamics.limiter_gain(
        dynamics.peaks(audio), RATE, ceiling_db=ceiling_db, lookahead_s=lookahead_s
    )
    ceiling = 10 ** (ceiling_db / 20)
    assert np.abs(dynamics.apply_gain(audio, gain)).max() <= ceiling * (1 + 1e-5)
    assert gain.max() <= 1


def test_the_limiter_leaves_alone_what_is_below_its_ceiling() -> None:
    audio = sine(440, amplitude=0.4)
    audio[0, 8000] = 2.0
    gain = dynamics.limiter_gain(dynamics.peaks(audio), RATE, ceiling_db=-1, release_s=0.02)
    limited = dynamics.apply_gain(audio, gain)
    assert limited[0, 8000] == pytest.approx(10 ** (-1 / 20), rel=0.02)
    np.testing.assert_array_equal(limited[:, :7000], audio[:, :7000])
    np.testing.assert_allclose(limited[:, -1000:], audio[:, -1000:], rtol=1e-3)


def test_peaks_and_levels_are_those_of_the_hops() -> None:
    audio = noise()[:, :-7]
    padded = np.pad(audio, ((0, 0), (0, 7))).reshape(2, -1, dynamics.HOP)
    np.testing.assert_array_equal(dynamics.peaks(audio), np.abs(padded).max(axis=(0, 2)))
    rms = np.sqrt(np.square(padded).mean(axis=(0, 2)))
    np.testing.assert_allclose(dynamics.levels(audio), rms, rtol=1e-5)


def test_a_gate_passes_the_sound_from_its_first_sample_and_lowers_the_pause() -> None:
    audio = noise(1.0, level=0.001)
    audio[:, 6400:9600] += noise(0.2, level=0.3, seed=1)
    result = dynamics.gate(audio, RATE, threshold_db=-40, floor_db=-30, release_s=0.02)
    np.testing.assert_allclose(result[:, 6400:9600], audio[:, 6400:9600], rtol=1e-5)
    assert rms_db(result[:, :6000]) == pytest.approx(rms_db(audio[:, :6000]) - 30, abs=0.5)
    assert rms_db(result[:, 15000:]) == pytest.approx(rms_db(audio[:, 15000:]) - 30, abs=0.5)


def test_the_deesser_lowers_hiss_and_leaves_a_tone() -> None:
    tone = sine(300)
    np.testing.assert_allclose(dynamics.deess(tone, RATE, threshold_db=-40), tone, atol=5e-3)
    hiss = equalise(noise(channels=1, level=0.3), [Band("high_pass", 6500.0, q=1.0)], RATE)
    assert rms_db(dynamics.deess(hiss, RATE, threshold_db=-40)) < rms_db(hiss) - 6


@pytest.mark.parametrize("kind", ["tanh", "valve", "clip"])
def test_saturation_keeps_soft_sounds_and_bends_loud_ones(kind: str) -> None:
    soft = sine(500, amplitude=1e-3)
    bent = saturation.saturate(soft, drive_db=6, kind=kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(bent, soft, atol=1e-5)
    loud = saturation.saturate(sine(500), drive_db=12, kind=kind)  # type: ignore[arg-type]
    spectrum = np.abs(np.fft.rfft(loud[0]))
    assert spectrum[1500] > 0.02 * spectrum[500]
    even = spectrum[1000] / spectrum[500]
    assert even > 0.02 if kind == "valve" else even < 1e-4


def test_tape_takes_off_the_highs() -> None:
    audio = noise(level=0.05)
    taped = saturation.tape(audio, RATE, drive_db=0, cutoff_hz=3000.0)
    high = [Band("high_pass", 6000.0)]
    loss_db = rms_db(equalise(audio, high, RATE)) - rms_db(equalise(taped, high, RATE))
    assert loss_db > 12


@given(position=st.floats(-1, 1))
def test_panning_keeps_the_power_and_the_middle(position: float) -> None:
    mono = np.full((1, 4), 0.5, np.float32)
    placed = panning.pan(mono, position).astype(float)
    assert (placed[:, 0] ** 2).sum() == pytest.approx(2 * 0.5**2, rel=1e-5)
    louder = 0 if position < 0 else 1
    assert placed[louder, 0] >= placed[1 - louder, 0] - 1e-6
    np.testing.assert_allclose(panning.pan(mono, 0.0), 0.5, rtol=1e-6)


def test_widening_scales_the_side_only() -> None:
    audio = noise()
    wide = panning.widen(audio, 1.7)
    np.testing.assert_allclose(wide.sum(axis=0), audio.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(wide[0] - wide[1], 1.7 * (audio[0] - audio[1]), atol=1e-6)
    mono = panning.widen(audio, 0.0)
    np.testing.assert_array_equal(mono[0], mono[1])


def test_haas_delays_one_channel() -> None:
    mono = noise(channels=1)
    wide = panning.haas(mono, RATE, delay_s=0.01, gain_db=-6.0206)
    np.testing.assert_array_equal(wide[0], mono[0])
    np.testing.assert_allclose(wide[1, 160:], 0.5 * mono[0, :-160], rtol=1e-4)
    other = panning.haas(mono, RATE, delay_s=-0.01)
    np.testing.assert_array_equal(other[1], mono[0])
    assert not other[0, :160].any()


@pytest.mark.parametrize("decay_s", [0.5, 1.2])
@pytest.mark.parametrize("kind", ["room", "hall", "plate"])
def test_a_reverb_decays_by_60_db_in_its_time(kind: str, decay_s: float) -> None:
    space = Space(kind, decay_s, bass=1.2, treble=0.5)  # type: ignore[arg-type]
    response = impulse_response(space, RATE, seed=3)
    times_s = dict(zip((125, 250, 500, 1000, 2000, 4000), decay_times_s(space), strict=False))
    assert times_s[1000] == pytest.approx(decay_s)
    for hz in (500, 1000, 2000):
        sos = signal.butter(3, [hz / 2**0.5, hz * 2**0.5], "band", fs=RATE, output="sos")
        band = signal.sosfilt(sos, response.astype(float), axis=1)
        # Schroeder's backward integral, and the slope from -5 to -25 dB.
        left = np.cumsum((band**2).sum(axis=0)[::-1])[::-1]
        curve_db = 10 * np.log10(left / left[0])
        start, stop = (int(np.argmax(curve_db < level)) for level in (-5, -25))
        assert 3 * (stop - start) / RATE == pytest.approx(times_s[hz], rel=0.15)


@pytest.mark.parametrize("kind", ["room", "hall", "plate", "spring"])
def test_a_reverb_has_unit_energy_a_predelay_and_two_different_sides(kind: str) -> None:
    space = Space(kind, 0.8, predelay_s=0.02)  # type: ignore[arg-type]
    response = impulse_response(space, RATE, seed=1).astype(float)
    assert np.square(response).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    assert not response[:, : round(0.02 * RATE)].any()
    assert abs(np.corrcoef(response)[0, 1]) < 0.5
    np.testing.assert_array_equal(response, impulse_response(space, RATE, seed=1))
    assert not np.array_equal(response, impulse_response(space, RATE, seed=2))


def test_a_spring_has_faded_at_its_end() -> None:
    response = impulse_response(Space("spring", 1.0, bass=1.0), RATE, seed=0)
    assert rms_db(response[:, -1600:]) < rms_db(response[:, :1600]) - 40


def test_echoes_come_in_time_each_softer_than_the_last() -> None:
    response = echo_response(RATE, time_s=0.2, feedback=0.5, low_hz=20, high_hz=7000)
    energy = [np.square(response[:, i * 3200 : i * 3200 + 400]).sum() for i in range(4)]
    assert energy[0] == 0
    assert energy[1] > 0.5
    assert energy[2] / energy[1] == pytest.approx(0.25, rel=0.25)
    assert energy[3] / energy[2] == pytest.approx(0.25, rel=0.25)


def test_a_ping_pong_changes_sides_and_a_slap_comes_once() -> None:
    response = echo_response(RATE, time_s=0.2, feedback=0.5, ping_pong=True)
    first, second = response[:, 3200:3600], response[:, 6400:6800]
    assert first[0].any()
    assert not first[1].any()
    assert second[1].any()
    assert not second[0].any()
    slapped = echo(noise(1.0, channels=1), RATE, time_s=0.1, feedback=0.0)
    assert slapped.shape == (2, RATE)
    assert np.abs(slapped[:, :1500]).max() < 1e-6


def test_a_delay_that_does_not_swing_is_a_delay() -> None:
    channel = noise(channels=1)[0]
    delayed = modulation.vibrato(channel, RATE, delay_s=0.01, depth_s=0.0, rate_hz=1.0)
    np.testing.assert_allclose(delayed[160:], channel[:-160], atol=1e-5)
    half = modulation.vibrato(channel, RATE, delay_s=0.5 / RATE, depth_s=0.0, rate_hz=1.0)
    np.testing.assert_allclose(half[1:], (channel[1:] + channel[:-1]) / 2, atol=1e-5)


def test_vibrato_bends_the_pitch_as_far_as_its_depth_says() -> None:
    tone = sine(1000.0, 2.0)[0]
    bent = modulation.vibrato(tone, RATE, delay_s=0.01, depth_s=0.002, rate_hz=2.0)
    phase = np.unwrap(np.angle(signal.hilbert(bent)))[4000:-4000]
    pitch_hz = np.diff(phase) * RATE / (2 * np.pi)
    swing = 1000.0 * 0.002 * 2 * np.pi * 2.0  # depth times angular speed
    assert np.quantile(pitch_hz, 0.99) - 1000 == pytest.approx(swing, rel=0.15)


@pytest.mark.parametrize("effect", [modulation.chorus, modulation.double])
def test_chorus_and_doubling_make_mono_wide(effect) -> None:  # type: ignore[no-untyped-def]
    wide = effect(noise(1.0, channels=1), RATE)
    assert wide.shape == (2, RATE)
    assert np.corrcoef(wide)[0, 1] < 0.95


def test_tremolo_swings_between_full_level_and_its_depth() -> None:
    ones = np.ones((1, RATE), np.float32)
    swung = modulation.tremolo(ones, RATE, rate_hz=4.0, depth=0.6)
    assert swung.max() == pytest.approx(1)
    assert swung.min() == pytest.approx(0.4)
    np.testing.assert_allclose(swung[:, :4000], swung[:, 4000:8000], atol=1e-4)


def test_a_phaser_passes_all_alone_and_notches_with_the_dry_sound() -> None:
    audio = noise(2.0, channels=1)
    still = {"lowest_hz": 1000.0, "highest_hz": 1000.0, "stages": 2}
    wet = modulation.phaser(audio, RATE, mix=1.0, **still)  # type: ignore[arg-type]
    assert rms_db(wet) == pytest.approx(rms_db(audio), abs=0.1)
    # Two stages turn 1 kHz by 180 degrees.
    mixed = modulation.phaser(audio, RATE, mix=0.5, **still)  # type: ignore[arg-type]
    hz, before = signal.welch(audio[0], RATE, nperseg=512)
    after = signal.welch(mixed[0], RATE, nperseg=512)[1]
    gain_db = 10 * np.log10(after / before)
    assert gain_db[np.argmin(abs(hz - 1000))] < -15
    assert gain_db[np.argmin(abs(hz - 5000))] > -3
    untouched = modulation.phaser(audio, RATE, mix=0.0)
    np.testing.assert_allclose(untouched, audio, atol=1e-5)


EFFECTS = {
    "equalise": lambda audio: equalise(audio, BANDS, RATE),
    "compress": lambda audio: dynamics.compress(audio, RATE, threshold_db=-30, ratio=4),
    "gate": lambda audio: dynamics.gate(audio, RATE, threshold_db=-30),
    "deess": lambda audio: dynamics.deess(audio, RATE, threshold_db=-30),
    "saturate": lambda audio: saturation.saturate(audio, drive_db=6),
    "tape": lambda audio: saturation.tape(audio, RATE, drive_db=6),
    "pan": lambda audio: panning.pan(audio, 0.3),
    "widen": lambda audio: panning.widen(audio, 0.3),
    "haas": lambda audio: panning.haas(audio, RATE, delay_s=0.01),
    "chorus": lambda audio: modulation.chorus(audio, RATE),
    "double": lambda audio: modulation.double(audio, RATE),
    "tremolo": lambda audio: modulation.tremolo(audio, RATE, rate_hz=5, depth=0.5),
    "phaser": lambda audio: modulation.phaser(audio, RATE),
    "echo": lambda audio: echo(audio, RATE, time_s=0.1, feedback=0.3),
}


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("samples", [1, 31, 32, 5003])
def test_an_effect_keeps_length_type_and_input_and_is_silent_for_silence(
    name: str, samples: int
) -> None:
    audio = noise()[:, :samples]
    before = audio.copy()
    result = EFFECTS[name](audio)
    assert result.shape == audio.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(audio, before)
    np.testing.assert_array_equal(result, EFFECTS[name](audio))
    assert np.abs(EFFECTS[name](np.zeros_like(audio))).max() < 1e-7
