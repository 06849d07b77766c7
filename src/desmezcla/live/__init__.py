"""Separation while the music plays: audio devices, pipes of raw samples, and what controls them."""
