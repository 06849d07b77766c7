"""Synthetic songs to train on: composed, played, sung and mixed from a seed."""
