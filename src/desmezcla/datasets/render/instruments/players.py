"""How notes become a part: struck sounds that are cut and damped, and held sounds with envelopes.

A sound of the same pitch, strength and kind is made once and used for all notes that need it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from desmezcla.datasets.render.instruments.blocks import GRID, grid, stretched
from desmezcla.datasets.render.instruments.take import (
    EDGE_S,
    Curve,
    Signal,
    Take,
    add_at,
    half_cosine,
)
from desmezcla.datasets.render.score import Note

# Notes whose gap is shorter are bound together.
_BOUND_S = 0.035


class Sounder(Protocol):
    """Makes the sound of one stroke."""

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a sound `[C, n]`, n at most `samples`; short is a stroke that is damped."""


@dataclass(frozen=True)
class Expression:
    """What a player does to a note while it sounds.

    Attributes:
        vibrato_hz: Its rate.
        vibrato_cents: Its depth to either side.
        vibrato_after_s: Time that it takes to set in.
        slide: Share of the bound notes that slide in from the one before.
        slide_s: Time that a slide takes.
        reach: Widest slide, in semitones.
        bound_skip_s: Part of the attack that bound notes leave out.
    """

    vibrato_hz: float = 5.5
    vibrato_cents: float = 0.0
    vibrato_after_s: float = 0.25
    slide: float = 0.0
    slide_s: float = 0.07
    reach: float = 5.0
    bound_skip_s: float = 0.0


@dataclass(frozen=True)
class Stroke:
    """How an instrument is struck and damped.

    Attributes:
        release_s: Time in which a note dies away after its end.
        ring_s: Time that it rings on after its end, before that.
        short_s: Notes up to this length are short strokes (palm mutes, staccato); 0 for none.
        level: Exponent with which the level follows the velocity.
        detune_cents: Deviation from one stroke of the same pitch to the next.
        pan_per_octave: How far low notes lie on the left and high ones on the right.
        attack_s: Time of the fade at its start.
    """

    release_s: float = 0.08
    ring_s: float = 0.0
    short_s: float = 0.0
    level: float = 1.2
    detune_cents: float = 2.0
    pan_per_octave: float = 0.0
    attack_s: float = 0.0007


# A note with its length in samples, its gain, and where it slides in from.
_Job = tuple[Note, int, float, float]


def strike(
    take: Take,
    sounder: Sounder,
    stroke: Stroke,
    *,
    channels: int = 1,
    expression: Expression | None = None,
) -> Signal:
    """Play every note of a take as a stroke. Shape: returns `[channels, samples]`."""
    jobs: dict[tuple[int, float, bool], list[_Job]] = {}
    before: Note | None = None
    for note in take.notes:
        velocity = min(1.0, max(0.25, math.ceil(note.velocity * 4) / 4))
        detune = stroke.detune_cents / 100 * float(take.rng.integers(-1, 2))
        gain = note.velocity**stroke.level * 10 ** (take.rng.normal(0, 0.4) / 20)
        short = note.duration_s <= stroke.short_s
        samples = take.count(note.duration_s + stroke.ring_s + stroke.release_s)
        slide_from = _slide_from(take.rng, before, note, expression)
        key = (round(100 * (note.pitch + detune)), velocity, short)
        jobs.setdefault(key, []).append((note, samples, gain, slide_from))
        before = note
    bus = take.bus(channels)
    release = take.count(stroke.release_s)
    middle = np.mean([note.pitch for note in take.notes]) if take.notes else 0.0
    for (cents, velocity, short), same in jobs.items():
        longest = max(job[1] for job in same)
        extra = 0 if expression is None else take.count(0.05 * longest / take.sample_rate) + 64
        sound = sounder(cents / 100, velocity, samples=longest + extra, short=short)
        for note, samples, gain, slide_from in same:
            played, skipped = _expressed(take, sound, note, expression, slide_from)
            ended = _ended(played[:, :samples], samples, release, take.count(stroke.attack_s))
            pan = float(np.clip(stroke.pan_per_octave * (note.pitch - middle) / 12, -0.8, 0.8))
            add_at(bus, ended, take.count(note.start_s) - skipped, gain=gain, pan=pan)
    return bus


def _ended(sound: Signal, samples: int, release: int, attack: int) -> Signal:
    """Damp a sound where its note ends; where it ends by itself, only take the edge off."""
    out = np.array(sound, np.float32)
    begin = max(0, samples - release)
    if out.shape[1] > begin:
        # The square falls at once, as a damper does.
        out[:, begin:] *= half_cosine(release)[::-1][: out.shape[1] - begin] ** 2
    if attack:
        out[:, :attack] *= half_cosine(attack)[: out.shape[1]]
    return out


def _slide_from(
    rng: np.random.Generator, before: Note | None, note: Note, expression: Expression | None
) -> float:
    """Return where a note slides in from, relative to its pitch; NaN if it is not bound."""
    if expression is None or before is None:
        return np.nan
    gap_s = note.start_s - before.end_s
    step = before.pitch - note.pitch
    if abs(gap_s) > _BOUND_S or note.start_s - before.start_s < 0.05:
        return np.nan
    return step if abs(step) <= expression.reach and rng.random() < expression.slide else 0.0


def _expressed(
    take: Take, sound: Signal, note: Note, expression: Expression | None, slide_from: float
) -> tuple[Signal, int]:
    """Return a sound with its vibrato and slide, and by how many samples it starts early."""
    if expression is None:
        return sound, 0
    skipped = 0
    if not np.isnan(slide_from) and expression.bound_skip_s:
        skip = min(take.count(expression.bound_skip_s), sound.shape[1] // 4)
        early = take.count(0.02)
        head = half_cosine(early)[: sound.shape[1] - skip]
        sound = np.array(sound[:, skip:])
        sound[:, : len(head)] *= head
        skipped = early // 2
    samples = sound.shape[1]
    curve = pitch_curve(take, note, expression, slide_from, grid(samples, take.sample_rate))
    if curve is None:
        return sound, skipped
    return warped(sound, stretched(np.exp2(curve / 12), GRID, samples)), skipped


def pitch_curve(
    take: Take, note: Note, expression: Expression, slide_from: float, time_s: Curve
) -> Curve | None:
    """Return the deviation of a note from its pitch in semitones, None if there is none."""
    sliding = not np.isnan(slide_from) and slide_from != 0
    shaking = expression.vibrato_cents > 0 and note.duration_s > expression.vibrato_after_s + 0.1
    if not sliding and not shaking:
        return None
    curve = np.zeros(len(time_s))
    if sliding:
        curve += slide_from * np.exp(-3 * (time_s / expression.slide_s) ** 2)
    if shaking:
        rate = expression.vibrato_hz * take.rng.uniform(0.93, 1.07)
        depth = expression.vibrato_cents / 100 * take.rng.uniform(0.6, 1.1)
        grown = np.clip((time_s - expression.vibrato_after_s) / 0.35, 0, 1)
        curve += depth * grown * np.sin(2 * np.pi * rate * time_s)
    return curve


def warped(sound: Signal, speed: Signal) -> Signal:
    """Play a sound faster and slower, along a curve that is 1 where nothing changes.

    Shape:
        sound: `[C, n]`; speed: `[n]`; returns `[C, m]`, m at most n.
    """
    place = np.cumsum(speed, dtype=np.float64)
    place -= place[0]
    place = place[place < sound.shape[1] - 1]
    left = place.astype(np.int64)
    ramp = (place - left).astype(np.float32)
    here = sound[:, left]
    return np.asarray(here + ramp * (sound[:, left + 1] - here))


@dataclass(frozen=True)
class Envelope:
    """Times of a level in seconds, and the level that is held, 1 being the top of the attack."""

    attack_s: float
    decay_s: float
    sustain: float
    release_s: float

    def curve(self, samples: int, hold: int, sample_rate: int) -> Signal:
        """Return the level of a note that is held for so many samples. Shape: `[samples]`."""
        time_s = grid(samples, sample_rate)
        attack_s, release_s = max(self.attack_s, EDGE_S / 2), max(self.release_s, EDGE_S)
        rise = np.minimum(time_s / attack_s, 1)
        fall = np.exp(-np.maximum(time_s - attack_s, 0) / self.decay_s)
        level = rise * (self.sustain + (1 - self.sustain) * fall)
        gone = np.clip((time_s - hold / sample_rate) / release_s, 0, 1)
        return stretched(level * (1 - gone) ** 2, GRID, samples)


def hold(
    take: Take,
    layers: Callable[[float], Signal],
    envelope: Envelope,
    sweep: Envelope,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Signal:
    """Play every note of a take with a sound that goes round, through a filter that moves.

    The layers of a sound are the same sound through a filter that opens step by step; the sweep
    moves from `low` (0: the darkest layer) to `high` (1: the brightest), scaled by velocity.

    Args:
        take: The notes.
        layers: Returns the loop of a pitch, `[L, 2, N]`.
        envelope: Of the level.
        sweep: Of the filter.
        low: Where the filter stands at rest.
        high: Where it gets at velocity 1.

    Shape:
        Returns `[2, samples]`.
    """
    bus = take.bus(2)
    loops: dict[float, Signal] = {}
    for note in take.notes:
        if note.pitch not in loops:
            loops[note.pitch] = layers(note.pitch)
        loop = loops[note.pitch]
        held = take.count(note.duration_s)
        samples = held + take.count(max(envelope.release_s, EDGE_S))
        level = envelope.curve(samples, held, take.sample_rate)
        moved = replace(sweep, release_s=10.0).curve(samples, held, take.sample_rate)
        top = low + (high - low) * (0.35 + 0.65 * note.velocity)
        place = (low + (top - low) * moved) * (loop.shape[0] - 1)
        sound = through(loop, place, int(take.rng.integers(loop.shape[2])))
        add_at(bus, sound * level, take.count(note.start_s), gain=note.velocity)
    return bus


def through(loop: Signal, place: Signal, offset: int) -> Signal:
    """Return a loop from an offset on, at a moving place between its layers.

    Shape:
        loop: `[L, C, N]`; place: `[n]`, in [0, L - 1]; returns `[C, n]`.
    """
    samples = len(place)
    out = np.zeros((loop.shape[1], samples), np.float32)
    if not samples:
        return out
    for index in range(int(place.min()), math.ceil(place.max()) + 1):
        weight = 1 - np.abs(place - index)
        inside = np.flatnonzero(weight > 0)
        if inside.size:
            first, last = inside[0], inside[-1] + 1
            out[:, first:last] += np.maximum(weight[first:last], 0) * cycled(
                loop[index], offset + first, last - first
            )
    return out


def cycled(loop: Signal, offset: int, samples: int) -> Signal:
    """Return so many samples of a loop, from an offset on. Shape: `[C, N]` to `[C, samples]`."""
    length = loop.shape[-1]
    offset %= length
    if offset + samples <= length:
        return loop[..., offset : offset + samples]
    rounds = -(-(offset + samples) // length)
    return np.asarray(np.tile(loop, rounds)[..., offset : offset + samples])
