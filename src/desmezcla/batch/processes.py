"""Tasks in several processes side by side: what happens in them is reported in the one above."""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.managers import SyncManager
from typing import Any, TypeVar

from desmezcla.errors import DesmezclaError
from desmezcla.inference.device import set_threads

_log = logging.getLogger(__name__)

Event = dict[str, Any]
"""What happens, as `--json` prints it: `event` is start, progress, file, error or done."""

Report = Callable[[Event], None]

# How long a process whose parent was killed may take to leave its task, in seconds.
_GRACE_S = 30.0

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Interrupted(Exception):
    """The parent process wants its workers to stop, or is no more."""


def attempt(work: Callable[[], _Result], name: str, report: Report) -> _Result | None:
    """Do a task, reporting its start; what goes wrong with it is an event, too.

    Args:
        work: Does the task; it does not return None.
        name: Of the task, for the events.
        report: Called with the events.

    Returns:
        What `work` returned; None if it failed.
    """
    report({"event": "start", "input": name})
    try:
        return work()
    except Interrupted:
        raise
    except DesmezclaError as error:
        message = str(error)
    except Exception as error:
        _log.debug("unexpected error", exc_info=True)
        message = f"{type(error).__name__}: {error}; this is a fault of desmezcla, please report it"
    report({"event": "error", "input": name, "message": message})
    return None


def run_in_processes(
    make: Callable[..., Callable[[Any, Report], object]],
    arguments: tuple[Any, ...],
    tasks: Sequence[_Task],
    report: Report,
    *,
    jobs: int,
    name: Callable[[_Task], str],
) -> None:
    """Do tasks in processes, and pass on the events that they report.

    A process that dies takes its tasks along: each is reported as an error. If this process is
    killed, the others end by themselves.

    Args:
        make: Called once in each process; what it returns does one task after the other.
        arguments: What `make` is called with.
        tasks: What is to be done; they and the arguments are pickled.
        report: Called with every event, in this process.
        jobs: Number of processes; each gets its share of the processor's cores, whether there are
            as many tasks or not: sums can depend on the number of threads.
        name: What a task is called in events, as `input`.
    """
    # A fork would copy the threads' locks of torch in any state; a new process has its own.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    level = logging.getLogger("desmezcla").getEffectiveLevel()
    with _deaf_to_interrupts():
        manager = SyncManager(ctx=context)
        manager.start(_watch_parent)
        events, stop = manager.Queue(), manager.Event()
        pool = concurrent.futures.ProcessPoolExecutor(
            min(jobs, len(tasks)),
            context,
            _start_worker,
            (make, arguments, threads, level, events, stop),
        )
        futures = {pool.submit(_work, task): task for task in tasks}
    with manager:
        try:
            while not all(future.done() for future in futures) or not events.empty():
                try:
                    _pass_on(events.get(timeout=0.1), report)
                except queue.Empty:
                    continue
            for future, task in futures.items():
                error = future.exception()
                if error is not None:
                    message = f"its worker process died ({error}); try fewer --jobs"
                    report({"event": "error", "input": name(task), "message": message})
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


# What a worker process works with; set once, when it starts.
_worker: dict[str, Any] = {}
_busy = threading.Lock()
_orphaned = threading.Event()


class _ToParent(logging.Handler):
    """Sends log messages to the parent process, which shows them."""

    def emit(self, record: logging.LogRecord) -> None:
        _worker["events"].put(
            {"event": "log", "level": record.levelno, "message": record.getMessage()}
        )


def _start_worker(
    make: Callable[..., Callable[[Any, Report], object]],
    arguments: tuple[Any, ...],
    threads: int,
    level: int,
    events: Any,
    stop: Any,
) -> None:
    _watch_parent()
    set_threads(threads)
    _worker.update(events=events, stop=stop)
    log = logging.getLogger("desmezcla")
    log.addHandler(_ToParent())
    log.setLevel(level)
    log.propagate = False
    _worker["do"] = make(*arguments)


def _work(task: Any) -> None:
    def report(event: Event) -> None:
        if _orphaned.is_set() or _worker["stop"].is_set():
            raise Interrupted
        _worker["events"].put(event)

    with _busy:
        _worker["do"](task, report)


def _watch_parent() -> None:
    """End this process when its parent is killed: pools and managers wait for one for ever."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # At its next report the task ends and removes its temporary files.
    _orphaned.set()
    _busy.acquire(timeout=_GRACE_S)
    os._exit(1)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, which a terminal sends to all of them.

    The parent hears it and says so by `stop`; workers would die noisily. Processes inherit what
    is ignored when they are started, so nothing is missed while they start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change that, and hears it
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _pass_on(event: Event, report: Report) -> None:
    if event["event"] == "log":
        _log.log(event["level"], "%s", event["message"])
    else:
        report(event)
