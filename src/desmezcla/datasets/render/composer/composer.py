"""Compose a song: plan it, then let every player write a part."""

from dataclasses import replace

import numpy as np

from desmezcla.datasets.render.composer import band, bassline, drums, vocals
from desmezcla.datasets.render.composer.changes import with_harmony
from desmezcla.datasets.render.composer.fills import recorded_fills
from desmezcla.datasets.render.composer.form import plan_passages
from desmezcla.datasets.render.composer.midi import MidiLibrary
from desmezcla.datasets.render.composer.plan import Clock, Plan
from desmezcla.datasets.render.composer.songbook import STYLES
from desmezcla.datasets.render.composer.strokes import hits
from desmezcla.datasets.render.composer.styles import Style
from desmezcla.datasets.render.composer.timing import (
    monophonic,
    ordered,
    silenced,
    silenced_hits,
)
from desmezcla.datasets.render.score import Chord, Hit, Note, Part, Section, Song
from desmezcla.errors import ParameterError

# Songs last this long where the caller does not say.
USUAL_S = (128.0, 262.0)
SHORTEST_S = 2.0
LONGEST_S = 1800.0


def compose(
    rng: np.random.Generator,
    *,
    style: str | None = None,
    duration_s: float | None = None,
    midi: MidiLibrary | None = None,
) -> Song:
    """Return a new song.

    A bar lasts `beats_per_bar * 60 / tempo_bpm` seconds; in 6/8 a beat is an eighth.

    Args:
        rng: Decides everything; the same state gives the same song.
        style: One of `STYLES`; None draws one, pop and rock most often.
        duration_s: Length of the song, to which the form is fitted; None draws two to four and a
            half minutes.
        midi: Recorded grooves, tunes and progressions to draw from beside the written ones.

    Errors:
        ParameterError: if the style is unknown or the duration out of range.
        DatasetError: if a file of `midi` is damaged.
    """
    chosen = _style(rng, style)
    if duration_s is not None and not SHORTEST_S <= duration_s <= LONGEST_S:
        raise ParameterError(
            f"duration_s={duration_s} must lie between {SHORTEST_S} and {LONGEST_S} s"
        )
    plan = _plan(rng, chosen, duration_s, midi)
    return _play(plan, midi)


def _style(rng: np.random.Generator, name: str | None) -> Style:
    if name is None:
        weights = np.array([style.weight for style in STYLES.values()])
        return list(STYLES.values())[int(rng.choice(len(weights), p=weights / weights.sum()))]
    if name not in STYLES:
        raise ParameterError(f"style={name!r} must be one of {', '.join(STYLES)}")
    return STYLES[name]


def _drawn(rng: np.random.Generator, weights: tuple[tuple[str, float], ...]) -> str:
    shares = np.array([weight for _, weight in weights])
    return weights[int(rng.choice(len(weights), p=shares / shares.sum()))][0]


def _plan(
    rng: np.random.Generator, style: Style, duration_s: float | None, midi: MidiLibrary | None
) -> Plan:
    metre = _drawn(rng, style.metres)
    tempo_bpm = float(rng.integers(style.tempo_bpm[0], style.tempo_bpm[1] + 1))
    clock = Clock(
        step_s=15 / tempo_bpm,
        bar_steps=16 if metre == "4/4" else 12,
        metre=metre,
        # Compound time swings by itself.
        swing=0.5 if metre == "6/8" else float(rng.uniform(*style.swing)),
        swing_steps=style.swing_steps,
    )
    bars, length_s = _bars(rng, clock, duration_s)
    voice = rng.random() >= style.instrumental
    plan = Plan(
        style=style,
        seed=int(rng.integers(1 << 32)),
        clock=clock,
        tonic=int(rng.integers(12)),
        mode=_drawn(rng, style.modes),
        duration_s=length_s,
        passages=plan_passages(rng, style, clock, bars, voice=voice),
        spans=(),
    )
    return with_harmony(plan, midi)


def _bars(rng: np.random.Generator, clock: Clock, duration_s: float | None) -> tuple[int, float]:
    """Return the number of bars and the length of the song, in which the last chord rings."""
    tail_s = float(rng.uniform(1.5, 4.0))
    if duration_s is not None:
        return max(1, int((duration_s - min(tail_s, 0.1 * duration_s)) / clock.bar_s)), duration_s
    bars = round(float(rng.uniform(*USUAL_S)) / clock.bar_s)
    return bars, bars * clock.bar_s + tail_s


def _play(plan: Plan, midi: MidiLibrary | None) -> Song:
    take = drums.choose_take(plan.rng("take"), plan, midi)
    if take and plan.clock.metre != "6/8":
        # The band swings as the drummer does.
        plan = replace(plan, clock=replace(plan.clock, swing=take.swing, swing_steps=2))
    sung, rests = vocals.write_vocals(plan)
    plan = replace(plan, rests=rests)
    silences_s = _silences(plan)
    parts = [*sung, *_rhythm_parts(plan, take, midi, silences_s), *_band(plan, silences_s)]
    return Song(
        style=plan.style.name,
        tempo_bpm=(30 if plan.clock.metre == "6/8" else 15) / plan.clock.step_s,
        beats_per_bar={"4/4": 4, "3/4": 3, "6/8": 6}[plan.clock.metre],
        tonic=plan.tonic,
        mode=plan.mode,
        duration_s=plan.duration_s,
        sections=_sections(plan),
        chords=_chords(plan),
        parts=tuple(part for part in parts if part.events),
    )


def _rhythm_parts(
    plan: Plan,
    take: drums.Take | None,
    midi: MidiLibrary | None,
    silences_s: list[tuple[float, float]],
) -> list[Part]:
    """Return kit, percussion and bass."""
    rng = plan.rng("rhythm")
    kit = str(rng.choice(plan.style.kits))
    strokes = drums.write_drums(plan, kit, take, recorded_fills(rng, plan, midi))
    parts: list[Part] = []
    if rng.random() >= plan.style.drumless:
        kit_hits = hits(plan, strokes, straight=take is not None, name="drums")
        parts.append(_drum_part(plan, "drums", kit, kit_hits, silences_s))
        if kit != "percussion" and rng.random() < plan.style.percussion:
            shaken = hits(plan, drums.write_percussion(plan), straight=False, name="percussion")
            parts.append(_drum_part(plan, "percussion", "percussion", shaken, silences_s))
    if rng.random() >= plan.style.bassless:
        kicks = bassline.kicks_by_bar(plan, [s.step for s in strokes if s.piece == "kick"])
        instrument = str(rng.choice(plan.style.basses))
        line = str(rng.choice(plan.style.lines))
        notes = bassline.write_bass(plan, instrument=instrument, kicks=kicks, line=line)
        parts.append(
            Part(
                name="bass",
                stem="bass",
                role="bass",
                instrument=instrument,
                events=silenced(monophonic(notes, plan.duration_s), silences_s),
            )
        )
    return parts


def _drum_part(
    plan: Plan,
    name: str,
    instrument: str,
    struck: tuple[Hit, ...],
    silences_s: list[tuple[float, float]],
) -> Part:
    heard = tuple(h for h in silenced_hits(struck, silences_s) if h.start_s < plan.duration_s)
    return Part(name=name, stem="drums", role=name, instrument=instrument, events=heard)


def _band(plan: Plan, silences_s: list[tuple[float, float]]) -> list[Part]:
    seats = band.cast(plan)
    hands = band.play(plan, seats)
    parts = []
    for seat in seats:
        played: list[Note] = hands[seat.name].notes
        trim = monophonic if band.is_monophonic(seat) else ordered
        parts.append(
            Part(
                name=seat.name,
                stem="other",
                role=seat.role,
                instrument=seat.instrument,
                events=silenced(trim(played, plan.duration_s), silences_s),
            )
        )
    return parts


def _silences(plan: Plan) -> list[tuple[float, float]]:
    """Return stops of the band: the last beats of some passages before a full one."""
    silences_s = []
    for passage, following in zip(plan.passages, plan.passages[1:], strict=False):
        rng = plan.rng("stop", passage.index)
        if following.energy > 0.6 and passage.bars >= 2 and rng.random() < 0.12:
            end = following.start_bar * plan.clock.bar_steps
            beats = int(rng.choice((1, 2, plan.clock.bar_steps // plan.clock.beat_steps)))
            start = end - beats * plan.clock.beat_steps
            # What is early on the next downbeat is not lost.
            silences_s.append((plan.clock.seconds(start) - 0.03, plan.clock.seconds(end) - 0.06))
    return silences_s


def _sections(plan: Plan) -> tuple[Section, ...]:
    """Return the sections in seconds; the last one lasts to the end of the song."""
    bar_s = plan.clock.bar_s
    ends_s = [p.start_bar * bar_s for p in plan.passages[1:]] + [plan.duration_s]
    return tuple(
        Section(p.kind, p.start_bar * bar_s, end_s - p.start_bar * bar_s, p.energy)
        for p, end_s in zip(plan.passages, ends_s, strict=True)
    )


def _chords(plan: Plan) -> tuple[Chord, ...]:
    """Return the chords in seconds, cut where the song is shorter than its only bar."""
    step_s = plan.clock.step_s
    return tuple(
        Chord(
            span.start * step_s,
            min(span.length * step_s, plan.duration_s - span.start * step_s),
            span.root,
            span.intervals,
        )
        for span in plan.spans
        if span.start * step_s < plan.duration_s
    )
