import gc
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.live.session import LiveSession
from desmezcla.live.statistics import LiveStatistics
from desmezcla.live.stream import Audio

RATE = 1000
BLOCK = 10
BACKLOG = 1040  # a second and twice the hand-off of two blocks


@settings(max_examples=20)
@given(
    latency=st.integers(0, 60),
    handoff=st.integers(2, 4),
    cuts=st.lists(st.integers(1, BLOCK), min_size=1, max_size=30),
)
def test_the_output_is_the_input_later_by_the_stated_latency(
    kit: Any, latency: int, handoff: int, cuts: list[int]
) -> None:
    devices, stream = kit.Devices(), kit.Stream(latency)
    audio = kit.noise(sum(cuts))
    with LiveSession(stream, kit.Sum(), devices, handoff_blocks=handoff) as live:
        assert live.latency_samples == latency + handoff * BLOCK
        assert live.latency_s == live.latency_samples / RATE
        played = kit.play(live, devices, audio, iter(cuts))
        np.testing.assert_array_equal(played, kit.delayed(audio, live.latency_samples))
        found = live.statistics()
    assert (found.deadline_misses, found.input_overruns, found.xruns) == (0, 0, 0)
    assert found.played_s == audio.shape[1] / RATE


def test_one_block_of_hand_off_is_enough_for_devices_in_perfect_time(kit: Any) -> None:
    devices = kit.Devices()
    audio = kit.noise(20 * BLOCK)
    with LiveSession(kit.Stream(7), kit.Sum(), devices, handoff_blocks=1) as live:
        played = kit.play(live, devices, audio, kit.steady())
        np.testing.assert_array_equal(played, kit.delayed(audio, 7 + BLOCK))
        assert live.statistics().deadline_misses == 0
        assert live.statistics().blocks == 20
        assert live.device_latency_s == (0.001, 0.002)


def test_late_results_are_silence_and_shift_nothing(kit: Any) -> None:
    devices, stream = kit.Devices(), kit.Stream()
    audio = kit.noise(600)
    with LiveSession(stream, kit.Sum(), devices, handoff_blocks=2) as live:
        expected = kit.delayed(audio, live.latency_samples)
        np.testing.assert_array_equal(
            kit.play(live, devices, audio[:, :200], kit.steady()), expected[:, :200]
        )
        late = kit.stall(stream, devices, audio[:, 200:300])
        # What had been handed over, and no more.
        np.testing.assert_array_equal(late[:, :20], expected[:, 200:220])
        assert not late[:, 20:].any()
        assert (live.statistics().deadline_misses, live.statistics().missed_samples) == (8, 80)
        kit.until(lambda: live.statistics().blocks == 30)
        # Everything that follows is as if nothing had happened.
        np.testing.assert_array_equal(
            kit.play(live, devices, audio[:, 300:], kit.steady()), expected[:, 300:]
        )
        assert (live.statistics().deadline_misses, live.statistics().blocks) == (8, 60)
    assert stream.resets == 2  # before it began, and when it ended


def test_lost_input_is_silence_and_shifts_nothing(kit: Any) -> None:
    devices, stream, recorder = kit.Devices(), kit.Stream(), kit.Recorder()
    audio = kit.noise(4000)
    with LiveSession(stream, kit.Sum(), devices, handoff_blocks=2, recorder=recorder) as live:
        taken = np.where(
            np.isin(np.arange(4000), np.arange(210 + BACKLOG, 2200)), np.float32(0), audio
        )
        expected = kit.delayed(taken, live.latency_samples)
        kit.play(live, devices, audio[:, :200], kit.steady())
        kit.stall(stream, devices, audio[:, 200:2200])
        # One block was with the worker, and a second of sound waited for it.
        assert live.statistics().input_overruns == (2000 - BLOCK - BACKLOG) // BLOCK
        assert live.statistics().lost_input_samples == 2000 - BLOCK - BACKLOG
        kit.until(lambda: live.statistics().blocks == 22)
        devices.call(audio[:, 2200:2210])
        kit.until(lambda: live.statistics().blocks == 23)
        np.testing.assert_array_equal(
            kit.play(live, devices, audio[:, 2210:], kit.steady()), expected[:, 2210:]
        )
    found = live.statistics()
    assert found.lost_input_samples == 950
    # All that waited but for its last block, and then the silence for what was lost.
    assert found.skipped_samples == (BACKLOG - BLOCK) + 950
    # The recording is as long as what came in, and everything in it is in its place.
    assert recorder.mixture.shape == audio.shape
    silent = ~recorder.mixture.any(axis=0)
    np.testing.assert_array_equal(recorder.mixture[:, ~silent], audio[:, ~silent])
    assert silent.sum() == found.skipped_samples + 2 * stream.latency_samples


def test_a_worker_that_is_a_little_behind_leaves_nothing_out(kit: Any) -> None:
    devices, stream, recorder = kit.Devices(), kit.Stream(), kit.Recorder()
    audio = kit.noise(400)
    with LiveSession(stream, kit.Sum(), devices, handoff_blocks=3, recorder=recorder) as live:
        kit.stall(stream, devices, audio)
        kit.until(lambda: live.statistics().blocks == 40)
    np.testing.assert_array_equal(recorder.mixture, audio)
    assert live.statistics().skipped_samples == 0
    assert live.statistics().deadline_misses == 37


@pytest.mark.parametrize("fault", ["model", "mixer", "recorder"])
def test_a_fault_in_the_worker_ends_the_session_with_its_reason(kit: Any, fault: str) -> None:
    devices, stream, mixer, recorder = kit.Devices(), kit.Stream(), kit.Sum(), kit.Recorder()
    live = LiveSession(stream, mixer, devices, recorder=recorder)
    live.start()
    kit.play(live, devices, kit.noise(10 * BLOCK), kit.steady())

    def fail(stems: Audio) -> Audio:
        raise RuntimeError("index out of range")

    if fault == "model":
        stream.spoil = fail
    elif fault == "mixer":
        mixer.mix = fail
    else:
        recorder.write = fail
    played = [devices.call(kit.noise(BLOCK)) for _ in range(10)]
    with pytest.raises(DesmezclaError, match=r"RuntimeError: index out of range; try another rel"):
        live.wait(kit.PATIENCE_S)
    assert not played[-1].any()
    assert not devices.running
    live.stop()
    assert live.wait(0)


def test_a_model_that_does_not_even_warm_up_is_an_error_at_the_start(kit: Any) -> None:
    devices, stream = kit.Devices(), kit.Stream()

    def fail(stems: Audio) -> Audio:
        raise DesmezclaError("the weights are damaged")

    stream.spoil = fail
    before = gc.get_freeze_count(), sys.getswitchinterval()
    with pytest.raises(DesmezclaError, match="the weights are damaged"):
        LiveSession(stream, kit.Sum(), devices).start()
    assert devices.log == ["open", "close"]
    assert (gc.get_freeze_count(), sys.getswitchinterval()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_become_silence_and_the_model_starts_anew(
    kit: Any, value: float
) -> None:
    devices, stream = kit.Devices(), kit.Stream()
    audio = kit.noise(400)
    with LiveSession(stream, kit.Sum(), devices, handoff_blocks=2) as live:
        expected = kit.delayed(audio, live.latency_samples)
        kit.play(live, devices, audio[:, :100], kit.steady())
        resets = stream.resets

        def once(stems: Audio) -> Audio:
            stream.spoil = lambda stems: stems
            stems[1, 0, 4] = value
            return stems

        stream.spoil = once
        played = kit.play(live, devices, audio[:, 100:], kit.steady())
        found = live.statistics()
    silent = ~played.any(axis=0)
    assert stream.resets > resets
    assert found.nonfinite_output_samples == 1
    assert found.deadline_misses == 0
    # The block of it and what was inside of the model are gone, all else is in its place.
    assert silent.sum() == BLOCK + stream.latency_samples
    np.testing.assert_array_equal(played[:, ~silent], expected[:, 100:][:, ~silent])


def test_a_model_that_gives_nothing_else_ends_the_session(kit: Any) -> None:
    devices, stream = kit.Devices(), kit.Stream(0)
    with LiveSession(stream, kit.Sum(), devices) as live:
        stream.spoil = lambda stems: stems * np.float32(np.nan)
        played = [devices.call(kit.noise(BLOCK)) for _ in range(10)]
        with pytest.raises(DesmezclaError, match="even after it was started anew 3 times"):
            live.wait(kit.PATIENCE_S)
    assert not np.concatenate(played, axis=1).any()


def test_input_that_is_no_number_is_taken_as_silence(kit: Any) -> None:
    devices = kit.Devices()
    audio = kit.noise(300)
    broken = audio.copy()
    broken[0, 105] = np.nan
    broken[:, 106] = -np.inf
    cleaned = np.where(np.isfinite(broken), broken, np.float32(0))
    with LiveSession(kit.Stream(), kit.Sum(), devices) as live:
        played = kit.play(live, devices, broken, kit.steady())
        np.testing.assert_array_equal(played, kit.delayed(cleaned, live.latency_samples))
        assert live.statistics().nonfinite_input_samples == 2
    assert np.isnan(broken[0, 105])


def test_all_that_came_in_is_recorded_when_the_session_is_stopped(kit: Any) -> None:
    devices, recorder = kit.Devices(), kit.Recorder()
    audio = kit.noise(203)
    with LiveSession(kit.Stream(19), kit.Sum(), devices, recorder=recorder) as live:
        kit.play(live, devices, audio, iter([*[BLOCK] * 20, 3]))
    np.testing.assert_array_equal(recorder.mixture, audio)


def test_a_session_without_any_input_is_an_error(kit: Any) -> None:
    devices = kit.Devices()
    with LiveSession(kit.Stream(), kit.Sum(), devices) as live:
        assert not devices.call(None).any()
        with pytest.raises(ParameterError, match="no input device"):
            live.wait(kit.PATIENCE_S)


def test_a_hand_off_too_short_for_the_device_is_said_once(
    kit: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    devices = kit.Devices()
    with LiveSession(kit.Stream(), kit.Sum(), devices, handoff_blocks=4) as live:
        for samples in (5, 30):
            devices.call(kit.noise(samples))
            assert not live.wait(0)
        assert not caplog.messages
        devices.call(kit.noise(31))
        assert not live.wait(0)
        assert not live.wait(0)
    assert len(caplog.messages) == 1
    assert "up to 31 samples" in caplog.messages[0]
    assert "hand-off of 4 blocks of 10" in caplog.messages[0]
    assert "use --handoff 6" in caplog.messages[0]


def test_what_the_driver_reports_is_counted(kit: Any) -> None:
    devices = kit.Devices()
    with LiveSession(kit.Stream(), kit.Sum(), devices) as live:
        for xruns in (0, 1, 2):
            devices.call(kit.noise(BLOCK), xruns=xruns)
        assert live.statistics().xruns == 3


def test_python_pauses_as_before_when_the_session_has_ended(kit: Any) -> None:
    interval = sys.getswitchinterval()
    assert gc.get_freeze_count() == 0
    with LiveSession(kit.Stream(), kit.Sum(), kit.Devices()):
        assert gc.get_freeze_count() > 1000
        assert sys.getswitchinterval() < 0.001
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == interval


def test_the_load_is_that_of_the_blocks(kit: Any) -> None:
    devices, stream = kit.Devices(), kit.Stream()
    with LiveSession(stream, kit.Sum(), devices) as live:
        assert [getattr(live.statistics(), f.name) for f in fields(LiveStatistics)] == [0] * 16
        kit.stall(stream, devices, kit.noise(20 * BLOCK))
        kit.until(lambda: live.statistics().blocks == 20)
        found = live.statistics()
    assert 0 < found.load_mean <= found.load_p999 <= found.load_max


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"handoff_blocks": 0}, "handoff_blocks=0 must be 1 or more"),
        ({"lost_device_timeout_s": -1.0}, "lost_device_timeout_s=-1.0 must be 0 or more"),
        ({"lost_device_timeout_s": float("nan")}, "must be 0 or more, or None"),
    ],
)
def test_options_out_of_range_are_refused(kit: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        LiveSession(kit.Stream(), kit.Sum(), kit.Devices(), **options)


@pytest.mark.parametrize(("name", "value"), [("sample_rate", 48000), ("channels", 1)])
def test_devices_of_another_kind_than_the_stream_are_refused(
    kit: Any, name: str, value: int
) -> None:
    devices = kit.Devices()
    setattr(devices, name, value)
    with pytest.raises(ParameterError, match=rf"{name}=\d+ of the stream .* {value}"):
        LiveSession(kit.Stream(), kit.Sum(), devices)
