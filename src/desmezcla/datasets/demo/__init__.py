"""A short song with known stems, made from numbers alone: nothing recorded, nothing to fetch."""

from desmezcla.datasets.demo.song import STEMS, render_song

__all__ = ["STEMS", "render_song"]
