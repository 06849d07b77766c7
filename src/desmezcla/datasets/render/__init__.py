"""Synthetic songs with known stems, made from numbers alone: nothing recorded, nothing to fetch."""

from desmezcla.datasets.render.song import STEMS, render_song

__all__ = ["STEMS", "render_song"]
