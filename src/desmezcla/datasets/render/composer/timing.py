"""Events in seconds: order, overlaps, silences and the end of the song."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from desmezcla.datasets.render.score import Hit, Note

AnyNote = TypeVar("AnyNote", bound=Note)
_SHORTEST_S = 0.025


def ordered(notes: Iterable[AnyNote], duration_s: float) -> tuple[AnyNote, ...]:
    """Return notes by their starts, cut at the end of the song; slivers are left out."""
    kept = []
    for note in sorted(notes, key=lambda n: (n.start_s, n.pitch)):
        length_s = min(note.duration_s, duration_s - note.start_s)
        if length_s >= _SHORTEST_S:
            kept.append(note if length_s == note.duration_s else replace(note, duration_s=length_s))
    return tuple(kept)


def monophonic(notes: Iterable[AnyNote], duration_s: float) -> tuple[AnyNote, ...]:
    """Return notes of which each ends when the next begins, or before."""
    kept: list[AnyNote] = []
    for note in ordered(notes, duration_s):
        if kept and kept[-1].end_s > note.start_s:
            room_s = note.start_s - kept[-1].start_s
            if room_s < _SHORTEST_S:
                continue
            # A hair less, so that rounding cannot make them overlap.
            kept[-1] = replace(kept[-1], duration_s=room_s * (1 - 1e-9))
        kept.append(note)
    return tuple(kept)


def silenced(
    notes: Iterable[AnyNote], silences_s: Sequence[tuple[float, float]]
) -> tuple[AnyNote, ...]:
    """Return notes without those that begin in a silence; others end where one begins."""
    kept = []
    for note in notes:
        length_s = note.duration_s
        for start_s, end_s in silences_s:
            if start_s <= note.start_s < end_s:
                length_s = 0.0
            elif note.start_s < start_s < note.start_s + length_s:
                length_s = start_s - note.start_s
        if length_s >= _SHORTEST_S:
            kept.append(note if length_s == note.duration_s else replace(note, duration_s=length_s))
    return tuple(kept)


def silenced_hits(
    hits: Iterable[Hit], silences_s: Sequence[tuple[float, float]]
) -> tuple[Hit, ...]:
    """Return hits without those that begin in a silence."""
    return tuple(h for h in hits if not any(a <= h.start_s < b for a, b in silences_s))


def covered_s(spans_s: Iterable[tuple[float, float]]) -> float:
    """Return how much time at least one of some spans, of start and end, covers."""
    total_s = last_s = 0.0
    for start_s, end_s in sorted(spans_s):
        total_s += max(0.0, end_s - max(last_s, start_s))
        last_s = max(last_s, end_s)
    return total_s
