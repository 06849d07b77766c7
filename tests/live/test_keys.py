import io
import math
import os
import pty
import queue
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.live.controls import keys
from desmezcla.live.controls.keys import (
    DOWN,
    LOWEST_DB,
    UP,
    KeyControl,
    KeyParser,
    listening_to_keys,
    stepped,
)
from desmezcla.live.mixer import Mixer


def db(gain: float) -> float:
    return 20 * math.log10(gain)


@given(st.floats(0.02, 3.5))
def test_a_step_leads_to_the_next_whole_decibel(gain: float) -> None:
    up, down = db(stepped(gain, 1)), db(stepped(gain, -1))
    for step in (up, down):
        assert step == pytest.approx(round(step), abs=1e-6)
    assert 0 < up - db(gain) <= 1 + 1e-6
    assert 0 < db(gain) - down <= 1 + 1e-6


def test_steps_from_silence_to_the_top_and_back() -> None:
    gain, gains = 0.0, []
    for _ in range(60):
        gain = stepped(gain, 1)
        gains.append(gain)
    assert db(gains[0]) == pytest.approx(LOWEST_DB)
    assert gains[-1] == 4.0
    assert 1.0 in gains
    assert db(stepped(4.0, -1)) == pytest.approx(12)
    for _ in range(60):
        gain = stepped(gain, -1)
    assert gain == 0.0


class Quit(Exception):
    pass


@pytest.fixture
def control() -> KeyControl:
    def quit() -> None:
        raise Quit

    return KeyControl(Mixer(("vocals", "drums", "bass"), 44100, {"bass": 0.5}), quit)


def test_keys_change_the_chosen_stem(control: KeyControl) -> None:
    mixer = control.mixer
    assert control.chosen == "vocals"
    for key in ("2", UP, "+", "=", DOWN):
        control.press(key)
    assert control.chosen == "drums"
    assert db(mixer.gains()["drums"]) == pytest.approx(2)
    for key in (DOWN, "-", "_"):
        control.press(key)
    assert mixer.gains()["drums"] == pytest.approx(10 ** (-1 / 20))
    control.press("m")
    control.press("s")
    state = [(sorted(mixer.muted), mixer.soloed)]
    for key in ("3", "s", "s"):
        control.press(key)
        state.append((sorted(mixer.muted), mixer.soloed))
    assert state == [
        (["drums"], "drums"),
        (["drums"], "drums"),
        (["drums"], "bass"),
        (["drums"], None),
    ]
    control.press("0")
    assert mixer.gains() == {"vocals": 1.0, "drums": 1.0, "bass": 0.5}
    assert mixer.muted == frozenset()


@pytest.mark.parametrize("key", ["4", "9", "x", "M", "é", "²", " ", "\n", "\x7f"])
def test_other_keys_do_nothing(control: KeyControl, key: str) -> None:
    control.press(key)
    assert control.chosen == "vocals"
    assert control.mixer.gains() == {"vocals": 1.0, "drums": 1.0, "bass": 0.5}


def test_q_quits(control: KeyControl) -> None:
    with pytest.raises(Quit):
        control.press("q")


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("12m", ["1", "2", "m"]),
        ("\x1b[A\x1b[B", [UP, DOWN]),
        ("\x1bOA\x1bOB", [UP, DOWN]),
        ("\x1b[C\x1b[3~\x1b[1;5Aq", ["q"]),  # right, delete, control-up
        ("\x1bmq", ["q"]),  # with alt
        ("\x1b[ém", ["\x1b", "[", "é", "m"]),  # nothing that a terminal sends
        ("é0", ["é", "0"]),
    ],
)
def test_what_terminals_send_is_cut_into_keys_wherever_it_is_torn(
    sent: str, wanted: list[str]
) -> None:
    assert list(KeyParser().feed(sent)) == wanted
    parser = KeyParser()
    assert [key for character in sent for key in parser.feed(character)] == wanted


@given(st.text(alphabet="\x1b[O;1A~mé\n"))
def test_no_garbage_makes_the_keys_deaf(garbage: str) -> None:
    parser = KeyParser()
    list(parser.feed(garbage))
    assert list(parser.feed("mmmmq"))[-2:] == ["m", "q"]


@dataclass
class Terminal:
    """A terminal at standard input; `keyboard` is its other end."""

    keyboard: int
    screen: int

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.screen)

    @property
    def by_line(self) -> bool:
        return bool(self.mode()[3] & termios.ICANON)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    keyboard, screen = pty.openpty()
    with os.fdopen(screen, closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield Terminal(keyboard, screen)
    for file in (keyboard, screen):
        os.close(file)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 30 s")


def test_keys_are_heard_without_return(terminal: Terminal) -> None:
    pressed: queue.Queue[str] = queue.Queue()
    with listening_to_keys(pressed.put) as there:
        assert there
        wait_until(lambda: not terminal.by_line)
        assert terminal.mode()[3] & termios.ISIG, "Ctrl-C must still end the program"
        os.write(terminal.keyboard, b"m\x1b[A")
        assert [pressed.get(timeout=30) for _ in range(2)] == ["m", UP]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, None])
def test_the_terminal_is_put_back_as_it_was(
    terminal: Terminal, error: type[BaseException] | None
) -> None:
    before = terminal.mode()

    def listen() -> None:
        with listening_to_keys(lambda key: None):
            wait_until(lambda: not terminal.by_line)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            listen()
    else:
        listen()
    assert terminal.mode() == before


def test_in_the_background_the_terminal_is_left_alone_until_it_comes_back(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To touch it there would stop the whole process."""
    before = terminal.mode()
    asked: queue.Queue[None] = queue.Queue()
    foreground = [False]

    def tcgetpgrp(file: int) -> int:
        asked.put(None)
        return os.getpgrp() + (0 if foreground[0] else 1)

    monkeypatch.setattr(os, "tcgetpgrp", tcgetpgrp)
    pressed: queue.Queue[str] = queue.Queue()
    with listening_to_keys(pressed.put):
        for _ in range(3):
            asked.get(timeout=30)
        assert terminal.mode() == before
        foreground[0] = True
        wait_until(lambda: not terminal.by_line)
        os.write(terminal.keyboard, b"q")
        assert pressed.get(timeout=30) == "q"
    assert terminal.mode() == before


def test_a_terminal_that_is_closed_is_no_error(terminal: Terminal) -> None:
    with listening_to_keys(lambda key: None):
        wait_until(lambda: not terminal.by_line)
        os.close(terminal.keyboard)
        time.sleep(2 * keys._POLL_S)
        terminal.keyboard = os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize("stdin", [None, io.StringIO("mm")])
def test_without_a_terminal_there_are_no_keys_and_no_error(
    monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with listening_to_keys(lambda key: pytest.fail("there is nobody to press keys")) as there:
        assert not there
