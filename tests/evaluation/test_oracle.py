"""Oracles against whole tracks with scipy.signal, and what must hold of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.running.oracle import ORACLES, oracle_blocks
from desmezcla.evaluation.signals import ArraySignals, Signals, write_signals

Array = NDArray[np.float64]

RATE = 8000
N_FFT = 512  # the power of two that is nearest to 2048 · 8000 / 44100 = 371.5
LENGTH = 5000  # samples: several windows, and no whole number of hops
FILTERS = [name for name in ORACLES if name != "mixture"]


def signals(audio: Array, names: Sequence[str] | None = None) -> ArraySignals:
    """Return audio `[S, C, T]` as signals in float32."""
    stems = tuple(names or (f"stem {i}" for i in range(len(audio))))
    return ArraySignals(stems, tuple(audio.astype(np.float32)))


def oracle(
    name: str, mix: Array, stems: Array, rate: int = RATE, block_samples: int = 1 << 16
) -> Array:
    """Return the estimates `[S, C, T]` of an oracle. Shape: mix `[C, T]`; stems `[S, C, T]`."""
    blocks = oracle_blocks(
        name, signals(mix[None]), signals(stems), rate, block_samples=block_samples
    )
    return np.concatenate(list(blocks), axis=-1).astype(np.float64)


def song(length: int = LENGTH, channels: int = 2, stems: int = 3, seed: int = 0) -> Array:
    """Return stems `[S, C, T]` of fading notes, each in its place, with some noise.

    They are rounded to float32, so that the oracles and these tests see the same numbers.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    audio = np.zeros((stems, channels, length))
    for stem in audio:
        for _ in range(8):
            begin, pitch_hz = rng.uniform(0, time[-1]), rng.uniform(100, 3000)
            note = np.sin(2 * np.pi * pitch_hz * time) * np.exp(-8 * (time - begin).clip(0))
            stem += rng.uniform(0, 1, (channels, 1)) * note * (time >= begin)
        stem += 0.05 * rng.standard_normal((channels, length))
    return audio.astype(np.float32).astype(np.float64)


def sdr_db(truth: Array, estimates: Array) -> Array:
    error = np.square(truth - estimates).sum(axis=(1, 2))
    return np.asarray(10 * np.log10(np.square(truth).sum(axis=(1, 2)) / error))


# ------------------------------------------------------------------ the whole track with scipy


def whole_track(name: str, mix: Array, stems: Array, n_fft: int = N_FFT) -> Array:
    x = signal.stft(mix, nperseg=n_fft)[2]  # [C, F, N]
    y = signal.stft(stems, nperseg=n_fft)[2]  # [S, C, F, N]
    magnitudes = np.abs(y)
    if name == "oracle_ibm":
        masked = (magnitudes == magnitudes.max(axis=0)) * x
    elif name == "oracle_ibm1":
        masked = (magnitudes >= np.abs(x) / 2) * x
    elif name == "oracle_ibm2":
        masked = (magnitudes**2 >= np.abs(x) ** 2 / 2) * x
    elif name in ("oracle_irm", "oracle_irm1"):
        masked = magnitudes / magnitudes.sum(axis=0) * x
    elif name == "oracle_irm2":
        masked = magnitudes**2 / (magnitudes**2).sum(axis=0) * x
    else:
        masked = wiener(x, y)
    return np.asarray(signal.istft(masked, nperseg=n_fft)[1][..., : mix.shape[-1]])


def wiener(x: NDArray[np.complex128], y: NDArray[np.complex128]) -> NDArray[np.complex128]:
    power = np.mean(np.abs(y) ** 2, axis=1)  # [S, F, N]
    outer = np.einsum("safn,sbfn->sfnab", y, y.conj())
    sounding = (power > 0)[..., None, None]
    whitened = outer / np.where(sounding, power[..., None, None], 1)
    spatial = whitened.sum(axis=2) / sounding.sum(axis=2)  # [S, F, C, C]
    covariances = power[..., None, None] * spatial[:, :, None]  # [S, F, N, C, C]
    gains = covariances @ np.linalg.inv(covariances.sum(axis=0))
    return np.asarray(np.einsum("sfnab,bfn->safn", gains, x))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", FILTERS)
def test_it_is_the_same_as_the_whole_track_at_once(name: str, channels: int) -> None:
    stems = song(channels=channels)
    mix = stems.sum(axis=0) + 0.01 * song(channels=channels, stems=1, seed=9)[0]
    mix = mix.astype(np.float32).astype(np.float64)
    expected = whole_track(name, mix, stems)
    actual = oracle(name, mix, stems, block_samples=1000)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_rests_of_a_stem_do_not_change_how_it_is_filtered(name: str) -> None:
    stems = song()
    stems[0, :, 1500:3500] = 0
    mix = stems.sum(axis=0)
    np.testing.assert_allclose(oracle(name, mix, stems), whole_track(name, mix, stems), atol=1e-5)


@pytest.mark.parametrize(
    ("rate", "n_fft"), [(16000, 1024), (22050, 1024), (44100, 2048), (48000, 2048), (96000, 4096)]
)
def test_the_window_lasts_as_long_at_any_sample_rate(rate: int, n_fft: int) -> None:
    stems = song()
    mix = stems.sum(axis=0)
    expected = whole_track("oracle_irm1", mix, stems, n_fft)
    np.testing.assert_allclose(oracle("oracle_irm1", mix, stems, rate), expected, atol=1e-5)


# ------------------------------------------------------------------ blocks


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(list(ORACLES)),
    length=st.integers(1, 3000),
    block_samples=st.integers(1, 3000),
)
def test_the_length_of_blocks_has_no_influence(name: str, length: int, block_samples: int) -> None:
    stems = song(length)
    mix = stems.sum(axis=0)
    actual = oracle(name, mix, stems, block_samples=block_samples)
    assert actual.shape == stems.shape
    np.testing.assert_allclose(actual, oracle(name, mix, stems), atol=1e-5)


class Watched:
    """Signals that remember how much was asked for at once, and refuse what they do not have."""

    channels = 2

    def __init__(self, stems: int, length: int) -> None:
        self.stems = tuple("abcdefgh"[:stems])
        self.length_samples = length
        self.largest = 0

    def read(self, start: int, stop: int) -> Array:
        assert 0 <= start < stop <= self.length_samples
        self.largest = max(self.largest, stop - start)
        shape = (len(self.stems), self.channels, stop - start)
        return np.random.default_rng(start).standard_normal(shape)


@pytest.mark.parametrize("name", ORACLES)
def test_no_more_than_a_block_is_read_at_once(name: str) -> None:
    mix, stems = Watched(1, 20_001), Watched(2, 20_001)
    blocks = list(oracle_blocks(name, mix, stems, RATE, block_samples=2000))
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    assert sum(block.shape[2] for block in blocks) == 20_001
    assert max(block.shape[2] for block in blocks) == 2048  # whole hops
    assert max(mix.largest, stems.largest) <= 2048 + 2 * N_FFT


@pytest.mark.parametrize("name", ["oracle_irm1", "oracle_mwf", "mixture"])
def test_stems_in_files_give_what_stems_in_memory_give(name: str, tmp_path: Path) -> None:
    stems = song()
    memory: tuple[Signals, Signals] = (signals(stems.sum(axis=0)[None]), signals(stems))
    files = []
    for index, each in enumerate(memory):
        blocks = [each.read(0, 3000), each.read(3000, LENGTH)]
        files.append(write_signals(tmp_path / f"{index}.f32", each.stems, blocks))
    expected = list(oracle_blocks(name, *memory, RATE))
    np.testing.assert_array_equal(list(oracle_blocks(name, files[0], files[1], RATE)), expected)


@pytest.mark.parametrize("name", FILTERS)
def test_a_track_of_one_sample_and_one_stem_is_its_own_estimate(name: str) -> None:
    stems = np.full((1, 2, 1), 0.5)
    np.testing.assert_allclose(oracle(name, stems[0], stems), stems, atol=1e-6)


# ------------------------------------------------------------------ what must hold


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("name", ["oracle_ibm", "oracle_irm1", "oracle_irm2", "oracle_mwf"])
def test_the_estimates_add_up_to_the_mixture(name: str, channels: int) -> None:
    stems = song(channels=channels)
    mix = stems.sum(axis=0)
    np.testing.assert_allclose(oracle(name, mix, stems).sum(axis=0), mix, atol=1e-5)


def test_ideal_binary_masks_give_each_bin_to_one_stem() -> None:
    stems = song()
    stems[1] = stems[0]  # of equally loud stems, one takes all
    estimates = oracle("oracle_ibm", stems.sum(axis=0), stems)
    assert not estimates[1].any()
    assert estimates[0].any()
    assert estimates[2].any()


def test_several_stems_or_none_may_hold_half_of_a_bin() -> None:
    tone = np.sin(np.arange(float(LENGTH)))[None]
    pair = np.stack([tone, tone])
    both = oracle("oracle_ibm1", 2 * tone, pair)  # each has exactly half the magnitude
    np.testing.assert_allclose(both, 2 * pair, rtol=0, atol=1e-5)
    assert not oracle("oracle_ibm2", 2 * tone, pair).any()  # and a quarter of the power


def test_with_one_channel_the_wiener_filter_is_the_ratio_mask_of_powers() -> None:
    stems = song(channels=1)
    mix = stems.sum(axis=0)
    expected = oracle("oracle_irm2", mix, stems)
    np.testing.assert_allclose(oracle("oracle_mwf", mix, stems), expected, atol=1e-6)


def panned(degrees: Sequence[float], length: int = 16000) -> Array:
    """Return noise that comes and goes, each stem in its place. Shape: `[S, 2, T]`."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((len(degrees), 1, length))
    level = np.repeat(rng.exponential(1.0, (len(degrees), 1, length // 400)), 400, axis=-1)
    angle = np.radians(degrees)
    gains = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # [S, 2]
    return gains[..., None] * noise * level * 0.1


def test_the_wiener_filter_beats_ratio_masks_which_beat_the_mixture() -> None:
    stems = panned([10, 35, 55, 80])
    mix = stems.sum(axis=0)
    names = ("mixture", "oracle_irm1", "oracle_irm2", "oracle_mwf")
    mixture, irm1, irm2, mwf = (sdr_db(stems, oracle(name, mix, stems)) for name in names)
    assert (mixture + 3 < irm1).all()
    assert (irm1 < irm2).all()
    assert (irm2 + 1 < mwf).all()


def test_the_wiener_filter_takes_two_stems_in_two_places_apart() -> None:
    stems = panned([20, 70])
    assert (sdr_db(stems, oracle("oracle_mwf", stems.sum(axis=0), stems)) > 60).all()


def test_the_mixture_has_the_ratio_of_a_stem_to_all_others() -> None:
    time = np.arange(8000) / RATE
    levels = np.array([1.0, 0.5, 0.1])
    tones = np.sin(2 * np.pi * np.array([100, 200, 300])[:, None] * time)  # orthogonal
    stems = (levels[:, None] * tones)[:, None]
    power = levels**2
    expected = 10 * np.log10(power / (power.sum() - power))
    estimates = oracle("mixture", stems.sum(axis=0), stems, block_samples=1000)
    np.testing.assert_allclose(sdr_db(stems, estimates), expected, atol=1e-4)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("level", [1e-12, 1e4])
def test_levels_have_no_influence(name: str, level: float) -> None:
    stems = song().astype(np.float32).astype(np.float64)
    mix = stems.sum(axis=0).astype(np.float32).astype(np.float64)
    quiet = oracle(name, level * mix, level * stems) / level
    assert (np.abs(quiet - oracle(name, mix, stems)) > 1e-5).mean() < 0.01


# ------------------------------------------------------------------ silence, unequal signals


@pytest.mark.parametrize("name", FILTERS)
def test_a_silent_stem_has_a_silent_estimate(name: str) -> None:
    stems = song()
    stems[1] = 0
    mix = stems.sum(axis=0)
    estimates = oracle(name, mix, stems)
    assert not estimates[1].any()
    np.testing.assert_allclose(estimates[[0, 2]], oracle(name, mix, stems[[0, 2]]), atol=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_without_any_stem_there_is_silence_whatever_the_mixture(name: str) -> None:
    mix = song()[0]
    assert not oracle(name, mix, np.zeros((2, 2, LENGTH))).any()
    assert not oracle(name, 0 * mix, song()).any()


# The others compare the stems with the mixture, whose level then matters.
@pytest.mark.parametrize("name", ["oracle_ibm", "oracle_irm1", "oracle_irm2", "oracle_mwf"])
def test_a_mixture_that_is_no_sum_is_filtered_all_the_same(name: str) -> None:
    stems, mix = song(), song(stems=1, seed=5)[0]
    once = oracle(name, mix, stems)
    assert once.any()
    np.testing.assert_allclose(oracle(name, 2 * mix, stems), 2 * once, atol=1e-5)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("length", [1, 100, 3100, LENGTH - 1])
def test_a_shorter_mixture_is_continued_with_silence(name: str, length: int) -> None:
    stems = song()
    mix = stems.sum(axis=0)
    padded = np.pad(mix[:, :length], ((0, 0), (0, LENGTH - length)))
    actual = oracle(name, mix[:, :length], stems, block_samples=1024)
    np.testing.assert_allclose(actual, oracle(name, padded, stems), atol=1e-7)


@pytest.mark.parametrize("name", ORACLES)
def test_what_a_mixture_has_beyond_the_references_is_not_used(name: str) -> None:
    stems = song()
    mix = stems.sum(axis=0)
    longer = np.concatenate([mix, mix], axis=-1)
    np.testing.assert_array_equal(oracle(name, longer, stems), oracle(name, mix, stems))


# ------------------------------------------------------------------ wrong arguments


def test_wrong_arguments_are_named() -> None:
    mix, stems = signals(np.ones((1, 2, 10))), signals(np.ones((3, 2, 10)))
    with pytest.raises(ParameterError, match=r"name='oracle_imb' .* oracle_ibm, .*mixture"):
        oracle_blocks("oracle_imb", mix, stems, RATE)
    with pytest.raises(ParameterError, match="sample_rate=0"):
        oracle_blocks("mixture", mix, stems, 0)
    with pytest.raises(ParameterError, match="block_samples=0"):
        oracle_blocks("mixture", mix, stems, RATE, block_samples=0)
    with pytest.raises(EvaluationError, match="mixture has 3 stems"):
        oracle_blocks("mixture", stems, stems, RATE)
    with pytest.raises(EvaluationError, match=r"mixture has 1 channels .* 2"):
        oracle_blocks("mixture", signals(np.ones((1, 1, 10))), stems, RATE)
    with pytest.raises(EvaluationError, match="3 stems of 0 samples"):
        oracle_blocks("mixture", mix, signals(np.ones((3, 2, 0))), RATE)
