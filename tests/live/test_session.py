import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.errors import AudioFileError, DesmezclaError, ParameterError
from desmezcla.live import session as session_module
from desmezcla.live.backend import AudioCallback, DeviceError
from desmezcla.live.session import LiveSession
from desmezcla.live.statistics import LiveStatistics, LoadMeter
from desmezcla.live.stream import Audio

RATE = 1000
BLOCK = 10
BACKLOG = 1000  # a second
PATIENCE_S = 5.0


class Stream:
    """Stems that add up to the mixture, to the last bit; it holds some samples back."""

    stems = ("vocals", "drums", "bass")
    sample_rate = RATE
    channels = 2

    def __init__(self, latency: int = 7) -> None:
        self.latency_samples = latency
        self.resets = 0
        self.gate = threading.Event()  # closed, it keeps the worker waiting
        self.gate.set()
        self.waiting = False  # at the gate
        self.spoil: Callable[[Audio], Audio] = lambda stems: stems
        self._held = np.zeros((2, 0), np.float32)

    def process(self, block: Audio) -> Audio:
        self.waiting = not self.gate.is_set()
        assert self.gate.wait(PATIENCE_S)
        self.waiting = False
        held = np.concatenate([self._held, block], axis=1)
        ready = max(0, held.shape[1] - self.latency_samples)
        self._held = held[:, ready:]
        return self.spoil(self._split(held[:, :ready]))

    def flush(self) -> Audio:
        held, self._held = self._held, self._held[:, :0]
        return self._split(held)

    def reset(self) -> None:
        self.resets += 1
        self._held = np.zeros((2, 0), np.float32)

    @staticmethod
    def _split(mixture: Audio) -> Audio:
        return np.stack([mixture * np.float32(share) for share in (0.5, 0.25, 0.25)])


class Sum:
    def mix(self, stems: Audio) -> Audio:
        mixture: Audio = stems.sum(axis=0)
        return mixture


class Recorder:
    def __init__(self) -> None:
        self.blocks: list[Audio] = []

    def write(self, stems: Audio) -> None:
        self.blocks.append(stems.copy())

    @property
    def mixture(self) -> Audio:
        return np.concatenate(self.blocks, axis=2).sum(axis=0)


class Devices:
    """Audio devices that call back when the test says so."""

    def __init__(self) -> None:
        self.sample_rate = RATE
        self.channels = 2
        self.block_samples = BLOCK
        self.latency_s = (0.001, 0.002)
        self.running = False
        self.missing = 0  # times that they cannot be opened
        self.log: list[str] = []
        self._callback: AudioCallback | None = None

    def open(self, callback: AudioCallback) -> None:
        self.log.append("open")
        if self.missing:
            self.missing -= 1
            raise DeviceError("output 'sink' is not there")
        self._callback = callback

    def start(self) -> None:
        self.running = True

    def close(self, *, drain: bool) -> None:
        if self._callback is not None:
            self.log.append("drain" if drain else "close")
        self._callback, self.running = None, False

    def call(self, heard: Audio | None, samples: int = BLOCK, xruns: int = 0) -> Audio:
        """Let the devices ask once, and return what they play."""
        assert self._callback is not None
        play = np.full((2, samples if heard is None else heard.shape[1]), np.nan, np.float32)
        self._callback(heard, play, xruns)
        return play


class Source:
    """A file that was decoded in full, or up to an error."""

    def __init__(self, audio: Audio, error: Exception | None = None) -> None:
        self.audio = audio
        self.error = error
        self.log: list[str] = []
        self.hungry = 0  # times that nothing is ready

    def start(self) -> None:
        self.log.append("start")

    def read(self, out: Audio) -> int:
        if self.hungry:
            self.hungry -= 1
            return 0
        got = min(out.shape[1], self.audio.shape[1])
        out[:, :got], self.audio = self.audio[:, :got], self.audio[:, got:]
        return got

    @property
    def ended(self) -> bool:
        return self.audio.shape[1] == 0

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.log.append("close")


def noise(samples: int, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).uniform(-1, 1, (2, samples)).astype(np.float32)


def delayed(audio: Audio, latency: int, length: int | None = None) -> Audio:
    """Return what is played for an input: silence, then the input."""
    late = np.concatenate([np.zeros((2, latency), np.float32), audio], axis=1)
    return late[:, : audio.shape[1] if length is None else length]


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def play(live: LiveSession, devices: Devices, audio: Audio, cuts: Iterator[int]) -> Audio:
    """Let the devices hear audio in blocks, and the worker keep up, and return what they play."""
    played, heard, separated = [], 0, live.statistics().blocks * BLOCK
    while heard < audio.shape[1]:
        block = audio[:, heard : heard + next(cuts)]
        heard += block.shape[1]
        played.append(devices.call(block))
        wanted = separated + heard - BLOCK
        until(lambda wanted=wanted: live.statistics().blocks * BLOCK > wanted)  # type: ignore[misc]
    return np.concatenate(played, axis=1)


def steady() -> Iterator[int]:
    while True:
        yield BLOCK


@settings(max_examples=20)
@given(
    latency=st.integers(0, 60),
    handoff=st.integers(2, 4),
    cuts=st.lists(st.integers(1, BLOCK), min_size=1, max_size=30),
)
def test_the_output_is_the_input_later_by_the_stated_latency(
    latency: int, handoff: int, cuts: list[int]
) -> None:
    devices, stream = Devices(), Stream(latency)
    audio = noise(sum(cuts))
    with LiveSession(stream, Sum(), devices, handoff_blocks=handoff) as live:
        assert live.latency_samples == latency + handoff * BLOCK
        assert live.latency_s == live.latency_samples / RATE
        played = play(live, devices, audio, iter(cuts))
        np.testing.assert_array_equal(played, delayed(audio, live.latency_samples))
        found = live.statistics()
    assert (found.deadline_misses, found.input_overruns, found.xruns) == (0, 0, 0)
    assert found.played_s == audio.shape[1] / RATE


def test_one_block_of_hand_off_is_enough_for_devices_in_perfect_time() -> None:
    devices = Devices()
    audio = noise(20 * BLOCK)
    with LiveSession(Stream(7), Sum(), devices, handoff_blocks=1) as live:
        played = play(live, devices, audio, steady())
        np.testing.assert_array_equal(played, delayed(audio, 7 + BLOCK))
        assert live.statistics().deadline_misses == 0
        assert live.statistics().blocks == 20
        assert live.device_latency_s == (0.001, 0.002)


def stall(stream: Stream, devices: Devices, audio: Audio) -> Audio:
    """Let the devices hear audio while the worker is kept from working on it."""
    stream.gate.clear()
    played = [devices.call(audio[:, :BLOCK])]
    until(lambda: stream.waiting)
    for start in range(BLOCK, audio.shape[1], BLOCK):
        played.append(devices.call(audio[:, start : start + BLOCK]))
    stream.gate.set()
    return np.concatenate(played, axis=1)


def test_late_results_are_silence_and_shift_nothing() -> None:
    devices, stream = Devices(), Stream()
    audio = noise(600)
    with LiveSession(stream, Sum(), devices, handoff_blocks=2) as live:
        expected = delayed(audio, live.latency_samples)
        np.testing.assert_array_equal(
            play(live, devices, audio[:, :200], steady()), expected[:, :200]
        )
        late = stall(stream, devices, audio[:, 200:300])
        # What had been handed over, and no more.
        np.testing.assert_array_equal(late[:, :20], expected[:, 200:220])
        assert not late[:, 20:].any()
        assert (live.statistics().deadline_misses, live.statistics().missed_samples) == (8, 80)
        until(lambda: live.statistics().blocks == 30)
        # Everything that follows is as if nothing had happened.
        np.testing.assert_array_equal(
            play(live, devices, audio[:, 300:], steady()), expected[:, 300:]
        )
        assert (live.statistics().deadline_misses, live.statistics().blocks) == (8, 60)
    assert stream.resets == 2  # before it began, and when it ended


def test_lost_input_is_silence_and_shifts_nothing() -> None:
    devices, stream, recorder = Devices(), Stream(), Recorder()
    audio = noise(4 * BACKLOG)
    with LiveSession(stream, Sum(), devices, handoff_blocks=2, recorder=recorder) as live:
        taken = np.where(np.isin(np.arange(4000), np.arange(1210, 2200)), np.float32(0), audio)
        expected = delayed(taken, live.latency_samples)
        play(live, devices, audio[:, :200], steady())
        stall(stream, devices, audio[:, 200:2200])
        # One block was with the worker, and a second of sound waited for it.
        assert live.statistics().input_overruns == (2000 - BLOCK - BACKLOG) // BLOCK
        assert live.statistics().lost_input_samples == 2000 - BLOCK - BACKLOG
        until(lambda: live.statistics().blocks == 22)
        devices.call(audio[:, 2200:2210])
        until(lambda: live.statistics().blocks == 23)
        np.testing.assert_array_equal(
            play(live, devices, audio[:, 2210:], steady()), expected[:, 2210:]
        )
    found = live.statistics()
    assert found.lost_input_samples == 990
    # All that waited but for its last block, and then the silence for what was lost.
    assert found.skipped_samples == (BACKLOG - BLOCK) + 990
    # The recording is as long as what came in, and everything in it is in its place.
    assert recorder.mixture.shape == audio.shape
    silent = ~recorder.mixture.any(axis=0)
    np.testing.assert_array_equal(recorder.mixture[:, ~silent], audio[:, ~silent])
    assert silent.sum() == found.skipped_samples + 2 * stream.latency_samples


def test_a_worker_that_is_a_little_behind_leaves_nothing_out() -> None:
    devices, stream, recorder = Devices(), Stream(), Recorder()
    audio = noise(400)
    with LiveSession(stream, Sum(), devices, recorder=recorder) as live:
        stall(stream, devices, audio)
        until(lambda: live.statistics().blocks == 40)
    np.testing.assert_array_equal(recorder.mixture, audio)
    assert live.statistics().skipped_samples == 0
    assert live.statistics().deadline_misses == 37


@pytest.mark.parametrize("fault", ["model", "mixer", "recorder"])
def test_a_fault_in_the_worker_ends_the_session_with_its_reason(fault: str) -> None:
    devices, stream, mixer, recorder = Devices(), Stream(), Sum(), Recorder()
    live = LiveSession(stream, mixer, devices, recorder=recorder)
    live.start()
    play(live, devices, noise(10 * BLOCK), steady())

    def fail(stems: Audio) -> Audio:
        raise RuntimeError("index out of range")

    if fault == "model":
        stream.spoil = fail
    elif fault == "mixer":
        mixer.mix = fail  # type: ignore[method-assign]
    else:
        recorder.write = fail  # type: ignore[assignment,method-assign]
    played = [devices.call(noise(BLOCK)) for _ in range(10)]
    with pytest.raises(DesmezclaError, match=r"RuntimeError: index out of range; try another rel"):
        live.wait(PATIENCE_S)
    assert not played[-1].any()
    assert not devices.running
    live.stop()
    assert live.wait(0)


def test_a_model_that_does_not_even_warm_up_is_an_error_at_the_start() -> None:
    devices, stream = Devices(), Stream()

    def fail(stems: Audio) -> Audio:
        raise DesmezclaError("the weights are damaged")

    stream.spoil = fail
    before = gc.get_freeze_count(), sys.getswitchinterval()
    with pytest.raises(DesmezclaError, match="the weights are damaged"):
        LiveSession(stream, Sum(), devices).start()
    assert devices.log == ["open", "close"]
    assert (gc.get_freeze_count(), sys.getswitchinterval()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_become_silence_and_the_model_starts_anew(value: float) -> None:
    devices, stream = Devices(), Stream()
    audio = noise(400)
    with LiveSession(stream, Sum(), devices, handoff_blocks=2) as live:
        expected = delayed(audio, live.latency_samples)
        play(live, devices, audio[:, :100], steady())
        resets = stream.resets

        def once(stems: Audio) -> Audio:
            stream.spoil = lambda stems: stems
            stems[1, 0, 4] = value
            return stems

        stream.spoil = once
        played = play(live, devices, audio[:, 100:], steady())
        found = live.statistics()
    silent = ~played.any(axis=0)
    assert stream.resets > resets
    assert found.nonfinite_output_samples == 1
    assert found.deadline_misses == 0
    # The block of it and what was inside of the model are gone, all else is in its place.
    assert silent.sum() == BLOCK + stream.latency_samples
    np.testing.assert_array_equal(played[:, ~silent], expected[:, 100:][:, ~silent])


def test_a_model_that_gives_nothing_else_ends_the_session() -> None:
    devices, stream = Devices(), Stream(0)
    with LiveSession(stream, Sum(), devices) as live:
        stream.spoil = lambda stems: stems * np.float32(np.nan)
        played = [devices.call(noise(BLOCK)) for _ in range(10)]
        with pytest.raises(DesmezclaError, match="even after it was started anew 3 times"):
            live.wait(PATIENCE_S)
    assert not np.concatenate(played, axis=1).any()


def test_input_that_is_no_number_is_taken_as_silence() -> None:
    devices = Devices()
    audio = noise(300)
    broken = audio.copy()
    broken[0, 105] = np.nan
    broken[:, 106] = -np.inf
    cleaned = np.where(np.isfinite(broken), broken, np.float32(0))
    with LiveSession(Stream(), Sum(), devices) as live:
        played = play(live, devices, broken, steady())
        np.testing.assert_array_equal(played, delayed(cleaned, live.latency_samples))
        assert live.statistics().nonfinite_input_samples == 2
    assert np.isnan(broken[0, 105])


def test_all_that_came_in_is_recorded_when_the_session_is_stopped() -> None:
    devices, recorder = Devices(), Recorder()
    audio = noise(203)
    with LiveSession(Stream(19), Sum(), devices, recorder=recorder) as live:
        play(live, devices, audio, iter([*[BLOCK] * 20, 3]))
    np.testing.assert_array_equal(recorder.mixture, audio)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LOOK_S", 0.001)
    monkeypatch.setattr(session_module, "_FIRST_PAUSE_S", 0.002)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sign", ["stopped", "silent"])
def test_a_device_that_disappears_and_comes_back(
    sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, stream, recorder = Devices(), Stream(), Recorder()
    audio = noise(600)
    with LiveSession(stream, Sum(), devices, recorder=recorder) as live:
        expected = delayed(audio[:, 300:], live.latency_samples)
        play(live, devices, audio[:, :300], steady())
        assert not live.wait(0.01)
        assert not live.device_lost
        devices.missing, devices.log[:] = 3, []
        if sign == "stopped":
            devices.running = False
        else:
            monkeypatch.setattr(session_module, "_SILENT_S", 0.02)
        for _ in range(10_000):
            live.wait(0.001)
            if "start" in devices.log or devices.log.count("open") == 4:
                break
        assert devices.log == ["close", "open", "open", "open", "open"]
        monkeypatch.setattr(session_module, "_SILENT_S", PATIENCE_S)
        assert not live.wait(0.01)
        assert not live.device_lost
        assert live.statistics().device_losses == 1
        # It starts anew, with nothing of what was before.
        np.testing.assert_array_equal(play(live, devices, audio[:, 300:], steady()), expected)
        assert live.statistics().blocks == 60
    np.testing.assert_array_equal(recorder.mixture, audio)
    assert live.statistics().deadline_misses == 0


@pytest.mark.usefixtures("impatient")
def test_a_device_that_stays_away_ends_the_session_if_that_is_wanted() -> None:
    devices = Devices()
    with LiveSession(Stream(), Sum(), devices, lost_device_timeout_s=0.05) as live:
        devices.running, devices.missing = False, 10**9
        with pytest.raises(DeviceError, match=r"within 0.05 s \(output 'sink' is not there\)"):
            live.wait(PATIENCE_S)
    assert devices.log.count("open") >= 3


@pytest.mark.usefixtures("impatient")
def test_without_a_limit_a_device_is_waited_for() -> None:
    devices = Devices()
    with LiveSession(Stream(), Sum(), devices) as live:
        devices.running, devices.missing = False, 10**9
        assert not live.wait(0.2)
        assert live.device_lost


def test_a_device_that_is_not_there_at_the_start_is_an_error() -> None:
    devices = Devices()
    devices.missing = 1
    with pytest.raises(DeviceError, match="is not there"), LiveSession(Stream(), Sum(), devices):
        pass
    assert threading.active_count() == 1 or "separation" not in {
        thread.name for thread in threading.enumerate()
    }


@settings(max_examples=20)
@given(samples=st.integers(1, 150), latency=st.integers(0, 40))
def test_a_file_is_played_to_its_last_sample(samples: int, latency: int) -> None:
    devices, source, recorder = Devices(), Source(noise(samples)), Recorder()
    audio, played = source.audio, []
    with LiveSession(Stream(latency), Sum(), devices, source=source, recorder=recorder) as live:
        assert source.log == ["start"]
        total = samples + live.latency_samples
        while len(played) * BLOCK < total:
            played.append(devices.call(None))
            blocks = min(len(played), samples // BLOCK)
            until(lambda blocks=blocks: live.statistics().blocks == blocks)  # type: ignore[misc]
            if len(played) * BLOCK > samples:
                until(lambda: recorder.blocks != [] and recorder.mixture.shape[1] == samples)
        assert live.wait(PATIENCE_S)
        heard = np.concatenate(played, axis=1)
        expected = delayed(audio, live.latency_samples, length=total)
    np.testing.assert_array_equal(heard[:, :total], expected)
    assert not heard[:, total:].any()
    assert devices.log == ["open", "drain"]
    assert source.log[:2] == ["start", "close"]
    found = live.statistics()
    assert (found.deadline_misses, found.input_underruns) == (0, 0)
    assert found.played_s == total / RATE


def test_a_file_that_is_not_ready_in_time_is_counted_and_waited_for() -> None:
    devices, source = Devices(), Source(noise(300))
    audio, played = source.audio, []
    with LiveSession(Stream(), Sum(), devices, source=source) as live:
        for k in range(33):
            source.hungry = int(k in {10, 11})
            played.append(devices.call(None))
            until(lambda k=k: live.statistics().blocks == min(k + 1, 32))  # type: ignore[misc]
        found = live.statistics()
    assert (found.input_underruns, found.underrun_samples) == (2, 2 * BLOCK)
    gap = np.zeros((2, 2 * BLOCK), np.float32)
    heard = np.concatenate([audio[:, :100], gap, audio[:, 100:]], axis=1)
    np.testing.assert_array_equal(
        np.concatenate(played, axis=1), delayed(heard, live.latency_samples, length=330)
    )


def test_a_file_that_breaks_off_is_an_error_once_it_has_been_played() -> None:
    devices, source = Devices(), Source(noise(50), AudioFileError("'a.mp3' is damaged"))
    with LiveSession(Stream(), Sum(), devices, source=source) as live:
        for _ in range(20):
            devices.call(None)
        with pytest.raises(AudioFileError, match="is damaged"):
            live.wait(PATIENCE_S)
    assert live.statistics().played_s == (50 + live.latency_samples) / RATE


def test_a_session_without_any_input_is_an_error() -> None:
    devices = Devices()
    with LiveSession(Stream(), Sum(), devices) as live:
        assert not devices.call(None).any()
        with pytest.raises(ParameterError, match="no input device"):
            live.wait(PATIENCE_S)


def test_what_the_driver_reports_is_counted() -> None:
    devices = Devices()
    with LiveSession(Stream(), Sum(), devices) as live:
        for xruns in (0, 1, 2):
            devices.call(noise(BLOCK), xruns=xruns)
        assert live.statistics().xruns == 3


def test_python_pauses_as_before_when_the_session_has_ended() -> None:
    interval = sys.getswitchinterval()
    assert gc.get_freeze_count() == 0
    with LiveSession(Stream(), Sum(), Devices()):
        assert gc.get_freeze_count() > 1000
        assert sys.getswitchinterval() < 0.001
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == interval


def test_the_load_is_that_of_the_blocks() -> None:
    devices, stream = Devices(), Stream()
    with LiveSession(stream, Sum(), devices) as live:
        assert [getattr(live.statistics(), f.name) for f in fields(LiveStatistics)] == [0] * 16
        stall(stream, devices, noise(20 * BLOCK))
        until(lambda: live.statistics().blocks == 20)
        found = live.statistics()
    assert 0 < found.load_mean <= found.load_p999 <= found.load_max


def test_percentiles_of_the_load_are_within_a_percent() -> None:
    values = np.random.default_rng(0).lognormal(-1.5, 0.8, 20_000)
    meter = LoadMeter()
    for value in values:
        meter.add(float(value))
    for percent in (50, 90, 99.9):
        exact = np.percentile(values, percent, method="inverted_cdf")
        assert exact * 0.999 <= meter.percentile(percent) <= exact * 1.0101
    assert meter.percentile(100) == meter.maximum == values.max()
    assert meter.mean == pytest.approx(values.mean())


def test_loads_beyond_the_scale_are_counted_at_its_ends() -> None:
    meter = LoadMeter()
    assert (meter.mean, meter.percentile(99.9), meter.maximum) == (0, 0, 0)
    meter.add(0.0)
    assert meter.percentile(99.9) == 0
    meter.add(1e9)
    assert meter.maximum == 1e9
    assert 900 < meter.percentile(99.9) <= 1e9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"handoff_blocks": 0}, "handoff_blocks=0 must be 1 or more"),
        ({"lost_device_timeout_s": -1.0}, "lost_device_timeout_s=-1.0 must be 0 or more"),
        ({"lost_device_timeout_s": float("nan")}, "must be 0 or more, or None"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        LiveSession(Stream(), Sum(), Devices(), **options)


@pytest.mark.parametrize(("name", "value"), [("sample_rate", 48000), ("channels", 1)])
def test_devices_of_another_kind_than_the_stream_are_refused(name: str, value: int) -> None:
    devices = Devices()
    setattr(devices, name, value)
    with pytest.raises(ParameterError, match=rf"{name}=\d+ of the stream .* {value}"):
        LiveSession(Stream(), Sum(), devices)
