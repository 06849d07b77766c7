"""Scores of systems as tables: every frame, every track, and summaries over tracks.

Whatever is not finite is left out of every aggregation: a frame in which a stem is silent, or a
track without one frame that can be scored.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from desmezcla.evaluation.comparing.statistics import (
    aggregate,
    bootstrap_interval,
    bootstrap_mean_interval,
)
from desmezcla.evaluation.optional import require
from desmezcla.evaluation.scores import FRAME_METRICS, METRICS, Results, StemScores, TrackScores

if TYPE_CHECKING:
    from pandas import DataFrame

# Stands in the place of a stem's name where a score is the mean over stems.
MEAN = "mean"

_TRACK_COLUMNS = ("system", "track", "split", "genre", "stem", "metric")


def frame_table(results: Sequence[Results]) -> "DataFrame":
    """Return the scores of all frames, one row each.

    Args:
        results: Of one system or several.

    Returns:
        Columns system, track, split, genre, stem, metric (those of `FRAME_METRICS`), time_s (where
        the frame begins) and score (dB, NaN where there is none).
    """
    series = [
        ((*_facts(result, track), stem, metric), np.asarray(scores[metric]), track.config.hop_s)  # type: ignore[literal-required]
        for result, track, stem, scores in _stems(results)
        for metric in FRAME_METRICS
    ]
    lengths = [len(values) for _, values, _ in series]
    facts = {
        column: np.repeat(np.array([keys[i] for keys, _, _ in series], object), lengths)
        for i, column in enumerate(_TRACK_COLUMNS)
    }
    numbers = {
        "time_s": _joined([hop_s * np.arange(len(values)) for _, values, hop_s in series]),
        "score": _joined([values for _, values, _ in series]),
    }
    return require("pandas").DataFrame(facts | numbers)


def track_table(results: Sequence[Results], *, frames: str = "median") -> "DataFrame":
    """Return one score for each system, track, stem and metric of `METRICS`.

    Args:
        results: Of one system or several.
        frames: How the finite frames of a track are aggregated, "median" or "mean".

    Returns:
        Columns system, track, split, genre, stem, metric and score (dB; NaN where no frame has
        one, or another program's file has no such metric).

    Errors:
        ParameterError: if there is no such aggregation.
    """
    rows = [
        (*_facts(result, track), stem, metric, aggregate(scores[metric], frames))  # type: ignore[literal-required]
        for result, track, stem, scores in _stems(results)
        for metric in METRICS
    ]
    return require("pandas").DataFrame(rows, columns=[*_TRACK_COLUMNS, "score"])


def summary_table(
    tracks: "DataFrame",
    *,
    over: str = "median",
    by: Sequence[str] = ("system", "stem", "metric"),
    level: float = 0.95,
    seed: int = 0,
) -> "DataFrame":
    """Summarise scores over tracks, with bootstrap intervals.

    Args:
        tracks: What `track_table` returns, or some rows of it.
        over: How tracks are aggregated, "median" or "mean".
        by: Columns to group by, as in ("system", "genre", "stem", "metric").
        level: Of the intervals.
        seed: Of the bootstrap.

    Returns:
        Columns `by`, score, low and high (dB; NaN where there is none) and tracks, the number of
        those with a finite score. Groups stand in the order in which they first appear.

    Errors:
        ParameterError: if an option is out of range.
    """
    rows: list[tuple[Any, ...]] = []
    for keys, group in tracks.groupby(list(by), sort=False, dropna=False):
        values = group["score"].to_numpy(dtype=float)
        low, high = bootstrap_interval(values, over, level, seed=seed)
        count = int(np.isfinite(values).sum())
        rows.append((*keys, aggregate(values, over), low, high, count))
    return require("pandas").DataFrame(rows, columns=[*by, "score", "low", "high", "tracks"])


def stem_mean_table(
    tracks: "DataFrame",
    stems: Sequence[str],
    *,
    over: str = "median",
    by: Sequence[str] = ("system", "metric"),
    level: float = 0.95,
    seed: int = 0,
) -> "DataFrame":
    """Return the mean over stems of what `summary_table` says of each, as papers print it.

    Args:
        tracks: What `track_table` returns, or some rows of it.
        stems: What the mean is over; a group without a score of one of them has no mean.
        over: How tracks are aggregated, before the mean over stems.
        by: Columns to group by; no "stem".
        level: Of the intervals.
        seed: Of the bootstrap, which draws tracks with all of their stems.

    Returns:
        The columns of `summary_table`, with "mean" as stem; tracks counts those that have a score
        of any stem.

    Errors:
        ParameterError: if an option is out of range.
    """
    rows: list[tuple[Any, ...]] = []
    for keys, group in tracks.groupby(list(by), sort=False, dropna=False):
        wide = group.pivot(index=["split", "track"], columns="stem", values="score")
        columns = wide.reindex(columns=list(stems)).to_numpy(dtype=float)
        score = float(np.mean([aggregate(column, over) for column in columns.T]))
        low, high = bootstrap_mean_interval(columns, over, level, seed=seed)
        rows.append((*keys, MEAN, score, low, high, int(np.isfinite(columns).any(axis=1).sum())))
    columns_of_all = [*by, "stem", "score", "low", "high", "tracks"]
    return require("pandas").DataFrame(rows, columns=columns_of_all)


def _stems(results: Sequence[Results]) -> Iterator[tuple[Results, TrackScores, str, StemScores]]:
    for result in results:
        for track in result.tracks:
            for stem in result.stems:
                if stem in track.stems:
                    yield result, track, stem, track.stems[stem]


def _facts(result: Results, track: TrackScores) -> tuple[str, str, str, str]:
    return result.name, track.track, track.split, track.genre


def _joined(arrays: list[Any]) -> Any:
    return np.concatenate(arrays) if arrays else np.empty(0)
