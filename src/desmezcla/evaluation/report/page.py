"""The page of a report: what stands in it, and writing it."""

import functools
import importlib.resources
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from desmezcla.errors import ParameterError
from desmezcla.evaluation.comparing.comparison_files import write_text
from desmezcla.evaluation.comparing.comparison_tables import Averaging, Scored, scored
from desmezcla.evaluation.comparing.statistics import friedman_tests, mean_ranks, paired_tests
from desmezcla.evaluation.comparing.tables import MEAN
from desmezcla.evaluation.comparing.text_table import p_value
from desmezcla.evaluation.report.excerpts import LIMIT_BYTES, read_excerpts
from desmezcla.evaluation.report.plots import all_tracks, chart_data
from desmezcla.evaluation.report.self_contained import page_template, policy_hash
from desmezcla.evaluation.scores import METRICS, Results
from desmezcla.version import VERSION

# Differences with a smaller p, after Holm's correction, are printed bold.
_SIGNIFICANT = 0.05

_SCRIPTS = ("tools.js", "charts.js", "report.js")

# What of `evaluation.json` needs no name beside it.
_PLAIN = ("name", "kind", "description")

_CHECKSUM = re.compile("[0-9a-f]{40,}")


def write_report(
    results: Sequence[Results],
    path: Path,
    *,
    title: str = "Comparison",
    metric: str = "SDR",
    scores: Scored | None = None,
) -> None:
    """Write the comparison of some systems as one HTML file that works without a network.

    Args:
        results: The systems, in the order in which they are to stand; one is enough.
        path: The file, which appears only when it is complete.
        title: The heading of the page.
        metric: Which metric is shown first.
        scores: What `scored` makes of the results, of the metrics that the page shall show; None
            for medians of frames and tracks, with 95 % intervals, of all metrics.

    Errors:
        ParameterError: if there is no such metric, no track, or two systems have one name.
        EvaluationError: if a file cannot be read or written.
        DesmezclaError: if a package of the extra `eval` is not installed.
    """
    write_text(path, render(results, title=title, metric=metric, scores=scores))


def render(
    results: Sequence[Results],
    *,
    title: str = "Comparison",
    metric: str = "SDR",
    scores: Scored | None = None,
    excerpts_bytes: int = LIMIT_BYTES,
) -> str:
    """Return the page as text.

    Args:
        results: The systems.
        title: The heading.
        metric: As for `write_report`, and so are the scores and the errors.
        scores: What `scored` makes of the results.
        excerpts_bytes: How large the audio in the page may be.
    """
    _check(results)
    songs = all_tracks(results)
    if scores is None:
        config = next(iter(songs.values())).config
        scores = scored(results, Averaging("median", "median", 0.95, config))
    metrics = tuple(name for name in METRICS if len(scores.overall(name)))
    if metric not in metrics:
        raise ParameterError(f"metric={metric!r} must be one of {', '.join(metrics)}")
    excerpts, left_out = read_excerpts(results, scores.stems, limit_bytes=excerpts_bytes)
    style, script = _own_text("report.css"), "\n".join(_own_text(name) for name in _SCRIPTS)
    text: str = _template().render(
        title=title,
        metric=metric,
        systems=_systems(results),
        stems=scores.stems,
        songs=songs,
        settings=sorted({song.config.describe() for r in results for song in r.tracks}),
        averaging=scores.averaging,
        overall={name: _overall(scores, name) for name in metrics},
        statistics={name: _statistics(scores, name) for name in metrics},
        notes=_notes(results),
        excerpts=excerpts,
        left_out=left_out,
        limit_mb=round(excerpts_bytes / 1e6),
        significant=_SIGNIFICANT,
        data=chart_data(results, scores, metrics, metric),
        version=VERSION,
        style=style,
        script=script,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
    )
    return text


def _check(results: Sequence[Results]) -> None:
    if not any(result.tracks for result in results):
        raise ParameterError("results=[] must hold at least one system with a track")
    names = [result.name for result in results]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(
                f"results holds two systems called {name!r}; read one under another name"
            )


@functools.cache
def _template() -> Any:
    return page_template("desmezcla.evaluation", "report", db=_db, p_value=p_value)


def _own_text(name: str) -> str:
    """Return a file of this package; with lines that end as a browser will see them."""
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _systems(results: Sequence[Results]) -> list[dict[str, Any]]:
    return [
        {
            "name": result.name,
            "tracks": len(result.tracks),
            "splits": ", ".join(sorted({track.split for track in result.tracks})),
            "dataset": _words(result.about.get("dataset"), leave_out="split"),
            "system": _words(result.about.get("system"), leave_out="name"),
            "version": _words(result.about.get("version")),
        }
        for result in results
    ]


def _words(value: Any, leave_out: str = "") -> str:
    """Return what `evaluation.json` says about something, in one line; checksums shortened."""
    if isinstance(value, dict):
        found = {k: _words(v) for k, v in value.items() if k != leave_out}
        names = {k: "" if k in _PLAIN else f"{str(k).replace('_', ' ')}: " for k in found}
        return ", ".join(f"{names[k]}{words}" for k, words in found.items() if words)
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(item) for item in value)
    words = "" if value is None else str(value)
    return f"{words[:12]}…" if _CHECKSUM.fullmatch(words) else words


def _overall(scores: Scored, metric: str) -> dict[str, Any]:
    """Return summaries by (system, stem), and the highest score of each stem."""
    table = scores.overall(metric)
    stems = (*scores.stems, *([MEAN] if len(scores.stems) > 1 else []))
    return {
        "stems": stems,
        "cells": {(row.system, row.stem): row for row in table.itertuples()},
        "best": {str(stem): float(group["score"].max()) for stem, group in table.groupby("stem")},
    }


def _statistics(scores: Scored, metric: str) -> dict[str, Any]:
    """Return mean ranks by (system, stem), tests of all systems by stem, and tests of pairs."""
    ranks = mean_ranks(scores.tracks, metric)
    friedman = friedman_tests(scores.tracks, metric)
    return {
        "ranks": {(row.system, row.stem): row.rank for row in ranks.itertuples()},
        "friedman": {row.stem: row.p for row in friedman.itertuples()},
        "tests": list(paired_tests(scores.tracks, metric).itertuples()),
    }


def _notes(results: Sequence[Results]) -> list[tuple[str, str, str]]:
    """Return (track, systems, note); one row where a note is the same for several systems."""
    systems: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for track in result.tracks:
            for note in track.notes:
                systems.setdefault((track.track, note), []).append(result.name)
    return [(track, ", ".join(names), note) for (track, note), names in sorted(systems.items())]


def _db(score: float) -> str:
    return f"{score:.2f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(score) else "–"
