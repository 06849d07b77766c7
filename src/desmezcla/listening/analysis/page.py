"""The report as one HTML page that needs nothing else."""

import base64
import functools
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from desmezcla.evaluation.comparing.text_table import (
    TextTable,
    joined_heads,
    split_bold,
    text_columns,
)
from desmezcla.evaluation.report.self_contained import page_template, policy_hash
from desmezcla.listening.analysis.plots import Plot
from desmezcla.version import VERSION


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: Its heading.
        text: Paragraphs above the tables.
        tables: Tables; those without rows show their notes only.
        plots: Plots.
    """

    heading: str
    text: tuple[str, ...] = ()
    tables: tuple[TextTable, ...] = ()
    plots: tuple[Plot, ...] = ()


def html_page(title: str, lead: str, sections: Sequence[Section], raw_csv: str) -> str:
    """Return the page.

    Args:
        title: Its heading.
        lead: What stands below it.
        sections: Its parts.
        raw_csv: All answers, to be saved from the page.
    """
    style = _style()
    text: str = _template().render(
        title=title,
        lead=lead,
        sections=sections,
        raw=_data_url("text/csv", raw_csv),
        version=VERSION,
        style=style,
        style_hash=policy_hash(style),
    )
    return text


@functools.cache
def _template() -> Any:
    return page_template(
        "desmezcla.listening",
        "analysis",
        heads=joined_heads,
        split_bold=split_bold,
        is_text=text_columns,
        picture=_picture,
    )


def _style() -> str:
    """Return the style of the report of a comparison, so that both look alike."""
    shared = importlib.resources.files("desmezcla.evaluation.report").joinpath("report.css")
    own = "figure img { display: block; max-width: 100%; height: auto; background: #fff; }\n"
    return shared.read_text(encoding="utf-8") + own


def _picture(plot: Plot) -> str:
    return _data_url("image/svg+xml", plot.svg)


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode('ascii')}"
