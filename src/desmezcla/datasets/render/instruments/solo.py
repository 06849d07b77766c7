"""One voice that moves: glides, vibrato and filter sweeps over wave tables.

For every note the layers of a table hold one period of the sound, from dark to bright, with only
the harmonics that fit below `HIGHEST` at the highest pitch that the note reaches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from desmezcla.datasets.render.instruments.blocks import GRID, grid, stretched
from desmezcla.datasets.render.instruments.modal import band_noise
from desmezcla.datasets.render.instruments.players import (
    Envelope,
    Expression,
    cycled,
    pitch_curve,
)
from desmezcla.datasets.render.instruments.spectral import table
from desmezcla.datasets.render.instruments.take import (
    EDGE_S,
    HIGHEST,
    Curve,
    Signal,
    Take,
    add_at,
    midi_to_hz,
)
from desmezcla.datasets.render.score import Note

# Returns the gains of harmonics, layer by layer, of a fundamental: (f0_hz, orders) to [L, K].
Timbre = Callable[[float, Curve], Curve]
_BOUND_S = 0.035
_MOST_HARMONICS = 400


@dataclass(frozen=True)
class Breath:
    """Noise that sounds with every note: of air, bow or reed.

    Attributes:
        level: Beside the tone.
        low_hz: Lower edge of its band.
        high_hz: Upper edge.
        attack_level: More of it at the start of a note.
    """

    level: float = 0.0
    low_hz: float = 1000.0
    high_hz: float = 6000.0
    attack_level: float = 0.0


@dataclass(frozen=True)
class Voice:
    """An instrument that glides from note to note.

    Attributes:
        timbre: Its harmonics.
        envelope: Of the level.
        sweep: Of the filter, from `low` to `high` among the layers.
        low: Where the filter stands at rest, in [0, 1].
        high: Where it gets at velocity 1.
        lfo_hz: Rate of a slow oscillator that moves the filter through the whole take.
        lfo_depth: How far it moves it to either side, in [0, 1].
        glide_s: Time of the portamento between bound notes; 0 for none.
        expression: Vibrato; its slide is not used.
        cents: Detuning of its oscillators.
        spread: How far apart they are placed, in [0, 1].
        breath: Noise.
        drift_cents: Unsteadiness of the pitch.
        scoop: Semitones from below which a note may begin.
    """

    timbre: Timbre
    envelope: Envelope
    sweep: Envelope
    low: float = 0.0
    high: float = 1.0
    lfo_hz: float = 1.0
    lfo_depth: float = 0.0
    glide_s: float = 0.0
    expression: Expression = field(default_factory=Expression)
    cents: tuple[float, ...] = (0.0,)
    spread: float = 0.0
    breath: Breath = field(default_factory=Breath)
    drift_cents: float = 0.0
    scoop: float = 0.0


def perform(take: Take, voice: Voice) -> Signal:
    """Play every note of a take. Shape: returns `[1 or 2, samples]`."""
    bus = take.bus(2 if voice.spread else 1)
    noise = _breath_noise(take, voice)
    tables: dict[tuple[float, int], Signal] = {}
    before: Note | None = None
    for note in take.notes:
        held = take.count(note.duration_s)
        samples = held + take.count(max(voice.envelope.release_s, EDGE_S))
        f0_hz, semitones = midi_to_hz(note.pitch), _semitones(take, voice, before, note, samples)
        kind = (note.pitch, math.ceil(semitones.max(initial=0)))
        if kind not in tables:
            limit = HIGHEST * take.sample_rate / (f0_hz * 2 ** (kind[1] / 12))
            order = np.arange(1.0, max(1, min(_MOST_HARMONICS, int(limit))) + 1)
            tables[kind] = table(voice.timbre(f0_hz, order))
        layers = tables[kind]
        place = _place(voice, note, samples, held, take.sample_rate) * (len(layers) - 1)
        level = voice.envelope.curve(samples, held, take.sample_rate)
        steps = stretched(f0_hz / take.sample_rate * np.exp2(semitones / 12), GRID, samples)
        sound = _oscillators(take, voice, layers, np.cumsum(steps, dtype=np.float64), place)
        sound *= level
        if voice.breath.level:
            sound += _breath(take, voice, noise, level, note)
        add_at(bus, sound, take.count(note.start_s), gain=note.velocity)
        before = note
    return bus


def _semitones(take: Take, voice: Voice, before: Note | None, note: Note, samples: int) -> Curve:
    """Return the deviation of a note from its pitch: glide, scoop, vibrato and drift."""
    time_s = grid(samples, take.sample_rate)
    curve = pitch_curve(take, note, voice.expression, np.nan, time_s)
    if curve is None:
        curve = np.zeros(len(time_s))
    bound = before is not None and note.start_s - before.end_s < _BOUND_S
    if bound and voice.glide_s and before is not None:
        step = np.clip(before.pitch - note.pitch, -24, 24)
        curve += step * np.exp(-3 * time_s / voice.glide_s)
    elif voice.scoop and take.rng.random() < 0.3:
        curve -= voice.scoop * np.exp(-time_s / 0.03)
    if voice.drift_cents:
        phase, rate = take.rng.uniform(0, 6.28), take.rng.uniform(0.3, 1.2)
        curve += voice.drift_cents / 100 * np.sin(2 * np.pi * rate * time_s + phase)
    return curve


def _place(voice: Voice, note: Note, samples: int, held: int, sample_rate: int) -> Signal:
    """Return where the filter stands between the darkest layer, 0, and the brightest, 1."""
    moved = replace(voice.sweep, release_s=10.0).curve(samples, held, sample_rate)
    top = voice.low + (voice.high - voice.low) * (0.35 + 0.65 * note.velocity)
    place = voice.low + (top - voice.low) * moved
    if voice.lfo_depth:
        cycles = voice.lfo_hz * (note.start_s + grid(samples, sample_rate))
        place = place + voice.lfo_depth * stretched(np.sin(2 * np.pi * cycles), GRID, samples)
    return np.asarray(np.clip(place, 0, 1), np.float32)


def _oscillators(take: Take, voice: Voice, layers: Signal, cycles: Curve, place: Signal) -> Signal:
    """Read the layers of a table, once per oscillator. Shape: `[1 or 2, n]`."""
    count = len(voice.cents)
    out = np.zeros((2 if voice.spread else 1, len(cycles)), np.float32)
    for index, cents in enumerate(voice.cents):
        start = take.rng.random() if count > 1 else 0.0
        sound = _read(layers, cycles * 2 ** (cents / 1200) + start, place)
        pan = voice.spread * (2 * index / (count - 1) - 1) if count > 1 else 0.0
        add_at(out, sound[None], 0, gain=count**-0.5, pan=pan)
    return out


def _read(layers: Signal, cycles: Curve, place: Signal) -> Signal:
    """Return a table at a phase, between two samples and between two layers. Shape: `[n]`."""
    size = layers.shape[1] - 1
    position = ((cycles % 1.0) * size).astype(np.float32)
    left = np.minimum(position.astype(np.int32), size - 1)
    ramp = position - left

    def layer(flat: Signal, index: NDArrayInt) -> Signal:
        here = flat[index]
        return np.asarray(here + ramp * (flat[index + 1] - here))

    if len(layers) == 1:
        return layer(layers[0], left)
    lower = np.minimum(place.astype(np.int32), len(layers) - 2)
    flat, index = layers.reshape(-1), left + lower * (size + 1)
    dark = layer(flat, index)
    return np.asarray(dark + (place - lower) * (layer(flat, index + (size + 1)) - dark))


NDArrayInt = np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def _breath_noise(take: Take, voice: Voice) -> Signal:
    """Return a loop of the noise of an instrument. Shape: `[1, N]`."""
    if not voice.breath.level:
        return np.zeros((1, 1), np.float32)
    return band_noise(
        take.rng,
        1 << 16,
        low_hz=voice.breath.low_hz,
        high_hz=voice.breath.high_hz,
        sample_rate=take.sample_rate,
    )


def _breath(take: Take, voice: Voice, noise: Signal, level: Signal, note: Note) -> Signal:
    """Return the noise of one note. Shape: `[1, n]`."""
    fall = np.exp(-grid(len(level), take.sample_rate) / 0.03)
    points = voice.breath.level + voice.breath.attack_level * fall
    loud = stretched(points, GRID, len(level))
    piece = cycled(noise, int(take.rng.integers(noise.shape[1])), len(level))
    return np.asarray(piece * loud * level)
