"""What the live room asks of audio devices, and of what can take the place of an input."""

from typing import Protocol

from desmezcla.errors import DesmezclaError
from desmezcla.live.stream import Audio


class DeviceError(DesmezclaError):
    """An audio device is not there, or does not do what is asked of it."""


class AudioCallback(Protocol):
    """Called by the device's own thread for every block, and has to be quick."""

    def __call__(self, heard: Audio | None, play: Audio, xruns: int) -> None:
        """Take what was heard and fill in what is to be played.

        Args:
            heard: From the input device, valid during the call; None without an input device.
            play: For the output device, to be filled.
            xruns: How many times the driver says that it has lost input or run out of output.

        Shape:
            heard, play: `[C, n]`, the same n.
        """


class AudioBackend(Protocol):
    """An output device, mostly with an input device at the same clock."""

    @property
    def sample_rate(self) -> int:
        """Of the blocks, Hz."""

    @property
    def channels(self) -> int:
        """Channels of the blocks, whatever the devices have."""

    @property
    def block_samples(self) -> int:
        """Samples that are separated at a time; the devices may ask for others."""

    @property
    def latency_s(self) -> tuple[float, float]:
        """What the open devices say of their own latency: input (0 without one) and output."""

    @property
    def running(self) -> bool:
        """Whether the devices are open and have not stopped by themselves."""

    def open(self, callback: AudioCallback) -> None:
        """Find the devices as they are now, and open them.

        Errors:
            DeviceError: if a device is not there or cannot be opened; nothing is open then.
        """

    def start(self) -> None:
        """Let the open devices begin to call back.

        Errors:
            DeviceError: if they do not.
        """

    def close(self, *, drain: bool) -> None:
        """Stop the devices; the callback is not called any more. Without open ones, do nothing.

        Args:
            drain: Whether what has been handed over is still to be played.
        """


class BlockSource(Protocol):
    """Samples that are there already, and take the place of an input device."""

    def start(self) -> None:
        """Make the first samples ready; called before any device is opened."""

    def read(self, out: Audio) -> int:
        """Fill the beginning of an array without waiting, and return how far. Shape: `[C, n]`."""

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""

    def check(self) -> None:
        """Raise the error that ended the source early, if one did."""

    def close(self) -> None:
        """Read no more."""
