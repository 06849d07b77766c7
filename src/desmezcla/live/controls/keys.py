"""The keys of the terminal, as faders and buttons of the mixer."""

import contextlib
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator

from desmezcla.live.mixer import MAX_GAIN, Mixer

HELP = "1-9 stem · ↑ ↓ gain · m mute · s solo · 0 reset · q quit"

# Below this a stem is silent; the step up from silence leads back to it.
LOWEST_DB = -40

UP, DOWN = "up", "down"
# What terminals send for the arrows, in their two modes; other sequences mean nothing here.
_ARROWS = {"\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN}
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_BEGINNING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")

# How soon a thread that waits for keys notices that it is no longer wanted.
_POLL_S = 0.1

_Listen = Callable[[Callable[[str], None], threading.Event], None]


def stepped(gain: float, step: int) -> float:
    """Return a gain one step of 1 dB up (`step` 1) or down (-1), on whole decibels.

    >>> stepped(1.0, -1)
    0.8912509381337456
    >>> stepped(0.01, -1), stepped(0.0, 1), stepped(4.0, 1)
    (0.0, 0.01, 4.0)
    """
    gain_db = 20 * math.log10(gain) if gain > 0 else -math.inf
    if gain_db < LOWEST_DB:
        return 10 ** (LOWEST_DB / 20) if step > 0 else 0.0
    whole = round(gain_db, 6)  # a whole number of decibels is one, however it was rounded
    wanted_db = math.floor(whole) + 1 if step > 0 else math.ceil(whole) - 1
    return min(10 ** (wanted_db / 20), MAX_GAIN) if wanted_db >= LOWEST_DB else 0.0


class KeyControl:
    """Does to a mixer what each key stands for; see `HELP`.

    Args:
        mixer: What it controls.
        quit: Called when `q` is pressed.

    Attributes:
        chosen: The stem that the keys act on.
    """

    def __init__(self, mixer: Mixer, quit: Callable[[], None]) -> None:
        self.mixer = mixer
        self.quit = quit
        self.chosen = mixer.stems[0]

    def press(self, key: str) -> None:
        """Act on a key: a character, or `UP` or `DOWN`. Others do nothing."""
        mixer, stem = self.mixer, self.chosen
        if "1" <= key <= "9":
            if int(key) <= len(mixer.stems):
                self.chosen = mixer.stems[int(key) - 1]
        elif key in (UP, "+", "="):  # + without shift, on many keyboards
            mixer.set_gain(stem, stepped(mixer.gains()[stem], 1))
        elif key in (DOWN, "-", "_"):
            mixer.set_gain(stem, stepped(mixer.gains()[stem], -1))
        elif key == "m":
            mixer.mute(stem, stem not in mixer.muted)
        elif key == "s":
            mixer.solo(None if mixer.soloed == stem else stem)
        elif key == "0":
            mixer.reset()
        elif key == "q":
            self.quit()


class KeyParser:
    """Cuts what a terminal sends into keys; a sequence may come in pieces."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> Iterator[str]:
        """Yield the keys in the text."""
        text, self._rest = self._rest + text, ""
        while text:
            if found := _SEQUENCE.match(text):
                if found[0] in _ARROWS:
                    yield _ARROWS[found[0]]
                text = text[found.end() :]
            elif _BEGINNING.match(text):
                self._rest = text
                return
            else:
                yield text[0]
                text = text[1:]


@contextlib.contextmanager
def listening_to_keys(press: Callable[[str], None]) -> Iterator[bool]:
    """Call a function with each key that is pressed, as long as the context lasts.

    The terminal is put back as it was, whatever ends the context. Without a terminal, or in the
    background of one, no key is heard, and that is no error.

    Args:
        press: Called in another thread.

    Yields:
        Whether there is a terminal to listen to.
    """
    with contextlib.ExitStack() as stack:
        try:
            there = sys.stdin.isatty()
        except (AttributeError, ValueError):  # no standard input at all, or a closed one
            there = False
        if there:
            ended = threading.Event()
            listen = _terminal(stack)
            thread = threading.Thread(target=listen, args=(press, ended), name="keys", daemon=True)
            thread.start()
            # Before the terminal is put back, so that the thread does not change it again.
            stack.callback(thread.join)
            stack.callback(ended.set)
        yield there


if sys.platform == "win32":
    import msvcrt

    _WINDOWS_ARROWS = {"H": UP, "P": DOWN}

    def _terminal(stack: contextlib.ExitStack) -> _Listen:
        """Return what listens to the console, which needs no preparation."""

        def listen(press: Callable[[str], None], ended: threading.Event) -> None:
            while not ended.wait(_POLL_S):
                while msvcrt.kbhit():
                    key = msvcrt.getwch()
                    if key in "\x00\xe0":  # an arrow or a function key comes as two
                        key = _WINDOWS_ARROWS.get(msvcrt.getwch(), "")
                    if key:
                        press(key)

        return listen

else:
    import select
    import termios
    import tty

    def _terminal(stack: contextlib.ExitStack) -> _Listen:
        """Return what listens to the terminal of standard input, which the stack restores."""
        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)

        def restore() -> None:
            with contextlib.suppress(termios.error):  # the terminal was closed
                if _in_foreground(file):
                    termios.tcsetattr(file, termios.TCSANOW, before)

        stack.callback(restore)

        def listen(press: Callable[[str], None], ended: threading.Event) -> None:
            parser = KeyParser()
            with contextlib.suppress(OSError, termios.error):  # the terminal was closed
                while not ended.is_set():
                    if not _in_foreground(file):
                        # To touch the terminal would stop the process, with the music.
                        ended.wait(_POLL_S)
                        continue
                    if termios.tcgetattr(file)[3] & termios.ICANON:
                        # At the start, and when the process comes back from the background.
                        tty.setcbreak(file, termios.TCSANOW)
                    if select.select([file], [], [], _POLL_S)[0] and _in_foreground(file):
                        read = os.read(file, 64)
                        if not read:
                            return
                        for key in parser.feed(read.decode("utf-8", "ignore")):
                            press(key)

        return listen

    def _in_foreground(file: int) -> bool:
        try:
            return os.tcgetpgrp(file) == os.getpgrp()
        except OSError:  # not the controlling terminal: nobody stops the process
            return True
