"""Faders and knobs of a MIDI controller as gains."""

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from desmezcla.errors import ParameterError
from desmezcla.live.mixer import Mixer

_log = logging.getLogger(__name__)

# The position of a fader, out of 0 to 127, at which a stem is left as it is.
UNITY = 100
# How often the port is asked; a hand on a fader does not notice.
_POLL_S = 0.01


def gain_of(value: int) -> float:
    """Return the gain of a fader's position: 0 is silence, 100 is 1, and 127 is 1.27 (2 dB)."""
    return value / UNITY


def read_map(text: str) -> dict[str, int]:
    """Read which control sets the gain of which stem.

    >>> read_map("vocals=7, drums=8")
    {'vocals': 7, 'drums': 8}

    Errors:
        ParameterError: if it is not of this form, or a stem or a control comes twice.
    """
    controls: dict[str, int] = {}
    for part in text.split(","):
        stem, equals, number = (piece.strip() for piece in part.partition("="))
        if not (stem and equals and re.fullmatch("[0-9]{1,3}", number) and int(number) < 128):
            raise ParameterError(
                f"midi-map={text!r} must name stems and their control numbers from 0 to 127, as in "
                "vocals=7,drums=8"
            )
        if stem in controls or int(number) in controls.values():
            raise ParameterError(f"midi-map={text!r} must name each stem and each control once")
        controls[stem] = int(number)
    return controls


class MidiControl:
    """Listens to a MIDI port, and sets gains by its control changes, until it is closed.

    Args:
        mixer: What it controls.
        port: Name of the port, or a part of it that no other has.
        controls: The control number of each stem, as `read_map` returns them; on any channel.

    Attributes:
        port: The port's full name.

    Errors:
        ParameterError: if there is no such port or stem, or no way to MIDI on this machine.
    """

    def __init__(self, mixer: Mixer, port: str, controls: Mapping[str, int]) -> None:
        self.mixer = mixer
        self._stems = {number: mixer.check_stem(stem) for stem, number in controls.items()}
        names = input_names()
        self.port = _find(port, names)
        try:
            import mido

            self._input: Any = mido.open_input(self.port)
        except Exception as error:  # each backend has errors of its own
            raise ParameterError(
                f"midi={self.port!r} cannot be opened ({error}); is another program using it?"
            ) from error
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="midi", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no longer."""
        self._ended.set()
        self._thread.join()
        self._input.close()

    def __enter__(self) -> "MidiControl":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def handle(self, message: Any) -> None:
        """Follow a message of mido's; those that mean nothing here are passed over."""
        if message.type == "control_change":
            if message.control in self._stems:
                self.mixer.set_gain(self._stems[message.control], gain_of(message.value))
            else:
                _log.debug("midi: control %d is in no --midi-map", message.control)

    def _listen(self) -> None:
        try:
            while not self._ended.wait(_POLL_S):
                for message in self._input.iter_pending():
                    self.handle(message)
        except Exception as error:  # each backend has errors of its own
            _log.error("midi: %r is not heard any more: %s; the music goes on", self.port, error)


def input_names() -> list[str]:
    """Return the names of the MIDI ports that can be listened to.

    Errors:
        ParameterError: if mido, its backend or the system's MIDI is not there.
    """
    try:
        import mido

        names: list[str] = mido.get_input_names()
    except ImportError as error:
        raise ParameterError(
            f"midi needs mido and a backend of it ({error}); install them with: "
            "pip install 'desmezcla[midi]'"
        ) from None
    except Exception as error:  # each backend has errors of its own
        raise ParameterError(
            f"midi: the system's MIDI cannot be used ({error}); is its driver loaded, or its "
            "server running?"
        ) from error
    return names


def _find(port: str, names: Sequence[str]) -> str:
    """Return the one name that is asked for, or that alone has it as a part."""
    found = [name for name in names if name == port] or [
        name for name in names if port.lower() in name.lower()
    ]
    if len(found) != 1:
        there = ", ".join(repr(name) for name in names) or "none; is the controller plugged in?"
        problem = "is the name of several ports" if found else "is no MIDI port of this machine"
        raise ParameterError(f"midi={port!r} {problem}; there are: {there}")
    return found[0]
