"""The composer of rendered songs: a generator of random numbers becomes a score."""

from desmezcla.datasets.render.composer.composer import compose
from desmezcla.datasets.render.composer.midi import MidiLibrary
from desmezcla.datasets.render.composer.songbook import STYLES

__all__ = ["STYLES", "MidiLibrary", "compose"]
