"""Results of several systems side by side: tables, tests and a report, written into a folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from desmezcla.datasets.musdb import musdb_facts
from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.comparing.comparison_files import (
    Section,
    csv_page,
    frame_csv,
    latex_page,
    markdown_page,
    write_text,
)
from desmezcla.evaluation.comparing.comparison_tables import (
    Averaging,
    Scored,
    dataset_words,
    genre_table,
    overall_table,
    per_track_table,
    ranks_table,
    scored,
    tests_table,
)
from desmezcla.evaluation.comparing.layouts import layout_tables
from desmezcla.evaluation.comparing.published_table import published_table
from desmezcla.evaluation.comparing.statistics import AGGREGATIONS
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import FRAME_METRICS, METRICS, Results

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("md", "tex", "csv", "html")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found and wrote.

    Attributes:
        tables: Overall scores of each metric, or the tables of a layout.
        summary: The content of `comparison.csv`.
        notes: What makes the results less comparable than they look, one sentence each.
        files: What was written.
    """

    tables: tuple[TextTable, ...]
    summary: "DataFrame"
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def compare(
    results: Sequence[Results],
    out: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    metrics: Sequence[str] = FRAME_METRICS,
    frames: str = "median",
    over: str = "median",
    level: float = 0.95,
    published: bool = True,
    layout: str | None = None,
) -> Comparison:
    """Compare systems, and write tables, tests and a report into a folder.

    Written are `comparison.md` and `.tex` (tables of overall scores, published scores, ranks,
    paired tests, scores by genre and by track), `comparison.csv` (overall and by genre, one score
    a row), `per_track.csv` and `report.html`; with a layout just `layout.md`, `.tex` and `.csv`.

    Args:
        results: One or more, all made with the same settings.
        out: Folder to write into; files of these names in it are replaced.
        formats: What to write, of `FORMATS`.
        metrics: What to show, of `METRICS`, in this order.
        frames: How the frames of a track are aggregated, "median" or "mean".
        over: How tracks are.
        level: Of the intervals.
        published: Whether scores that others have published stand beside those of the results.
        layout: Print the tables of a publication instead, in its own shape and with its own
            averages, one of `layouts.LAYOUTS`.

    Errors:
        ParameterError: if an option is out of range or has no effect on a layout, or two results
            have one name.
        EvaluationError: if results were made with different settings, or cannot be written.
        DesmezclaError: if a package that this needs is not installed.
    """
    _check_options(formats, metrics, frames, over, level)
    if layout is not None:
        _check_layout(formats, metrics, (frames, over, level, published))
    _check_names(results)
    results = with_genres(results)
    averaging = Averaging(frames, over, level, _common_config(results))
    scores = scored(results, averaging, metrics=metrics)
    notes = comparison_notes(results)
    title = f"Comparison of {', '.join(result.name for result in results)}"
    if layout is None:
        tables = [overall_table(scores, metric) for metric in metrics]
        texts = _comparison_texts(title, scores, metrics, notes, published=published)
    else:
        tables = [table for result in results for table in layout_tables(result, layout)]
        texts = _layout_texts(title, tables, notes)
    wanted = {name: text for name, text in texts.items() if name.rpartition(".")[2] in formats}
    files = [write_text(Path(out) / name, text) for name, text in wanted.items()]
    if "html" in formats and layout is None:
        from desmezcla.evaluation.report import write_report

        report = Path(out) / "report.html"
        write_report(results, report, title=title, metric=metrics[0], scores=scores)
        files.append(report)
    return Comparison(tuple(tables), _tidy(scores), notes, tuple(files))


def with_genres(results: Sequence[Results]) -> tuple[Results, ...]:
    """Fill in genres that files of other programs do not tell.

    They are taken from another result with a track of the name, or from what is known of MUSDB18.
    """
    tracks = [track for each in results for track in each.tracks]
    known = {name: facts.genre for name, facts in musdb_facts().items()}
    known |= {track.track: track.genre for track in tracks if track.genre}
    filled = [
        tuple(replace(t, genre=t.genre or known.get(t.track, "")) for t in each.tracks)
        for each in results
    ]
    return tuple(replace(each, tracks=t) for each, t in zip(results, filled, strict=True))


def comparison_notes(results: Sequence[Results]) -> tuple[str, ...]:
    """Return what makes results less comparable than they look, one sentence each."""
    notes = []
    sets = {each.name: {(track.split, track.track) for track in each.tracks} for each in results}
    common = set.intersection(*sets.values())
    if any(tracks != common for tracks in sets.values()):
        counts = ", ".join(f"{name} {len(tracks)}" for name, tracks in sets.items())
        notes.append(
            f"The systems were scored on different tracks ({counts}; {len(common)} in common): "
            "overall scores are of each system's own tracks, ranks and tests of common ones."
        )
    datasets = {
        each.name: dataset_words(each.about) for each in results if dataset_words(each.about)
    }
    if len(set(datasets.values())) > 1:
        named = "; ".join(f"{name} on {dataset}" for name, dataset in datasets.items())
        notes.append(f"The systems were scored on different datasets: {named}.")
    splits = sorted({track.split for each in results for track in each.tracks})
    if len(splits) > 1:
        notes.append(f"Tracks of the splits {', '.join(splits)} count together.")
    return tuple(notes)


def _comparison_texts(
    title: str, scores: Scored, metrics: Sequence[str], notes: Sequence[str], *, published: bool
) -> dict[str, str]:
    """Return the files by name."""
    makers = {"Overall": overall_table}
    if published:
        makers["Beside published scores"] = published_table
    if scores.tracks["system"].nunique() > 1:
        makers |= {"Ranks": ranks_table, "Paired tests": tests_table}
    makers |= {"By genre": genre_table, "By track": per_track_table}
    sections: list[Section] = [
        (heading, [make(scores, metric) for metric in metrics]) for heading, make in makers.items()
    ]
    return {
        "comparison.md": markdown_page(title, sections, notes),
        "comparison.tex": latex_page(title, sections, notes),
        "comparison.csv": frame_csv(_tidy(scores)),
        "per_track.csv": frame_csv(
            scores.tracks.assign(frames_by=_frames_by(scores.tracks, scores))
        ),
    }


def _layout_texts(title: str, tables: Sequence[TextTable], notes: Sequence[str]) -> dict[str, str]:
    return {
        "layout.md": markdown_page(title, [("Tables", tables)], notes),
        "layout.tex": latex_page(title, [("Tables", tables)], notes),
        "layout.csv": csv_page(tables),
    }


def _tidy(scores: Scored) -> "DataFrame":
    """Add to every score how it was put together, so that no row can lose it."""
    summary, averaging = scores.summary, scores.averaging
    settings = averaging.config.describe()
    return summary.assign(
        frames_by=_frames_by(summary, scores),
        tracks_by=averaging.over,
        level=averaging.level,
        settings=[settings if metric in FRAME_METRICS else "" for metric in summary["metric"]],
    )


def _frames_by(table: "DataFrame", scores: Scored) -> list[str]:
    return [scores.averaging.frames if m in FRAME_METRICS else "" for m in table["metric"]]


def _check_options(
    formats: Sequence[str], metrics: Sequence[str], frames: str, over: str, level: float
) -> None:
    for name, values, known in (
        ("formats", formats, FORMATS),
        ("metrics", metrics, METRICS),
        ("frames", (frames,), AGGREGATIONS),
        ("over", (over,), AGGREGATIONS),
    ):
        unknown = [value for value in values if value not in known]
        if unknown or not values:
            given = repr(unknown[0]) if unknown else "nothing"
            raise ParameterError(f"{name} holds {given}, but must be of {', '.join(known)}")
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must be between 0 and 1; 0.95 is usual")


def _check_layout(
    formats: Sequence[str], metrics: Sequence[str], averages: tuple[str, str, float, bool]
) -> None:
    """Refuse options that a layout would ignore."""
    if (tuple(metrics), averages) != (FRAME_METRICS, ("median", "median", 0.95, True)):
        raise ParameterError(
            "a layout has metrics, averages and published scores of its own; leave out what "
            "chooses them, or the layout"
        )
    if set(formats) <= {"html"}:
        raise ParameterError("formats=html has no layouts; choose from md, tex, csv")


def _check_names(results: Sequence[Results]) -> None:
    if not results:
        raise ParameterError("results=[] must hold at least one; pass what `read_results` returns")
    name, count = Counter(result.name for result in results).most_common(1)[0]
    if count > 1:
        roots = ", ".join(repr(str(r.root)) for r in results if r.name == name and r.root)
        raise ParameterError(
            f"{count} results are named {name!r}{f' ({roots})' if roots else ''}, but each must "
            "have a name of its own; give names with --names a,b (`read_results(..., name=...)`)"
        )
    for each in results:
        tracks = Counter((track.split, track.track) for track in each.tracks)
        if any(number > 1 for number in tracks.values()):
            (split, track), number = tracks.most_common(1)[0]
            raise EvaluationError(
                f"{each.name!r} has {number} scores of the track {track!r} of the split {split!r}, "
                "but must have one; remove the files that do not belong to it"
            )


def _common_config(results: Sequence[Results]) -> BssEvalConfig:
    """Return the settings of all results."""
    made = [(each.name, track.track, track.config) for each in results for track in each.tracks]
    if not made:
        raise EvaluationError("the results hold no tracks; evaluate some first")
    first_name, first_track, config = made[0]
    for name, track, other in made:
        if other != config:
            raise EvaluationError(
                f"{first_name!r} (track {first_track!r}) was scored with {config.describe()}, but "
                f"{name!r} (track {track!r}) with {other.describe()}; such scores must not stand "
                "in one table: evaluate one of them again, with the settings of the other"
            )
    return config
