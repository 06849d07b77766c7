"""Singing: the vocal parts of a song, each by a singer, dry and alone.

A singer is somebody's voice (of the material folder, of speech synthesis, or made of formants)
with a character of their own; the voice is taken apart at its periods and laid anew along the
melody.
"""

from desmezcla.datasets.render.singing.choir import sing

__all__ = ["sing"]
