"""PortAudio's part, with another package in its place; `test_pulseaudio.py` has the real one."""

import atexit
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from desmezcla.errors import ParameterError
from desmezcla.live import portaudio
from desmezcla.live.backend import DeviceError
from desmezcla.live.devices import AudioDevice
from desmezcla.live.portaudio import PortAudioBackend
from desmezcla.live.stream import Audio

RATE = 44100

CARD = AudioDevice(
    index=0,
    name="Card: USB Audio (hw:1,0)",
    host_api="ALSA",
    inputs=4,
    outputs=4,
    default_rate_hz=RATE,
    low_input_latency_s=0.01,
    low_output_latency_s=0.01,
    is_default_input=True,
    is_default_output=True,
)


class Flags(SimpleNamespace):
    input_underflow = input_overflow = output_underflow = output_overflow = False

    def __bool__(self) -> bool:
        return bool(vars(self))


class PortAudioError(Exception):
    pass


class Sound:
    """What the package `sounddevice` has of streams, called back by the test."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails: str | None = None
        self.hang = threading.Event()
        self.hang.set()
        self.asked: dict[str, Any] = {}
        self.active = True
        self.latency: Any = (0.01, 0.02)
        self.devices = [CARD]

    def Stream(self, **asked: Any) -> "Sound":
        if self.fails == "open":
            raise PortAudioError("Device unavailable")
        self.asked = asked
        return self

    def OutputStream(self, **asked: Any) -> "Sound":
        self.latency = 0.02
        return self.Stream(**asked)

    def start(self) -> None:
        if self.fails == "start":
            raise PortAudioError("Unanticipated host error")
        self.log.append("start")

    def stop(self, ignore_errors: bool) -> None:
        self.log.append("stop")

    def abort(self, ignore_errors: bool) -> None:
        self.hang.wait()
        self.log.append("abort")

    def close(self, ignore_errors: bool) -> None:
        self.log.append("close")

    def _exit_handler(self) -> None:
        raise AssertionError

    def call(self, heard: Audio, outputs: int, **flags: bool) -> Audio:
        """Call back once. Shape: heard `[n, D]`; returns `[n, outputs]`."""
        play = np.full((len(heard), outputs), np.nan, np.float32)
        ends = (heard, play) if heard.shape[1] else (play,)
        self.asked["callback"](*ends, len(play), None, Flags(**flags))
        return play


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Sound:
    fake = Sound()
    monkeypatch.setattr(portaudio, "load_sounddevice", lambda: fake)
    monkeypatch.setattr(portaudio, "look_again", lambda: fake.log.append("look"))
    monkeypatch.setattr(portaudio, "list_devices", lambda: fake.devices)
    return fake


class Echo:
    """Plays what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard: list[Audio | None] = []
        self.xruns: list[int] = []

    def __call__(self, heard: Audio | None, play: Audio, xruns: int) -> None:
        self.heard.append(None if heard is None else heard.copy())
        self.xruns.append(xruns)
        play[:] = len(self.heard) if heard is None else heard


def backend(inputs: int | None, outputs: int, channels: int = 2, **more: Any) -> PortAudioBackend:
    return PortAudioBackend(
        replace(CARD, outputs=outputs),
        None if inputs is None else replace(CARD, inputs=inputs),
        sample_rate=RATE,
        channels=channels,
        **more,
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "channels", "opened"),
    [
        (2, 2, 2, (2, 2)),
        (8, 6, 2, (2, 2)),
        (1, 1, 2, (1, 1)),
        (2, 2, 1, (1, 2)),
        (1, 1, 1, (1, 1)),
        (1, 8, 6, (1, 6)),
    ],
)
def test_channels_go_where_they_belong(
    inputs: int, outputs: int, channels: int, opened: tuple[int, int], sound: Sound
) -> None:
    echo, devices = Echo(), backend(inputs, outputs, channels)
    devices.open(echo)
    devices.start()
    assert sound.asked["channels"] == opened
    assert sound.asked["device"] == (0, 0)
    heard = np.random.default_rng(0).uniform(-1, 1, (700, opened[0])).astype(np.float32)
    played = sound.call(heard, opened[1])
    everywhere = np.broadcast_to(heard.T, (channels, 700))
    np.testing.assert_array_equal(echo.heard[0], everywhere)
    expected = everywhere if opened[1] == channels else everywhere.mean(axis=0)[None]
    np.testing.assert_allclose(played, np.broadcast_to(expected, (opened[1], 700)).T, rtol=1e-6)


def test_the_devices_choose_how_many_samples_they_want(sound: Sound) -> None:
    devices = backend(2, 2, block_samples=256, latency=0.05)
    devices.open(Echo())
    assert sound.asked["blocksize"] == 0
    assert sound.asked["latency"] == 0.05
    assert (sound.asked["samplerate"], sound.asked["dtype"]) == (RATE, "float32")
    assert devices.latency_s == (0.01, 0.02)
    assert devices.running
    sound.active = False
    assert not devices.running


def test_what_only_fills_the_buffers_is_neither_heard_nor_a_fault(sound: Sound) -> None:
    echo, devices = Echo(), backend(2, 2)
    devices.open(echo)
    nothing, music = np.zeros((512, 2), np.float32), np.ones((512, 2), np.float32)
    for _ in range(3):
        assert not sound.call(nothing, 2, input_underflow=True).any()
    assert echo.heard == []
    assert sound.call(music, 2).all()
    for flag in ("input_underflow", "input_overflow", "output_underflow", "output_overflow"):
        sound.call(music, 2, **{flag: True})
    sound.call(music, 2, priming_output=True)
    assert echo.xruns == [0, 1, 1, 1, 1, 0]


def test_without_an_input_the_first_buffer_is_silence(sound: Sound) -> None:
    echo, devices = Echo(), backend(None, 2)
    devices.open(echo)
    assert devices.latency_s == (0.0, 0.02)
    none = np.zeros((441, 0), np.float32)
    played = [sound.call(none, 2) for _ in range(5)]
    # Two hundredths of a second.
    assert [block[0, 0] for block in played] == [0, 0, 1, 2, 3]
    assert echo.heard == [None] * 3


def test_devices_are_found_again_by_their_names(sound: Sound) -> None:
    devices = backend(2, 2)
    devices.open(Echo())
    devices.start()
    devices.close(drain=True)
    devices.close(drain=True)
    assert sound.log == ["start", "stop", "close"]
    other = replace(CARD, index=1, name="Webcam: USB Audio (hw:1,0)")
    sound.devices = [other, replace(CARD, index=4, name="Card: USB Audio (hw:2,0)")]
    devices.open(Echo())
    assert sound.asked["device"] == (4, 4)
    devices.close(drain=False)
    assert sound.log[3:] == ["look", "abort", "close"]
    for present in ([other], [], [replace(sound.devices[1], host_api="OSS")]):
        sound.devices = present
        with pytest.raises(DeviceError, match=r"'Card: USB Audio \(hw:1,0\)' is not there"):
            devices.open(Echo())
        assert not devices.running


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("open", r"output 0: Card.* could not be opened at 44100 Hz: Device unavailable; see --l"),
        ("start", r"and input 0: Card.* did not start at 44100 Hz: Unanticipated host error"),
    ],
)
def test_devices_that_do_not_work_are_an_error(when: str, message: str, sound: Sound) -> None:
    sound.fails = when
    devices = backend(2, 2)
    with pytest.raises(DeviceError, match=message):  # noqa: PT012
        devices.open(Echo())
        devices.start()
    assert not devices.running
    assert sound.log == (["abort", "close"] if when == "start" else [])


def test_a_system_of_sound_that_hangs_does_not_hang_the_program(
    sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portaudio, "_CLOSING_S", 0.05)
    unregistered: list[Any] = []
    monkeypatch.setattr(atexit, "unregister", unregistered.append)
    devices = backend(2, 2)
    devices.open(Echo())
    devices.start()
    sound.hang.clear()
    with pytest.raises(DeviceError, match=r"has not answered for 0\.05 s"):
        devices.close(drain=False)
    sound.hang.set()
    devices.close(drain=False)
    assert not devices.running
    assert unregistered == [sound._exit_handler]
    with pytest.raises(DeviceError, match="start this program again"):
        devices.open(Echo())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 4, "channels": 6}, r"has 4 channels, but must have 1 or at least 6"),
        ({"outputs": 3, "channels": 4}, r"output=.* has 3 channels, but must have 1 or at least 4"),
        ({"channels": 0}, "channels=0 must be positive"),
        ({"block_samples": -1}, "block_samples=-1 must be positive"),
        ({"latency": 0.0}, "latency=0.0 must be low, high, or up to 2 seconds"),
        ({"latency": 3.0}, "latency=3.0 must be low"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        backend(**{"inputs": 8, "outputs": 8, **options})
