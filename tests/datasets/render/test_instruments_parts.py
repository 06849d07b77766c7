"""The parts of instruments: amplifiers, samplers, modes, loops, drums."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy import signal

from desmezcla.datasets.render.instruments import blocks, effects, kits, modal, players, sampler
from desmezcla.datasets.render.instruments.amplifier import (
    amplified,
    amplifier,
    cabinet_response,
)
from desmezcla.datasets.render.instruments.drums_synth import DrumSynth
from desmezcla.datasets.render.instruments.solo import Voice, perform
from desmezcla.datasets.render.instruments.spectral import harmonics, loop
from desmezcla.datasets.render.instruments.take import Take
from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import PIECES, Hit, Note, Part, Song

Audio = NDArray[np.float32]

RATE = 44100


def sine(hz: float, seconds: float = 1.0) -> Audio:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * hz * time_s, dtype=np.float64).astype(np.float32)[None]


def level_at(audio: Audio, hz: float) -> float:
    """Return the amplitude of a sine in a signal of a second."""
    mono = audio[0, : RATE // 2 * 2].astype(np.float64)
    window = np.hanning(len(mono))
    time_s = np.arange(len(mono)) / RATE
    return float(2 * abs(np.sum(mono * window * np.exp(-2j * np.pi * hz * time_s))) / window.sum())


def a_take(events: tuple[Note, ...] | tuple[Hit, ...], key: str, seconds: float = 2.0) -> Take:
    part = Part("part", "other", "comp", key, events)
    song = Song("pop", 120.0, 4, 0, "major", seconds, (), (), (part,))
    return Take(part, song, np.random.default_rng(0), None, RATE, round(seconds * RATE))


def test_distortion_bends_the_sum_of_the_strings() -> None:
    rng = np.random.default_rng(0)
    settings, cabinet = amplifier("high_gain", rng), cabinet_response(rng, sample_rate=RATE)

    def through(strings: Audio) -> Audio:
        return amplified(strings, settings, cabinet, sample_rate=RATE)

    root, fifth = sine(220.0), sine(330.0)
    together, apart = through(root + fifth), through(root) + through(fifth)
    # The difference tone, an octave below the root, is in no string and in no harmonic of one.
    assert level_at(together, 110.0) > 20 * level_at(apart, 110.0)


def test_saturation_aliases_less_than_the_curve_alone() -> None:
    tone = sine(6100.0)
    plain = (8 * tone / np.sqrt(1 + (8 * tone) ** 2)).astype(np.float32)
    smooth = blocks.saturated(tone, 8.0)
    # The seventh harmonic, 42700 Hz, folds to 1400 Hz.
    assert level_at(smooth, 1400.0) < 0.35 * level_at(plain, 1400.0)
    assert level_at(smooth, 6100.0) == pytest.approx(level_at(plain, 6100.0), rel=0.1)


@pytest.mark.parametrize("channels", [1, 2])
def test_block_filters_are_those_of_scipy(channels: int) -> None:
    rng = np.random.default_rng(1)
    audio = rng.standard_normal((channels, 100_001)).astype(np.float32)
    sections = effects.passing("lowpass", 900.0, RATE, order=4)
    expected = signal.sosfilt(sections, audio.astype(np.float64), axis=1)
    np.testing.assert_allclose(blocks.filtered(audio, sections), expected, atol=1e-5)
    response = (rng.standard_normal((1, 3000)) / 50).astype(np.float32)
    whole = signal.fftconvolve(audio.astype(np.float64), response, axes=1)[:, : audio.shape[1]]
    np.testing.assert_allclose(blocks.convolved(audio, response), whole, atol=1e-4)


def test_silence_through_filters_is_silence() -> None:
    audio = np.zeros((1, 300_000), np.float32)
    audio[0, :1000] = 1
    out = blocks.filtered(audio, effects.passing("lowpass", 2000.0, RATE))
    assert not out[0, 100_000:].any()


def test_delay_of_a_whole_number_of_samples_shifts() -> None:
    audio = np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
    late = blocks.delayed(audio, np.full(80_000, 37.0, np.float32))
    np.testing.assert_array_equal(late[37:], audio[:-37])
    assert not late[:37].any()


def test_modes_are_decaying_sines() -> None:
    hz, decay_s, gain = np.array([440.0, 3000.0]), np.array([0.5, 0.1]), np.array([1.0, -0.4])
    time_s = np.arange(20_000)[:, None] / RATE
    expected = (gain * np.exp(-time_s / decay_s) * np.sin(2 * np.pi * hz * time_s)).sum(axis=1)
    out = modal.modes(hz, decay_s, gain, samples=20_000, sample_rate=RATE)
    np.testing.assert_allclose(out[0], expected, atol=1e-5)


def test_loops_go_round_without_a_seam_and_stay_below_the_limit() -> None:
    rng = np.random.default_rng(0)
    count = 300
    hz = 110.0 * np.arange(1.0, count + 1)
    gains = harmonics("saw", count)[None]
    wave = loop(hz, gains, cents=[-8.0, 9.0], pans=[-0.5, 0.5], rng=rng, sample_rate=RATE)
    twice = np.concatenate([wave[0, 0], wave[0, 0]])
    steps = np.abs(np.diff(twice))
    assert steps[wave.shape[2] - 1] <= steps.max()
    spectrum = np.abs(np.fft.rfft(wave[0, 0].astype(np.float64)))
    limit = round(0.455 * wave.shape[2])
    assert spectrum[limit:].max() < 1e-4 * spectrum.max()


def test_an_open_hihat_is_choked_by_the_closed_one() -> None:
    ringing = kits.play_kit(a_take((Hit(0.1, "hihat_open", 0.9),), "kit_808"), "kit_808")
    stopped = kits.play_kit(
        a_take((Hit(0.1, "hihat_open", 0.9), Hit(0.2, "hihat_pedal", 0.1)), "kit_808"), "kit_808"
    )
    after = slice(round(0.3 * RATE), round(0.36 * RATE))
    assert np.abs(stopped[:, after]).max() < 0.2 * np.abs(ringing[:, after]).max()


def test_ghost_notes_are_quieter() -> None:
    loud, soft = (
        np.abs(kits.play_kit(a_take((Hit(0.1, "snare", v),), "kit_rock"), "kit_rock")).max()
        for v in (1.0, 0.3)
    )
    assert soft < 0.3 * loud


@pytest.mark.parametrize("style", ["acoustic", "808", "909"])
def test_every_piece_is_synthesised_at_full_level(style: str) -> None:
    synth = DrumSynth(style, np.random.default_rng(0), RATE)
    for piece in PIECES:
        sound = synth.stroke(piece, 0.8)
        assert np.abs(sound).max() == pytest.approx(1.0, abs=1e-5), piece
        # It has died away where it ends.
        assert np.abs(sound[:, -20:]).max() < 0.02, piece


def test_voices_glide_between_bound_notes() -> None:
    voice = Voice(
        timbre=lambda f0_hz, order: (order == 1).astype(np.float64)[None],
        envelope=players.Envelope(0.002, 1.0, 1.0, 0.01),
        sweep=players.Envelope(0.002, 1.0, 1.0, 0.01),
        glide_s=0.3,
    )
    notes = (Note(0.0, 0.5, 57.0, 0.8), Note(0.5, 1.0, 69.0, 0.8))
    audio = perform(a_take(notes, "synth_lead"), voice)[0]
    crossings = np.flatnonzero(np.diff(np.signbit(audio[round(0.52 * RATE) : RATE]).astype(int)))
    hz = RATE / 2 / np.diff(crossings)
    assert hz[0] < 330
    assert hz[-1] == pytest.approx(440.0, rel=0.01)


def test_a_slow_oscillator_opens_and_shuts_the_filter() -> None:
    def timbre(f0_hz: float, order: NDArray[np.float64]) -> NDArray[np.float64]:
        dark = (order == 1).astype(np.float64)
        return np.asarray([dark, dark + (order == 5)])

    voice = Voice(
        timbre=timbre,
        envelope=players.Envelope(0.002, 1.0, 1.0, 0.01),
        sweep=players.Envelope(0.002, 1.0, 0.0, 0.01),
        low=0.5,
        high=0.5,
        lfo_hz=2.0,
        lfo_depth=0.4,
    )
    audio = perform(a_take((Note(0.0, 1.5, 57.0, 0.8),), "synth_lead"), voice)[0]
    # A tenth of a second around the top, and the bottom, of the second turn.
    bright, dark = (
        np.abs(np.fft.rfft(part))
        for part in (
            audio[round(0.575 * RATE) : round(0.675 * RATE)],
            audio[round(0.825 * RATE) : round(0.925 * RATE)],
        )
    )
    fifth = round(1100 * 0.1)
    ratio = (bright[fifth] / bright[22]) / (dark[fifth] / dark[22])
    # Sines at their extremes, averaged over two fifths of a half turn.
    mean = np.sinc(0.2) * 0.4
    assert ratio == pytest.approx((0.5 + mean) / (0.5 - mean), rel=0.05)


@pytest.fixture
def one_note(tmp_path: Path) -> Material:
    """Return a collection of one recording: A3, 30 cents sharp, after silence, with an offset."""
    time_s = np.arange(round(1.5 * RATE)) / RATE
    hz = 220.0 * 2 ** (30 / 1200)
    tone = sum(np.sin(2 * np.pi * k * hz * time_s) / k for k in (1, 2, 3))
    sound = np.concatenate([np.zeros(2000), 0.2 * tone * np.minimum(time_s / 0.005, 1)]) + 0.05
    soundfile.write(tmp_path / "tone_A3.wav", sound, RATE)
    columns = ("file", "source", "licence", "author", "seconds", "midi", "f0", "rms_db")
    row = ("tone_A3.wav", "test", "CC0", "nobody", "1.5", "57", "", "-20")
    with (tmp_path / "index.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([columns, row])
    return Material(tmp_path)


@pytest.mark.parametrize("pitch", [50.0, 57.0, 61.0])
def test_a_sampler_corrects_the_pitch_of_its_recordings(one_note: Material, pitch: float) -> None:
    made = sampler.Sampler(
        one_note, sampler.Collection("tone", sustained=True), sample_rate=RATE, bright=1.0
    )
    # Longer than the recording: it goes on.
    sound = made(pitch, 1.0, samples=3 * RATE, short=False)
    assert sound.shape == (1, 3 * RATE)
    for begin in (RATE // 4, 2 * RATE):
        part = sound[0, begin : begin + 30_000]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 20))
        peak_hz = np.argmax(spectrum) * RATE / (1 << 20)
        assert 1200 * np.log2(peak_hz / (440 * 2 ** ((pitch - 69) / 12))) == pytest.approx(0, abs=3)
    late, early = (np.std(sound[:, a : a + RATE // 2]) for a in (2 * RATE, RATE // 2))
    assert late == pytest.approx(early, rel=0.15)
    assert abs(sound.mean()) < 0.01 * sound.std()


def test_a_decaying_recording_goes_on_decaying() -> None:
    time_s = np.arange(RATE) / RATE
    tone = (np.exp(-time_s / 0.5) * np.sin(2 * np.pi * 110 * time_s)).astype(np.float32)[None]
    longer = sampler.extended(tone, 2 * RATE, RATE, sustained=False)
    late = np.abs(longer[0, round(1.5 * RATE) : round(1.6 * RATE)]).max()
    assert late == pytest.approx(np.exp(-1.5 / 0.5), rel=0.35)


def test_compression_narrows_the_range() -> None:
    audio = np.concatenate([0.1 * sine(200.0), sine(200.0)], axis=1)
    squeezed = effects.compressed(audio, threshold_db=-20, ratio=4.0, sample_rate=RATE)
    ends = (squeezed[:, RATE // 2 : RATE], squeezed[:, -RATE // 2 :])
    quiet, loud = (float(np.std(part)) for part in ends)
    assert 20 * np.log10(loud / quiet) == pytest.approx(5.0, abs=1.5)
