"""The HTML report of a comparison: one file that needs nothing else."""

from desmezcla.evaluation.report.page import write_report

__all__ = ["write_report"]
