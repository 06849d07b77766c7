"""A report on the separation of a song for which there are no references; see docs/blind.md."""

from desmezcla.evaluation.blind.measure import blind_report
from desmezcla.evaluation.blind.page import blind_html
from desmezcla.evaluation.blind.report import (
    BlindReport,
    Finding,
    SignalReport,
    StemReport,
    SumReport,
)
from desmezcla.evaluation.blind.sources import blind_from_files, blind_from_separator
from desmezcla.evaluation.blind.writing import csv_text, text, write_blind

__all__ = [
    "BlindReport",
    "Finding",
    "SignalReport",
    "StemReport",
    "SumReport",
    "blind_from_files",
    "blind_from_separator",
    "blind_html",
    "blind_report",
    "csv_text",
    "text",
    "write_blind",
]
