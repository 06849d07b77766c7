"""Scoring: BSS Eval and its kin, whole evaluations of releases, tables, statistics and reports."""
