"""The one loop that gives tasks to workers, wherever these are.

A worker holds a model and is given one task at a time, when it is free: tasks are read as they are
wanted, so their number costs no memory. A worker that dies costs the task that it had, which goes
to another one; a task that has taken several workers along is set aside.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from desmezcla.batch.events import Event, Report
from desmezcla.errors import DesmezclaError

_log = logging.getLogger(__name__)

# How many workers a task may take along before it is set aside.
ATTEMPTS = 3

# How often a worker is started that has never become ready.
_STARTS = 3

_POLL_S = 0.5

_Task = TypeVar("_Task")


@dataclass(frozen=True)
class Place:
    """Where a task is done.

    Attributes:
        slot: Number of the worker, from 0; one that replaces another has the same.
        name: Of machine and process, for the ledger.
    """

    slot: int
    name: str


Make = Callable[..., Callable[[Any, Report], object]]
"""Called once in each worker, with arguments and its `Place` at last; what it returns does one task
after the other, and reports its events."""


@dataclass(frozen=True)
class Ready:
    """A worker has been started, and waits for a task."""

    slot: int


@dataclass(frozen=True)
class Happened:
    """Something has happened to a worker's task."""

    slot: int
    event: Event


@dataclass(frozen=True)
class Free:
    """A worker is through with its task, whether that went well or not."""

    slot: int


@dataclass(frozen=True)
class Lost:
    """A worker is no more; `final` if it would be no use to start it again."""

    slot: int
    reason: str
    final: bool = False


Message = Ready | Happened | Free | Lost


class Workers(Protocol):
    """Workers somewhere; they run inside of `with`."""

    @property
    def slots(self) -> int:
        """How many there are at most; known inside of `with`."""

    def __enter__(self) -> object:
        """Begin; no worker is started yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers; what they are doing is given up, and tidied up."""

    def start(self, slot: int) -> None:
        """Start a worker; `Ready` or `Lost` will follow."""

    def give(self, slot: int, task: Any) -> None:
        """Give a task to a worker that is free; `Free` or `Lost` will follow."""

    def wait(self, timeout_s: float) -> list[Message]:
        """Return what has happened; nothing, if nothing does for so long."""


@dataclass(frozen=True)
class _Turn(Generic[_Task]):
    task: _Task
    attempt: int = 1


def drive(
    workers: Workers,
    tasks: Iterable[_Task | None],
    handle: Callable[[_Task, Event, int], None],
    *,
    name: Callable[[_Task], str],
    attempts: int = ATTEMPTS,
) -> int:
    """Have tasks done by workers.

    Args:
        workers: Who does them.
        tasks: Read as they are wanted; None means that the next one takes its time, so that the
            workers are looked after first.
        handle: Called with each event, its task, and for which time that is tried.
        name: What a task is called in events, as `input`.
        attempts: How many workers a task may take along before it is set aside, with an error.

    Returns:
        How many workers died.

    Errors:
        DesmezclaError: if no worker can be started.
    """
    with workers:
        loop = _Loop(workers, iter(tasks), handle, name, attempts)
        loop.run()
    return loop.lost


class _Loop(Generic[_Task]):
    """The state of `drive`; each slot is in one of four sets."""

    def __init__(
        self,
        workers: Workers,
        tasks: Iterator[_Task | None],
        handle: Callable[[_Task, Event, int], None],
        name: Callable[[_Task], str],
        attempts: int,
    ) -> None:
        self.workers = workers
        self.tasks = tasks
        self.handle = handle
        self.name = name
        self.attempts = attempts
        self.lost = 0
        self.unstarted = deque(range(workers.slots))
        self.starting: set[int] = set()
        self.idle: deque[int] = deque()
        self.running: dict[int, _Turn[_Task]] = {}
        self.waiting: deque[_Turn[_Task]] = deque()
        self.failed_starts = [0] * workers.slots
        self.more = True  # whether there may be more tasks
        self.pausing = False  # whether the next one takes its time

    def run(self) -> None:
        while True:
            self._fill()
            if not (self.more or self.waiting or self.running):
                return
            for message in self.workers.wait(0.0 if self.pausing else _POLL_S):
                self._take(message)

    def _fill(self) -> None:
        """Read no more tasks than there are workers for them, and give them away."""
        self.pausing = False
        places = len(self.idle) + len(self.starting) + len(self.unstarted)
        while self.more and not self.pausing and len(self.waiting) < places:
            self._read()
        while self.waiting and self.idle:
            slot, turn = self.idle.popleft(), self.waiting.popleft()
            self.running[slot] = turn
            self.workers.give(slot, turn.task)
        while self.unstarted and len(self.waiting) > len(self.starting):
            slot = self.unstarted.popleft()
            self.starting.add(slot)
            self.workers.start(slot)

    def _read(self) -> None:
        try:
            task = next(self.tasks)
        except StopIteration:
            self.more = False
            return
        if task is None:
            self.pausing = True
        else:
            self.waiting.append(_Turn(task))

    def _take(self, message: Message) -> None:
        slot = message.slot
        if isinstance(message, Happened):
            turn = self.running[slot]
            self.handle(turn.task, message.event, turn.attempt)
        elif isinstance(message, Ready):
            self.starting.remove(slot)
            self.failed_starts[slot] = 0
            self.idle.append(slot)
        elif isinstance(message, Free):
            del self.running[slot]
            self.idle.append(slot)
        else:
            self._lose(message)

    def _lose(self, lost: Lost) -> None:
        slot = lost.slot
        self.lost += 1
        if slot in self.starting:
            self.starting.remove(slot)
            self.failed_starts[slot] += 1
            if not lost.final and self.failed_starts[slot] < _STARTS:
                self.unstarted.append(slot)
            elif not (self.unstarted or self.starting or self.idle or self.running):
                raise DesmezclaError(f"no worker can be started: {lost.reason}")
            else:
                _log.warning("one worker less: it cannot be started: %s", lost.reason)
            return
        self.unstarted.append(slot)
        turn = self.running.pop(slot, None)
        if turn is None:
            self.idle.remove(slot)
        elif turn.attempt < self.attempts:
            _log.warning("%s: %s; it is tried again", self.name(turn.task), lost.reason)
            self.waiting.appendleft(_Turn(turn.task, turn.attempt + 1))
        else:
            message = f"{turn.attempt} worker(s) died of it, the last one so: {lost.reason}"
            event = {"event": "error", "input": self.name(turn.task), "message": message}
            self.handle(turn.task, event, turn.attempt)
