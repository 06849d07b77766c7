import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.audio.live_resample import LiveResampler, round_trip_latency_samples
from desmezcla.errors import ParameterError

RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 44101]


class LateModel:
    """Gives out what it takes, in hops, and keeps back as much as its latency allows."""

    def __init__(self, latency: int, hop: int = 1) -> None:
        self.hop = hop
        self.kept_back = latency - (hop - 1)
        self.taken = np.zeros((1, 0), np.float32)
        self.given = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        self.taken = np.concatenate([self.taken, block], axis=1)
        hops = self.taken.shape[1] // self.hop
        begin, self.given = self.given, max(0, hops * self.hop - self.kept_back)
        return self.taken[:, begin : self.given]


def lags(
    rates: tuple[int, int], half_width: int, model: LateModel, blocks: list[np.ndarray]
) -> list[int]:
    """By how many samples the way there and back lags after each block."""
    there = LiveResampler(*rates, 1, half_width=half_width)
    back = LiveResampler(*rates[::-1], 1, half_width=half_width)
    found, lag = [], 0
    for block in blocks:
        out = back.process(model.process(there.process(block)))
        lag += block.shape[1] - out.shape[1]
        found.append(lag)
    return found


@given(
    rates=st.tuples(st.integers(6, 40), st.integers(6, 40)),
    half_width=st.integers(8, 12),
    latency=st.integers(0, 40),
)
@settings(max_examples=40, deadline=None)
def test_round_trip_latency_is_reached_and_never_exceeded(
    rates: tuple[int, int], half_width: int, latency: int
) -> None:
    expected = round_trip_latency_samples(*rates, latency, half_width)
    period = rates[0] // math.gcd(*rates)
    single = np.zeros((1, 1), np.float32)
    found = lags(rates, half_width, LateModel(latency), [single] * (expected + 1 + period))
    assert max(found) == expected


@given(
    rates=st.tuples(st.sampled_from(RATES), st.sampled_from(RATES)),
    hop=st.integers(1, 300),
    more=st.integers(0, 300),
    sizes=st.lists(st.integers(0, 700), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_round_trip_latency_holds_for_any_cuts_and_hops(
    rates: tuple[int, int], hop: int, more: int, sizes: list[int]
) -> None:
    latency = hop - 1 + more
    blocks = [np.zeros((1, size), np.float32) for size in sizes]
    found = lags(rates, 32, LateModel(latency, hop), blocks)
    assert max(found, default=0) <= round_trip_latency_samples(*rates, latency)


@pytest.mark.parametrize("rates", [(48000, 44100), (96000, 44100), (16000, 44100)])
def test_round_trip_latency_is_tight_at_usual_rates(rates: tuple[int, int]) -> None:
    expected = round_trip_latency_samples(*rates, 100)
    period = rates[0] // math.gcd(*rates)
    single = np.zeros((1, 1), np.float32)
    found = lags(rates, 32, LateModel(100), [single] * (expected + 1 + period))
    assert max(found) == expected


def test_round_trip_latency_of_a_model_at_the_devices_rate_is_its_own() -> None:
    assert round_trip_latency_samples(44100, 44100, 1024) == 1024


def test_round_trip_latency_refuses_what_cannot_be() -> None:
    with pytest.raises(ParameterError, match="model_latency_samples=-1"):
        round_trip_latency_samples(48000, 44100, -1)
    with pytest.raises(ParameterError, match="rate_in=0"):
        round_trip_latency_samples(0, 44100, 1)
