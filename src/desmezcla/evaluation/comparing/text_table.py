"""Tables of text, and the three ways in which they are written: Markdown, LaTeX and CSV."""

import csv
import io
import math
import re
from dataclasses import dataclass

from desmezcla.errors import ParameterError


@dataclass(frozen=True)
class TextTable:
    """A table as it is printed.

    Attributes:
        title: Its caption.
        columns: Heads of the columns.
        rows: Cells, as many in each row as there are columns.
        groups: A row of heads above the columns, each with the number of columns below it;
            empty for none.
        notes: Lines below the table: how it was averaged, where published figures come from.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


# A longer table does not fit on a page, and LaTeX breaks only `longtable` over pages.
_ROWS_OF_A_PAGE = 40

# What has a meaning in Markdown; signs that have one only in some places are left alone in others,
# for people read the text as it is, too.
_MARKDOWN_SPECIAL = re.compile(
    r"[\\`*<|$]|(?<!/)~|(?<!\w)_|_(?!\w)|&(?=#?\w+;)"  # anywhere
    r"|\](?=[(\[])|^\[(?=[^\]]*\]:)"  # links
    r"|^[#>]|^[-+](?=[-\s]|$)|(?<=^\d)[.)](?=\s|$)"  # at the beginning of a line
)

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # These have no glyph in the fonts of pdfLaTeX.
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "χ": r"$\chi$",
    "²": r"\textsuperscript{2}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}

_BOLD = re.compile(r"\*\*(?P<bold>.+?)\*\*(?P<rest>.*)", re.DOTALL)


def p_value(p: float) -> str:
    """Return a p-value as text.

    >>> p_value(0.0123), p_value(1e-9), p_value(float("nan"))
    ('0.012', '< 0.001', '–')
    """
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def bold(text: str) -> str:
    """Return the text as a cell, or the beginning of one, that is written in bold.

    >>> bold("5.30") + " (best)"
    '**5.30** (best)'
    """
    return f"**{text}**"


def split_bold(cell: str) -> tuple[str, str]:
    """Split a cell into its beginning in bold, "" for none, and the rest.

    >>> split_bold("**5.30** (best)"), split_bold("5.30")
    (('5.30', ' (best)'), ('', '5.30'))
    """
    found = _BOLD.fullmatch(cell)
    return (found["bold"], found["rest"]) if found else ("", cell)


def markdown(table: TextTable) -> str:
    """Write a table in Markdown (GitHub's); heads of groups go in front of those of columns.

    Cells are text: what has a meaning in Markdown is escaped, but for `bold`.

    Errors:
        ParameterError: if rows or groups do not fit the columns.
    """
    _check(table)
    lines = [
        [markdown_text(head) for head in joined_heads(table)],
        [":---" if text else "---:" for text in text_columns(table)],
        *([_markdown_cell(cell) for cell in row] for row in table.rows),
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"### {markdown_text(table.title)}", text]
    if table.notes:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def latex(table: TextTable) -> str:
    r"""Write a table in LaTeX with the rules of `booktabs`; notes stand in small type below it.

    Long tables are a `longtable`, all others a `table`. Needs \usepackage{booktabs,longtable} and,
    for pdfLaTeX, \usepackage[T1]{fontenc}.

    Errors:
        ParameterError: if rows or groups do not fit the columns.
    """
    _check(table)
    columns = "".join("l" if text else "r" for text in text_columns(table))
    head = [*_latex_groups(table), _latex_row([_latex_text(name) for name in table.columns])]
    body = [_latex_row([_latex_cell(cell) for cell in row]) for row in table.rows]
    caption = rf"\caption{{{_latex_text(table.title)}}}"
    notes = [latex_note(note).rstrip("\n") for note in table.notes]
    if len(body) > _ROWS_OF_A_PAGE:
        lines = [
            rf"\begin{{longtable}}{{{columns}}}",
            caption + r"\\",
            *[r"\toprule", *head, r"\midrule", r"\endfirsthead"],
            *[r"\toprule", *head, r"\midrule", r"\endhead"],
            *[r"\bottomrule", r"\endfoot"],
            *body,
            r"\end{longtable}",
            *notes,
        ]
    else:
        lines = [
            r"\begin{table}",
            r"\centering",
            caption,
            rf"\begin{{tabular}}{{{columns}}}",
            *[r"\toprule", *head, r"\midrule", *body, r"\bottomrule"],
            r"\end{tabular}",
            *([r"\par\smallskip", *notes] if notes else []),
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def csv_text(table: TextTable) -> str:
    """Write heads and rows as CSV, without title and notes, so that programs can read it.

    Minus signs become hyphens, which programs take for numbers, and nothing is bold. A null
    character, which not every reader of CSV takes, becomes the sign for what cannot be shown.

    Errors:
        ParameterError: if rows or groups do not fit the columns.
    """
    _check(table)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_one_line(head) for head in joined_heads(table)])
    writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    return file.getvalue()


def latex_note(text: str) -> str:
    """Return text as a paragraph of LaTeX in small type."""
    return f"{{\\footnotesize {_latex_text(text)}\\par}}\n"


def markdown_text(text: str) -> str:
    """Return text with what has a meaning in Markdown escaped, in one line."""
    return _MARKDOWN_SPECIAL.sub(r"\\\g<0>", _one_line(text))


def joined_heads(table: TextTable) -> list[str]:
    """Return one head for each column of a table, with that of its group in front."""
    above = [name for name, columns in table.groups for _ in range(columns)]
    above = above or [""] * len(table.columns)
    return [" ".join(filter(None, pair)) for pair in zip(above, table.columns, strict=True)]


def text_columns(table: TextTable) -> list[bool]:
    """Tell columns of text from columns of numbers, which are aligned to the right."""
    number = re.compile(r"[-+]?[\d.<(\[].*|[—–]?", re.DOTALL)
    return [
        not all(number.fullmatch(_plain(row[i])) for row in table.rows)
        for i in range(len(table.columns))
    ]


def _check(table: TextTable) -> None:
    width = len(table.columns)
    for row in table.rows:
        if len(row) != width:
            raise ParameterError(
                f"the table {table.title!r} has a row of {len(row)} cells, {row}, but must have "
                f"{width} in each, as many as columns; add or remove cells"
            )
    spanned = sum(columns for _, columns in table.groups)
    if table.groups and spanned != width:
        raise ParameterError(
            f"groups={table.groups} of the table {table.title!r} span {spanned} columns, but must "
            f"span all {width}; give those without a group an empty head"
        )


def _plain(cell: str) -> str:
    text = _one_line("".join(split_bold(cell))).replace("\0", "\ufffd")
    return re.sub(r"−(?=[\d.])", "-", text)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _markdown_cell(cell: str) -> str:
    strong, rest = split_bold(cell)
    return (f"**{markdown_text(strong)}**" if strong else "") + markdown_text(rest)


def _latex_groups(table: TextTable) -> list[str]:
    if not table.groups:
        return []
    cells, rules, first = [], [], 1
    for name, columns in table.groups:
        cells.append(rf"\multicolumn{{{columns}}}{{c}}{{{_latex_text(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{first}-{first + columns - 1}}}")
        first += columns
    return [_latex_row(cells), " ".join(rules)]


def _latex_row(cells: list[str]) -> str:
    row = " & ".join(cells) + r" \\"
    # After the \\ of the row before, these would begin an option.
    return f"{{{row[0]}}}{row[1:]}" if row[0] in "[*" else row


def _latex_cell(cell: str) -> str:
    strong, rest = split_bold(cell)
    return (rf"\textbf{{{_latex_text(strong)}}}" if strong else "") + _latex_text(rest)


def _latex_text(text: str) -> str:
    text = re.sub(r"(?<!\w)-(?=\d)", "−", _one_line(text))
    return "".join(_LATEX.get(sign, sign) for sign in text)
