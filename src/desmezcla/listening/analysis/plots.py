"""The plots of a report, as SVG."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from desmezcla.listening.analysis.analysis import Analysis
from desmezcla.listening.analysis.tables import SCALES
from desmezcla.listening.design import MOS_RANGE, MUSHRA_RANGE
from desmezcla.listening.optional import require
from desmezcla.listening.rows import MUSHRA

if TYPE_CHECKING:
    from pandas import DataFrame

# Told apart by people who do not see all colours (Okabe and Ito), and by shape besides.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a6572", "#b3a500")
_MARKERS = "osD^vPX*"
_METRICS = ("SDR", "SIR", "SAR")

# No dates and no drawn names: the same numbers give the same file.
_RC = {"svg.hashsalt": "desmezcla", "svg.fonttype": "none", "font.family": "sans-serif"}


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: Of its file, without the ending.
        title: Its caption.
        svg: The picture.
    """

    name: str
    title: str
    svg: str


def all_plots(analysis: Analysis) -> tuple[Plot, ...]:
    """Draw all plots that the answers give reason for."""
    plots = [*_means(analysis)]
    if len(analysis.stems) > 1:
        plots += _splits(analysis, "stem", analysis.by_stem, analysis.stems)
    if len(analysis.songs) > 1:
        plots += _splits(analysis, "song", analysis.by_song, analysis.songs)
    if analysis.points is not None and len(analysis.points):
        plots += _scatters(analysis, analysis.points)
    return tuple(plots)


def _means(analysis: Analysis) -> Iterator[Plot]:
    for scale in analysis.ratings.scales:
        table = analysis.overall[analysis.overall["scale"] == scale].set_index("condition")
        table = table.loc[list(analysis.conditions)]
        figure, axes = _figure(1)
        for place, row in enumerate(table.itertuples()):
            _point(axes[0], place, row, place)
        axes[0].set_xticks(range(len(table)), list(table.index), rotation=20, ha="right")
        _scale_axis(axes[0], scale)
        title = f"{SCALES[scale]}: mean and 95 % interval of each condition"
        yield Plot(f"mos_{scale}", title, _svg(figure))


def _splits(
    analysis: Analysis, by: str, table: "DataFrame", names: tuple[str, ...]
) -> Iterator[Plot]:
    for scale in analysis.ratings.scales:
        figure, axes = _figure(1, width=max(6.0, 1.1 * len(names) + 2))
        of_scale = table[table["scale"] == scale]
        width = 0.7 / len(analysis.conditions)
        for number, condition in enumerate(analysis.conditions):
            shift = (number - (len(analysis.conditions) - 1) / 2) * width
            label: str | None = condition
            for row in of_scale[of_scale["condition"] == condition].itertuples():
                place = names.index(getattr(row, by))
                _point(axes[0], place + shift, row, number, label)
                label = None
        axes[0].set_xticks(range(len(names)), list(names), rotation=20, ha="right")
        axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        _scale_axis(axes[0], scale)
        title = f"{SCALES[scale]}: mean and 95 % interval by {by}"
        yield Plot(f"mos_{scale}_by_{by}", title, _svg(figure))


def _scatters(analysis: Analysis, points: "DataFrame") -> Iterator[Plot]:
    for scale in analysis.ratings.scales:
        of_scale = points[points["scale"] == scale]
        metrics = [metric for metric in _METRICS if (of_scale["metric"] == metric).any()]
        if not metrics:
            continue
        figure, axes = _figure(len(metrics), width=3.2 * len(metrics) + 1.5)
        for axis, metric in zip(axes, metrics, strict=True):
            chosen = of_scale[of_scale["metric"] == metric]
            for number, condition in enumerate(analysis.conditions):
                own = chosen[chosen["condition"] == condition]
                if len(own):
                    axis.scatter(
                        own["objective"],
                        own["mos"],
                        color=_COLOURS[number % len(_COLOURS)],
                        marker=_MARKERS[number % len(_MARKERS)],
                        label=condition,
                        alpha=0.8,
                    )
            axis.set_xlabel(f"{metric} in dB")
            _scale_axis(axis, scale)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        title = f"{SCALES[scale]} and {', '.join(metrics)}: one point for each stem of a song"
        yield Plot(f"mos_{scale}_objective", title, _svg(figure))


def _figure(panels: int, *, width: float = 6.0) -> tuple[Any, list[Any]]:
    figure = require("matplotlib.figure").Figure(figsize=(width, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.grid(axis="y", color="#d9dee4", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _point(axis: Any, place: float, row: Any, number: int, label: str | None = None) -> None:
    reach = [[row.mos - row.low], [row.high - row.mos]]
    axis.errorbar(
        [place],
        [row.mos],
        yerr=reach if np.isfinite(reach).all() else None,
        color=_COLOURS[number % len(_COLOURS)],
        fmt=_MARKERS[number % len(_MARKERS)],
        capsize=3,
        label=label,
    )


def _scale_axis(axis: Any, scale: str) -> None:
    low, high = MUSHRA_RANGE if scale == MUSHRA else MOS_RANGE
    margin = (high - low) / 20
    axis.set_ylim(low - margin, high + margin)
    if scale != MUSHRA:
        axis.set_yticks(range(low, high + 1))
    axis.set_ylabel(scale if scale != MUSHRA else "MUSHRA")


def _svg(figure: Any) -> str:
    file = io.StringIO()
    with require("matplotlib").rc_context(_RC):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
