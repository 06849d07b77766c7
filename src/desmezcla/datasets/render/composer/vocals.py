"""The singers: leads, doubles, harmonies, choirs and answers; rap and speech."""

from dataclasses import replace

from desmezcla.datasets.render.composer.harmony import voicing
from desmezcla.datasets.render.composer.melody import Motif, ladder
from desmezcla.datasets.render.composer.phrases import HIGHEST, LOWEST, Line, write_lines
from desmezcla.datasets.render.composer.plan import Hand, Plan
from desmezcla.datasets.render.composer.timing import covered_s, monophonic
from desmezcla.datasets.render.score import Part, Syllable

_MOST_PARTS = 6
# Share of its length that a syllable sounds.
_HELD = {"sung": 0.98, "rap": 0.9, "speech": 0.85}
# Styles whose singers carry a syllable over several tones.
_FLORID = ("soul", "rnb", "pop")


def write_vocals(plan: Plan) -> tuple[list[Part], tuple[tuple[float, float], ...]]:
    """Return the vocal parts, and where the lead rests inside sung passages, in steps.

    How much of each phrase sounds is searched so that somebody sings for the share of the song
    that the style asks for.
    """
    if not any(passage.manner for passage in plan.passages):
        return [], ()
    target_s = plan.rng("vocals", "share").uniform(*plan.style.share) * plan.duration_s
    choir = _choir(plan)
    held_s = [(event.start_s, event.end_s) for voice in choir for event in voice]
    # A choir that holds its chords for most of that time would leave the lead no rest.
    if covered_s(held_s) > 0.55 * target_s:
        choir, held_s = [], []
    lines = _fitting_lines(plan, target_s, held_s)
    parts = _leads(plan, lines)
    parts += [_voice(f"choir_vocal_{i + 1}", "backing", voice) for i, voice in enumerate(choir)]
    answers = _answers(plan, lines)
    if answers:
        parts.append(_part(plan, "answering_vocals", "backing", answers))
    parts += _doubling(plan, lines)
    return [part for part in parts if part.events][:_MOST_PARTS], _rests(lines)


def _fitting_lines(plan: Plan, target_s: float, held_s: list[tuple[float, float]]) -> list[Line]:
    """Return lines that, with a choir's spans, are sung for about a time."""
    low, high = 0.25, 1.0
    tries = []
    for _ in range(6):
        fill = (low + high) / 2
        lines = write_lines(plan, fill)
        # Doubles and harmonies sound when the lead does.
        spans_s = [*held_s, *_spans_s(plan, lines), *_spans_s(plan, _answers(plan, lines))]
        sung_s = covered_s(spans_s)
        tries.append((abs(sung_s - target_s), lines))
        if sung_s < target_s:
            low = fill
        else:
            high = fill
    # Rhythms change with their length, so the last try need not be the nearest.
    return min(tries, key=lambda found: found[0])[1]


def _spans_s(plan: Plan, lines: list[Line]) -> list[tuple[float, float]]:
    """Return where the syllables of some lines start and end, without a singer's looseness."""
    seconds = plan.clock.seconds
    return [
        (seconds(line.start + at), seconds(line.start + at + length * _HELD[line.passage.manner]))
        for line in lines
        for at, length in line.motif.rhythm
    ]


def _leads(plan: Plan, lines: list[Line]) -> list[Part]:
    parts = []
    for singer, name in enumerate(("lead_vocal", "lead_vocal_2")):
        own = [line for line in lines if line.singer == singer]
        if own:
            parts.append(_part(plan, name, "lead", own))
    return parts


def _doubling(plan: Plan, lines: list[Line]) -> list[Part]:
    """Return second takes of the lead, and lines beside it, in full passages."""
    rng = plan.rng("doubling")
    backing = plan.style.backing
    full = [line for line in lines if line.passage.manner == "sung" and line.passage.energy > 0.66]
    parts: list[Part] = []
    if full and rng.random() < backing:
        above = _harmonised(plan, full, 2)
        parts.append(_part(plan, "harmony_vocal_high", "harmony", above))
    if full and rng.random() < backing:
        sides = ("double_vocal_left", "double_vocal_right")
        parts += [_part(plan, name, "double", full) for name in sides]
    if full and rng.random() < 0.4 * backing:
        below = _harmonised(plan, full, -5)
        parts.append(_part(plan, "harmony_vocal_low", "harmony", below))
    return parts


def _part(plan: Plan, name: str, role: str, lines: list[Line]) -> Part:
    return _voice(name, role, _sing(plan, lines, name))


def _voice(name: str, role: str, events: tuple[Syllable, ...]) -> Part:
    return Part(name=name, stem="vocals", role=role, instrument="voice", events=events)


def _sing(plan: Plan, lines: list[Line], name: str) -> tuple[Syllable, ...]:
    """Return the syllables of some lines, one voice, in seconds."""
    rng = plan.rng("sing", name)
    hand = Hand(plan, rng, loose_s=0.012 + plan.style.loose_s, late_s=float(rng.uniform(0, 0.02)))
    melisma = 0.35 if plan.style.name in _FLORID else 0.12
    events: list[Syllable] = []
    for line in lines:
        manner = line.passage.manner
        assert manner, "only passages with a voice have lines"
        # Every voice makes the same melismas.
        ornaments = plan.rng("melisma", line.passage.kind, *line.words[:1])
        notes = zip(line.motif.rhythm, line.pitches, line.words, strict=True)
        for index, ((at, length), pitch, word) in enumerate(notes):
            start_s = hand.time(line.start + at)
            end_s = plan.clock.seconds(line.start + at + length * _HELD[manner])
            level = hand.velocity(0.62 + 0.28 * line.passage.energy)
            syllable = Syllable(
                start_s=start_s,
                duration_s=max(0.06, end_s - start_s),
                pitch=pitch,
                velocity=level,
                manner=manner,
                first=index == 0,
                word=word,
            )
            if manner == "sung" and length >= 4 and ornaments.random() < melisma:
                events += _melisma(plan, syllable, int(ornaments.choice((-2, -1, 1))))
            else:
                events.append(syllable)
    return monophonic(events, plan.duration_s)


def _melisma(plan: Plan, syllable: Syllable, step: int) -> list[Syllable]:
    """Return a syllable carried over two or three tones: they touch, and share their word."""
    rungs = ladder(plan, LOWEST, HIGHEST, pentatonic=False)
    place = min(range(len(rungs)), key=lambda i: abs(rungs[i] - syllable.pitch))
    beside = float(rungs[max(0, min(len(rungs) - 1, place + step))])
    third = syllable.duration_s / 3
    tones = [(0.0, third, syllable.pitch), (third, third, beside)]
    tones.append((2 * third, third, syllable.pitch))
    return [
        replace(
            syllable,
            start_s=syllable.start_s + at_s,
            duration_s=length_s,
            pitch=pitch,
            first=syllable.first and index == 0,
        )
        for index, (at_s, length_s, pitch) in enumerate(tones)
    ]


def _harmonised(plan: Plan, lines: list[Line], rungs_away: int) -> list[Line]:
    """Return the lines a number of steps of the scale away: 2 is a third, -5 a sixth below."""
    rungs = ladder(plan, LOWEST - 7, HIGHEST + 5, pentatonic=False)
    moved = []
    for line in lines:
        places = [min(range(len(rungs)), key=lambda i: abs(rungs[i] - p)) for p in line.pitches]
        tones = [float(rungs[max(0, min(len(rungs) - 1, i + rungs_away))]) for i in places]
        moved.append(replace(line, pitches=tuple(tones)))
    return moved


def _choir(plan: Plan) -> list[tuple[Syllable, ...]]:
    """Return two or three voices that hold the chords of some full sung passages, or none."""
    rng = plan.rng("choir")
    if rng.random() > 0.5 * plan.style.backing:
        return []
    chosen = [p for p in plan.passages if p.manner == "sung" and p.energy > 0.55]
    chosen = [p for p in chosen if plan.rng("choir", p.kind).random() < 0.6]
    count = int(rng.choice((2, 3)))
    events: list[list[Syllable]] = [[] for _ in range(count)]
    hands = [Hand(plan, plan.rng("choir", i), loose_s=0.02) for i in range(count)]
    near = 62.0
    for passage in chosen:
        for span in plan.chords(passage):
            tones = voicing(span, low=LOWEST + 2, high=HIGHEST - 2, count=count, near=near)
            near = 0.7 * sum(tones) / len(tones) + 0.3 * 62
            for voice, pitch in enumerate(tones):
                start_s = hands[voice].time(span.start)
                end_s = plan.clock.seconds(span.end - 0.5)
                events[voice].append(
                    Syllable(
                        start_s=start_s,
                        duration_s=max(0.1, end_s - start_s),
                        pitch=float(pitch),
                        velocity=hands[voice].velocity(0.5),
                        manner="ooh",
                        first=True,
                    )
                )
    return [monophonic(voice, plan.duration_s) for voice in events]


def _answers(plan: Plan, lines: list[Line]) -> list[Line]:
    """Return echoes in some songs: the last syllables of a line again, where the lead breathes."""
    if plan.rng("answers").random() > 0.4 * plan.style.backing:
        return []
    answers = []
    for line in (line for line in lines if line.passage.manner == "sung"):
        count = min(4, len(line.words))
        tail = line.motif.rhythm[-count:]
        first = tail[0][0]
        room = line.start + line.steps - line.end
        shift = line.end + 1 - line.start - first
        length = line.end - line.start - first
        if room < 4 or length > room + 6:
            continue
        rhythm = tuple((at + shift, span) for at, span in tail)
        motif = Motif(rhythm, line.motif.rungs[-count:])
        answers.append(
            replace(line, motif=motif, pitches=line.pitches[-count:], words=line.words[-count:])
        )
    return answers


def _rests(lines: list[Line]) -> tuple[tuple[float, float], ...]:
    """Return stretches of at least a quarter and a half between the lines of a passage."""
    rests = []
    for line in lines:
        end = line.start + line.steps
        if end - line.end >= 6:
            rests.append((line.end, end))
    return tuple(rests)
