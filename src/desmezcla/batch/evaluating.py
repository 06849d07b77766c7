"""An evaluation: every track of a dataset separated and scored, side by side, resumable."""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desmezcla.audio.files import write_file
from desmezcla.batch.driver import Place, drive
from desmezcla.batch.engines import Engine
from desmezcla.batch.events import Event, Report, attempt
from desmezcla.datasets.track import Dataset, Track
from desmezcla.errors import DesmezclaError, EvaluationError
from desmezcla.evaluation.running.excerpts import excerpt_files
from desmezcla.evaluation.running.result_tables import require_tables, table_contents
from desmezcla.evaluation.running.run_folder import (
    excerpts_folder,
    prepare_folder,
    remove_unfinished,
    scores_file,
    write_text,
)
from desmezcla.evaluation.running.scoring import TrackOptions, evaluate_track, scored_stems
from desmezcla.evaluation.running.systems import System
from desmezcla.evaluation.scores import Results, TrackScores
from desmezcla.evaluation.track_json import track_json
from desmezcla.version import VERSION

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationJob:
    """What is done to every track.

    Attributes:
        open_system: Makes what is evaluated; called in every process, so it must be picklable.
        out: Folder of the results.
        options: What is scored, and how.
        excerpts: Of how many tracks, the first ones, excerpts are written.
        save: Folder to keep the estimates in, as `TRACK/STEM.wav`; None for none.
        split: Name of the part of the dataset, for `evaluation.json`.
        overwrite: Remove the results of an earlier evaluation.
    """

    open_system: Callable[[], System]
    out: Path
    options: TrackOptions
    excerpts: int = 3
    save: Path | None = None
    split: str = "test"
    overwrite: bool = False


@dataclass(frozen=True)
class TrackTask:
    """One track to evaluate.

    Attributes:
        track: The track.
        stems: The stems that will be scored.
        excerpt: Whether an excerpt is written.
    """

    track: Track
    stems: tuple[str, ...]
    excerpt: bool


@dataclass(frozen=True)
class Evaluated:
    """How an evaluation ended.

    Attributes:
        done: Tracks that have scores, those of an earlier run included.
        failed: Tracks that have none.
        results: The scores of all tracks in the folder; None if there are none.
    """

    done: int
    failed: int
    results: Results | None


def run_evaluation(
    job: EvaluationJob, dataset: Dataset, report: Report, *, engine: Engine | None = None
) -> Evaluated:
    """Evaluate a system on the tracks of a dataset, and report everything that happens.

    Tracks that have scores already are skipped. A track that fails is reported, and the others are
    done. The tables are written from what is there in the end.

    Args:
        job: What is done to every track.
        dataset: The tracks; its problems count as failures.
        report: Called with every event; progress of the whole evaluation has the folder as input.
        engine: Which workers do it, each with the release; None for this process itself. On a
            cluster, dataset and results must have the same paths on all nodes.

    Errors:
        DesmezclaError: if the release cannot be loaded, an option is not possible, no track can be
            scored, or the folder holds other results.
    """
    require_tables()
    system = job.open_system()
    total = _Total(job.out, system.name, report)
    for problem in dataset.problems:
        total.report({"event": "error", "input": dataset.name, "message": problem})
    tasks = _tasks(job, system, dataset, total.report)
    prepare_folder(job.out, _about(job, system, dataset), overwrite=job.overwrite)
    if job.save is not None:
        remove_unfinished(job.save)
    waiting = [task for task in tasks if not _is_done(job, system, task, total.report)]
    total.start(waiting)
    if engine is None:
        for task in waiting:
            _evaluate(system, task, job, total.report)
    elif waiting:
        del system  # the workers hold their own
        # In processes even if one is enough: with as many threads, the scores are the same.
        drive(
            engine.workers(_Evaluating, (job,)),
            waiting,
            lambda _task, event, _attempt: total.report(event),
            name=lambda task: task.track.name,
        )
    return Evaluated(total.done, total.failed, _write_tables(job.out) if total.done else None)


def _about(job: EvaluationJob, system: System, dataset: Dataset) -> dict[str, Any]:
    config = job.options.config.as_dict()
    if math.isinf(config["window_s"]):
        config["window_s"] = 1e308  # as in the scores of tracks: JSON has no infinity
    return {
        "system": system.about,
        "dataset": {"name": dataset.name, "split": job.split},
        "stems": job.options.stems,
        "config": config,
        "version": VERSION,
    }


def _tasks(job: EvaluationJob, system: System, dataset: Dataset, report: Report) -> list[TrackTask]:
    """Say what is to be scored; what cannot be is reported, unless it is all of it."""
    tasks: list[TrackTask] = []
    errors: dict[str, str] = {}
    for number, track in enumerate(dataset.tracks):
        try:
            stems, _ = scored_stems(system, track, job.options.stems)
            scores_file(job.out, track)  # refuses names that cannot be those of files
            tasks.append(TrackTask(track, stems, number < job.excerpts))
        except DesmezclaError as error:
            errors[track.name] = str(error)
    if not tasks:
        name, message = next(iter(errors.items()))
        raise EvaluationError(f"no track of {dataset.name!r} can be scored: {name!r}: {message}")
    for name, message in errors.items():
        report({"event": "error", "input": name, "message": message})
    return tasks


def _is_done(job: EvaluationJob, system: System, task: TrackTask, report: Report) -> bool:
    """Return whether there is already all that is to be written of a track, and report it then."""
    path = scores_file(job.out, task.track)
    wanted = [path, *_saved(job, task).values()]
    if task.excerpt:
        wanted += excerpt_files(excerpts_folder(job.out, task.track), task.stems).values()
    if not all(file.exists() for file in wanted):
        return False
    # Estimates of other programs may have been made anew.
    made = path.stat().st_mtime
    if any(file.stat().st_mtime > made for file in system.files(task.track)):
        return False
    name = task.track.name
    report({"event": "file", "input": name, "outputs": {"scores": str(path)}, "skipped": True})
    return True


def _saved(job: EvaluationJob, task: TrackTask) -> dict[str, Path]:
    """Return the files that the estimates are kept in."""
    if job.save is None:
        return {}
    return {stem: job.save / task.track.name / f"{stem}.wav" for stem in task.stems}


class _Evaluating:
    """What a worker does: evaluate, with a system of its own."""

    def __init__(self, job: EvaluationJob, _place: Place) -> None:
        self.job = job
        self.system = job.open_system()

    def __call__(self, task: TrackTask, report: Report) -> None:
        _evaluate(self.system, task, self.job, report)


def _evaluate(system: System, task: TrackTask, job: EvaluationJob, report: Report) -> None:
    """Evaluate one track and report its events; what goes wrong with it is an event, too."""
    track = task.track
    path = scores_file(job.out, track)

    def progress(stage: str, fraction: float) -> None:
        event = {"event": "progress", "input": track.name, "stage": stage, "fraction": fraction}
        report(event | {"eta_s": None})

    def work() -> TrackScores:
        scores = evaluate_track(
            system,
            track,
            job.options,
            save=_saved(job, task) or None,
            excerpts=excerpts_folder(job.out, track) if task.excerpt else None,
            progress=progress,
        )
        write_text(path, track_json(scores))
        return scores

    scores = attempt(work, track.name, report)
    if scores is None:
        return
    for note in scores.notes:
        _log.info("%s: %s", track.name, note)
    outputs = {"scores": os.fspath(path)}
    report({"event": "file", "input": track.name, "outputs": outputs, "skipped": False})


def _write_tables(out: Path) -> Results:
    results, contents = table_contents(out)
    for name, content in contents.items():
        write_file(out / name, content)
    return results


class _Total:
    """Counts what is done, and tells how long the whole evaluation will still take.

    Args:
        out: The folder of the results, which stands as `input` in the events.
        system: Name of the system, which is added to every event.
        report: Called with every event.
    """

    def __init__(self, out: Path, system: str, report: Report) -> None:
        self.done = self.failed = 0
        self._name = os.fspath(out)
        self._system = system
        self._report = report
        self._sizes: dict[str, float] = {}
        self._fractions: dict[str, float] = {}
        self._start_s = time.monotonic()

    def start(self, tasks: Sequence[TrackTask]) -> None:
        """Begin with the tracks that are to be evaluated."""
        self._sizes = {task.track.name: _size(task.track) for task in tasks}
        self._start_s = time.monotonic()
        self._pass_on({"event": "start", "input": self._name, "tracks": len(tasks)})

    def report(self, event: Event) -> None:
        """Pass on an event of a track, and how far all of them have come."""
        self._pass_on(event)
        kind, track = event["event"], event["input"]
        self.done += kind == "file"
        self.failed += kind == "error"
        if track in self._sizes and kind in ("progress", "file", "error"):
            self._fractions[track] = event.get("fraction", 1.0)
            self._pass_on({"event": "progress", "input": self._name, **self._progress()})

    def _progress(self) -> dict[str, Any]:
        parts = (self._sizes[track] * part for track, part in self._fractions.items())
        fraction = min(1.0, sum(parts) / sum(self._sizes.values()))
        spent_s = time.monotonic() - self._start_s
        eta_s = spent_s / fraction - spent_s if fraction else None
        return {"fraction": fraction, "eta_s": eta_s}

    def _pass_on(self, event: Event) -> None:
        self._report(event | {"system": self._system})


def _size(track: Track) -> float:
    """Return about how much there is to do for a track: its files are as large as it is long."""
    return sum((p.stat().st_size for p in track.files() if p.exists()), start=1.0)
