import builtins
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.live.backend import DeviceError
from desmezcla.live.devices import (
    AudioDevice,
    choose_device,
    choose_rate,
    list_devices,
    look_again,
)

MICROPHONE = AudioDevice(
    index=0,
    name="USB Microphone",
    host_api="ALSA",
    inputs=1,
    outputs=0,
    default_rate_hz=48000,
    low_input_latency_s=0.01,
    low_output_latency_s=0.0,
    is_default_input=False,
    is_default_output=False,
)
CARD = replace(MICROPHONE, index=1, name="Card", inputs=2, outputs=2, is_default_input=True)
CARD_JACK = replace(CARD, index=2, host_api="JACK", is_default_input=False)
SPEAKERS = replace(
    MICROPHONE, index=3, name="USB Speakers 0", inputs=0, outputs=6, is_default_output=True
)
DEVICES = [MICROPHONE, CARD, CARD_JACK, SPEAKERS]


@pytest.mark.parametrize(
    ("wanted", "kind", "found"),
    [
        (0, "input", MICROPHONE),
        ("3", "output", SPEAKERS),
        ("usb microphone", "input", MICROPHONE),
        ("usb", "input", MICROPHONE),  # the speakers cannot hear
        ("USB", "output", SPEAKERS),
        ("Card, JACK", "output", CARD_JACK),
        ("jack", "input", CARD_JACK),
        ("speakers 0", "output", SPEAKERS),  # not the device 0
        (None, "input", CARD),
        (None, "output", SPEAKERS),
    ],
)
def test_a_device_is_found_by_number_name_or_part(wanted: Any, kind: Any, found: Any) -> None:
    assert choose_device(DEVICES, wanted, kind) is found


def test_a_name_comes_before_a_part_of_one() -> None:
    longer = replace(CARD, index=4, name="Card two")
    assert choose_device([longer, CARD], "card", "input") is CARD


@pytest.mark.parametrize(
    ("wanted", "kind", "message"),
    [
        ("card", "input", r"can mean 1: Card, ALSA; 2: Card, JACK; give the number"),
        ("piano", "input", r"'piano' is no input device; choose one of 0: USB Mic.*2: Card, JACK"),
        (3, "input", r"input=3 is no input device; choose one of 0: "),
        ("", "output", r"output='' is no output device"),
        ("7", "output", r"output='7' is no output device"),
    ],
)
def test_an_unknown_or_ambiguous_device_is_an_error(wanted: Any, kind: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        choose_device(DEVICES, wanted, kind)


def test_without_devices_there_is_a_remedy() -> None:
    with pytest.raises(ParameterError, match=r"no audio input device; connect one"):
        choose_device([SPEAKERS], None, "input")
    with pytest.raises(ParameterError, match=r"no default output device; name one of 1: Card"):
        choose_device([CARD], None, "output")


class PortAudioError(Exception):
    pass


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a package with three devices in the place of the real one."""
    about = {
        "hostapi": 0,
        "default_low_input_latency": 0.005,
        "default_low_output_latency": 0.007,
        "default_samplerate": 44100.0,
    }
    devices = [
        {"name": "in", "max_input_channels": 1, "max_output_channels": 0, **about},
        {"name": "out", "max_input_channels": 0, "max_output_channels": 2, **about},
        {"name": "both", "max_input_channels": 8, "max_output_channels": 8, **about, "hostapi": 1},
    ]
    fake = SimpleNamespace(
        PortAudioError=PortAudioError,
        default=SimpleNamespace(device=(0, 2)),
        query_devices=lambda: devices,
        query_hostapis=lambda: ({"name": "ALSA"}, {"name": "JACK"}),
        rates={0: {44100, 48000}, 1: {48000}, 2: {96000}},
        asked=[],
        log=[],
    )

    def check(device: int, channels: int, dtype: str, samplerate: int) -> None:
        fake.asked.append((device, channels))
        if samplerate not in fake.rates[device]:
            raise PortAudioError("Invalid sample rate")

    fake.check_input_settings = fake.check_output_settings = check
    fake._terminate = lambda: fake.log.append("terminate")
    fake._initialize = lambda: fake.log.append("initialize")
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


@pytest.mark.usefixtures("sounddevice")
def test_devices_are_listed_as_portaudio_describes_them() -> None:
    first, second, third = list_devices()
    assert first == AudioDevice(0, "in", "ALSA", 1, 0, 44100, 0.005, 0.007, True, False)
    assert (second.outputs, second.is_default_output) == (2, False)
    assert (third.host_api, third.is_default_input, third.is_default_output) == (
        "JACK",
        False,
        True,
    )
    assert str(third) == "2: both, JACK"
    assert (third.channels("input"), first.channels("output")) == (8, 0)


def test_a_rate_is_one_at_which_both_devices_work(sounddevice: Any) -> None:
    first, second, third = list_devices()
    assert choose_rate(second, None, channels=2, preferred_hz=48000) == 48000
    assert choose_rate(second, first, channels=2, preferred_hz=44100) == 48000
    # A mono device is asked for one channel.
    assert set(sounddevice.asked) == {(0, 1), (1, 2)}
    sounddevice.rates[0] = {22050}
    with pytest.raises(DeviceError, match=r"'out' and 'in' have no sample rate in common") as error:
        choose_rate(second, first, channels=2, preferred_hz=8000)
    assert "tried: 8000, 44100, 48000, 96000 Hz" in str(error.value)
    assert choose_rate(third, None, channels=2, preferred_hz=44100) == 96000


def test_looking_again_starts_portaudio_anew(sounddevice: Any) -> None:
    look_again()
    assert sounddevice.log == ["terminate", "initialize"]


def test_portaudio_that_does_not_start_is_an_error(sounddevice: Any) -> None:
    def fail() -> None:
        raise PortAudioError("Host API not found")

    sounddevice._terminate = fail  # it was not running, which does not matter
    look_again()
    sounddevice._initialize = fail
    with pytest.raises(DeviceError, match="PortAudio does not start: Host API not found"):
        look_again()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ImportError("No module named 'sounddevice'"), r"pip install 'desmezcla\[live\]'"),
        (OSError("PortAudio library not found"), r"sudo apt install libportaudio2"),
    ],
)
def test_what_is_missing_is_said_with_its_remedy(
    error: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "sounddevice":
            raise error
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DesmezclaError, match=remedy):
        list_devices()
