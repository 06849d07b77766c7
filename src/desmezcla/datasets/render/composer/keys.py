"""Keyboards, pads and stabs: what holds the harmony."""

import numpy as np

from desmezcla.datasets.render.composer.guitars import marks
from desmezcla.datasets.render.composer.harmony import fold, root_pitch, voicing
from desmezcla.datasets.render.composer.plan import Hand, Passage, Plan, Seat, Span

_COMPS = (
    "x---x---x---x---", "x-----x---x-----", "x---x-x---x-x---", "x-x-x-x-x-x-x-x-",
    "..x-..x-..x-..x-", "x--x--x-x--x--x-", "x-------x-------", "x-----x-..x-x---",
)  # fmt: skip
_COMPS_12 = ("x---x---x---", "x-----x-----", "..x-x-..x-x-", "x---x-x---x-")
_JAZZ = (
    "x-....x-........",
    "......x-....x---",
    "x.....x-..x-....",
    "....x-....x-..x-",
    "..x-......x-....",
)
_JAZZ_12 = ("x-..x-......", "....x-..x---", "..x-....x-..")
_MONTUNOS = ("x.x.xx.x.xx.x.x.", "x.xx.x.xx.xx.x.x", "xx.x.xx.xx.x.xx.")
_STABS = (
    "x-......x-......", "..x.....x-....x.", "x-.x-...........", "......x-..x-....",
    "x--x--x---------", "..x-..x-..x-..x-", "....x.......x.x.", "x...............",
)  # fmt: skip
_STABS_12 = ("x-..........", "......x-....", "x-....x-..x.")


def _row(
    rng: np.random.Generator, plan: Plan, rows: tuple[str, ...], short: tuple[str, ...]
) -> str:
    return str(rng.choice(rows if plan.clock.bar_steps == 16 else short))


class _Voices:
    """Chords of a keyboard whose voices move little from one to the next."""

    def __init__(self, seat: Seat, centre: float, count: int) -> None:
        self.seat = seat
        self.count = count
        self.centre = centre
        self.near = centre
        self.known: dict[Span, tuple[int, ...]] = {}

    def at(self, span: Span) -> tuple[int, ...]:
        if span not in self.known:
            tones = voicing(
                span, low=self.seat.low, high=self.seat.high, count=self.count, near=self.near
            )
            # The hand moves with the chords, yet comes back.
            self.near = 0.8 * sum(tones) / len(tones) + 0.2 * self.centre
            self.known[span] = tones
        return self.known[span]


def _voices(plan: Plan, seat: Seat, passage: Passage, counts: tuple[int, ...]) -> _Voices:
    rng = plan.rng(seat.take, passage.kind, "voices")
    middle = min(max(64.0, seat.low + 8.0), seat.high - 8.0)
    return _Voices(seat, middle + float(rng.uniform(-5, 5)), int(rng.choice(counts)))


def comp(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play chords in a rhythm, at times with a bass note in the left hand."""
    rng = plan.rng(seat.take, passage.kind)
    row = _row(rng, plan, _COMPS, _COMPS_12)
    voices = _voices(plan, seat, passage, (3, 3, 4))
    left = seat.instrument == "piano" and rng.random() < 0.6
    touch = float(rng.choice((0.6, 0.9, 0.98)))
    for start in plan.bar_starts(passage):
        for step, length, _ in marks(row):
            span = plan.chord(start + step)
            accent = 0.74 if step % plan.clock.beat_steps == 0 else 0.6
            hand.chord(start + step, length * touch, voices.at(span), accent, spread_s=0.002)
        if left:
            span = plan.chord(start)
            hand.note(start, plan.clock.bar_steps * 0.9, root_pitch(span.root, 40), 0.65)


def block(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Hold each chord, or break it upwards; the left hand has the root."""
    rng = plan.rng(seat.take, passage.kind)
    voices = _voices(plan, seat, passage, (3, 4))
    broken = rng.random() < 0.45
    spread_s = float(rng.choice((0.003, 0.012, 0.03)))
    for span in plan.chords(passage):
        tones = voices.at(span)
        hand.note(span.start, span.length * 0.95, fold(span.root + 36, seat.low, seat.high), 0.62)
        if not broken:
            hand.chord(span.start, span.length * 0.95, tones, 0.64, spread_s=spread_s)
            continue
        for index, step in enumerate(range(span.start, span.end, 2)):
            pitch = tones[index % len(tones)]
            hand.note(step, min(6, span.end - step), pitch, 0.68 if index == 0 else 0.52)


def jazz(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play short chords where they are not expected, another rhythm in each bar."""
    rng = plan.rng(seat.take, passage.index)
    voices = _voices(plan, seat, passage, (3, 4))
    for start in plan.bar_starts(passage):
        for step, length, _ in marks(_row(rng, plan, _JAZZ, _JAZZ_12)):
            # What comes early already has the next chord.
            span = plan.chord(start + step + 2)
            hand.chord(start + step, length * 0.9, voices.at(span), float(rng.uniform(0.45, 0.75)))


def montuno(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play octaves of the chord's tones in turn, against the beat."""
    rng = plan.rng(seat.take, passage.kind)
    row = _row(rng, plan, _MONTUNOS, _COMPS_12)
    voices = _voices(plan, seat, passage, (3,))
    for start in plan.bar_starts(passage):
        for index, (step, length, _) in enumerate(marks(row)):
            tones = voices.at(plan.chord(start + step))
            pitch = tones[(0, 2, 1, 2)[index % 4] % len(tones)]
            hand.chord(start + step, length * 0.9, (pitch, pitch + 12), 0.66)


def arpeggio(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play the chord's tones one by one over one or two octaves, in an order that repeats."""
    rng = plan.rng(seat.take, passage.kind)
    voices = _voices(plan, seat, passage, (3, 4))
    spacing = int(rng.choice((1, 2, 2))) if plan.clock.step_s > 0.1 else 2
    count = int(rng.choice((3, 4, 6, 8)))
    order = [
        list(range(count)),
        [*range(count), *range(count - 2, 0, -1)],
        rng.permutation(count).tolist(),
    ][int(rng.integers(3))]
    gate = float(rng.choice((0.5, 0.8, 1.5)))
    drops = rng.random(16) < rng.choice((0.0, 0.2))
    step = float(plan.bar_starts(passage)[0])
    end = step + passage.bars * plan.clock.bar_steps
    for index, at in enumerate(np.arange(step, end, spacing).tolist()):
        tones = voices.at(plan.chord(at))
        octave, tone = divmod(order[index % len(order)], len(tones))
        if not drops[index % 16]:
            accent = 0.72 if index % 4 == 0 else 0.55
            pitch = fold(tones[tone] + 12 * octave, seat.low, seat.high)
            hand.note(at, spacing * gate, pitch, accent)


def pad(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Hold every chord to the next; a chord that stays is not struck again."""
    voices = _voices(plan, seat, passage, (3, 4))
    spans = plan.chords(passage)
    index = 0
    while index < len(spans):
        last = index
        while last + 1 < len(spans) and spans[last + 1].classes == spans[index].classes:
            last += 1
        span = spans[index]
        level = 0.45 + 0.25 * passage.energy
        hand.chord(span.start, spans[last].end - span.start, voices.at(span), level)
        index = last + 1


def drone(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Hold the tonic and its fifth for the whole passage."""
    start = plan.bar_starts(passage)[0]
    low = root_pitch(plan.tonic, seat.low)
    hand.chord(start, passage.bars * plan.clock.bar_steps, (low, low + 7), 0.5)


def stabs(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play short loud chords, in one bar of two or in each."""
    rng = plan.rng(seat.take, passage.kind)
    row = _row(rng, plan, _STABS, _STABS_12)
    answer = _row(rng, plan, _STABS, _STABS_12)
    sparse = rng.random() < 0.5
    voices = _voices(plan, seat, passage, (3, 4))
    for bar, start in enumerate(plan.bar_starts(passage)):
        if sparse and bar % 2 == 0:
            continue
        for step, length, _ in marks(answer if bar % 4 == 3 else row):
            hand.chord(start + step, length * 0.8, voices.at(plan.chord(start + step)), 0.78)
