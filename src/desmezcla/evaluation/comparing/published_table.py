"""Scores that others have published, beside those measured here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from desmezcla.evaluation.comparing.comparison_tables import (
    MISSING,
    Averaging,
    Scored,
    dataset_words,
    number,
)
from desmezcla.evaluation.comparing.published import Figure, published
from desmezcla.evaluation.comparing.tables import MEAN
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import FRAME_METRICS

# Published means are over these.
_STEMS_OF_MEANS = {"vocals", "drums", "bass", "other"}

Row = Mapping[str, Figure]
"""The figures of one line of a publication, by stem."""


def published_table(scores: Scored, metric: str) -> TextTable:
    """Return the scores of the systems above those that others have published of the same measure.

    With all of the four usual stems and no other, means over them are shown, too.

    Returns:
        A table without rows where no comparable figure is known.
    """
    averaging = scores.averaging
    columns = [*scores.stems, *([MEAN] if set(scores.stems) == _STEMS_OF_MEANS else [])]
    rows = _published_rows(metric, columns, averaging)
    sources = list(dict.fromkeys(_source(row) for row in rows))
    title = f"{metric} in dB, with published scores: {averaging.words(metric)}"
    heads = ("system", *columns, "measured on", "extra training data", "source")
    if not rows:
        return TextTable(title, heads, ())
    theirs = [
        (
            f"{_first(row).system} (published)",
            *(_value(row.get(stem)) for stem in columns),
            _first(row).dataset,
            _training(_first(row)),
            f"[{sources.index(_source(row)) + 1}]",
        )
        for row in rows
    ]
    return TextTable(
        title,
        heads,
        (*_own_rows(scores, metric, columns), *theirs),
        notes=(
            *averaging.notes(metric),
            "Published scores were not measured here, and are no part of ranks, tests and bold "
            "type. Those of other definitions are left out.",
            *(f"[{index}] {source}" for index, source in enumerate(sources, 1)),
            *_remarks(rows, sources),
        ),
    )


def _own_rows(scores: Scored, metric: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    overall = scores.overall(metric)
    values = {(row.system, row.stem): row.score for row in overall.itertuples()}
    return [
        (
            system,
            *(number(values.get((system, stem), math.nan)) for stem in columns),
            dataset_words(scores.about[system]) or MISSING,
            _trained_on(scores.about[system]),
            "measured here",
        )
        for system in overall["system"].unique()
    ]


def _trained_on(about: Mapping[str, Any]) -> str:
    trained_on = about.get("system", {}).get("trained_on")
    return f"trained on {trained_on}" if trained_on else MISSING


def _published_rows(metric: str, columns: Iterable[str], averaging: Averaging) -> list[Row]:
    """Return what is comparable, the best first."""
    rows: dict[tuple[object, ...], dict[str, Figure]] = {}
    for figure in published(metric=metric):
        if figure.stem in columns and _is_comparable(figure, metric, averaging):
            line = (figure.system, figure.source, figure.definition, figure.dataset, figure.note)
            rows.setdefault(line, {})[figure.stem] = figure
    with_stems = {_first(row).system for row in rows.values() if set(row) != {MEAN}}
    # A mean alone, as some lists print it, adds nothing to a source that tells the stems.
    kept = [r for r in rows.values() if set(r) != {MEAN} or _first(r).system not in with_stems]
    return sorted(kept, key=_mean_db, reverse=True)


def _is_comparable(figure: Figure, metric: str, averaging: Averaging) -> bool:
    words = averaging.words(metric)
    if metric not in FRAME_METRICS:
        return figure.definition == f"whole-track SDR of the Music Demixing Challenge, {words}"
    if averaging.config != BssEvalConfig():
        return False
    usual = (averaging.frames, averaging.over) == ("median", "median")
    same = figure.definition == f"BSS Eval v4, frames of 1 s, {words}"
    return same or (usual and figure.comparable != "no")


def _mean_db(row: Row) -> float:
    values = [figure.value_db for stem, figure in row.items() if stem != MEAN]
    return row[MEAN].value_db if MEAN in row else sum(values) / len(values)


def _first(row: Row) -> Figure:
    return next(iter(row.values()))


def _source(row: Row) -> str:
    figure = _first(row)
    return f"{figure.source}{f', {figure.url}' if figure.url else ''}: {figure.definition}."


def _training(figure: Figure) -> str:
    seen = {True: "; saw what it was measured on", False: "", None: ""}[figure.saw_test_set]
    return f"{figure.extra_data}{seen}"


def _value(figure: Figure | None) -> str:
    """Return a figure with two decimals, or as many as were published if that is fewer."""
    return MISSING if figure is None else str(round(figure.value_db, 2)).replace("-", "−")


def _remarks(rows: Iterable[Row], sources: Sequence[str]) -> list[str]:
    remarks: dict[str, list[str]] = {}
    for row in rows:
        figure = _first(row)
        if figure.note:
            name = f"{figure.system} [{sources.index(_source(row)) + 1}]"
            remarks.setdefault(figure.note, []).append(name)
    return [f"{', '.join(names)}: {note}." for note, names in remarks.items()]
