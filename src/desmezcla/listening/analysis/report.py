"""The report of a test: its parts, and the files that it is written as."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from desmezcla.errors import DesmezclaError, EvaluationError
from desmezcla.evaluation.comparing.comparison_files import (
    frame_csv,
    latex_page,
    markdown_page,
    write_text,
)
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.listening.analysis.analysis import Analysis, analyse
from desmezcla.listening.analysis.correlation import read_scores
from desmezcla.listening.analysis.page import Section, html_page
from desmezcla.listening.analysis.plots import Plot, all_plots
from desmezcla.listening.analysis.ratings import collect
from desmezcla.listening.analysis.screening import rule_texts
from desmezcla.listening.analysis.tables import (
    correlation_tables,
    group_tables,
    model_table,
    overall_table,
    pairs_tables,
    screening_table,
    split_tables,
    tests_table,
)
from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.optional import require
from desmezcla.listening.rows import csv_of
from desmezcla.listening.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

_HOW = (
    "The mean opinion score of a condition is the mean over listeners of each listener's mean of "
    "its first ratings; repeats do not count. Intervals are Student's, over listeners: they speak "
    "of other listeners, not of other songs."
)


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        analysis: What was found.
        files: What was written.
    """

    analysis: Analysis
    files: tuple[Path, ...]


def write_listening_report(
    folder: Path,
    out: Path,
    *,
    scores: Mapping[str, Path] | None = None,
    screened: bool = True,
) -> Report:
    """Analyse the answers of a test, and write the report.

    Written are `report.html`, `listening.md` and `.tex`, `listening.csv` (all means), `pairs.csv`,
    `correlations.csv` (with scores), `answers.csv` (raw and anonymous) and `plots/*.svg`.

    Args:
        folder: The test.
        out: Folder to write into; files of these names in it are replaced.
        scores: What `desmezcla evaluate` wrote, by the name of the system.
        screened: Whether listeners who break a rule of the design are left out.

    Errors:
        ParameterError: if the folder is no test, nobody has answered, or nobody is left.
        DesmezclaError: if a file cannot be read or written, or a package is missing.
    """
    require("statsmodels")
    design = read_design(folder)
    database = folder / ANSWERS_FILE
    if not database.is_file():
        raise DesmezclaError(
            f"{str(database)!r} is not there: nobody has answered yet; serve the test with "
            "`desmezcla listen serve`"
        )
    with Store(database) as store:
        everything = collect(design, store.listeners())
    objective = read_scores(design, scores) if scores else None
    analysis = analyse(everything, screened=screened, scores=objective)
    try:
        return Report(analysis, _write(analysis, out))
    except EvaluationError as error:
        raise DesmezclaError(str(error)) from error


def sections(analysis: Analysis, plots: tuple[Plot, ...]) -> tuple[Section, ...]:
    """Return the parts of a report."""
    rules = "; ".join(rule_texts(analysis.ratings.design.screening).values())
    applied = (
        "Listeners who break a rule are left out of everything else."
        if analysis.screened
        else "All listeners count, whatever rules they break."
    )

    def of(ending: str) -> tuple[Plot, ...]:
        return tuple(plot for plot in plots if plot.name.endswith(ending))

    plain = tuple(plot for plot in plots if plot.name.count("_") == 1)
    parts = [
        Section("Mean opinion scores", (_HOW,), (overall_table(analysis),), plain),
        Section("By stem", (), tuple(split_tables(analysis, "stem")), of("_by_stem")),
        Section("By song", (), tuple(split_tables(analysis, "song")), of("_by_song")),
        Section("Do the conditions differ?", (), (tests_table(analysis), *_models(analysis))),
        Section("Pairs of conditions", (), tuple(pairs_tables(analysis))),
        Section("Objective scores", (), tuple(correlation_tables(analysis)), of("_objective")),
        Section("Groups of listeners", (), tuple(t for t in group_tables(analysis) if t.rows)),
        Section(
            "Screening",
            (f"Rules, fixed when the test was made: a listener {rules}.", applied),
            (screening_table(analysis),),
        ),
    ]
    return tuple(part for part in parts if part.tables)


def summary(analysis: Analysis) -> "DataFrame":
    """Return all means as one table: what they are by stands in the column `by`."""
    tables = {
        "condition": analysis.overall,
        "stem": analysis.by_stem,
        "song": analysis.by_song,
        "song and stem": analysis.by_excerpt,
    }
    parts = [table.assign(by=by) for by, table in tables.items()]
    parts += [
        table.rename(columns={by: "group"}).assign(by=by) for by, table in analysis.by_group.items()
    ]
    columns = ["by", "scale", "condition", "song", "stem", "group", "mos", "low", "high"]
    columns += ["boot_low", "boot_high", "listeners", "ratings"]
    return require("pandas").concat(parts, ignore_index=True).reindex(columns=columns)


def _models(analysis: Analysis) -> tuple[TextTable, ...]:
    return tuple(model_table(scale, effects) for scale, effects in analysis.effects.items())


def _write(analysis: Analysis, out: Path) -> tuple[Path, ...]:
    design = analysis.ratings.design
    plots = all_plots(analysis)
    parts = sections(analysis, plots)
    title = f"Listening test {design.name}"
    lead = (
        f"{analysis.counted} of {len(analysis.verdicts)} listeners, "
        f"{len(analysis.ratings.first)} ratings of {len(analysis.conditions)} conditions, "
        f"{len(analysis.songs)} songs and the stems {', '.join(analysis.stems)}."
    )
    raw = csv_of(analysis.everything.rows)
    tables = [(part.heading, part.tables) for part in parts]
    notes = (lead, *(line for part in parts for line in part.text))
    pandas = require("pandas")
    texts = {
        "report.html": html_page(title, lead, parts, raw),
        "listening.md": markdown_page(title, tables, notes),
        "listening.tex": latex_page(title, tables, notes),
        "listening.csv": frame_csv(summary(analysis)),
        "pairs.csv": frame_csv(
            pandas.concat(
                [effects.pairs.assign(scale=scale) for scale, effects in analysis.effects.items()]
            )
        ),
        "answers.csv": raw,
        **{f"plots/{plot.name}.svg": plot.svg for plot in plots},
    }
    if analysis.correlations is not None:
        texts["correlations.csv"] = frame_csv(analysis.correlations)
    return tuple(write_text(out / name, text) for name, text in texts.items())
