import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.errors import AudioFileError
from desmezcla.live import session as session_module
from desmezcla.live.backend import DeviceError
from desmezcla.live.session import LiveSession
from desmezcla.live.stream import Audio

RATE = 1000
BLOCK = 10


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sign", ["stopped", "silent"])
def test_a_device_that_disappears_and_comes_back(
    kit: Any, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, stream, recorder = kit.Devices(), kit.Stream(), kit.Recorder()
    audio = kit.noise(600)
    with LiveSession(stream, kit.Sum(), devices, recorder=recorder) as live:
        expected = kit.delayed(audio[:, 300:], live.latency_samples)
        kit.play(live, devices, audio[:, :300], kit.steady())
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
        monkeypatch.setattr(session_module, "_SILENT_S", kit.PATIENCE_S)
        assert not live.wait(0.01)
        assert not live.device_lost
        assert live.statistics().device_losses == 1
        # It starts anew, with nothing of what was before.
        np.testing.assert_array_equal(
            kit.play(live, devices, audio[:, 300:], kit.steady()), expected
        )
        assert live.statistics().blocks == 60
    np.testing.assert_array_equal(recorder.mixture, audio)
    assert live.statistics().deadline_misses == 0


@pytest.mark.usefixtures("impatient")
def test_a_device_that_stays_away_ends_the_session_if_that_is_wanted(kit: Any) -> None:
    devices = kit.Devices()
    with LiveSession(kit.Stream(), kit.Sum(), devices, lost_device_timeout_s=0.05) as live:
        devices.running, devices.missing = False, 10**9
        with pytest.raises(DeviceError, match=r"within 0.05 s \(output 'sink' is not there\)"):
            live.wait(kit.PATIENCE_S)
    assert devices.log.count("open") >= 3


@pytest.mark.usefixtures("impatient")
def test_without_a_limit_a_device_is_waited_for(kit: Any) -> None:
    devices = kit.Devices()
    with LiveSession(kit.Stream(), kit.Sum(), devices) as live:
        devices.running, devices.missing = False, 10**9
        assert not live.wait(0.2)
        assert live.device_lost


def test_a_device_that_is_not_there_at_the_start_is_an_error(kit: Any) -> None:
    devices = kit.Devices()
    devices.missing = 1
    with (
        pytest.raises(DeviceError, match="is not there"),
        LiveSession(kit.Stream(), kit.Sum(), devices),
    ):
        pass
    assert "separation" not in {thread.name for thread in threading.enumerate()}


def test_devices_that_cannot_be_closed_end_the_session_all_the_same(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, source = kit.Devices(), kit.Source(kit.noise(1000))
    live = LiveSession(kit.Stream(), kit.Sum(), devices, source=source)
    live.start()

    def hang(*, drain: bool) -> None:
        raise DeviceError("the system of sound has not answered")

    monkeypatch.setattr(devices, "close", hang)
    devices.running = False
    with pytest.raises(DeviceError, match="has not answered"):
        live.wait(kit.PATIENCE_S)
    assert "separation" not in {thread.name for thread in threading.enumerate()}
    assert source.log[-1] == "close"
    assert live.wait(0)


@settings(max_examples=20)
@given(samples=st.integers(1, 150), latency=st.integers(0, 40))
def test_a_file_is_played_to_its_last_sample(kit: Any, samples: int, latency: int) -> None:
    devices, source, recorder = kit.Devices(), kit.Source(kit.noise(samples)), kit.Recorder()
    audio, played = source.audio, list[Audio]()
    with LiveSession(
        kit.Stream(latency), kit.Sum(), devices, source=source, recorder=recorder
    ) as live:
        assert source.log == ["start"]
        total = samples + live.latency_samples
        while len(played) * BLOCK < total:
            played.append(devices.call(None))
            blocks = min(len(played), samples // BLOCK)
            kit.until(lambda blocks=blocks: live.statistics().blocks == blocks)
            if len(played) * BLOCK > samples:  # the worker separates what is left, and ends
                kit.until(lambda: "separation" not in {t.name for t in threading.enumerate()})
        assert live.wait(kit.PATIENCE_S)
        heard = np.concatenate(played, axis=1)
        expected = kit.delayed(audio, live.latency_samples, length=total)
    np.testing.assert_array_equal(heard[:, :total], expected)
    assert not heard[:, total:].any()
    assert devices.log == ["open", "drain"]
    assert source.log[:2] == ["start", "close"]
    found = live.statistics()
    assert (found.deadline_misses, found.input_underruns) == (0, 0)
    assert found.played_s == total / RATE


def test_a_file_that_is_not_ready_in_time_is_counted_and_waited_for(kit: Any) -> None:
    devices, source = kit.Devices(), kit.Source(kit.noise(300))
    audio, played = source.audio, []
    with LiveSession(kit.Stream(), kit.Sum(), devices, source=source) as live:
        for k in range(33):
            source.hungry = int(k in {10, 11})
            played.append(devices.call(None))
            kit.until(lambda k=k: live.statistics().blocks == min(k + 1, 32))
        found = live.statistics()
    assert (found.input_underruns, found.underrun_samples) == (2, 2 * BLOCK)
    gap = np.zeros((2, 2 * BLOCK), np.float32)
    heard = np.concatenate([audio[:, :100], gap, audio[:, 100:]], axis=1)
    np.testing.assert_array_equal(
        np.concatenate(played, axis=1), kit.delayed(heard, live.latency_samples, length=330)
    )


def test_a_file_that_breaks_off_is_an_error_once_it_has_been_played(kit: Any) -> None:
    devices, source = kit.Devices(), kit.Source(kit.noise(50), AudioFileError("'a.mp3' is damaged"))
    with LiveSession(kit.Stream(), kit.Sum(), devices, source=source) as live:
        for _ in range(20):
            devices.call(None)
        with pytest.raises(AudioFileError, match="is damaged"):
            live.wait(kit.PATIENCE_S)
    assert live.statistics().played_s == (50 + live.latency_samples) / RATE
