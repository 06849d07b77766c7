"""Open Sound Control over UDP: gains from tablets, phones and other programs.

/desmezcla/gain STEM VALUE      /desmezcla/STEM/gain VALUE
/desmezcla/STEM/mute 0|1        /desmezcla/STEM/solo [0|1]
/desmezcla/gains                answered to the sender: STEM VALUE STEM VALUE …
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from desmezcla.errors import ParameterError
from desmezcla.live.mixer import Mixer

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_MAX_DATAGRAM_BYTES = 65536
# How soon the thread notices that it is no longer wanted.
_POLL_S = 0.2
# A sender that is set up wrongly may send a thousand messages a second.
_LOGGED = 10


def read_address(text: str) -> tuple[str, int]:
    """Read `PORT` or `HOST:PORT`; without a host, only this machine is listened to.

    >>> read_address("9000"), read_address("0.0.0.0:9000"), read_address("[::1]:9000")
    (('127.0.0.1', 9000), ('0.0.0.0', 9000), ('::1', 9000))

    Errors:
        ParameterError: if it is neither.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdecimal() else -1
    if not 0 <= number < 65536 or (colon and not host):
        raise ParameterError(
            f"osc={text!r} must be a port from 0 to 65535, or HOST:PORT to be heard from other "
            "machines, as in 0.0.0.0:9000"
        )
    return host or LOOPBACK, number


class OscControl:
    """Listens to OSC messages and does to a mixer what they say, until it is closed.

    A message that is wrong changes nothing; it is counted, and the first ten are logged.

    Args:
        mixer: What it controls.
        host: Address to listen at.
        port: UDP port; 0 for one that is free.

    Attributes:
        port: The port that is listened at.
        messages: How many messages have been followed.
        wrong_messages: How many could not be.

    Errors:
        ParameterError: if the address cannot be listened at, or python-osc is not installed.
    """

    def __init__(self, mixer: Mixer, host: str, port: int) -> None:
        _check_installed()
        self.mixer = mixer
        self.messages = 0
        self.wrong_messages = 0
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]
        # What python-osc does not understand, it tells by `logging.warning`, and that makes a
        # handler for everything that anybody logs, unless there is one.
        self._handler = logging.NullHandler()
        logging.getLogger().addHandler(self._handler)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="osc", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no longer."""
        self._ended.set()
        self._thread.join()
        logging.getLogger().removeHandler(self._handler)
        self._socket.close()

    def __enter__(self) -> "OscControl":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def handle(self, datagram: bytes) -> Iterator[bytes]:
        """Follow the messages of a datagram, and yield what is to be answered."""
        from pythonosc.osc_packet import OscPacket

        try:
            messages = [timed.message for timed in OscPacket(datagram).messages]
        except Exception as error:  # for some garbage, its parser raises more than its own errors
            self._wrong("a datagram that is not OSC", error)
            return
        for message in messages:
            try:
                answer = self._follow(message.address, message.params)
            except ParameterError as error:
                self._wrong(f"{message.address} {message.params}", error)
            else:
                self.messages += 1
                yield from answer

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                datagram, sender = self._socket.recvfrom(_MAX_DATAGRAM_BYTES)
            except TimeoutError:
                continue
            except OSError as error:  # on Windows, that an earlier answer found nobody
                _log.debug("osc: %s", error)
                continue
            for answer in self.handle(datagram):
                with contextlib.suppress(OSError):  # the sender is gone
                    self._socket.sendto(answer, sender)

    def _follow(self, address: str, values: Sequence[Any]) -> list[bytes]:
        """Do what a message says, and return the answers to it."""
        match address.split("/")[1:]:
            case ["desmezcla", "gains"] if not values:
                return [_gains_message(self.mixer)]
            case ["desmezcla", "gain"] if len(values) == 2 and isinstance(values[0], str):
                self.mixer.set_gain(values[0], _number(values[1]))
            case ["desmezcla", stem, "gain"] if len(values) == 1:
                self.mixer.set_gain(stem, _number(values[0]))
            case ["desmezcla", stem, "mute"] if len(values) == 1:
                self.mixer.mute(stem, _number(values[0]) != 0)
            case ["desmezcla", stem, "solo"] if len(values) <= 1:
                self._solo(stem, on=not values or _number(values[0]) != 0)
            case _:
                raise ParameterError(
                    "known are gain STEM VALUE, STEM/gain VALUE, STEM/mute 0|1, STEM/solo [0|1] "
                    "and gains, all below /desmezcla/"
                )
        return []

    def _solo(self, stem: str, *, on: bool) -> None:
        if on or self.mixer.soloed == stem:
            self.mixer.solo(stem if on else None)
        else:  # a button let go after another stem's was pressed
            self.mixer.check_stem(stem)

    def _wrong(self, what: str, error: Exception) -> None:
        self.wrong_messages += 1
        level = logging.WARNING if self.wrong_messages <= _LOGGED else logging.DEBUG
        more = "; further ones are only counted" if self.wrong_messages == _LOGGED else ""
        _log.log(level, "osc: %s changes nothing: %s%s", what, error, more)


def _gains_message(mixer: Mixer) -> bytes:
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder("/desmezcla/gains")
    for stem, gain in mixer.gains().items():
        builder.add_arg(stem)
        builder.add_arg(gain)
    datagram: bytes = builder.build().dgram
    return datagram


def _number(value: Any) -> float:
    """Return a value of a message as a number; true and false are 1 and 0."""
    if not isinstance(value, (int, float)):
        raise ParameterError(f"value={value!r} must be a number")
    return float(value)


def _bound(host: str, port: int) -> socket.socket:
    """Return a UDP socket that listens at an address."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[
            0
        ]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ParameterError(f"osc={where!r} is no address of this machine: {error}") from error
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ParameterError(
            f"osc={where!r} cannot be listened at ({error.strerror}); choose another port, or an "
            "address of this machine"
        ) from error
    listening.settimeout(_POLL_S)
    return listening


def _check_installed() -> None:
    try:
        import pythonosc  # noqa: F401
    except ImportError:
        raise ParameterError(
            "osc needs python-osc; install it with: pip install 'desmezcla[live]'"
        ) from None
