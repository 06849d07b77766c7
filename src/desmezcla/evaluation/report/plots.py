"""What the charts of a report are drawn from, as data for JSON; the page's script draws them."""

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from desmezcla.evaluation.comparing.comparison_tables import Scored
from desmezcla.evaluation.scores import (
    FRAME_METRICS,
    PEAK_HOP_S,
    Results,
    StemScores,
    TrackScores,
)

Signal = NDArray[np.float64]

TrackKey = tuple[str, str]
"""Split and name of a track."""

# Frames are written in hundredths of a dB as 16 bits, which takes a third of the room of digits.
_STEPS_PER_DB = 100
_MISSING = -(2**15)
_LARGEST = 2**15 - 1


def all_tracks(results: Sequence[Results]) -> dict[TrackKey, TrackScores]:
    """Return the tracks of any system by split and name, with the scores of the first that has it.

    Results of other programs know no genre, length and waveform; those of another system do.
    """
    found: dict[TrackKey, TrackScores] = {}
    for result in results:
        for track in result.tracks:
            first = found.setdefault((track.split, track.track), track)
            found[track.split, track.track] = replace(
                first,
                genre=first.genre or track.genre,
                peaks=first.peaks or track.peaks,
                duration_s=max(first.duration_s, track.duration_s),
            )
    return dict(sorted(found.items()))


def chart_data(
    results: Sequence[Results], scores: Scored, metrics: Sequence[str], metric: str
) -> dict[str, Any]:
    """Return everything that the charts show; nothing in it is NaN.

    Args:
        results: The systems.
        scores: Their scores.
        metrics: Which of them can be chosen.
        metric: What is shown first.
    """
    songs = all_tracks(results)
    values = _track_values(results, list(songs), scores, metrics)
    genres = Counter(song.genre for song in songs.values() if song.genre)
    return {
        "systems": [result.name for result in results],
        "stems": list(scores.stems),
        "metrics": list(metrics),
        "frame_metrics": list(FRAME_METRICS),
        "metric": metric,
        "frames_by": scores.averaging.frames,
        "tracks_by": scores.averaging.over,
        "steps_per_db": _STEPS_PER_DB,
        "missing": _MISSING,
        "peak_hop_s": PEAK_HOP_S,
        "tracks": [_song(song) for song in songs.values()],
        "scores": _each(values, lambda row: [_rounded(value) for value in row]),
        "boxes": _each(values, box),
        "genres": [{"name": genre, "tracks": genres[genre]} for genre in sorted(genres)],
        "genre_scores": _genre_scores(results, sorted(genres), scores, metrics),
        "frames": _frames(results, list(songs)),
    }


def box(values: ArrayLike) -> dict[str, Any] | None:
    """Return what a box plot shows of the values that are finite; None if none is.

    The whiskers are Tukey's: they reach to the last value within 1.5 times the box from it.

    >>> box([1.0, 2.0, 3.0, 4.0, 50.0])
    {'low': 1.0, 'q1': 2.0, 'median': 3.0, 'q3': 4.0, 'high': 4.0, 'tracks': 5}
    """
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return None
    q1, median, q3 = np.quantile(finite, [0.25, 0.5, 0.75])
    reach = 1.5 * (q3 - q1)
    return {
        "low": _rounded(min(q1, finite[finite >= q1 - reach].min())),
        "q1": _rounded(q1),
        "median": _rounded(median),
        "q3": _rounded(q3),
        "high": _rounded(max(q3, finite[finite <= q3 + reach].max())),
        "tracks": int(finite.size),
    }


def packed_frames(values: ArrayLike) -> str:
    """Return the scores of frames as base64 of little-endian 16 bits, hundredths of a dB.

    What is not finite is the smallest number; what 16 bits cannot hold, ±327 dB, is cut.
    """
    scores_db = np.asarray(values, np.float64)
    held = np.clip(scores_db, -_LARGEST / _STEPS_PER_DB, _LARGEST / _STEPS_PER_DB)
    whole = np.where(np.isfinite(scores_db), np.round(held * _STEPS_PER_DB), _MISSING)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")


def _each(
    values: dict[str, dict[str, Signal]], function: Callable[[Signal], Any]
) -> dict[str, dict[str, list[Any]]]:
    """Apply a function to what each system has, of each metric and stem."""
    return {
        metric: {stem: [function(row) for row in rows] for stem, rows in of_stems.items()}
        for metric, of_stems in values.items()
    }


def _track_values(
    results: Sequence[Results], songs: Sequence[TrackKey], scores: Scored, metrics: Sequence[str]
) -> dict[str, dict[str, Signal]]:
    """Return scores by metric and stem, `[systems, tracks]`, NaN where there is none."""
    rows = {result.name: i for i, result in enumerate(results)}
    columns = {song: i for i, song in enumerate(songs)}
    shape = (len(rows), len(columns))
    values = {m: {stem: np.full(shape, np.nan) for stem in scores.stems} for m in metrics}
    for row in scores.tracks[scores.tracks["metric"].isin(metrics)].itertuples():
        place = rows[row.system], columns[row.split, row.track]
        values[row.metric][row.stem][place] = row.score
    return values


def _genre_scores(
    results: Sequence[Results], genres: Sequence[str], scores: Scored, metrics: Sequence[str]
) -> dict[str, dict[str, list[list[float | None]]]]:
    """Return scores by metric, stem, genre and system."""
    found = {
        (row.metric, row.stem, row.genre, row.system): _rounded(row.score)
        for metric in metrics
        for row in scores.by_genre(metric).itertuples()
    }
    return {
        metric: {
            stem: [[found.get((metric, stem, genre, r.name)) for r in results] for genre in genres]
            for stem in scores.stems
        }
        for metric in metrics
    }


def _song(track: TrackScores) -> dict[str, Any]:
    levels = np.nan_to_num(np.clip(np.asarray(track.peaks, np.float64), 0, 1))
    return {
        "name": track.track,
        "split": track.split,
        "genre": track.genre,
        "duration_s": round(track.duration_s, 2),
        "peaks": base64.b64encode(np.round(255 * levels).astype(np.uint8).tobytes()).decode(),
    }


def _frames(results: Iterable[Results], songs: Sequence[TrackKey]) -> list[list[Any]]:
    """Return by track and system the frames of all stems; None where a system lacks the track."""
    by_system = [{(t.split, t.track): t for t in result.tracks} for result in results]
    return [[_track_frames(of.get(song)) for of in by_system] for song in songs]


def _track_frames(track: TrackScores | None) -> dict[str, Any] | None:
    if track is None or not math.isfinite(track.config.window_s):
        return None  # a frame as long as the track is no curve
    return {
        "hop_s": track.config.hop_s,
        "window_s": track.config.window_s,
        "stems": {stem: _stem_frames(scores) for stem, scores in track.stems.items()},
    }


def _stem_frames(scores: StemScores) -> dict[str, str]:
    frames: dict[str, Any] = dict(scores)
    return {metric: packed_frames(frames[metric]) for metric in FRAME_METRICS}


def _rounded(value: float) -> float | None:
    return round(float(value), 2) if math.isfinite(value) else None
