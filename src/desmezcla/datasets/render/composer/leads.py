"""Single lines: riffs, hooks, solos, tunes, answers to the voice, counter-melodies, risers."""

import numpy as np

from desmezcla.datasets.render.composer.harmony import fold, root_pitch
from desmezcla.datasets.render.composer.melody import Motif, ladder, make_motif, pitches
from desmezcla.datasets.render.composer.plan import Hand, Passage, Plan, Seat


def _middle(seat: Seat, span: int) -> tuple[int, int]:
    """Return a range of some semitones around the middle of an instrument's."""
    centre = (seat.low + seat.high) // 2
    return max(seat.low, centre - span // 2), min(seat.high, centre + span // 2)


def _play(
    plan: Plan, hand: Hand, motif: Motif, tones: list[int], start: float, *, gate: float = 0.95
) -> None:
    for (at, length), pitch in zip(motif.rhythm, tones, strict=True):
        if length <= 0:
            continue
        accent = 0.8 if (start + at) % plan.clock.beat_steps == 0 else 0.68
        hand.note(start + at, length * gate, pitch, accent)


def riff(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Repeat a figure of one or two bars; it follows the chords, or stays on the tonic."""
    rng = plan.rng(seat.take, passage.kind)
    bars = int(rng.choice((1, 2)))
    size = plan.clock.bar_steps * bars
    # Heavy guitars stay low and follow the roots; others play a figure of the scale.
    heavy = seat.instrument in ("guitar_crunch", "guitar_distorted")
    low, high = (seat.low, seat.low + 17) if heavy else _middle(seat, 17)
    rungs = ladder(plan, low, high, pentatonic=rng.random() < 0.7)
    motif = make_motif(
        rng,
        plan,
        steps=size,
        notes_per_beat=float(rng.uniform(1.2, 3.0)),
        syncopation=0.4,
        reach=int(rng.integers(1, 4)),
    )
    gate = float(rng.choice((0.55, 0.95)))
    follow = rng.random() < 0.6
    first = plan.bar_starts(passage)[0]
    for start in plan.bar_starts(passage)[::bars]:
        tones = pitches(plan, motif, start=start if follow else first, rungs=rungs)
        if heavy:
            root = root_pitch(plan.chord(start).root, seat.low)
            tones = [root if rng.random() < 0.4 else tone for tone in tones]
        _play(plan, hand, _within(motif, passage, plan, start), tones, start, gate=gate)


def _within(motif: Motif, passage: Passage, plan: Plan, start: float) -> Motif:
    """Return the motif with no length for the notes beyond the end of the passage."""
    end = (passage.start_bar + passage.bars) * plan.clock.bar_steps - start
    rhythm = tuple((at, min(length, max(0.0, end - at))) for at, length in motif.rhythm)
    return Motif(rhythm, motif.rungs)


def hook(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play the song's instrumental theme where nobody sings, and in choruses beside the voice."""
    if passage.kind in ("verse", "bridge") and passage.manner:
        return
    rng = plan.rng(seat.take, "hook")
    bars = 2 if plan.clock.bar_s > 1.6 else 4
    size = plan.clock.bar_steps * bars
    low, high = _middle(seat, 19)
    rungs = ladder(plan, low, high, pentatonic=rng.random() < 0.5)
    density = float(rng.uniform(0.8, 2.6))
    motifs = [make_motif(rng, plan, steps=size - 2, notes_per_beat=density) for _ in range(2)]
    for index, start in enumerate(plan.bar_starts(passage)[::bars]):
        motif = motifs[(0, 0, 0, 1)[index % 4]]
        tones = pitches(plan, motif, start=start, rungs=rungs)
        _play(plan, hand, _within(motif, passage, plan, start), tones, start)


def tune(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play the traditional tune where nobody sings; without one, a solo."""
    if plan.tune is None:
        solo(plan, seat, passage, hand)
        return
    if passage.manner:
        fills(plan, seat, passage, hand)
        return
    size = plan.clock.bar_steps
    end = passage.bars * size
    first = plan.bar_starts(passage)[0]
    for lap in range(0, end, plan.tune.bars * size):
        for at, length, pitch in plan.tune.notes:
            if lap + at < end:
                hand.note(first + lap + at, length * 0.95, fold(pitch, seat.low, seat.high), 0.75)


def solo(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Improvise where nobody sings: phrases of changing density, with rests between them."""
    if passage.manner or passage.kind == "break":
        return
    rng = plan.rng(seat.take, passage.index)
    low, high = _middle(seat, 26)
    rungs = ladder(plan, low, high, pentatonic=rng.random() < 0.6)
    lift = 0
    for start in plan.bar_starts(passage)[::2]:
        steps = int(2 * plan.clock.bar_steps * rng.uniform(0.6, 0.97))
        motif = make_motif(
            rng,
            plan,
            steps=steps,
            notes_per_beat=float(rng.uniform(0.8, 4.0)),
            pickup=float(rng.choice((0, 0, 2, 4))),
            syncopation=0.35,
            reach=int(rng.integers(3, 8)),
        )
        lift = int(np.clip(lift + rng.integers(-2, 4), -3, 6))
        tones = pitches(plan, motif, start=start, rungs=rungs, lift=lift)
        _play(plan, hand, _within(motif, passage, plan, start), tones, start)


def fills(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Answer the voice in its rests; where nobody sings, play now and then."""
    rng = plan.rng(seat.take, passage.index)
    low, high = _middle(seat, 19)
    rungs = ladder(plan, low, high, pentatonic=rng.random() < 0.7)
    first = plan.bar_starts(passage)[0]
    end = first + passage.bars * plan.clock.bar_steps
    rests = [(a, b) for a, b in plan.rests if first <= a and b <= end]
    if not passage.manner:
        rests = [(s, s + plan.clock.bar_steps) for s in plan.bar_starts(passage)[1::2]]
    for start, stop in rests:
        if rng.random() < 0.3:
            continue
        begin = float(np.ceil(start))
        motif = make_motif(
            rng,
            plan,
            steps=max(4, int(stop - begin)),
            notes_per_beat=float(rng.uniform(1.2, 3.5)),
        )
        tones = pitches(plan, motif, start=begin, rungs=rungs)
        _play(plan, hand, motif, tones, begin)


def counter(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play a slow line of tones of the chords, high above or below the voice."""
    rng = plan.rng(seat.take, passage.kind)
    low, high = _middle(seat, 22)
    octaves = seat.instrument == "strings" and rng.random() < 0.5
    near = rng.uniform(low + 5, high - 5)
    walk = rng.random() < 0.5
    for span in plan.chords(passage):
        tones = [p for p in range(low, high + 1) if p % 12 in span.classes]
        pitch = min(tones, key=lambda p: abs(p - near))
        half = span.length // 2
        # A passing tone leads to the next chord.
        steps = [p for p in ladder(plan, low, high, pentatonic=False) if 0 < abs(p - pitch) <= 2]
        passing = walk and half >= 4 and bool(steps)
        lines = (0, 12) if octaves and pitch + 12 <= seat.high else (0,)
        hand.chord(
            span.start, half if passing else span.length, [pitch + above for above in lines], 0.62
        )
        if passing:
            other = int(rng.choice(steps))
            tones = [other + above for above in lines if other + above <= seat.high]
            hand.chord(span.start + half, half, tones, 0.56)
        near = pitch + rng.uniform(-4, 4)


def riser(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Rise through the end of a passage, where the next one is fuller."""
    following = [p for p in plan.passages if p.index == passage.index + 1]
    if not following or following[0].energy < passage.energy + 0.08:
        return
    bars = min(passage.bars, 4 if passage.energy < 0.4 else 2)
    size = plan.clock.bar_steps
    end = (passage.start_bar + passage.bars) * size
    hand.note(end - bars * size, bars * size, 60, 0.4 + 0.4 * following[0].energy)
