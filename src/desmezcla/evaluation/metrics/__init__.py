"""Ratios of energies: BSS Eval, and what needs no filters."""
