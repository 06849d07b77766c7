"""Audio devices through PortAudio."""

import atexit
import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from desmezcla.errors import ParameterError
from desmezcla.live.backend import AudioCallback, DeviceError
from desmezcla.live.devices import AudioDevice, Kind, list_devices, load_sounddevice, look_again
from desmezcla.live.stream import Audio

Latency = Literal["low", "high"] | float
"""What is asked of the devices: as short as they call safe, longer, or a number of seconds."""

# Playing the rest and closing takes no longer than the longest latency that can be asked for.
_LONGEST_LATENCY_S = 2.0
_CLOSING_S = 2 * _LONGEST_LATENCY_S + 2


class PortAudioBackend:
    """An output device, and an input device unless the input is a file.

    A mono input goes to all channels, and of more channels than needed the first ones are taken;
    a mono output gets the mean of the channels, and one channel goes to left and right.

    Args:
        output: Where to play.
        input: Where to listen; None for nowhere.
        sample_rate: In Hz.
        channels: Of the blocks.
        block_samples: Samples that are separated at a time. The devices have their own mind of
            how many they ask for: the longer their latency, the more.
        latency: Of the devices; more is safer.

    Errors:
        ParameterError: if an option is out of range, or a device has too few channels.
    """

    def __init__(
        self,
        output: AudioDevice,
        input: AudioDevice | None,
        *,
        sample_rate: int,
        channels: int,
        block_samples: int = 512,
        latency: Latency = "high",
    ) -> None:
        for name, value in {
            "sample_rate": sample_rate,
            "channels": channels,
            "block_samples": block_samples,
        }.items():
            if value <= 0:
                raise ParameterError(f"{name}={value} must be positive")
        if not isinstance(latency, str) and not 0 < latency <= _LONGEST_LATENCY_S:
            raise ParameterError(
                f"latency={latency} must be low, high, or up to {_LONGEST_LATENCY_S:g} seconds"
            )
        self.sample_rate = sample_rate
        self.channels = channels
        self.block_samples = block_samples
        self._devices: dict[Kind, AudioDevice] = {"output": output}
        if input is not None:
            self._devices["input"] = input
        self._device_channels = {
            kind: _device_channels(device, kind, channels) for kind, device in self._devices.items()
        }
        self._latency = latency
        self._stream: Any = None
        self._opened_before = False
        self._hung = False
        self._begun = False  # to hear and to play, not only to fill buffers
        self._filled = 0
        self._play = np.zeros((channels, block_samples), np.float32)

    @property
    def latency_s(self) -> tuple[float, float]:
        """What the open devices say of their own latency: input (0 without one) and output."""
        if self._stream is None:
            return 0.0, 0.0
        latency = self._stream.latency
        return (latency[0], latency[1]) if "input" in self._devices else (0.0, latency)

    @property
    def running(self) -> bool:
        """Whether the devices are open and have not stopped by themselves."""
        if self._stream is None:
            return False
        try:
            return bool(self._stream.active)
        except load_sounddevice().PortAudioError:
            return False

    def open(self, callback: AudioCallback) -> None:
        """Find the devices by their names and open them.

        Errors:
            DeviceError: if a device is not there or cannot be opened.
        """
        if self._hung:
            raise DeviceError("the system of sound hangs; start this program again")
        sounddevice = load_sounddevice()
        devices = self._devices
        if self._opened_before:
            look_again()
            present = list_devices()
            devices = {kind: _find(present, device, kind) for kind, device in devices.items()}
        self._opened_before = True
        try:
            with _quiet():
                self._stream = self._new_stream(sounddevice, devices, callback)
        except sounddevice.PortAudioError as error:
            raise self._error("could not be opened", error) from error

    def start(self) -> None:
        """Let the open devices begin.

        Errors:
            DeviceError: if they do not.
        """
        try:
            with _quiet():
                self._stream.start()
        except load_sounddevice().PortAudioError as error:
            self.close(drain=False)
            raise self._error("did not start", error) from error

    def close(self, *, drain: bool) -> None:
        """Stop and close the devices; without open ones, do nothing.

        Errors:
            DeviceError: if the system of sound hangs, and this process cannot use it any more.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        # A client of PulseAudio can wait for ever for a server that has been killed.
        closing = threading.Thread(target=_close, args=(stream, drain), daemon=True)
        with _quiet():
            closing.start()
            closing.join(_CLOSING_S)
        if closing.is_alive():
            self._hung = True
            # It would wait at the end of the process as well.
            atexit.unregister(load_sounddevice()._exit_handler)
            raise DeviceError(
                f"the system of sound has not answered for {_CLOSING_S:g} s and cannot be closed; "
                "see that the sound server is well, and start again"
            )

    def _new_stream(
        self, sounddevice: Any, devices: dict[Kind, AudioDevice], callback: AudioCallback
    ) -> Any:
        self._begun, self._filled = False, 0
        common = {
            "samplerate": self.sample_rate,
            # As many as the device has. With a number of our own PortAudio rearranges blocks, and
            # with ALSA puts stale samples between them when the device's are no multiple of it.
            "blocksize": 0,
            "dtype": "float32",
            "latency": self._latency,
        }
        output = self._device_channels["output"]

        def duplex(heard: Audio, play: Audio, frames: int, time: Any, status: Any) -> None:
            self._serve(callback, heard, play, status)

        def simplex(play: Audio, frames: int, time: Any, status: Any) -> None:
            self._serve(callback, None, play, status)

        if "input" not in devices:
            return sounddevice.OutputStream(
                device=devices["output"].index, channels=output, callback=simplex, **common
            )
        return sounddevice.Stream(
            device=(devices["input"].index, devices["output"].index),
            channels=(self._device_channels["input"], output),
            callback=duplex,
            **common,
        )

    def _serve(
        self, callback: AudioCallback, heard: Audio | None, play: Audio, status: Any
    ) -> None:
        """Bring the device's block into our shape and back. Shape: heard, play: `[n, D]`."""
        block = None
        if heard is not None:
            block = heard.T  # [D, n]
            if len(block) < self.channels:
                block = np.broadcast_to(block, (self.channels, block.shape[1]))
        if self._is_filling(len(play), status):
            play[:] = 0
            return
        # What fills the output at the beginning is no fault, all else is.
        lost = status and (
            status.input_underflow
            or status.input_overflow
            or status.output_underflow
            or status.output_overflow
        )
        xruns = 1 if lost else 0
        if play.shape[1] == self.channels:
            callback(block, play.T, xruns)
            return
        if self._play.shape[1] < len(play):
            self._play = np.zeros((self.channels, len(play)), np.float32)
        own = self._play[:, : len(play)]
        callback(block, own, xruns)
        # One channel to several, or several to one.
        play[:] = own.T if len(own) == 1 else own.mean(axis=0)[:, None]

    def _is_filling(self, samples: int, status: Any) -> bool:
        """Return whether the device only fills its buffers, before it begins to play and to hear.

        It asks for all of that at once, for which no hand-off is long enough.
        """
        if self._begun:
            return False
        self._filled += samples
        if "input" in self._devices:
            self._begun = not status.input_underflow
        else:
            self._begun = self._filled > self.latency_s[1] * self.sample_rate
        return not self._begun

    def _error(self, what: str, error: Exception) -> DeviceError:
        names = " and ".join(f"{kind} {device}" for kind, device in self._devices.items())
        return DeviceError(
            f"{names} {what} at {self.sample_rate} Hz: {error}; see --list-devices for others, "
            "and check that no other program holds it"
        )


def _close(stream: Any, drain: bool) -> None:
    if drain:
        stream.stop(ignore_errors=True)
    else:
        stream.abort(ignore_errors=True)
    stream.close(ignore_errors=True)


def _device_channels(device: AudioDevice, kind: Kind, channels: int) -> int:
    """Return how many channels of a device to open for blocks of so many."""
    there = device.channels(kind)
    # Whoever has two ears wants one channel on both.
    opened = min(there, max(channels, 2) if kind == "output" else channels)
    if opened < channels and opened != 1:
        raise ParameterError(
            f"{kind}={str(device)!r} has {there} channels, but must have 1 or at least "
            f"{channels}; choose another device"
        )
    return opened


def _find(devices: list[AudioDevice], wanted: AudioDevice, kind: Kind) -> AudioDevice:
    """Find a device again, whose number may be another now, and that of its card in its name."""
    able = [d for d in devices if d.host_api == wanted.host_api and d.channels(kind)]
    same = [device for device in able if device.name == wanted.name]
    similar = [device for device in able if _bare(device.name) == _bare(wanted.name)]
    for found in (same, similar):
        if len(found) == 1:
            return found[0]
    raise DeviceError(f"{kind} {wanted.name!r} is not there")


def _bare(name: str) -> str:
    return re.sub(r"\s*\(hw:\d+,(\d+)\)$", r" \1", name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what ALSA and PortAudio print from people's screens; errors say the same."""
    with contextlib.ExitStack() as stack:
        try:
            before = os.dup(2)
            stack.callback(os.close, before)
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        except OSError:
            pass  # there is no standard error to keep clean
        else:
            stack.callback(os.dup2, before, 2)
        yield
