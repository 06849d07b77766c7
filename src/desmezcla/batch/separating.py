"""Local files to stems: one after the other, or several processes side by side."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from desmezcla.batch.driver import Place, drive
from desmezcla.batch.events import Event, Report, attempt
from desmezcla.batch.inputs import Refusal, Task
from desmezcla.batch.processes import LocalWorkers
from desmezcla.errors import DesmezclaError
from desmezcla.inference.files import Progress, SeparatedFile, plan_paths
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import OutputOptions, StemMix, output_options


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


def run_tasks(
    job: Job,
    tasks: Iterable[Task | Refusal],
    report: Report,
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
        drive(
            LocalWorkers(_Separating, (job,), jobs=jobs),
            accepted,
            lambda _task, event, _attempt: count(event),
            name=lambda task: task.path,
        )
    return counts["file"], counts["error"]


def run_task(separator: Separator, task: Task, job: Job, report: Report) -> SeparatedFile | None:
    """Separate one track and report its events; what goes wrong with it is an event, too."""
    name = task.path

    def progress(now: Progress) -> None:
        report({"event": "progress", "input": name, "fraction": now.fraction, "eta_s": now.eta_s})

    def work() -> SeparatedFile:
        return separator.separate_file(
            task.path,
            job.out,
            track=task.track,
            progress=progress,
            **job.output.model_dump(),
        )

    result = attempt(work, name, report)
    if result is None:
        return None
    outputs = {stem: os.fspath(path) for stem, path in result.paths.items()}
    report({"event": "file", "input": name, "outputs": outputs, "skipped": result.skipped})
    return result


def _without_collisions(
    tasks: Iterable[Task | Refusal],
    job: Job,
    model: str,
    stems: tuple[str, ...],
    report: Report,
) -> Iterator[Task]:
    """Pass on the tasks that can be done; of two with the same outputs, the first."""
    taken: dict[str, str] = {}
    for task in tasks:
        if isinstance(task, Refusal):
            report({"event": "error", "input": task.path, "message": task.reason})
            continue
        try:
            source = Path(task.path)
            paths = plan_paths(job.out, job.output, model, task.track, source, stems)
        except DesmezclaError as error:
            report({"event": "error", "input": task.path, "message": str(error)})
            continue
        # Some file systems do not tell "Song" from "song".
        keys = {os.fspath(path).casefold() for path in paths.values()}
        other = next((taken[key] for key in keys if key in taken), None)
        if other is not None:
            report({"event": "error", "input": task.path, "message": collision(other)})
            continue
        taken.update(dict.fromkeys(keys, task.path))
        yield task


def collision(other: str) -> str:
    """Say why an input is refused whose stems would have the names of another one's."""
    return (
        f"its stems would replace those of {other!r}; separate it into another folder with --out, "
        "or tell the files apart with --filename and {trackext}"
    )


class _Separating:
    """What a worker process does: separate, with a model of its own."""

    def __init__(self, job: Job, _place: Place) -> None:
        self.job = job
        self.separator = Separator(job.model, **job.separator)

    def __call__(self, task: Task, report: Report) -> None:
        run_task(self.separator, task, self.job, report)
