"""The bass: lines made of root, octave, fifth and steps towards the next chord.

A line is one bar of sixteenths: r root, o octave, 5 fifth, 3 third, 7 seventh, a a step towards
the next chord, l the root again with a slide into it; a dash holds, a dot rests.
"""

import numpy as np

from desmezcla.datasets.render.composer.harmony import fold, root_pitch
from desmezcla.datasets.render.composer.plan import Hand, Passage, Plan, Span
from desmezcla.datasets.render.score import Note

LOWEST, HIGHEST = 26, 55

LINES: dict[str, tuple[str, ...]] = {
    "roots": ("r-r-r-r-r-r-r-r-", "r-r-r-r-r-r-r-a-", "r---r---r---r---", "r-r-r-r-r-r-5-a-"),
    "octaves": ("r-o-r-o-r-o-r-o-", "r-o-r-o-r-o-5-a-", "rro-rro-rro-r-o-", "r.o.r.o.r.o.r.o."),
    "melodic": ("r---r-5-o---5-a-", "r-----5-r---3-a-", "r---3-5-o-5-3-a-", "l-----r-5---3-a-",
                "r--r--5-r---a---", "l---r-5-o---l-a-"),
    "riff": ("r-.rr-..r-3-5-..", "r-r-..r-7-r-..7-", "r--r--r-3--5--7-", "r.r.r-7-r.r.3-5-",
             "rr.rr.r-rr.r5-7-"),
    "gallop": ("r-rrr-rrr-rrr-rr", "rrr-rrr-rrr-rrr-", "r-rrr-rrr-rr5-a-"),
    "pulse": ("rrrrrrrrrrrrrrrr", "r-rrr-rrr-rrr-rr", "r.rrr.rrr.rrr.rr", "rrorrrorrrorrror"),
    "offbeat": ("..r-..r-..r-..r-", "..r-..r-..o-..r-", ".rr-.rr-.rr-.ro-", "..rr..rr..rr..rr"),
    "long": ("r---------------", "r-------5-------", "r-----------5-a-"),
    "two": ("r-------5-------", "r-------5---a---", "r-----r-5-----a-"),
    "shuffle": ("r-r-3-3-5-5-3-3-", "r-r-5-5-7-7-5-5-", "r---3---5---7---"),
    "walking": (),
    "locked": (),
    "sub": (),
    "tumbao": ("......5-....r---", "r-----5-....r---", "......5---..r-r-"),
    "bossa": ("r-----r-5-----5-", "r-----5-5-----r-"),
    "reggae": ("r-..r-3-5---....", "....r-r-..5-3-r-", "r---..5-r---..3-", "r-.r..r-3-.5..r-"),
}  # fmt: skip
_LINES_12 = ("r-----------", "r-------5---", "r---5---3-a-", "r-----5-----", "r---r-5---a-",
             "r-r-r-5-5-a-")  # fmt: skip


def write_bass(
    plan: Plan, *, instrument: str, kicks: dict[int, tuple[int, ...]], line: str
) -> list[Note]:
    """Return the notes of the bass.

    Args:
        plan: The song.
        instrument: Key of the instrument.
        kicks: Steps of the kick in each bar of the song, from the start of the bar.
        line: Key of `LINES`.
    """
    hand = Hand(plan, plan.rng("bass", "hand"), loose_s=plan.style.loose_s * 0.7, late_s=0.004)
    low = int(plan.rng("bass").integers(28, 34))
    # A sub-bass lies lower, so that it stays below the other players.
    low = LOWEST if instrument == "sub_bass" else low
    for passage in plan.passages:
        floor = 0.24 + plan.rng("bass", passage.index).uniform(0, 0.16)
        if passage.energy > floor or plan.bars < 4:
            _play_passage(plan, passage, hand, line=line, kicks=kicks, low=low)
    return hand.notes


def _play_passage(
    plan: Plan,
    passage: Passage,
    hand: Hand,
    *,
    line: str,
    kicks: dict[int, tuple[int, ...]],
    low: int,
) -> None:
    rng = plan.rng("bass", passage.kind)
    if line not in ("walking", "sub") and rng.random() < 0.25:
        line = str(rng.choice(plan.style.lines))
    pattern = _pattern(rng, plan, line)
    ending = _pattern(rng, plan, line)
    for index, start in enumerate(plan.bar_starts(passage)):
        if line == "walking" and plan.clock.bar_steps == 16:
            _walk(plan, hand, start, low)
            continue
        row = ending if index % 4 == 3 else pattern
        if line in ("locked", "sub"):
            bar = start // plan.clock.bar_steps
            row = _locked(rng, kicks.get(bar, (0,)), plan.clock.bar_steps, held=line == "sub")
        _play_row(plan, hand, row, start, low)


def _pattern(rng: np.random.Generator, plan: Plan, line: str) -> str:
    rows = LINES[line] if plan.clock.bar_steps == 16 else _LINES_12
    if not rows:
        rows = LINES["melodic"] if plan.clock.bar_steps == 16 else _LINES_12
    return str(rng.choice(rows))


def _locked(rng: np.random.Generator, kicks: tuple[int, ...], bar_steps: int, *, held: bool) -> str:
    """Return a row that plays with the kick, and at times a little more."""
    row = ["."] * bar_steps
    steps = sorted({0, *kicks}) if kicks else [0]
    for place, step in enumerate(steps):
        until = steps[place + 1] if place + 1 < len(steps) else bar_steps
        row[step] = "l" if held and rng.random() < 0.12 else "r"
        length = until - step if held else min(until - step, int(rng.choice((2, 3, 4))))
        row[step + 1 : step + length] = ["-"] * (length - 1)
    if not held:
        for step in range(2, bar_steps, 2):
            if row[step] == "." and rng.random() < 0.22:
                row[step] = str(rng.choice(["o", "5", "7", "r"]))
        if rng.random() < 0.4:
            row[bar_steps - 2 :] = ["a", "-"]
    return "".join(row)


def _play_row(plan: Plan, hand: Hand, row: str, start: int, low: int) -> None:
    for step, mark in enumerate(row):
        if mark in "-.":
            continue
        held = len(row[step + 1 :]) - len(row[step + 1 :].lstrip("-"))
        at = start + step
        span = plan.chord(at)
        # A note does not outlast its chord.
        length = min(1 + held, max(1, span.end - at))
        pitch = _pitch(plan, span, mark, low)
        accent = 0.85 if step % plan.clock.beat_steps == 0 else 0.72
        if mark == "l":
            hand.note(at, 0.45, max(LOWEST, pitch - 2), 0.6)
            hand.note(at + 0.5, length - 0.5, pitch, accent)
        else:
            hand.note(at, length * (0.95 if length > 1 else 0.85), pitch, accent)


def _pitch(plan: Plan, span: Span, mark: str, low: int) -> int:
    root = root_pitch(span.root, low)
    if mark == "o":
        pitch = root + 12
    elif mark == "5":
        pitch = root + _tone(span, (6, 7, 8), 7)
    elif mark == "3":
        pitch = root + _tone(span, (3, 4, 5), 7)
    elif mark == "7":
        pitch = root + _tone(span, (9, 10, 11), 10)
    elif mark == "a":
        target = root_pitch(plan.chord(span.end).root, low)
        pitch = target - 2 if (target - 2 - plan.tonic) % 12 in plan.scale else target - 1
    else:
        pitch = root
    return int(fold(pitch, LOWEST, HIGHEST))


def _tone(span: Span, wanted: tuple[int, ...], otherwise: int) -> int:
    return next((i for i in span.intervals if i in wanted), otherwise)


def _walk(plan: Plan, hand: Hand, start: int, low: int) -> None:
    """Walk in quarters: a chord tone on strong beats, steps of the scale to the next root."""
    for beat in range(4):
        at = start + 4 * beat
        span = plan.chord(at)
        root = root_pitch(span.root, low)
        if at == span.start:
            pitch = root
        elif at + 4 >= span.end:
            target = root_pitch(plan.chord(span.end).root, low)
            pitch = target + int(hand.rng.choice((-1, 1, -2)))
        else:
            pitch = root + int(hand.rng.choice(span.intervals))
        hand.note(at, 3.8, fold(pitch, LOWEST, HIGHEST), 0.8)
        if hand.rng.random() < 0.1:
            hand.note(at + 3, 0.8, fold(pitch, LOWEST, HIGHEST), 0.5)


def kicks_by_bar(plan: Plan, kicks: list[float]) -> dict[int, tuple[int, ...]]:
    """Return the steps of the kick inside each bar that has any."""
    size = plan.clock.bar_steps
    found: dict[int, set[int]] = {}
    for step in kicks:
        bar, inside = divmod(round(step), size)
        found.setdefault(bar, set()).add(inside)
    return {bar: tuple(sorted(steps)) for bar, steps in found.items()}
