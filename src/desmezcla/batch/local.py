"""Tasks on this machine: one after the other, or several processes side by side."""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from desmezcla.batch.inputs import Refusal, Task
from desmezcla.errors import DesmezclaError
from desmezcla.inference.files import Progress, SeparatedFile, plan_paths
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import OutputOptions, StemMix, output_options

_log = logging.getLogger(__name__)

Event = dict[str, Any]
"""What happens, as `--json` prints it: `event` is start, progress, file, error or done."""


@dataclass(frozen=True)
class Job:
    """What is done to every track.

    Attributes:
        model: Name of the release.
        out: Folder to write below.
        separator: Options of `Separator`.
        output: What is written.
    """

    model: str
    out: Path
    separator: dict[str, Any] = field(default_factory=dict)
    output: OutputOptions = field(default_factory=output_options)


class Interrupted(Exception):
    """The parent process wants its workers to stop."""


def run_tasks(
    job: Job,
    tasks: Iterable[Task | Refusal],
    report: Callable[[Event], None],
    *,
    jobs: int = 1,
) -> tuple[int, int]:
    """Separate tracks, and report everything that happens.

    Args:
        job: What is done to every track.
        tasks: The tracks; those that were refused are reported as errors.
        report: Called with every event.
        jobs: Processes; each holds the model, and gets its share of the processor's cores.

    Returns:
        How many tracks were done (or skipped), and how many failed.

    Errors:
        DesmezclaError: if the release cannot be loaded or an option is not possible.
    """
    counts = {"file": 0, "error": 0}

    def count(event: Event) -> None:
        if event["event"] in counts:
            counts[event["event"]] += 1
        report(event)

    separator = Separator(job.model, **job.separator)
    stems = StemMix(separator.stems, job.output).names  # refuses what the release does not make
    accepted = list(_without_collisions(tasks, job, separator.name, stems, count))
    jobs = min(jobs, len(accepted))
    if jobs <= 1:
        for task in accepted:
            run_task(separator, task, job, count)
    else:
        del separator  # the workers hold their own
        _run_in_processes(job, accepted, count, jobs)
    return counts["file"], counts["error"]


def run_task(
    separator: Separator, task: Task, job: Job, report: Callable[[Event], None]
) -> SeparatedFile | None:
    """Separate one track and report its events; what goes wrong with it is an event, too."""
    name = os.fspath(task.path)
    report({"event": "start", "input": name})

    def progress(now: Progress) -> None:
        report({"event": "progress", "input": name, "fraction": now.fraction, "eta_s": now.eta_s})

    try:
        result = separator.separate_file(
            task.path,
            job.out,
            track=task.track,
            progress=progress,
            **job.output.model_dump(),
        )
    except Interrupted:
        raise
    except DesmezclaError as error:
        report({"event": "error", "input": name, "message": str(error)})
        return None
    except Exception as error:
        _log.debug("unexpected error", exc_info=True)
        message = f"{type(error).__name__}: {error}; this is a fault of desmezcla, please report it"
        report({"event": "error", "input": name, "message": message})
        return None
    outputs = {stem: os.fspath(path) for stem, path in result.paths.items()}
    report({"event": "file", "input": name, "outputs": outputs, "skipped": result.skipped})
    return result


def _without_collisions(
    tasks: Iterable[Task | Refusal],
    job: Job,
    model: str,
    stems: tuple[str, ...],
    report: Callable[[Event], None],
) -> Iterator[Task]:
    """Pass on the tasks that can be done; of two with the same outputs, the first."""
    taken: dict[str, Path] = {}
    for task in tasks:
        if isinstance(task, Refusal):
            report({"event": "error", "input": os.fspath(task.path), "message": task.reason})
            continue
        try:
            paths = plan_paths(job.out, job.output, model, task.track, task.path, stems)
        except DesmezclaError as error:
            report({"event": "error", "input": os.fspath(task.path), "message": str(error)})
            continue
        # Some file systems do not tell "Song" from "song".
        keys = {os.fspath(path).casefold() for path in paths.values()}
        other = next((taken[key] for key in keys if key in taken), None)
        if other is not None:
            message = (
                f"its stems would replace those of {str(other)!r}; separate it into another "
                "folder with --out, or tell the files apart with --filename and {trackext}"
            )
            report({"event": "error", "input": os.fspath(task.path), "message": message})
            continue
        taken.update(dict.fromkeys(keys, task.path))
        yield task


# What a worker process works with; set once, when it starts.
_worker: dict[str, Any] = {}


class _ToParent(logging.Handler):
    """Sends log messages to the parent process, which shows them."""

    def emit(self, record: logging.LogRecord) -> None:
        _worker["events"].put(
            {"event": "log", "level": record.levelno, "message": record.getMessage()}
        )


def _start_worker(job: Job, threads: int, level: int, events: Any, stop: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    _worker.update(events=events, stop=stop, job=job)
    log = logging.getLogger("desmezcla")
    log.addHandler(_ToParent())
    log.setLevel(level)
    log.propagate = False
    _worker["separator"] = Separator(job.model, **job.separator)


def _work(task: Task) -> None:
    def report(event: Event) -> None:
        if _worker["stop"].is_set():
            raise Interrupted
        _worker["events"].put(event)

    run_task(_worker["separator"], task, _worker["job"], report)


def _run_in_processes(
    job: Job, tasks: list[Task], report: Callable[[Event], None], jobs: int
) -> None:
    # A fork would copy the threads' locks of torch in any state; a new process has its own.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    level = logging.getLogger("desmezcla").getEffectiveLevel()
    with _deaf_to_interrupts():
        manager = context.Manager()
        events, stop = manager.Queue(), manager.Event()
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs, context, _start_worker, (job, threads, level, events, stop)
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
                    report({"event": "error", "input": os.fspath(task.path), "message": message})
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


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


def _pass_on(event: Event, report: Callable[[Event], None]) -> None:
    if event["event"] == "log":
        _log.log(event["level"], "%s", event["message"])
    else:
        report(event)
