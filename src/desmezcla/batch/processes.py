"""Workers that are processes of this machine."""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from desmezcla.batch.driver import Free, Happened, Lost, Make, Message, Place, Ready
from desmezcla.batch.events import Event, Interrupted, reason_of
from desmezcla.errors import DesmezclaError

_log = logging.getLogger(__name__)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# How long a process that is to end may take to leave its task, in seconds.
_GRACE_S = 30.0


class LocalWorkers:
    """Processes, each with its share of the processor's cores.

    What a process reports comes through a pipe of its own, so that one that dies disturbs no other.
    Closing the pipe is what tells it to end; if this process is killed, the system closes it.

    Args:
        make: Called once in each process.
        arguments: What it is called with; they and the tasks are pickled.
        jobs: Number of processes; the share of the cores depends on it, whether so many are needed
            or not: sums can depend on the number of threads.
    """

    def __init__(self, make: Make, arguments: tuple[Any, ...], *, jobs: int) -> None:
        self.slots = jobs
        self._work = (make, arguments)
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        # A fork would copy the threads' locks of torch in any state; a new process has its own.
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._pipes: dict[Connection, int] = {}

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes: those without a task at once, others at their next report."""
        for pipe in self._pipes:
            pipe.close()
        deadline_s = time.monotonic() + _GRACE_S
        for process in self._processes.values():
            process.join(max(0.0, deadline_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._pipes.clear()
        self._processes.clear()

    def start(self, slot: int) -> None:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        level = logging.getLogger("desmezcla").getEffectiveLevel()
        process = self._context.Process(
            target=_serve, args=(theirs, slot, *self._work, level), daemon=True
        )
        with _deaf_to_interrupts(), _threads_of_processes(self._threads):
            process.start()
        theirs.close()  # now the pipe ends with the process
        self._processes[slot] = process
        self._pipes[ours] = slot

    def give(self, slot: int, task: Any) -> None:
        """Send a task; if the process has just died, its pipe will tell."""
        (pipe,) = (pipe for pipe, of in self._pipes.items() if of == slot)
        with contextlib.suppress(OSError):
            pipe.send(task)

    def wait(self, timeout_s: float) -> list[Message]:
        """Return what has come through the pipes."""
        messages: list[Message] = []
        for pipe in connection.wait(list(self._pipes), timeout_s):
            assert isinstance(pipe, Connection)
            slot = self._pipes[pipe]
            try:
                kind, content = pipe.recv()
            except (EOFError, OSError):  # also in the middle of a message
                messages.append(self._end(pipe, slot))
                continue
            if kind == "log":
                _log.log(content[0], "%s", content[1])
            elif kind == "event":
                messages.append(Happened(slot, content))
            elif kind == "broken":
                self._end(pipe, slot)
                messages.append(Lost(slot, content, final=True))
            else:
                messages.append(Ready(slot) if kind == "ready" else Free(slot))
        return messages

    def _end(self, pipe: Connection, slot: int) -> Lost:
        """Take leave of a process whose pipe has ended, and say why it has."""
        del self._pipes[pipe]
        pipe.close()
        process = self._processes.pop(slot)
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode or 0
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):  # a number without a name
                how = signal.Signals(-code).name
        remedy = "; if the system ran out of memory, try fewer --jobs" if code == -9 else ""
        return Lost(slot, f"its worker process died ({how}){remedy}")


class _Link:
    """The end of the pipe in a worker process; several threads may log."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, kind: str, content: object = None) -> None:
        try:
            with self._lock:
                self._pipe.send((kind, content))
        except OSError as error:
            raise Interrupted from error

    def report(self, event: Event) -> None:
        self.send("event", event)


class ToDriver(logging.Handler):
    """Sends log messages to the driver, which shows them.

    Args:
        send: Called with "log", and level and text.
    """

    def __init__(self, send: Any) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a message, if somebody is there to read it."""
        with contextlib.suppress(Interrupted):
            self._send("log", (record.levelno, record.getMessage()))


def send_log(send: Any, level: int) -> None:
    """Let all that is logged in this process go to the driver."""
    log = logging.getLogger("desmezcla")
    log.addHandler(ToDriver(send))
    log.setLevel(level)
    log.propagate = False


def _serve(
    pipe: Connection,
    slot: int,
    make: Make,
    arguments: tuple[Any, ...],
    level: int,
) -> None:
    """Do one task after the other, until the pipe ends."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    link = _Link(pipe)
    send_log(link.send, level)
    with contextlib.suppress(Interrupted):
        try:
            work = make(*arguments, Place(slot, f"{socket.gethostname()}/{os.getpid()}"))
        except DesmezclaError as error:
            link.send("broken", reason_of(error))
            return
        link.send("ready")
        while True:
            try:
                task = pipe.recv()
            except (EOFError, OSError):
                return
            work(task, link.report)
            link.send("free")


def _leave_with_parent() -> None:
    """End this process if its parent was killed and the task does not end by itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(_GRACE_S)
    os._exit(1)


def _at_most(wanted: str | None, threads: int) -> int:
    is_number = wanted is not None and wanted.isdigit() and int(wanted) > 0
    return min(int(wanted), threads) if wanted is not None and is_number else threads


@contextlib.contextmanager
def _threads_of_processes(threads: int) -> Iterator[None]:
    """Start a process in which torch, numpy and others use so many threads, or fewer.

    They read that from the environment when they are loaded; what is fewer already stays, and the
    first of the names holds for the others.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    threads = _at_most(before[_THREADS[0]], threads)
    for name, value in before.items():
        os.environ[name] = str(_at_most(value, threads))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start a process that does not hear Ctrl-C, which a terminal sends to all of them.

    The parent hears it and closes the pipes; workers would die noisily. Processes inherit what is
    ignored when they are started, so nothing is missed while they start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change that, and hears it
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
