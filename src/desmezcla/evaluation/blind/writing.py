"""A blind report as text for people, as CSV, and as a set of files."""

import csv
import io
import json
from pathlib import Path

from desmezcla.audio.files import PendingFile
from desmezcla.evaluation.blind.page import page
from desmezcla.evaluation.blind.report import BlindReport, SignalReport, StemReport
from desmezcla.evaluation.blind.wording import COLUMNS, cells, heading, sum_line


def text(report: BlindReport) -> str:
    """Return the report as a plain table and a list of findings."""
    rows = [("", *COLUMNS), *_rows(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    findings = [f"{finding.severity}: {finding.text}" for finding in report.findings]
    return "\n".join([heading(report), "", *lines, "", sum_line(report), "", *findings]) + "\n"


def csv_text(report: BlindReport) -> str:
    """Return levels over time as CSV: the song, each stem (dBFS), and the sum's quality (dB)."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{name}_dbfs" for name in ("mixture", *report.stems)]
    writer.writerow(["time_s", *names, "reconstruction_db"])
    signals: list[SignalReport] = [report.mixture, *report.stems.values()]
    for time_s, *levels, sum_db in zip(
        report.times_s,
        *(signal.levels_dbfs for signal in signals),
        report.sum.frames_db,
        strict=True,
    ):
        writer.writerow([f"{time_s:g}", *(f"{level:.2f}" for level in levels), f"{sum_db:.2f}"])
    return file.getvalue()


def write_blind(report: BlindReport, out: Path) -> dict[str, Path]:
    """Write `blind.json`, `blind.html` and `blind.csv`; they appear when all are complete.

    Args:
        report: The report.
        out: Folder to write into; it is made if it is not there.

    Returns:
        The files, by "json", "html" and "csv".

    Errors:
        AudioFileError: if a file cannot be written.
    """
    texts = {
        "json": json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n",
        "html": page(report),
        "csv": csv_text(report),
    }
    pending: dict[str, PendingFile] = {}
    try:
        for kind, content in texts.items():
            pending[kind] = PendingFile(out / f"blind.{kind}")
            pending[kind].write(content.encode())
            pending[kind].finish()
        for file in pending.values():
            file.publish()
    finally:
        for file in pending.values():
            file.discard()
    return {kind: file.path for kind, file in pending.items()}


def _rows(report: BlindReport) -> list[tuple[str, ...]]:
    signals: dict[str, SignalReport | StemReport] = {"mixture": report.mixture, **report.stems}
    return [(name, *cells(signal)) for name, signal in signals.items()]
