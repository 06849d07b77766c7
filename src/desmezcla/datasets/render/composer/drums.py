"""The drummer: recorded grooves or written patterns, fills, builds and percussion."""

from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.composer.fills import MACHINES, Fill, with_fill
from desmezcla.datasets.render.composer.midi import Groove, MidiLibrary
from desmezcla.datasets.render.composer.patterns import (
    BEATS,
    BEATS_34,
    BEATS_68,
    PERCUSSION,
    PERCUSSION_12,
    Beat,
)
from desmezcla.datasets.render.composer.plan import Passage, Plan
from desmezcla.datasets.render.composer.strokes import Stroke, window

_LEVELS = {"X": 0.92, "x": 0.72, "o": 0.34}
# Pieces that a drummer leaves out when the song is quiet.
_LOUD = ("crash", "snare", "clap", "hihat_open", "ride_bell")
# Pieces that beat time, whose place a tom can take.
_TIME = ("hihat_closed", "hihat_open", "hihat_pedal", "ride", "shaker")


@dataclass(frozen=True)
class Take:
    """A recorded groove that the song's drummer follows: its strokes, in steps, and its swing."""

    strokes: tuple[Stroke, ...]
    bars: int
    swing: float


def choose_take(rng: np.random.Generator, plan: Plan, midi: MidiLibrary | None) -> Take | None:
    """Return a recorded groove near the song's tempo, or None to play written patterns."""
    if midi is None or rng.random() > plan.style.groove_share:
        return None
    grooves = midi.select(plan.style.grooves, kind="beat", metre=plan.clock.metre)
    if not grooves:
        return None
    tempo_bpm = 15 / plan.clock.step_s
    # Styles are named from the nearest to the farthest.
    order = sorted(
        grooves,
        key=lambda g: (
            abs(np.log(g.tempo_bpm / tempo_bpm)) + 0.15 * plan.style.grooves.index(g.style)
        ),
    )
    chosen = order[int(rng.integers(min(8, len(order))))]
    return _take(midi, chosen, plan.clock.bar_steps)


def _take(midi: MidiLibrary, groove: Groove, bar_steps: int) -> Take | None:
    strokes = tuple(
        Stroke(4 * start, piece, velocity) for start, piece, velocity in midi.strokes(groove)
    )
    bars = int(strokes[-1].step // bar_steps) if strokes else 0
    if bars < 2:
        return None
    offbeats = [s.step % 4 for s in strokes if 1.7 < s.step % 4 < 2.9]
    swing = float(np.clip(np.median(offbeats) / 4, 0.5, 0.67)) if len(offbeats) > bars else 0.5
    return Take(strokes, bars, swing)


def write_drums(plan: Plan, kit: str, take: Take | None, fills: tuple[Fill, ...]) -> list[Stroke]:
    """Return every stroke of the kit, in steps."""
    strokes: list[Stroke] = []
    for passage in plan.passages:
        if not _plays(plan, passage):
            continue
        strokes += _on_toms(plan, passage, kit, _passage_strokes(plan, passage, kit, take))
        strokes = with_fill(plan, passage, strokes, fills, kit)
    end = plan.bars * plan.clock.bar_steps
    if max((s.step for s in strokes), default=0) > end - 2 * plan.clock.bar_steps:
        strokes += [Stroke(end, "kick", 0.9), Stroke(end, "crash", 0.85)]
    return strokes


def _plays(plan: Plan, passage: Passage) -> bool:
    rng = plan.rng("drums", "plays", passage.index)
    return passage.energy > 0.26 + rng.uniform(0, 0.16) or plan.bars < 4


def _passage_strokes(plan: Plan, passage: Passage, kit: str, take: Take | None) -> list[Stroke]:
    rng = plan.rng("drums", passage.kind)
    bar_steps = plan.clock.bar_steps
    if take:
        loop_bars = min(take.bars, int(rng.choice((2, 4))))
        first = int(rng.integers(take.bars - loop_bars + 1)) * bar_steps
        loop = window(take.strokes, first, loop_bars * bar_steps)
    else:
        beat = choose_beat(rng, plan)
        loop = _written(beat)
        loop_bars = max(1, max(len(row) for row in beat.values()) // bar_steps)
    chance = plan.rng("drums", "play", passage.index)
    quiet = passage.energy < 0.45 and chance.random() < 0.6
    strokes = []
    for bar, start in enumerate(plan.bar_starts(passage)):
        inside = bar % loop_bars * bar_steps
        for stroke in window(loop, inside, bar_steps):
            if quiet and stroke.piece in _LOUD:
                continue
            strokes.append(Stroke(start + stroke.step, stroke.piece, stroke.velocity))
        if not take:
            strokes += _variation(chance, plan, start, kit, loud=passage.energy > 0.6)
    if passage.energy > 0.5 and strokes and chance.random() < 0.85:
        strokes.append(Stroke(plan.bar_starts(passage)[0], "crash", 0.85))
    return strokes


def _on_toms(plan: Plan, passage: Passage, kit: str, strokes: list[Stroke]) -> list[Stroke]:
    """Return strokes of which those that beat time may be on a tom, as in many a chorus or verse.

    Its ringing is the one thing beside kick and bass that fills the lowest octaves, bar after bar.
    """
    drummer = plan.rng("drums", "toms")
    inclined = drummer.random() < (0.2 if kit in MACHINES else 0.4)
    tom = str(drummer.choice(("tom_low", "tom_low", "tom_mid")))
    habit = plan.rng("drums", "toms", passage.kind)
    if not inclined or habit.random() < 0.4:
        return strokes
    beside = habit.random() < 0.3
    moved = [
        Stroke(s.step, tom, min(1.0, 1.1 * s.velocity))
        for s in strokes
        if s.piece in _TIME and s.step % 2 < 1
    ]
    return sorted(
        [s for s in strokes if beside or s.piece not in _TIME] + moved, key=lambda s: s.step
    )


def choose_beat(rng: np.random.Generator, plan: Plan) -> Beat:
    """Return a written pattern that fits style and metre, with a cymbal or a hat of its own."""
    if plan.clock.bar_steps == 12:
        beats = BEATS_68 if plan.clock.metre == "6/8" else BEATS_34
    else:
        beats = BEATS[str(rng.choice(plan.style.beats))]
    beat = dict(beats[int(rng.integers(len(beats)))])
    if plan.clock.bar_steps == 16 and rng.random() < 0.35:
        beat["kick"] = _moved(rng, beat.get("kick", "................"))
    if "hihat_closed" in beat and rng.random() < 0.25:
        beat[str(rng.choice(("ride", "hihat_open", "hihat_closed")))] = beat.pop("hihat_closed")
    return beat


def _moved(rng: np.random.Generator, row: str) -> str:
    """Return a row with one more stroke on an even step, or one less after the first."""
    steps = list(row)
    place = 2 * int(rng.integers(1, len(row) // 2))
    steps[place] = "." if steps[place] != "." else "x"
    return "".join(steps)


def _written(beat: Beat) -> tuple[Stroke, ...]:
    longest = max(len(row) for row in beat.values())
    strokes = [
        Stroke(step, piece, _LEVELS[mark])
        for piece, row in beat.items()
        for step, mark in enumerate(row * (longest // len(row)))
        if mark != "."
    ]
    return tuple(sorted(strokes, key=lambda s: s.step))


def _variation(
    rng: np.random.Generator, plan: Plan, start: int, kit: str, *, loud: bool
) -> list[Stroke]:
    """Return what a bar has that the pattern has not: ghost notes, rolls of the hat, open hats."""
    extra: list[Stroke] = []
    if kit == "kit_808" and rng.random() < 0.45:
        # A trap roll: one or two eighths of the hat in 32nds or in triplets of them.
        at = start + 2 * int(rng.integers(8))
        count = int(rng.choice((4, 6, 8)))
        extra += [
            Stroke(at + i * 2 / count * (1 + (count > 6)), "hihat_closed", 0.4 + 0.04 * i)
            for i in range(count)
        ]
    if kit not in MACHINES and rng.random() < 0.3:
        at = start + 2 * int(rng.integers(plan.clock.bar_steps // 2)) + 1
        extra.append(Stroke(at, "snare" if loud else "rim", 0.22))
    if rng.random() < 0.15:
        extra.append(Stroke(start + plan.clock.bar_steps - 2, "hihat_open", 0.6))
    if rng.random() < 0.2:
        extra.append(Stroke(start + plan.clock.bar_steps - int(rng.integers(1, 4)), "kick", 0.7))
    return extra


def write_percussion(plan: Plan) -> list[Stroke]:
    """Return the strokes of the percussionist, who joins when the song is fuller."""
    patterns = PERCUSSION if plan.clock.bar_steps == 16 else PERCUSSION_12
    floor = plan.rng("percussion").uniform(0.3, 0.75)
    strokes: list[Stroke] = []
    for passage in plan.passages:
        rng = plan.rng("percussion", passage.kind)
        loop = _written(patterns[int(rng.integers(len(patterns)))])
        if passage.energy >= floor:
            strokes += [
                Stroke(start + s.step, s.piece, 0.9 * s.velocity)
                for start in plan.bar_starts(passage)
                for s in loop
            ]
    return strokes
