"""Evaluations of whole datasets: what is evaluated, track by track, and what is written."""
