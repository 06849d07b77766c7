"""Strokes of drums: in steps as they are written, and in seconds as they are hit."""

from dataclasses import dataclass

from desmezcla.datasets.render.composer.plan import Hand, Plan
from desmezcla.datasets.render.score import Hit


@dataclass(frozen=True)
class Stroke:
    """A stroke in steps, before it has a time."""

    step: float
    piece: str
    velocity: float


def window(strokes: tuple[Stroke, ...], first: float, length: float) -> tuple[Stroke, ...]:
    """Return the strokes of a stretch, from its start; an early downbeat belongs to it."""
    return tuple(
        Stroke(s.step - first, s.piece, s.velocity)
        for s in strokes
        if first - 0.4 <= s.step < first + length - 0.4
    )


def hits(plan: Plan, strokes: list[Stroke], *, straight: bool, name: str) -> tuple[Hit, ...]:
    """Return strokes as hits in seconds.

    Args:
        plan: The song.
        strokes: In any order.
        straight: The strokes carry a drummer's own timing, which swing and looseness would spoil.
        name: Of the part.
    """
    loose_s = 0.001 if straight else plan.style.loose_s * 0.6
    hand = Hand(plan, plan.rng(name, "hand"), loose_s=loose_s)
    timed = []
    for stroke in strokes:
        if straight:
            at_s = max(0.0, stroke.step * plan.clock.step_s + loose_s * hand.normal())
        else:
            at_s = hand.time(stroke.step)
        timed.append(Hit(at_s, stroke.piece, hand.velocity(stroke.velocity)))
    return _without_doubles(sorted(timed, key=lambda h: (h.start_s, h.piece)))


def _without_doubles(timed: list[Hit]) -> tuple[Hit, ...]:
    """Leave out strokes on a piece that was struck within the last 25 ms."""
    last: dict[str, float] = {}
    kept = []
    for hit in timed:
        if hit.start_s - last.get(hit.piece, -1.0) > 0.025:
            last[hit.piece] = hit.start_s
            kept.append(hit)
    return tuple(kept)
