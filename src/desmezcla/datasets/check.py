"""Checking a dataset: every file is decoded to its end, and what is wrong is told by name."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.findings import KINDS, Finding, TrackReport, compared, judged
from desmezcla.datasets.meter import Meter, collected_warnings
from desmezcla.datasets.reading import MIXTURE, component_stems
from desmezcla.datasets.track import Dataset, Track
from desmezcla.errors import DatasetError, ParameterError

__all__ = ["KINDS", "Finding", "TrackReport", "check_dataset", "usable"]

Audio = NDArray[np.float32]
# What a residual of nothing at all is given as, since JSON has no infinity.
_LOWEST_DB = -200.0


def check_dataset(
    dataset: Dataset,
    *,
    jobs: int = 1,
    min_s: float = 1.0,
    max_residual_db: float = -20.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[TrackReport]:
    """Decode every file of a dataset, in blocks, and report what each track holds.

    Args:
        dataset: What to check.
        jobs: How many tracks are decoded at the same time.
        min_s: A file shorter than this is an error.
        max_residual_db: A mixture that differs from the sum of its stems by more is a warning;
            stems with loss, and mixtures that were mastered as a whole, do.
        progress: Called after each track with its name, how many are done and how many there are.

    Returns:
        One report for each track, in the dataset's order.

    Errors:
        ParameterError: if `jobs` or `min_s` is out of range.
    """
    if jobs < 1:
        raise ParameterError(f"jobs={jobs} must be 1 or more")
    if not 0 <= min_s < math.inf:
        raise ParameterError(f"min_s={min_s} must be 0 or more, and finite")
    expected = component_stems(dataset.stems)
    reports: dict[str, TrackReport] = {}
    with collected_warnings(), ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_measured, track): track for track in dataset.tracks}
        try:
            for future in as_completed(futures):
                track = futures[future]
                report = future.result()
                found = judged(report, min_s, max_residual_db, set(expected) - set(track.stems))
                reports[track.name] = replace(report, findings=tuple(found))
                if progress:
                    progress(track.name, len(reports), len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    ordered = [reports[track.name] for track in dataset.tracks]
    found_between = compared(ordered)
    return [replace(r, findings=(*r.findings, *found_between[r.track])) for r in ordered]


def usable(
    dataset: Dataset, reports: Iterable[TrackReport], *, tolerate: Collection[str] = ()
) -> Dataset:
    """Return a dataset without the tracks that have errors, which its `problems` then name.

    Args:
        dataset: What was checked.
        reports: What was found.
        tolerate: Kinds of errors that do not matter.

    Errors:
        DatasetError: if no track is left.
        ParameterError: if a kind is unknown.
    """
    unknown = set(tolerate).difference(KINDS)
    if unknown:
        raise ParameterError(f"tolerate={sorted(unknown)} must be among {', '.join(KINDS)}")
    wrong = {
        report.track: [
            finding.text
            for finding in report.findings
            if finding.severity == "error" and finding.kind not in tolerate
        ]
        for report in reports
    }
    problems = [f"track {track!r}: {'; '.join(texts)}" for track, texts in wrong.items() if texts]
    left = dataset.where(lambda track: not wrong.get(track.name))
    if not left.tracks:
        raise DatasetError(
            f"{str(dataset.root)!r} has no track without errors; the first is: {problems[0]}"
        )
    return replace(left, problems=(*left.problems, *problems))


def _measured(track: Track) -> TrackReport:
    """Decode all files of a track side by side, which takes one pass and little memory."""
    summed = set(component_stems(track.stems))
    mixture = [Meter(MIXTURE, track.mixture)] if track.mixture else []
    stems = [Meter(stem, source) for stem, sources in track.stems.items() for source in sources]
    meters = [*mixture, *stems]
    comparable = bool(mixture) and len({meter.sample_rate for meter in meters}) == 1
    comparable = comparable and all(meter.channels <= 2 for meter in meters)
    residual = energy = 0.0
    while True:
        chunks = [meter.take() for meter in meters]
        if not any(chunk.shape[1] for chunk in chunks):
            break
        if comparable:
            pairs = zip(meters, chunks, strict=True)
            parts = [chunk for meter, chunk in pairs if meter.role in summed]
            residual += _energy(_sum([chunks[0], *(-part for part in parts)]))
            energy += _energy(chunks[0])
    known = comparable and energy > 0 and not any(meter.failed for meter in meters)
    lowest = 10 ** (_LOWEST_DB / 10)
    residual_db = 10 * math.log10(max(residual / energy, lowest)) if known else None
    files = tuple(meter.report() for meter in meters)
    return TrackReport(track.name, track.split, files, residual_db)


def _energy(audio: Audio) -> float:
    return float(np.square(audio, dtype=np.float64).mean(axis=0).sum())


def _sum(parts: Sequence[Audio]) -> Audio:
    """Add audio of different lengths; mono counts on both channels."""
    shape = max(len(part) for part in parts), max(part.shape[1] for part in parts)
    total = np.zeros(shape, np.float32)
    for part in parts:
        total[:, : part.shape[1]] += part
    return total
