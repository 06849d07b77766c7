"""What was found, as tables of text."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from desmezcla.evaluation.comparing.comparison_tables import number
from desmezcla.evaluation.comparing.text_table import TextTable, bold, p_value
from desmezcla.listening.analysis.analysis import Analysis, ScaleEffects
from desmezcla.listening.analysis.effects import Anova, MixedModel
from desmezcla.listening.analysis.screening import rule_texts

if TYPE_CHECKING:
    from pandas import DataFrame

# Differences with a smaller p, after Holm's correction, are printed bold.
SIGNIFICANT = 0.05

# Names of the scales in heads and captions.
SCALES = {
    "quality": "Quality (1–5)",
    "contamination": "Contamination (1–5, 5 is none)",
    "mushra": "MUSHRA (0–100)",
}

_INTERVAL = "95 % intervals by Student's distribution over listeners' means"


def overall_table(analysis: Analysis) -> TextTable:
    """Return mean opinion scores of all conditions, a column for each scale."""
    scales = analysis.ratings.scales
    cells = _cells(analysis.overall, ("condition", "scale"))
    rows = [(name, *(cells[name, scale] for scale in scales)) for name in analysis.conditions]
    return TextTable(
        "Mean opinion scores",
        ("Condition", *(SCALES[scale] for scale in scales)),
        tuple(rows),
        notes=(f"{analysis.counted} listeners; {_INTERVAL}.",),
    )


def split_tables(analysis: Analysis, by: str) -> list[TextTable]:
    """Return scores by stem or by song, a table for each scale.

    Args:
        analysis: What was found.
        by: "stem" or "song".
    """
    table, names = {
        "stem": (analysis.by_stem, analysis.stems),
        "song": (analysis.by_song, analysis.songs),
    }[by]
    cells = _cells(table, ("scale", "condition", by))
    return [
        TextTable(
            f"{SCALES[scale]} by {by}",
            (by.capitalize(), *analysis.conditions),
            tuple(
                (name, *(cells.get((scale, c, name), "–") for c in analysis.conditions))
                for name in names
            ),
            notes=(_INTERVAL + ".",),
        )
        for scale in analysis.ratings.scales
    ]


def group_tables(analysis: Analysis) -> list[TextTable]:
    """Return scores by groups of listeners, a table for each scale."""
    tables = []
    for scale in analysis.ratings.scales:
        rows: list[tuple[str, ...]] = []
        for grouping, table in analysis.by_group.items():
            chosen = table[table["scale"] == scale]
            cells = _cells(chosen, (grouping, "condition"))
            for group in sorted(chosen[grouping].unique()):
                own = chosen[chosen[grouping] == group]
                scores = [cells.get((group, c), "–") for c in analysis.conditions]
                rows.append((grouping, str(group), str(own["listeners"].max()), *scores))
        tables.append(
            TextTable(
                f"{SCALES[scale]} by group of listeners",
                ("Grouping", "Group", "Listeners", *analysis.conditions),
                tuple(rows),
                notes=(
                    "Degrees 1 and 2 are low, 3 is middle, 4 and 5 are high. Familiarity is that "
                    "with the style of the song, so that a listener can be in several groups.",
                ),
            )
        )
    return tables


def model_table(scale: str, effects: ScaleEffects) -> TextTable:
    """Return the mixed-effects model of a scale, or in its place why there is none."""
    title = f"{SCALES[scale]}: mixed-effects model"
    columns = ("Term", "Estimate", "95 % interval")
    model = effects.model
    if isinstance(model, str):
        note = f"There is no model: {model}. The analysis of variance stands in its place."
        return TextTable(title, columns, (), notes=(note,))
    rows = [(f"{model.baseline} (mean)", number(model.intercept), "")]
    rows += [
        (f"{e.condition} − {model.baseline}", number(e.estimate), _range(e.low, e.high))
        for e in model.effects
    ]
    rows += [(f"variance: {name}", number(v, digits=3), "") for name, v in model.variances.items()]
    notes = [
        "score = condition (fixed) + listener + excerpt (random, crossed), restricted maximum "
        f"likelihood. Wald's test of all conditions: χ² = {number(model.chi2)}, "
        f"{model.degrees} degrees of freedom, p {_equals(model.p)}.",
        *(f"Warning of the fit: {note}" for note in model.notes),
    ]
    return TextTable(title, columns, tuple(rows), notes=tuple(notes))


def tests_table(analysis: Analysis) -> TextTable:
    """Return the tests whether any conditions differ, of all scales."""
    rows = []
    for scale, effects in analysis.effects.items():
        model = effects.model
        if isinstance(model, MixedModel):
            degrees: tuple[float, ...] = (model.degrees,)
            rows.append((SCALES[scale], *_test("Mixed model, Wald", model.chi2, degrees, model.p)))
        else:
            rows.append((SCALES[scale], "Mixed model, Wald", "–", "–", model))
        rows.append((SCALES[scale], *_anova("Analysis of variance, F", effects.anova)))
        rows.append((SCALES[scale], *_anova("Friedman, χ²", effects.ranks)))
    return TextTable(
        "Do the conditions differ?",
        ("Scale", "Test", "Statistic", "Degrees of freedom", "p"),
        tuple(rows),
        notes=(
            "Analysis of variance and Friedman's test take one mean for each listener and "
            "condition, from those who have rated all conditions.",
        ),
    )


def pairs_tables(analysis: Analysis) -> list[TextTable]:
    """Return the tests of pairs, a table for each scale."""
    return [
        TextTable(
            f"{SCALES[scale]}: pairs of conditions",
            ("Pair", "Listeners", "Difference", "95 % interval", "p", "p (Holm)"),
            tuple(_pair(row) for row in effects.pairs.itertuples()),
            notes=(
                "Wilcoxon's signed-rank test over listeners' means, two-sided, with Holm's "
                f"correction for all pairs of the scale; bold below {SIGNIFICANT:g}.",
            ),
        )
        for scale, effects in analysis.effects.items()
    ]


def correlation_tables(analysis: Analysis) -> list[TextTable]:
    """Return the correlations with objective scores, a table for each scale."""
    table = analysis.correlations
    if table is None:
        return []
    return [
        TextTable(
            f"{SCALES[scale]} and objective scores",
            ("Metric", "Stem", "Points", "Pearson", "Spearman"),
            tuple(_correlation(row) for row in table[table["scale"] == scale].itertuples()),
            notes=(
                "A point is one system's version of a stem of a song. Objective scores are medians "
                "over the frames of the whole song, while listeners heard the excerpt.",
            ),
        )
        for scale in table["scale"].unique()
    ]


def screening_table(analysis: Analysis) -> TextTable:
    """Return what screening says of each listener."""
    rules = rule_texts(analysis.ratings.design.screening)
    rows = [
        (
            str(one.listener),
            *(number(one.measures.get(rule, math.nan)) for rule in rules),
            (", ".join(one.broken) or "none"),
            "no" if analysis.screened and one.broken else "yes",
        )
        for one in analysis.verdicts
    ]
    heads = ("Answered", "Repeats", "Reference", "Constant", "Agreement", "MUSHRA")
    return TextTable(
        "Screening",
        ("Listener", *heads, "Rules broken", "Counts"),
        tuple(rows),
        notes=tuple(f"{head}: {text}." for head, text in zip(heads, rules.values(), strict=True)),
    )


def _cells(table: "DataFrame", keys: Sequence[str]) -> dict[tuple[Any, ...], str]:
    return {
        tuple(getattr(row, key) for key in keys): _with_range(row.mos, row.low, row.high)
        for row in table.itertuples()
    }


def _range(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) else ""


def _with_range(value: float, low: float, high: float) -> str:
    return f"{number(value)} {_range(low, high)}".rstrip()


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _test(name: str, statistic: float, degrees: Iterable[float], p: float) -> tuple[str, ...]:
    return name, number(statistic), ", ".join(f"{value:g}" for value in degrees), p_value(p)


def _anova(name: str, found: Anova | str) -> tuple[str, ...]:
    if isinstance(found, str):
        return name, "–", "–", found
    return _test(name, found.statistic, found.degrees, found.p)


def _pair(row: Any) -> tuple[str, ...]:
    difference = number(row.difference)
    if row.p_holm < SIGNIFICANT:
        difference = bold(difference)
    return (
        f"{row.condition_a} − {row.condition_b}",
        str(row.listeners),
        difference,
        _range(row.low, row.high),
        p_value(row.p),
        p_value(row.p_holm),
    )


def _correlation(row: Any) -> tuple[str, ...]:
    return (
        row.metric,
        row.stem,
        str(row.points),
        _with_range(row.pearson, row.pearson_low, row.pearson_high),
        _with_range(row.spearman, row.spearman_low, row.spearman_high),
    )
