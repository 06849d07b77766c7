"""The tables of a comparison of systems, as text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from desmezcla.evaluation.comparing.statistics import (
    RESAMPLES,
    friedman_tests,
    mean_ranks,
    paired_tests,
)
from desmezcla.evaluation.comparing.tables import MEAN, stem_mean_table, summary_table, track_table
from desmezcla.evaluation.comparing.text_table import TextTable, bold
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.optional import require
from desmezcla.evaluation.scores import FRAME_METRICS, METRICS, Results

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = "—"

# Tests with a corrected p below this are printed in bold.
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Averaging:
    """How scores are put together, and how they were made: what every table has to say.

    Attributes:
        frames: How the frames of a track are aggregated, "median" or "mean".
        over: How tracks are.
        level: Of the intervals.
        config: Settings of BSS Eval.
    """

    frames: str
    over: str
    level: float
    config: BssEvalConfig

    def words(self, metric: str, *, tracks: bool = True) -> str:
        """Return the aggregation of a metric, as in "median of frames, median of tracks"."""
        parts = [f"{self.frames} of frames"] if metric in FRAME_METRICS else []
        parts += [f"{self.over} of tracks"] if tracks else []
        return ", ".join(parts) or "one value per track"

    def notes(self, metric: str) -> tuple[str, ...]:
        """Return what stands below tables of a metric."""
        if metric not in FRAME_METRICS:
            return ("Tracks without a finite score are left out.",)
        settings = self.config.describe()
        return (f"{settings}. Frames and tracks without a finite score are left out.",)


@dataclass(frozen=True)
class Scored:
    """Scores of all systems of a comparison, of all metrics.

    Attributes:
        tracks: What `track_table` returns.
        summary: Scores over all tracks and over those of each genre: columns system, genre ("" for
            all tracks), stem ("mean" for the mean over stems), metric, score, low, high, tracks.
        stems: All stems, the four usual ones first; the mean is over them.
        averaging: How the scores were put together.
        about: Of each system, what `evaluation.json` says.
    """

    tracks: "DataFrame"
    summary: "DataFrame"
    stems: tuple[str, ...]
    averaging: Averaging
    about: Mapping[str, Mapping[str, Any]]

    def overall(self, metric: str) -> "DataFrame":
        """Return the summary of a metric over all tracks."""
        return self.summary[(self.summary["metric"] == metric) & (self.summary["genre"] == "")]

    def by_genre(self, metric: str) -> "DataFrame":
        """Return the summary of a metric over the tracks of each genre."""
        return self.summary[(self.summary["metric"] == metric) & (self.summary["genre"] != "")]


def scored(
    results: Sequence[Results], averaging: Averaging, *, metrics: Sequence[str] = METRICS
) -> Scored:
    """Put the scores of systems together; metrics besides those named have no summary."""
    how: dict[str, Any] = {"over": averaging.over, "level": averaging.level}
    stems = Results("", tuple(track for result in results for track in result.tracks)).stems
    tracks = track_table(results, frames=averaging.frames)
    parts = []
    chosen = tracks[tracks["metric"].isin(metrics)]
    for rows in (chosen.assign(genre=""), chosen[chosen["genre"] != ""]):
        parts.append(summary_table(rows, by=("system", "genre", "stem", "metric"), **how))
        parts.append(stem_mean_table(rows, stems, by=("system", "genre", "metric"), **how))
    columns = ["system", "genre", "stem", "metric", "score", "low", "high", "tracks"]
    filled = [part[columns] for part in parts if len(part)]
    summary = require("pandas").concat(filled, ignore_index=True)
    about = {result.name: result.about for result in results}
    return Scored(tracks, summary, stems, averaging, about)


def overall_table(scores: Scored, metric: str) -> TextTable:
    """Return a row for each system with its score and interval of each stem."""
    rows, averaging = scores.overall(metric), scores.averaging
    systems, stems, counts = _systems(rows), (*scores.stems, MEAN), _counts(rows)
    intervals = {(row.system, row.stem): (row.low, row.high) for row in rows.itertuples()}
    cells = _cells(_values(rows), systems, stems, intervals=intervals)
    return TextTable(
        f"{metric} in dB: {averaging.words(metric)}",
        ("system", "tracks", *stems),
        tuple((system, counts[system], *cells[system]) for system in systems),
        notes=(
            *averaging.notes(metric),
            f"In brackets: {averaging.level * 100:g} % intervals by percentile bootstrap over "
            f"tracks ({RESAMPLES} resamples). {MEAN}: mean of the values of the stems. Bold: best.",
        ),
    )


def genre_table(scores: Scored, metric: str) -> TextTable:
    """Return a row for each genre and system; no rows where no genres are known."""
    averaging, stems = scores.averaging, (*scores.stems, MEAN)
    body: list[tuple[str, ...]] = []
    for genre, rows in scores.by_genre(metric).groupby("genre", sort=True):
        systems, counts = _systems(rows), _counts(rows)
        cells = _cells(_values(rows), systems, stems)
        for system in systems:
            head = genre if system == systems[0] else ""
            body.append((head, system, counts[system], *cells[system]))
    return TextTable(
        f"{metric} in dB by genre: {averaging.words(metric)}",
        ("genre", "system", "tracks", *stems),
        tuple(body),
        notes=averaging.notes(metric),
    )


def per_track_table(scores: Scored, metric: str) -> TextTable:
    """Return a row for each track and system."""
    averaging = scores.averaging
    chosen = scores.tracks[scores.tracks["metric"] == metric]
    body: list[tuple[str, ...]] = []
    for (_, track), rows in chosen.groupby(["split", "track"], sort=True):
        systems, values = _systems(rows), _values(rows)
        for system in systems:
            of_stems = [values.get((system, stem), math.nan) for stem in scores.stems]
            values[system, MEAN] = sum(of_stems) / len(of_stems)
        cells = _cells(values, systems, (*scores.stems, MEAN))
        for system in systems:
            body.append((track if system == systems[0] else "", system, *cells[system]))
    return TextTable(
        f"{metric} in dB by track: {averaging.words(metric, tracks=False)}",
        ("track", "system", *scores.stems, MEAN),
        tuple(body),
        notes=averaging.notes(metric),
    )


def tests_table(scores: Scored, metric: str) -> TextTable:
    """Return a row for each stem and pair of systems, with what the test says."""
    rows = [
        (
            row.stem,
            row.system_a,
            row.system_b,
            str(row.tracks),
            number(row.difference, sign=True),
            _p(row.p),
            bold(_p(row.p_holm)) if row.p_holm < _SIGNIFICANT else _p(row.p_holm),
        )
        for row in paired_tests(scores.tracks, metric).itertuples()
    ]
    return TextTable(
        f"{metric}: paired tests of systems, track by track",
        ("stem", "a", "b", "tracks", "median of a − b (dB)", "p", "p (Holm)"),
        tuple(rows),
        notes=(
            "Wilcoxon's signed-rank test, two-sided, over the tracks on which both have a finite "
            f"score ({scores.averaging.words(metric, tracks=False)}).",
            "Holm's correction is for all pairs and stems of this table. Bold: below "
            f"{_SIGNIFICANT:g}. With fewer than 6 tracks no p can be so small.",
        ),
    )


def ranks_table(scores: Scored, metric: str) -> TextTable:
    """Return a row for each system with its mean rank of each stem."""
    ranks = mean_ranks(scores.tracks, metric)
    counts = ranks.groupby("stem", sort=False)["tracks"].first()
    stems = [stem for stem in scores.stems if stem in counts]
    cells = _cells(_values(ranks, "rank"), _systems(ranks), stems, best=min)
    friedman = [
        f"{row.stem} χ² = {number(row.statistic)}, p = {_p(row.p)}"
        for row in friedman_tests(scores.tracks, metric).itertuples()
    ]
    return TextTable(
        f"{metric}: mean ranks over tracks, 1 is best",
        ("system", *stems),
        tuple((system, *row) for system, row in cells.items()),
        notes=(
            f"Ranks by {metric} ({scores.averaging.words(metric, tracks=False)}) on the tracks on "
            "which all systems have a finite score: "
            f"{', '.join(f'{stem} {counts[stem]}' for stem in stems)}. Bold: best.",
            *([f"Friedman's test that all are equal: {'; '.join(friedman)}."] if friedman else []),
        ),
    )


def dataset_words(about: Mapping[str, Any]) -> str:
    """Return what `evaluation.json` says of the dataset, as text; "" where there is nothing.

    >>> dataset_words({"dataset": {"name": "MUSDB18-HQ", "split": "test"}})
    'MUSDB18-HQ, test'
    """
    dataset = about.get("dataset") or ""
    values = dataset.values() if isinstance(dataset, Mapping) else [dataset]
    return ", ".join(str(value) for value in values if value)


def number(value: float, *, digits: int = 2, sign: bool = False) -> str:
    """Return a number with some decimals and a real minus sign.

    >>> number(-1.234), number(2, sign=True), number(-0.001), number(float("nan"))
    ('−1.23', '+2.00', '0.00', '—')
    """
    if not math.isfinite(value):
        return MISSING
    rounded = round(float(value), digits) + 0.0  # which makes -0.0 zero
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


def _systems(rows: "DataFrame") -> list[str]:
    return list(rows["system"].unique())


def _counts(rows: "DataFrame") -> dict[str, str]:
    """Return for each system on how many tracks it has a score of any stem."""
    means = rows[rows["stem"] == MEAN]
    return {row.system: str(row.tracks) for row in means.itertuples()}


def _values(rows: "DataFrame", column: str = "score") -> dict[tuple[str, str], float]:
    return {
        (system, stem): float(value)
        for system, stem, value in zip(rows["system"], rows["stem"], rows[column], strict=True)
    }


def _cells(
    values: Mapping[tuple[str, str], float],
    systems: Sequence[str],
    stems: Iterable[str],
    *,
    best: Callable[[list[float]], float] = max,
    intervals: Mapping[tuple[str, str], tuple[float, float]] | None = None,
) -> dict[str, list[str]]:
    """Return the cells of each system; the best of each stem is bold if there is another."""
    cells: dict[str, list[str]] = {system: [] for system in systems}
    for stem in stems:
        # What is printed alike is equally good.
        scores = {s: round(values.get((s, stem), math.nan), 2) for s in systems}
        finite = [score for score in scores.values() if math.isfinite(score)]
        for system, score in scores.items():
            text = number(score)
            if len(finite) > 1 and score == best(finite):
                text = bold(text)
            low, high = (intervals or {}).get((system, stem), (math.nan, math.nan))
            if math.isfinite(low):
                text += f" [{number(low)}, {number(high)}]"
            cells[system].append(text)
    return cells


def _p(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"
