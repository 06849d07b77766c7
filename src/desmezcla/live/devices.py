"""Which audio devices there are, and which one is meant."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.live.backend import DeviceError

_log = logging.getLogger(__name__)

Kind = Literal["input", "output"]

_USUAL_RATES_HZ = (48000, 44100, 96000)


@dataclass(frozen=True)
class AudioDevice:
    """A device, as PortAudio describes it.

    Attributes:
        index: Its number; others can get it when devices come and go.
        name: Its name.
        host_api: The system of sound that it belongs to, such as ALSA or Core Audio.
        inputs: Number of input channels.
        outputs: Number of output channels.
        default_rate_hz: Sample rate that it likes best.
        low_input_latency_s: Latency of the input when it is as short as is still safe.
        low_output_latency_s: The same of the output.
        is_default_input: Whether it is the one to take when none is named.
        is_default_output: The same for the output.
    """

    index: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    default_rate_hz: int
    low_input_latency_s: float
    low_output_latency_s: float
    is_default_input: bool
    is_default_output: bool

    def channels(self, kind: Kind) -> int:
        """Return the number of input or output channels."""
        return self.inputs if kind == "input" else self.outputs

    def __str__(self) -> str:
        return f"{self.index}: {self.name}, {self.host_api}"


def load_sounddevice() -> Any:
    """Import the package `sounddevice`, which brings PortAudio.

    Errors:
        DesmezclaError: if it is not installed, or has no PortAudio.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise DesmezclaError(
            "audio devices need sounddevice, which is not installed; install it with: "
            "pip install 'desmezcla[live]'"
        ) from error
    except OSError as error:
        raise DesmezclaError(
            f"audio devices need the PortAudio library, which could not be loaded ({error}); on "
            "Debian and Ubuntu install it with: sudo apt install libportaudio2"
        ) from error
    return sounddevice


def list_devices() -> list[AudioDevice]:
    """Return the audio devices that PortAudio found when it was started, or by `look_again`.

    Errors:
        DesmezclaError: if there is no PortAudio.
    """
    sounddevice = load_sounddevice()
    apis = sounddevice.query_hostapis()
    first_input, first_output = sounddevice.default.device
    return [
        AudioDevice(
            index=index,
            name=device["name"],
            host_api=apis[device["hostapi"]]["name"],
            inputs=device["max_input_channels"],
            outputs=device["max_output_channels"],
            default_rate_hz=round(device["default_samplerate"]),
            low_input_latency_s=device["default_low_input_latency"],
            low_output_latency_s=device["default_low_output_latency"],
            is_default_input=index == first_input,
            is_default_output=index == first_output,
        )
        for index, device in enumerate(sounddevice.query_devices())
    ]


def look_again() -> None:
    """Let PortAudio find the devices that there are now; no stream may be open.

    Errors:
        DeviceError: if it does not start any more.
    """
    sounddevice = load_sounddevice()
    try:
        # PortAudio looks for devices only when it starts, and there is no public way to ask for it.
        sounddevice._terminate()
    except sounddevice.PortAudioError as error:
        _log.debug("PortAudio was not running: %s", error)
    try:
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"PortAudio does not start: {error}") from error


def choose_device(
    devices: Sequence[AudioDevice], wanted: str | int | None, kind: Kind
) -> AudioDevice:
    """Find the device that is meant.

    Args:
        devices: Those there are.
        wanted: Its number; its name, alone or as "NAME, HOST API"; or a part of these that only
            one device has. Small and capital letters are the same. None is the default device.
        kind: What it is to be used for; others are left out.

    Errors:
        ParameterError: if none or more than one is meant.
    """
    able = [device for device in devices if device.channels(kind)]
    if not able:
        raise ParameterError(
            f"there is no audio {kind} device; connect one, or start the sound server"
        )
    if wanted is None:
        for device in able:
            if device.is_default_input if kind == "input" else device.is_default_output:
                return device
        raise ParameterError(f"there is no default {kind} device; name one of {_names(able)}")
    chosen = next(filter(None, _matches(able, wanted)), [])
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise ParameterError(
            f"{kind}={wanted!r} can mean {_names(chosen)}; give the number or more of the name"
        )
    raise ParameterError(f"{kind}={wanted!r} is no {kind} device; choose one of {_names(able)}")


def _matches(devices: Sequence[AudioDevice], wanted: str | int) -> Iterable[list[AudioDevice]]:
    """Yield the devices that match, from the strictest way to the loosest."""
    text = str(wanted).strip().lower()
    full = {device.index: f"{device.name}, {device.host_api}".lower() for device in devices}
    yield [device for device in devices if text == str(device.index)]
    yield [device for device in devices if text == full[device.index]]
    yield [device for device in devices if text == device.name.lower()]
    if text:
        yield [device for device in devices if text in full[device.index]]


def _names(devices: Iterable[AudioDevice]) -> str:
    return "; ".join(map(str, devices))


def choose_rate(
    output: AudioDevice, input: AudioDevice | None, *, channels: int, preferred_hz: int
) -> int:
    """Return a sample rate at which the devices work: the preferred one, or a usual one.

    Errors:
        DeviceError: if they have none in common.
    """
    own = [device.default_rate_hz for device in (output, input) if device is not None]
    rates = list(dict.fromkeys([preferred_hz, *own, *_USUAL_RATES_HZ]))
    for rate in rates:
        if _works(output, "output", channels, rate) and (
            input is None or _works(input, "input", channels, rate)
        ):
            return rate
    named = " and ".join(repr(device.name) for device in (output, input) if device is not None)
    raise DeviceError(
        f"{named} have no sample rate in common, tried: {', '.join(map(str, rates))} Hz; choose "
        "other devices, or change the rate in the system's sound settings"
    )


def _works(device: AudioDevice, kind: Kind, channels: int, rate_hz: int) -> bool:
    sounddevice = load_sounddevice()
    check = getattr(sounddevice, f"check_{kind}_settings")
    try:
        check(
            device=device.index,
            channels=min(channels, device.channels(kind)),
            dtype="float32",
            samplerate=rate_hz,
        )
    except sounddevice.PortAudioError as error:
        _log.debug("%s at %d Hz: %s", device, rate_hz, error)
        return False
    return True
