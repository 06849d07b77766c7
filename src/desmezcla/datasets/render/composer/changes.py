"""The chord changes of a song, passage by passage, and the traditional tune it may quote."""

from dataclasses import replace

import numpy as np

from desmezcla.datasets.render.composer.harmony import choose_progression
from desmezcla.datasets.render.composer.midi import Melody, MidiLibrary
from desmezcla.datasets.render.composer.plan import MINOR_MODES, Passage, Plan, Span, Tune

# Heavy and danceable styles keep to their own idioms.
_OWN_IDIOM = ("metal", "blues", "techno", "funk", "jazz")
_TUNEFUL = ("folk", "country")


def with_harmony(plan: Plan, midi: MidiLibrary | None) -> Plan:
    """Return the plan with chords; in folk and country, at times those of a traditional tune."""
    more: tuple[str, ...] = ()
    if midi is not None and plan.style.name not in _OWN_IDIOM:
        more = midi.progressions["minor" if plan.mode in MINOR_MODES else "major"]
    spans: list[Span] = []
    for passage in plan.passages:
        spans += _spans(plan, passage, more)
    plan = replace(plan, spans=tuple(spans))
    rng = plan.rng("tune")
    if midi is None or plan.style.name not in _TUNEFUL or rng.random() > 0.7:
        return plan
    return _with_tune(plan, rng, midi)


def _spans(plan: Plan, passage: Passage, more: tuple[str, ...]) -> list[Span]:
    """Return the chords of a passage; the same kind has the same ones, but for surprises."""
    rng = plan.rng("harmony", _harmonic_kin(plan, passage.kind))
    progression = choose_progression(rng, plan.mode, plan.style.pools, more)
    bar = plan.clock.bar_steps
    length = bar
    if len(progression) <= 4 and plan.style.name != "blues":
        draw = rng.random()
        if draw < plan.style.slow:
            length = 2 * bar
        elif draw > 0.9 and bar == 16 and plan.clock.step_s > 0.12:
            length = bar // 2
    start = passage.start_bar * bar
    end = start + passage.bars * bar
    spans = []
    for index, at in enumerate(range(start, end, length)):
        root, intervals = progression[index % len(progression)]
        spans.append(Span(at, min(length, end - at), (plan.tonic + root) % 12, intervals))
    return spans


def _harmonic_kin(plan: Plan, kind: str) -> str:
    """Return the kind whose chords a kind shares: some songs have one progression throughout."""
    rng = plan.rng("kin")
    single = rng.random() < (0.7 if plan.style.slow >= 0.3 else 0.15)
    if single or plan.style.name == "blues":
        return "verse"
    solo = str(rng.choice(("verse", "chorus", "solo")))
    return {"intro": "verse", "outro": "chorus", "break": "verse", "solo": solo}.get(kind, kind)


def _with_tune(plan: Plan, rng: np.random.Generator, midi: MidiLibrary) -> Plan:
    """Return the plan with a traditional tune, and its chords where nobody sings."""
    if not midi.tunes:
        return plan
    melody = midi.melody(midi.tunes[int(rng.integers(len(midi.tunes)))])
    if melody.metre != plan.clock.metre or not melody.notes or not melody.chords:
        return plan
    if _is_minor(melody) != (plan.mode in MINOR_MODES):
        return plan
    size = plan.clock.bar_steps
    # A pickup is left out: the first chord begins the first bar.
    first = melody.chords[0][0]
    bars = min(8, int((melody.notes[-1][0] + melody.notes[-1][1] - first) * 4 // size))
    if bars < 4:
        return plan
    shift = _transposition(plan, melody)
    notes = tuple(
        (4 * (start - first), 4 * length, pitch + shift)
        for start, length, pitch in melody.notes
        if first <= start and 4 * (start - first) < bars * size
    )
    changed = [
        span
        for passage in plan.passages
        for span in (
            plan.chords(passage)
            if passage.manner
            else _tune_spans(plan, passage, melody, first=first, shift=shift, bars=bars)
        )
    ]
    return replace(plan, spans=tuple(changed), tune=Tune(bars, notes))


def _is_minor(melody: Melody) -> bool:
    """Whether the last chord, which is that of the key, has a minor third."""
    tones = melody.chords[-1][2]
    return any((tone - tones[0]) % 12 == 3 for tone in tones)


def _transposition(plan: Plan, melody: Melody) -> int:
    """Return the semitones from the tune's key, that of its last chord, to the song's."""
    return (plan.tonic - melody.chords[-1][2][0] + 6) % 12 - 6


def _tune_spans(
    plan: Plan, passage: Passage, melody: Melody, *, first: float, shift: int, bars: int
) -> list[Span]:
    """Return the tune's chords for a passage, one for each half bar, joined where they stay."""
    size = plan.clock.bar_steps
    half = size // 2
    start = passage.start_bar * size
    spans: list[Span] = []
    for at in range(0, passage.bars * size, half):
        inside = first + at % (bars * size) / 4
        _, _, tones = max(
            (chord for chord in melody.chords if chord[0] <= inside + 0.01),
            key=lambda chord: chord[0],
        )
        root = (tones[0] + shift) % 12
        intervals = tuple(sorted({(tone - tones[0]) % 12 for tone in tones}))
        last = spans[-1] if spans else None
        if last and at % size and (last.root, last.intervals) == (root, intervals):
            spans[-1] = replace(last, length=last.length + half)
        else:
            spans.append(Span(start + at, half, root, intervals))
    return spans
