"""Songs side by side, each in a process with one thread."""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from desmezcla.errors import DatasetError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Recorder(Protocol):
    """What a worker holds, and does its tasks with."""

    def record(self, task: Any, /) -> None:
        """Do a task."""


# What a worker process works with, set when it starts; taken away when it is to leave.
_worker: dict[str, Recorder] = {}


def in_processes(
    make: Callable[..., Recorder], arguments: Sequence[Any], tasks: Sequence[Any], *, jobs: int
) -> Iterator[int]:
    """Do tasks in processes, and yield the number of each one that is done.

    Args:
        make: Called once in each process, with the arguments.
        arguments: What it needs.
        tasks: What its `record` is called with.
        jobs: Number of processes.

    Errors:
        Whatever a task raises: the rest is then given up, as it is when the caller stops.
        DatasetError: if a process dies.
    """
    before = set(multiprocessing.active_children())
    with _quiet_start():
        # A fork would copy the locks of other threads in any state.
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), _start, (make, tuple(arguments), _level())
        )
        futures = {pool.submit(_work, task): number for number, task in enumerate(tasks)}
    try:
        for future in concurrent.futures.as_completed(futures):
            future.result()
            yield futures[future]
    except concurrent.futures.BrokenExecutor as error:
        raise DatasetError(
            f"a process that renders songs died ({error}); try fewer jobs, which takes less memory"
        ) from error
    except BaseException:
        # A song takes too long to wait for: what it has written is hidden, and goes with it.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(make: Callable[..., Recorder], arguments: tuple[Any, ...], level: int) -> None:
    # Terminated, a process leaves like after an error, and takes its temporary files along.
    signal.signal(signal.SIGTERM, _leave)
    logging.getLogger("desmezcla").setLevel(level)
    _worker["recorder"] = make(*arguments)


def _leave(*_: object) -> None:
    # The pool survives this, and may have one more task waiting.
    _worker.clear()
    raise SystemExit(143)


def _work(task: Any) -> None:
    if _worker:
        _worker["recorder"].record(task)


def _level() -> int:
    return logging.getLogger("desmezcla").getEffectiveLevel()


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes with one thread each that do not hear Ctrl-C, which this one does.

    A process inherits its environment and what it ignores when it is started. Sums of several
    threads depend on their number, and the bytes of a song must not.
    """
    environment = {name: os.environ.get(name) for name in _THREADS}
    main = threading.current_thread() is threading.main_thread()
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if main:
            signal.signal(signal.SIGINT, heard)
