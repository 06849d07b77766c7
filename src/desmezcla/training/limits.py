"""When training ends before its last epoch: steps, time, or somebody says so."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

Reason = Literal["steps", "time limit", "interrupted", "terminated"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Limits:
    """Limits of one run, and the signals that came while it ran.

    Attributes:
        steps: Steps in all, those before a resume included; None for no limit.
        time_s: Seconds of this run; None for no limit.
    """

    steps: int | None = None
    time_s: float | None = None
    _began: float = field(default_factory=time.monotonic)
    _signal: int | None = None

    def reason(self, step: int) -> Reason | None:
        """Return why to stop after a step, None to go on."""
        if self._signal is not None:
            return "interrupted" if self._signal == signal.SIGINT else "terminated"
        if self.steps is not None and step >= self.steps:
            return "steps"
        if self.time_s is not None and time.monotonic() - self._began >= self.time_s:
            return "time limit"
        return None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let the first interrupt or request to end wait for the end of the step.

        The second one ends the process at once.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        try:
            yield
        finally:
            if _is_main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def listen(self) -> None:
        """Handle signals, in place of whoever does; only the main thread can be told of them."""
        if _is_main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise SystemExit(128 + number)
        self._signal = number


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
