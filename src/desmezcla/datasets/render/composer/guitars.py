"""Rhythm guitars: strums with the time that a hand takes over the strings, chugs, picking."""

import numpy as np

from desmezcla.datasets.render.composer.harmony import fold, guitar_shape, root_pitch
from desmezcla.datasets.render.composer.plan import Hand, Passage, Plan, Seat

# D a stroke down, U up, m muted; a dash lets ring, a dot rests.
_STRUMS = (
    "D---D-U-..U-D-U-", "D-D-D-D-D-D-D-D-", "D---D-UU--UUD-UU", "D-------D-U-D-U-",
    "D---D---D---D-U-", "D--UD-U-.-U-D-U-", "D---------------", "D-UUD-UUD-UUD-UU",
)  # fmt: skip
_STRUMS_12 = ("D---D---D-U-", "D---D-U-D-U-", "D-U-D-D-U-D-", "D-----D---U-", "D-----------")
_CHOPS = (
    "..DmU.m.D.mU.mD.", "DmmUmmDmmmUmDmm.", "..U.m.D...U.mmD.", "D.m.m.U.m.D.m.U.",
    "....D.......D.mU", "mmD.mmU.mmD.mmUD",
)  # fmt: skip
_CHOPS_12 = ("..D...D.m.U.", "D.m.U.m.D.m.")
# Power chords: P open, p palm-muted.
_POWERS = (
    "P-------P-------", "P---P---P---P---", "P-P-P-P-P-P-P-P-", "P-----P---P-----",
    "P---------------", "P-pppP-pP-pppP-p", "P-p-p-P-p-p-P-p-", "P--P--P-P--P--P-",
)  # fmt: skip
_MUTED = (
    "p-p-p-p-p-p-p-p-",
    "pppppppppppppppp",
    "P-p-p-p-P-p-p-p-",
    "p-ppp-ppp-ppp-pp",
    "p.p.p.p.p.p.p.p.",
)
_POWERS_12 = ("P-----P-----", "P---P---P---", "P-----------")
_MUTED_12 = ("p-p-p-p-p-p-", "P-p-p-P-p-p-")
_PICKS = (
    (0, 2, 3, 4, 3, 2, 4, 3), (0, 3, 2, 4, 1, 3, 2, 4), (0, 2, 4, 2, 3, 2, 4, 2),
    (0, 2, 3, 4, 5, 4, 3, 2), (0, 4, 3, 2, 4, 3, 2, 3), (0, 1, 2, 3, 4, 3, 2, 1),
)  # fmt: skip


def _rows(plan: Plan, rows: tuple[str, ...], rows_12: tuple[str, ...]) -> tuple[str, ...]:
    return rows if plan.clock.bar_steps == 16 else rows_12


def marks(row: str) -> list[tuple[int, int, str]]:
    """Return step, length and mark of what a row plays."""
    found = []
    for step, mark in enumerate(row):
        if mark not in "-.":
            rest = row[step + 1 :]
            found.append((step, 1 + len(rest) - len(rest.lstrip("-")), mark))
    return found


def strum(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play chords over all strings, down and up."""
    rng = plan.rng(seat.take, passage.kind)
    row = str(rng.choice(_rows(plan, _STRUMS, _STRUMS_12)))
    position = int(rng.choice((0, 0, 0, 3, 5)))
    if passage.energy < 0.45 and rng.random() < 0.5:
        row = _rows(plan, _STRUMS, _STRUMS_12)[-2]
    spread_s = float(rng.uniform(0.005, 0.014))
    for start in plan.bar_starts(passage):
        for step, length, mark in marks(row):
            shape = guitar_shape(plan.chord(start + step), position)
            _stroke(plan, hand, shape, start + step, length, mark, spread_s)


def _stroke(
    plan: Plan,
    hand: Hand,
    shape: tuple[int, ...],
    at: float,
    length: float,
    mark: str,
    spread_s: float,
) -> None:
    accent = 0.78 if at % plan.clock.beat_steps == 0 else 0.62
    if mark == "m":
        hand.chord(at, 0.4, shape[-3:], 0.35, spread_s=0.003)
    elif mark == "U":
        # Upwards, the hand meets the high strings first and leaves out the low ones.
        hand.chord(at, length, shape[::-1][:4], accent * 0.85, spread_s=spread_s * 0.8)
    else:
        hand.chord(at, length, shape, accent, spread_s=spread_s)


def power(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play root, fifth and octave: open when the song is full, damped when it is not."""
    rng = plan.rng(seat.take, passage.kind)
    open_rows = _rows(plan, _POWERS, _POWERS_12)
    damped = _rows(plan, _MUTED, _MUTED_12)
    row = str(rng.choice(open_rows if passage.energy > 0.62 else damped))
    thick = rng.random() < 0.7
    for start in plan.bar_starts(passage):
        for step, length, mark in marks(row):
            span = plan.chord(start + step)
            root = root_pitch(span.root, seat.low)
            fifth = 6 if 6 in span.intervals and 7 not in span.intervals else 7
            tones = (root, root + fifth, root + 12) if thick else (root, root + fifth)
            if mark == "p":
                hand.chord(start + step, min(length, 1) * 0.6, tones[:2], 0.55, spread_s=0.001)
            else:
                hand.chord(start + step, length * 0.97, tones, 0.85, spread_s=0.002)


def tremolo(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Pick one tone after another in sixteenths, four to eight times each."""
    rng = plan.rng(seat.take, passage.kind)
    hold = int(rng.choice((4, 8)))
    above = rng.integers(0, 4, size=16)
    for start in plan.bar_starts(passage):
        for step in range(plan.clock.bar_steps):
            span = plan.chord(start + step)
            tones = [p for p in range(seat.low + 10, seat.low + 28) if p % 12 in span.classes]
            pitch = tones[int(above[step // hold % 16]) % len(tones)]
            hand.note(start + step, 0.85, pitch, 0.8 if step % hold == 0 else 0.66)


def skank(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play short chords on the offbeats, or on the beats that the snare has."""
    rng = plan.rng(seat.take, passage.kind)
    double = seat.instrument == "organ" or rng.random() < 0.2
    backbeat = plan.style.name == "soul" or rng.random() < 0.25
    for start in plan.bar_starts(passage):
        for step in range(0, plan.clock.bar_steps, 2):
            if step % 8 != 4 if backbeat else step % 4 != 2:
                continue
            shape = guitar_shape(plan.chord(start + step), 5)[-3:]
            hand.chord(start + step, 0.9, shape, 0.7, spread_s=0.004)
            if double and rng.random() < 0.8:
                hand.chord(start + step + 1, 0.6, shape, 0.45, spread_s=0.004)


def chop(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Play sixteenths with damped strokes between short high chords."""
    rng = plan.rng(seat.take, passage.kind)
    row = str(rng.choice(_rows(plan, _CHOPS, _CHOPS_12)))
    other = str(rng.choice(_rows(plan, _CHOPS, _CHOPS_12)))
    for bar, start in enumerate(plan.bar_starts(passage)):
        for step, length, mark in marks(other if bar % 4 == 3 else row):
            shape = tuple(
                int(fold(p, seat.low, seat.high))
                for p in guitar_shape(plan.chord(start + step), 7)[-3:]
            )
            _stroke(plan, hand, shape, start + step, 0.8 * length, mark, 0.004)


def pick(plan: Plan, seat: Seat, passage: Passage, hand: Hand) -> None:
    """Pick the strings of a chord one by one, and let them ring until it changes."""
    rng = plan.rng(seat.take, passage.kind)
    order = _PICKS[int(rng.integers(len(_PICKS)))]
    spacing = 1 if plan.clock.step_s > 0.17 and rng.random() < 0.6 else 2
    position = int(rng.choice((0, 0, 3, 5)))
    lift = 12 if seat.instrument in ("banjo", "harp") else 0
    for span in plan.chords(passage):
        shape = guitar_shape(span, position)
        for index, step in enumerate(np.arange(span.start, span.end, spacing).tolist()):
            pitch = shape[order[index % len(order)] % len(shape)] + lift
            ring = min(span.end - step, 5 * spacing)
            accent = 0.75 if index % len(order) == 0 else 0.58
            hand.note(step, ring, fold(pitch, seat.low, seat.high), accent)
