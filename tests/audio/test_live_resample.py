import itertools
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.audio.live_resample import LiveResampler
from desmezcla.audio.resample import resampled_length
from desmezcla.errors import ParameterError

# The last three have so many phases that the taps are interpolated.
RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 44101, 47999, 95999]
PAIRS = [
    *itertools.permutations([44100, 48000], 2),
    *itertools.permutations([44100, 96000], 2),
    *itertools.permutations([44100, 16000], 2),
    *itertools.permutations([44100, 8000], 2),
    *itertools.permutations([44100, 44101], 2),
]


def noise(channels: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, length)).astype(np.float32)


def whole(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    stream = LiveResampler(rate_in, rate_out, audio.shape[0])
    return np.concatenate([stream.process(audio), stream.flush()], axis=1)


def blocks_of(audio: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    length = audio.shape[1]
    edges = sorted([0, length, *(min(cut, length) for cut in cuts)])  # a cut twice: an empty block
    return [audio[:, a:b] for a, b in itertools.pairwise(edges)]


@given(
    length=st.integers(0, 1500),
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
    channels=st.integers(1, 9),
    half_width=st.integers(8, 40),
    cuts=st.lists(st.integers(0, 1500), max_size=8),
)
@settings(max_examples=120, deadline=None)
def test_no_bit_depends_on_the_cuts_and_the_length_is_exact(
    length: int, rate_in: int, rate_out: int, channels: int, half_width: int, cuts: list[int]
) -> None:
    audio = noise(channels, length)
    stream = LiveResampler(rate_in, rate_out, channels, half_width=half_width)
    once = np.concatenate([stream.process(audio), stream.flush()], axis=1)
    cut = [stream.process(block) for block in blocks_of(audio, cuts)]
    joined = np.concatenate([*cut, stream.flush()], axis=1)
    assert joined.shape == (channels, resampled_length(length, rate_in, rate_out))
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, once)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_single_samples_give_the_same_bits(rate_in: int, rate_out: int) -> None:
    audio = noise(2, 500)
    stream = LiveResampler(rate_in, rate_out, 2)
    single = [stream.process(audio[:, [index]]) for index in range(500)]
    joined = np.concatenate([*single, stream.flush()], axis=1)
    np.testing.assert_array_equal(joined, whole(audio, rate_in, rate_out))


def test_a_block_larger_than_what_is_gathered_at_a_time_gives_the_same_bits() -> None:
    audio = noise(2, 20000)
    stream = LiveResampler(44100, 48000, 2)
    cut = [stream.process(block) for block in blocks_of(audio, list(range(0, 20000, 441)))]
    joined = np.concatenate([*cut, stream.flush()], axis=1)
    np.testing.assert_array_equal(joined, whole(audio, 44100, 48000))


@given(
    rate_in=st.integers(1, 60),
    rate_out=st.integers(1, 60),
    half_width=st.integers(8, 20),
    taken=st.integers(0, 400),
)
@settings(max_examples=150, deadline=None)
def test_what_is_certain_is_given_at_once(
    rate_in: int, rate_out: int, half_width: int, taken: int
) -> None:
    stream = LiveResampler(rate_in, rate_out, 1, half_width=half_width)
    found = stream.process(noise(1, taken)).shape[1]
    if rate_in == rate_out:
        assert (found, stream.latency_in_samples) == (taken, 0)
        return
    # All times in units of 1 / (rate_in · rate_out): the reach of an output sample to the right
    # must not contain the first input sample that is missing.
    reach = half_width * max(rate_in, rate_out)
    certain = [m for m in range(found + 200) if taken * rate_out - m * rate_in >= reach]
    assert found == len(certain)
    waits = [
        (m * rate_in + reach - 1) // rate_out - m * rate_in // rate_out for m in range(rate_out)
    ]
    assert stream.latency_in_samples == max(waits)


@given(place=st.integers(0, 300), rate_in=st.sampled_from(RATES), rate_out=st.sampled_from(RATES))
@settings(max_examples=60, deadline=None)
def test_later_input_changes_nothing_that_was_given(
    place: int, rate_in: int, rate_out: int
) -> None:
    audio = noise(1, 301)
    other = audio.copy()
    other[:, place:] = np.nan
    stream = LiveResampler(rate_in, rate_out, 1)
    earlier = stream.process(audio[:, :place]).shape[1]
    found = whole(other, rate_in, rate_out)
    assert np.isfinite(found[:, :earlier]).all()
    np.testing.assert_array_equal(found[:, :earlier], whole(audio, rate_in, rate_out)[:, :earlier])


@pytest.mark.parametrize(
    ("rate_in", "rate_out", "at_in", "at_out"),
    [(44100, 48000, 1470, 1600), (48000, 44100, 1600, 1470), (44100, 8000, 4410, 800)],
)
def test_impulse_stays_at_its_place(rate_in: int, rate_out: int, at_in: int, at_out: int) -> None:
    audio = np.zeros((1, 2 * at_in), np.float32)
    audio[0, at_in] = 1
    found = whole(audio, rate_in, rate_out)[0]
    assert int(np.argmax(np.abs(found))) == at_out
    left, right = found[at_out - 40 : at_out], found[at_out + 40 : at_out : -1]
    np.testing.assert_allclose(left, right, atol=2e-7)
    reach = 32 * rate_out // min(rate_in, rate_out) + 1
    assert not found[: at_out - reach].any()
    assert not found[at_out + reach :].any()


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 48000), (96000, 44100), (44100, 8000)])
def test_every_period_gives_the_same_bits(rate_in: int, rate_out: int) -> None:
    common = math.gcd(rate_in, rate_out)
    periods = 1000
    audio = noise(1, 500)
    late = np.concatenate([np.zeros((1, periods * rate_in // common), np.float32), audio], axis=1)
    found = whole(late, rate_in, rate_out)[:, periods * rate_out // common :]
    np.testing.assert_array_equal(found, whole(audio, rate_in, rate_out))


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 48000), (44100, 8000), (44101, 48000)])
def test_memory_does_not_grow(rate_in: int, rate_out: int) -> None:
    stream = LiveResampler(rate_in, rate_out, 2)
    block = noise(2, 64)
    for _ in range(200):
        stream.process(block)
    tracemalloc.start()
    try:
        stream.process(block)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            stream.process(block)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4096  # what is held varies by some samples


def test_of_a_large_block_no_more_is_held_than_of_a_small_one() -> None:
    stream = LiveResampler(44100, 48000, 2)
    block = noise(2, 100_000)
    tracemalloc.start()
    try:
        stream.process(block)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 8192


def test_equal_rates_pass_copies_unchanged() -> None:
    block = noise(2, 10)
    stream = LiveResampler(44100, 44100, 2)
    found = stream.process(block)
    np.testing.assert_array_equal(found, block)
    assert not np.shares_memory(found, block)
    assert stream.latency_in_samples == 0
    assert stream.flush().shape == (2, 0)


def test_a_block_is_never_changed_nor_kept() -> None:
    audio = noise(2, 400)
    expected = whole(audio, 48000, 44100)
    stream = LiveResampler(48000, 44100, 2)
    block = np.empty((2, 100), np.float32)
    parts = []
    for start in range(0, 400, 100):
        block[:] = audio[:, start : start + 100]
        parts.append(stream.process(block))
        np.testing.assert_array_equal(block, audio[:, start : start + 100])
        block[:] = np.nan
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()], axis=1), expected)


@pytest.mark.parametrize("forget", [LiveResampler.reset, LiveResampler.flush])
def test_another_stream_follows_a_reset_or_a_flush(
    forget: Callable[[LiveResampler], object],
) -> None:
    audio = noise(2, 777)
    stream = LiveResampler(44100, 48000, 2)
    stream.process(audio[:, :500])
    forget(stream)
    joined = np.concatenate([stream.process(audio), stream.flush()], axis=1)
    np.testing.assert_array_equal(joined, whole(audio, 44100, 48000))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 48000), (96000, 44100)])
def test_what_is_not_finite_stays_local(rate_in: int, rate_out: int, value: float) -> None:
    audio = noise(2, 2000)
    spoilt = audio.copy()
    spoilt[0, 1000:1002] = value  # two infinities meet with opposite signs: no warning of that
    found, clean = whole(spoilt, rate_in, rate_out), whole(audio, rate_in, rate_out)
    bad = np.flatnonzero(~np.isfinite(found[0]))
    reach = 32 * max(1, rate_out / rate_in) + 2
    assert bad.size > 60
    assert np.abs(bad - 1000 * rate_out / rate_in).max() <= reach
    good = np.isfinite(found[0])
    np.testing.assert_array_equal(found[0, good], clean[0, good])
    np.testing.assert_array_equal(found[1], clean[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 44100, 1), "rate_in=0"),
        ((44100, -1, 1), "rate_out=-1"),
        ((44100, 48000, 0), "channels=0"),
        ((192000, 2999, 1), "factor of 64"),
        ((44100, 48000, 1, 7), "half_width=7 must be from 8 to 256"),
        ((44100, 44100, 1, 257), "half_width=257 must be from 8 to 256"),
    ],
)
def test_wrong_parameters_are_refused(arguments: tuple[int, ...], message: str) -> None:
    rate_in, rate_out, channels, *rest = arguments
    with pytest.raises(ParameterError, match=message):
        LiveResampler(rate_in, rate_out, channels, half_width=rest[0] if rest else 32)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 5, 1)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match=r"must be \[2, n\]"):
        LiveResampler(48000, 44100, 2).process(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("rate_in", "length", "slack"), [(44100, 1085, 3), (44100, 1093, 3), (48000, 999, 0)]
)
def test_a_length_that_rounding_does_not_explain_is_refused(
    rate_in: int, length: int, slack: int
) -> None:
    stream = LiveResampler(rate_in, 48000, 1)
    given_before = stream.process(noise(1, 1000)).shape[1]
    with pytest.raises(ParameterError, match=f"within {slack} samples of 1"):
        stream.flush(length)
    # The stream is as it was.
    natural = resampled_length(1000, rate_in, 48000)
    assert stream.flush().shape[1] == natural - given_before


@given(
    length=st.integers(0, 1500),
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
)
@settings(max_examples=60, deadline=None)
def test_there_and_back_returns_to_the_length_it_came_from(
    length: int, rate_in: int, rate_out: int
) -> None:
    there = whole(np.ones((1, length), np.float32), rate_in, rate_out)
    back = LiveResampler(rate_out, rate_in, 1)
    parts = [back.process(there), back.flush(length)]
    assert sum(part.shape[1] for part in parts) == length
