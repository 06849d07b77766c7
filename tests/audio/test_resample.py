import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from desmezcla.audio.resample import StreamResampler, resample, resampled_length
from desmezcla.errors import ParameterError

RATES = [8000, 11025, 22050, 44100, 48000, 96000, 192000]


def snr_db(reference: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - found) ** 2)))


@given(
    length=st.integers(0, 3000),
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_result_has_exact_length_and_does_not_depend_on_the_cuts(
    length: int, rate_in: int, rate_out: int, cuts: list[int]
) -> None:
    audio = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    stream = StreamResampler(rate_in, rate_out, 2)
    edges = sorted({0, length, *(min(cut, length) for cut in cuts)})
    blocks = [stream.process(audio[:, a:b]) for a, b in itertools.pairwise(edges)]
    joined = np.concatenate([*blocks, stream.flush()], axis=1)
    assert joined.shape == (2, resampled_length(length, rate_in, rate_out))
    np.testing.assert_array_equal(joined, resample(audio, rate_in, rate_out))


@given(length=st.integers(1, 10**12), a=st.sampled_from(RATES), b=st.sampled_from(RATES))
def test_length_is_rounded_up_and_exact_for_any_size(length: int, a: int, b: int) -> None:
    assert (resampled_length(length, a, b) - 1) * a < length * b
    assert resampled_length(length, a, b) * a >= length * b


@given(length=st.integers(1, 5000), a=st.sampled_from(RATES), b=st.sampled_from(RATES))
@settings(max_examples=40, deadline=None)
def test_round_trip_returns_to_the_length_it_came_from(length: int, a: int, b: int) -> None:
    there = resample(np.ones((1, length), np.float32), a, b)
    back = StreamResampler(b, a, 1)
    parts = [back.process(there), back.flush(length)]
    assert sum(part.shape[1] for part in parts) == length


@pytest.mark.parametrize("rate_in", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("rate_out", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("hz", [100.0, 5000.0])
def test_sine_keeps_its_phase_and_level(rate_in: int, rate_out: int, hz: float) -> None:
    def sine(rate: int, length: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * hz * np.arange(length) / rate + 0.3)

    found = resample(sine(rate_in, rate_in)[None].astype(np.float32), rate_in, rate_out)[0]
    inner = slice(rate_out // 4, 3 * rate_out // 4)
    assert snr_db(sine(rate_out, rate_out)[inner], found[inner]) > 120


def test_impulse_stays_at_its_place() -> None:
    audio = np.zeros((1, 4410), np.float32)
    audio[0, 1470] = 1  # at 1/30 s, which is a sample of both rates
    found = resample(audio, 44100, 48000)[0]
    assert int(np.argmax(np.abs(found))) == 1600
    np.testing.assert_allclose(found[1600 - 50 : 1600], found[1600 + 50 : 1600 : -1], atol=1e-5)


@pytest.mark.parametrize(("rate_in", "rate_out", "up", "down"), [(44100, 48000, 160, 147)])
def test_agrees_with_scipy(rate_in: int, rate_out: int, up: int, down: int) -> None:
    rng = np.random.default_rng(0)
    spectrum = np.zeros(rate_in // 2 + 1, complex)
    band = slice(20, 8000)  # far from the band's edge, where filters may differ
    spectrum[band] = rng.standard_normal(7980) + 1j * rng.standard_normal(7980)
    audio = np.fft.irfft(spectrum)
    audio *= 0.5 / np.abs(audio).max()
    expected = resample_poly(audio, up, down, window=("kaiser", 14.0))
    found = resample(audio[None].astype(np.float32), rate_in, rate_out)[0]
    inner = slice(5000, -5000)
    assert snr_db(expected[inner], found[inner]) > 90


def test_what_lies_beyond_the_lower_band_is_removed() -> None:
    hz = 0.55 * 44100
    audio = np.sin(2 * np.pi * hz * np.arange(96000) / 96000)[None].astype(np.float32)
    found = resample(audio, 96000, 44100)[0, 5000:-5000]
    assert np.abs(found).max() < 1e-6


def test_equal_rates_pass_blocks_unchanged() -> None:
    block = np.ones((2, 10), np.float32)
    stream = StreamResampler(44100, 44100, 2)
    np.testing.assert_array_equal(stream.process(block), block)
    assert stream.flush().shape == (2, 0)


@pytest.mark.parametrize("length", [900, 1200])
def test_a_length_that_rounding_does_not_explain_is_refused(length: int) -> None:
    stream = StreamResampler(44100, 48000, 1)
    stream.process(np.zeros((1, 1000), np.float32))
    with pytest.raises(ParameterError, match="within 3 samples of 1089"):
        stream.flush(length)


def test_wrong_shapes_and_rates_are_refused() -> None:
    with pytest.raises(ParameterError, match="rate_in=0"):
        StreamResampler(0, 44100, 1)
    with pytest.raises(ParameterError, match=r"\[2, n\]"):
        StreamResampler(48000, 44100, 2).process(np.zeros((1, 5), np.float32))
