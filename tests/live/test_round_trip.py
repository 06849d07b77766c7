import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.errors import ParameterError
from desmezcla.live import round_trip
from desmezcla.live.backend import AudioCallback, DeviceError
from desmezcla.live.round_trip import find_delay, make_probe, measure_round_trip
from desmezcla.live.stream import Audio

RATE = 48000
PROBE = make_probe(RATE)


def shifted(signal: Audio, samples: float, length: int) -> Audio:
    """Delay a signal by any part of a sample, by the phases of its frequencies."""
    size = 1 << (length - 1).bit_length()
    frequencies = np.fft.rfftfreq(size)
    spectrum = np.fft.rfft(signal.astype(np.float64), size)
    late = np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequencies * samples), size)
    return late[:length].astype(np.float32)


@settings(max_examples=25)
@given(
    delay=st.floats(0, 20_000),
    gain=st.floats(0.01, 2),
    inverted=st.booleans(),
)
def test_a_delay_is_found_to_a_fiftieth_of_a_sample(
    delay: float, gain: float, inverted: bool
) -> None:
    heard = gain * (-1) ** inverted * shifted(PROBE, delay, len(PROBE) + 20_001)
    found = find_delay(PROBE, heard[None].astype(np.float32))
    assert found is not None
    assert abs(found.samples - delay) < 0.02
    assert found.inverted == inverted


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), delay=st.integers(0, 20_000))
def test_a_delay_is_found_in_noise_that_is_louder(seed: int, delay: int) -> None:
    rng = np.random.default_rng(seed)
    heard = np.zeros((2, len(PROBE) + 20_000), np.float32)
    heard[1, delay : delay + len(PROBE)] = PROBE
    heard += rng.normal(0, 2 * PROBE.std(), heard.shape).astype(np.float32)
    found = find_delay(PROBE, heard)
    assert found is not None
    assert abs(found.samples - delay) < 0.5


def test_a_filter_adds_its_own_delay() -> None:
    # A loudspeaker and a room: low frequencies are missing, and echoes follow.
    response = np.zeros(4001)
    response[100], response[101], response[700], response[4000] = 1, -0.7, 0.4, 0.2
    heard = np.convolve(PROBE, response).astype(np.float32)
    found = find_delay(PROBE, np.concatenate([heard, np.zeros(5000, np.float32)])[None])
    assert found is not None
    assert found.samples == pytest.approx(100, abs=1)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), level=st.sampled_from([0.0, 1e-7, 0.3]))
def test_nothing_is_found_where_nothing_is(seed: int, level: float) -> None:
    noise = np.random.default_rng(seed).normal(0, level, (2, 50_000)).astype(np.float32)
    assert find_delay(PROBE, noise) is None


def test_music_is_not_taken_for_the_probe() -> None:
    time_s = np.arange(50_000) / RATE
    chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (220, 277.2, 329.6, 440))
    assert find_delay(PROBE, np.float32(0.2) * np.asarray(chord, np.float32)[None]) is None


def test_the_probe_is_soft_at_its_ends_and_not_too_loud() -> None:
    assert PROBE.dtype == np.float32
    assert np.abs(PROBE).max() == pytest.approx(0.25)
    assert abs(PROBE[0]) == abs(PROBE[-1]) == 0
    assert np.array_equal(make_probe(RATE), PROBE)


class Loop:
    """Devices with a cable between them: what is played is heard later."""

    def __init__(self, *, delay: int = 3210, gain: float = -0.5, calls: int = 10**9) -> None:
        self.sample_rate = RATE
        self.channels = 2
        self.block_samples = 512
        self.latency_s = (0.01, 0.01)
        self.running = False
        self.closed = 0
        self.deaf_from = 10**9  # samples; what is played later is not heard
        self._line = np.zeros((2, delay), np.float32)
        self._gain = np.float32(gain)
        self._calls = calls
        self._stop = threading.Event()

    def open(self, callback: AudioCallback) -> None:
        self._callback = callback

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self, *, drain: bool) -> None:
        self._stop.set()
        self._thread.join()
        self.closed += 1

    def _run(self) -> None:
        played = 0
        for number in range(self._calls):
            if self._stop.is_set():
                return
            play = np.full((2, (512, 300, 7)[number % 3]), np.nan, np.float32)
            self._callback(self._line[:, : play.shape[1]], play, int(number < 3))
            gain = self._gain if played < self.deaf_from else np.float32(0)
            played += play.shape[1]
            self._line = np.concatenate([self._line, gain * play], axis=1)[:, play.shape[1] :]


def test_the_round_trip_is_measured_several_times() -> None:
    loop = Loop()
    found = measure_round_trip(loop, repetitions=3, longest_s=0.2)
    assert found.median_s == pytest.approx(3210 / RATE, abs=0.02 / RATE)
    assert found.spread_s < 0.02 / RATE
    assert len(found.delays_s) == found.repetitions == 3
    assert found.inverted
    assert found.xruns == 3
    assert loop.closed == 1


def test_a_cable_that_is_pulled_out_halfway_is_enough() -> None:
    loop = Loop(gain=1.0)
    # After the second of three.
    loop.deaf_from = RATE // 2 + 2 * (len(PROBE) + RATE // 5) + 1000
    found = measure_round_trip(loop, repetitions=3, longest_s=0.2)
    assert (len(found.delays_s), found.repetitions) == (2, 3)
    assert not found.inverted


def test_without_a_cable_nothing_is_measured() -> None:
    with pytest.raises(
        DeviceError, match=r"came back 0 of 3 times only \(loudest input: silence\)"
    ):
        measure_round_trip(Loop(gain=0.0), repetitions=3, longest_s=0.2)
    # It is there, but later than was looked for.
    with pytest.raises(DeviceError, match=r"loudest input: -12 dB\); connect the output to"):
        measure_round_trip(Loop(delay=20_000, gain=1.0), repetitions=2, longest_s=0.1)


def test_devices_that_stop_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "_SILENT_S", 0.05)
    loop = Loop(calls=4)
    with pytest.raises(DeviceError, match=r"has stopped: nothing was asked of it for 0\.05 s"):
        measure_round_trip(loop, repetitions=1, longest_s=0.2)
    assert loop.closed == 1


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="repetitions=0"):
        measure_round_trip(Loop(), repetitions=0)
    with pytest.raises(ParameterError, match="longest_s=0"):
        measure_round_trip(Loop(), longest_s=0)
