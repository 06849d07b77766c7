"""The report as one HTML page that needs nothing else."""

import base64
import functools
import hashlib
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
from desmezcla.listening.analysis.plots import Plot
from desmezcla.listening.optional import require
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
        style_hash=_hash(style),
    )
    return text


@functools.cache
def _template() -> Any:
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("desmezcla.listening", "analysis"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        heads=joined_heads, split_bold=split_bold, is_text=text_columns, picture=_picture
    )
    return environment.get_template("report.html.j2")


def _style() -> str:
    """Return the style of the report of a comparison, so that both look alike."""
    shared = importlib.resources.files("desmezcla.evaluation.report").joinpath("report.css")
    own = "figure img { display: block; max-width: 100%; height: auto; background: #fff; }\n"
    return shared.read_text(encoding="utf-8") + own


def _picture(plot: Plot) -> str:
    return _data_url("image/svg+xml", plot.svg)


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode('ascii')}"


def _hash(text: str) -> str:
    """Return what names a text in a Content-Security-Policy: no other style is used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
