"""Drum fills at the ends of passages: recorded, written, or a roll that builds up."""

import numpy as np

from desmezcla.datasets.render.composer.midi import MidiLibrary
from desmezcla.datasets.render.composer.plan import Passage, Plan
from desmezcla.datasets.render.composer.strokes import Stroke, window

Fill = tuple[Stroke, ...]
MACHINES = ("kit_electronic", "kit_808", "kit_house")
# Pieces that go on through a build.
_HATS = ("hihat_closed", "hihat_open", "ride", "shaker")


def with_fill(
    plan: Plan,
    passage: Passage,
    strokes: list[Stroke],
    fills: tuple[Fill, ...],
    kit: str,
) -> list[Stroke]:
    """Return the strokes with a fill at the end of the passage, in place of what was there."""
    rng = plan.rng("drums", "fill", passage.index)
    if rng.random() > 0.35 + 0.5 * passage.energy or passage.bars < 2:
        return strokes
    bar_steps = plan.clock.bar_steps
    end = plan.bar_starts(passage)[-1] + bar_steps
    length = float(rng.choice((bar_steps / 4, bar_steps / 2, bar_steps), p=(0.35, 0.4, 0.25)))
    rising = kit in MACHINES and passage.kind in ("prechorus", "break")
    if rising:
        length = float(2 * bar_steps)
        fill = _build(end - length, length)
    elif fills and rng.random() < 0.75:
        recorded = fills[int(rng.integers(len(fills)))]
        shift = end - bar_steps
        fill = [
            Stroke(shift + s.step, s.piece, s.velocity)
            for s in recorded
            if s.step >= bar_steps - length
        ]
    else:
        fill = _written_fill(rng, end - length, int(length), kit)
    kept = [s for s in strokes if s.step < end - length - 0.4 or (rising and s.piece in _HATS)]
    return kept + fill


def _build(start: float, length: float) -> list[Stroke]:
    """Return a snare roll that doubles its pace half-way and grows."""
    half = length / 2
    steps = [*np.arange(0, half, 2), *np.arange(half, length, 1)]
    return [
        Stroke(start + float(step), "snare", float(0.3 + 0.6 * step / length)) for step in steps
    ]


def _written_fill(rng: np.random.Generator, start: float, length: int, kit: str) -> list[Stroke]:
    """Return sixteenths, some left out, that wander down the drums."""
    pieces = ["snare", "tom_high", "tom_mid", "tom_low"]
    if kit in MACHINES and rng.random() < 0.5:
        pieces = ["snare", "clap"]
    spacing = 2 if rng.random() < 0.25 else 1
    strokes = []
    for step in range(0, length, spacing):
        if rng.random() < 0.78:
            place = min(len(pieces) - 1, int(step / length * len(pieces) + rng.random() * 0.7))
            strokes.append(Stroke(start + step, pieces[place], float(rng.uniform(0.6, 0.95))))
    if rng.random() < 0.6:
        strokes += [Stroke(start + step, "kick", 0.8) for step in range(0, length, 4)]
    return strokes


def recorded_fills(
    rng: np.random.Generator, plan: Plan, midi: MidiLibrary | None
) -> tuple[Fill, ...]:
    """Return up to three recorded fills, each the last whole bar of its take."""
    if midi is None or plan.clock.metre != "4/4":
        return ()
    grooves = midi.select(plan.style.grooves, kind="fill", metre="4/4")
    if not grooves:
        return ()
    fills = []
    for index in rng.permutation(len(grooves))[:3]:
        strokes = midi.strokes(grooves[int(index)])
        start = 16 * max(0, int(4 * strokes[-1][0] // 16)) if strokes else 0
        last = tuple(Stroke(4 * at - start, piece, v) for at, piece, v in strokes)
        fill = window(last, 0, 16)
        if len(fill) >= 4:
            fills.append(fill)
    return tuple(fills)
