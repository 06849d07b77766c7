"""Tables as Markdown, LaTeX and CSV, read back by other programs where there is one."""

import csv
import html
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from desmezcla.errors import ParameterError
from desmezcla.evaluation.comparing.text_table import (
    TextTable,
    bold,
    csv_text,
    latex,
    markdown,
    split_bold,
)

# rich brings this reader with it.
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})

TABLE = TextTable(
    "SDR in dB: 50 % of it",
    ("system", "SDR", "SIR"),
    (("año_1 | x", bold("5.30") + " [−1.00, 6.00]", "-2.5"), ("b & c", "1.00", "—")),
    groups=(("", 1), ("vocals", 2)),
    notes=("median of frames, median of tracks",),
)


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_markdown_has_a_head_a_row_each_and_notes() -> None:
    assert markdown(TABLE) == (
        "### SDR in dB: 50 % of it\n\n"
        "| system | vocals SDR | vocals SIR |\n"
        "| :--- | ---: | ---: |\n"
        "| año_1 \\| x | **5.30** [−1.00, 6.00] | -2.5 |\n"
        "| b & c | 1.00 | — |\n\n"
        "- median of frames, median of tracks\n"
    )


def test_latex_has_the_rules_of_booktabs_and_nothing_special() -> None:
    assert latex(TABLE).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{SDR in dB: 50 \% of it}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{vocals} \\",
        r"\cmidrule(lr){2-3}",
        r"system & SDR & SIR \\",
        r"\midrule",
        r"año\_1 \textbar{} x & \textbf{5.30} [$-$1.00, 6.00] & $-$2.5 \\",
        r"b \& c & 1.00 & --- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"{\footnotesize median of frames, median of tracks\par}",
        r"\end{table}",
    ]


def test_a_long_table_breaks_over_pages() -> None:
    text = latex(TextTable("long", ("a",), (("1",),) * 60))
    assert r"\begin{longtable}{r}" in text
    assert r"\begin{table}" not in text
    assert text.count(r"1 \\") == 60


def test_csv_is_read_back_with_plain_numbers() -> None:
    assert read_csv(csv_text(TABLE)) == [
        ["system", "vocals SDR", "vocals SIR"],
        ["año_1 | x", "5.30 [-1.00, 6.00]", "-2.5"],
        ["b & c", "1.00", "—"],
    ]


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_any_text_comes_back_from_csv(cells: list[str]) -> None:
    table = TextTable("", ("a", "b"), (tuple(cells),))
    # What looks bold, a minus before a number, null characters and breaks of lines are rewritten on
    # purpose.
    plain = [
        " ".join("".join(split_bold(cell)).splitlines()).replace("\0", "\ufffd") for cell in cells
    ]
    assert [cell.replace("−", "-") for cell in read_csv(csv_text(table))[1]] == [
        cell.replace("−", "-") for cell in plain
    ]


@given(ASCII)
def test_latex_of_any_text_has_no_sign_that_latex_would_obey(text: str) -> None:
    line = latex(TextTable("t", ("a",), ((f"x{text}",),))).splitlines()[7]
    rest = line.removesuffix(r" \\")
    for command in (r"\\text\w+\{\}", r"\\[&%$#_{}]", r"\$-\$"):
        rest = re.sub(command, "", rest)
    assert not set(rest) & set('\\&%$#_^~<>|"{}')


@given(st.text("ab1 *_`[]()<>|\\~#$&;:!-+.\"'ñ", min_size=1, max_size=10).map(str.strip))
def test_any_text_comes_back_from_markdown(text: str) -> None:
    if not text or split_bold(text)[0]:
        return
    page = MARKDOWN.render(markdown(TextTable("t", ("a",), ((text,),), notes=(text,))))
    for tag in ("td", "li"):
        found = re.search(rf"<{tag}[^>]*>(.*)</{tag}>", page, re.DOTALL)
        assert found is not None
        assert html.unescape(found[1]) == text


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("global_SDR", "global_SDR"),
        ("_x_", r"\_x\_"),
        ("[a](b)", r"[a\](b)"),
        ("5 * 3", r"5 \* 3"),
        ("[1] and a [2]: b", "[1] and a [2]: b"),
        ("[1]: b", r"\[1]: b"),
        ("two\nlines", "two lines"),
        ("&lt;", r"\&lt;"),
        ("# x", r"\# x"),
        ("https://a.b/~c_d", "https://a.b/~c_d"),
    ],
)
def test_markdown_escapes_only_what_would_change(cell: str, written: str) -> None:
    assert markdown(TextTable("t", ("a",), ((cell,),))).splitlines()[4] == f"| {written} |"


@pytest.mark.parametrize("cell", ["[1", "*"])
def test_latex_takes_no_cell_for_an_option_of_the_line_before(cell: str) -> None:
    lines = latex(TextTable("t", ("a",), (("b",), (cell,)))).splitlines()
    assert lines[8] == f"{{{cell[0]}}}{cell[1:]} " + r"\\"


@pytest.mark.parametrize("write", [markdown, latex, csv_text])
def test_a_table_that_does_not_fit_is_refused(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError, match="row of 1 cells"):
        write(TextTable("t", ("a", "b"), (("1",),)))
    with pytest.raises(ParameterError, match="span 1 columns"):
        write(TextTable("t", ("a", "b"), (), groups=(("g", 1),)))
