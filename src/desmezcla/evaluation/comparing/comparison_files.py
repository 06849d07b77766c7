"""Tables of text as whole files, which appear under their names when they are complete."""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.comparing.text_table import (
    TextTable,
    csv_text,
    latex,
    latex_note,
    markdown,
    markdown_text,
)

if TYPE_CHECKING:
    from pandas import DataFrame

Section = tuple[str, Sequence[TextTable]]
"""A heading and the tables below it; those without rows are left out."""


def markdown_page(title: str, sections: Iterable[Section], notes: Iterable[str]) -> str:
    """Return tables as a page of Markdown, with notes at its beginning."""
    parts = [f"# {markdown_text(title)}\n"]
    parts += ["".join(f"- {markdown_text(note)}\n" for note in notes)]
    for heading, tables in sections:
        parts += [f"## {heading}\n"] if any(table.rows for table in tables) else []
        parts += [markdown(table) for table in tables if table.rows]
    return "\n".join(filter(None, parts))


def latex_page(title: str, sections: Iterable[Section], notes: Iterable[str]) -> str:
    r"""Return tables as a file for \input, with notes in small type at its beginning."""
    needs = r"Needs \usepackage[T1]{fontenc} and \usepackage{booktabs,longtable}."
    parts = [f"% {' '.join(title.splitlines())}\n% {needs}\n", *map(latex_note, notes)]
    for heading, tables in sections:
        parts += [f"% {heading}\n"] if any(table.rows for table in tables) else []
        parts += [latex(table) for table in tables if table.rows]
    return "\n".join(parts)


def csv_page(tables: Iterable[TextTable]) -> str:
    """Return tables below each other, each with its title above it and its notes below."""
    parts = []
    for table in tables:
        title = csv_text(TextTable("", (table.title,), ()))
        notes = [csv_text(TextTable("", (note,), ())) for note in table.notes]
        parts.append("".join([title, csv_text(table), *notes]))
    return "\n".join(parts)


def frame_csv(table: "DataFrame") -> str:
    """Return a table of numbers as CSV, with nine digits."""
    text: str = table.to_csv(index=False, lineterminator="\n", float_format="%.9g")
    return text


def write_text(path: Path, text: str) -> Path:
    """Write a file, in the place of an older one, and return its path.

    Errors:
        EvaluationError: if the system refuses; an older file then stays as it was.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise EvaluationError(
            f"{str(path)!r} cannot be written: {error.strerror}; choose another folder with --out"
        ) from error
    return path
