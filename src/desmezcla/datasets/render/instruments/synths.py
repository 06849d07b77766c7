"""Analogue synthesisers: oscillators through a filter, alone or in crowds, and noise."""

from collections.abc import Callable

import numpy as np

from desmezcla.datasets.render.instruments.blocks import saturated
from desmezcla.datasets.render.instruments.effects import chorus
from desmezcla.datasets.render.instruments.players import Envelope, Expression, hold, through
from desmezcla.datasets.render.instruments.solo import Timbre, Voice, perform
from desmezcla.datasets.render.instruments.spectral import harmonics, loop, lowpass
from desmezcla.datasets.render.instruments.take import (
    EDGE_S,
    HIGHEST,
    Curve,
    Signal,
    Take,
    add_at,
    between,
    between_log,
    chance,
    faded,
    midi_to_hz,
    pick,
)


def _filtered_wave(
    rng: np.random.Generator, shapes: tuple[str, ...], dark_hz: float, bright_hz: float
) -> Timbre:
    """Return one or two waveforms through a resonant filter that opens from layer to layer."""
    first, second = pick(rng, shapes), pick(rng, shapes)
    mix = between(rng, 0, 0.8) if chance(rng, 0.5) else 0.0
    octave = int(rng.choice((1, 2)))
    width = between(rng, 0.12, 0.5)
    resonance = between_log(rng, 0.7, 5.0)
    poles = int(rng.choice((2, 4)))
    cutoffs = np.geomspace(
        dark_hz * between_log(rng, 0.6, 1.6), bright_hz * between_log(rng, 0.6, 1.6), 7
    )

    def timbre(f0_hz: float, order: Curve) -> Curve:
        count = len(order)
        gain = harmonics(first, count, width=width)
        other = harmonics(second, count // octave, width=width)
        gain[octave - 1 : octave * (count // octave) : octave] += mix * other
        hz = f0_hz * order
        # The filter follows the keyboard, and never closes below the fundamental.
        layers = [
            gain * lowpass(hz, max(cutoff, 1.2 * f0_hz), resonance=resonance, poles=poles)
            for cutoff in cutoffs
        ]
        return np.asarray(layers)

    return timbre


def synth_lead(take: Take) -> Signal:
    """Play a lead: a few detuned oscillators with portamento. Shape: returns `[1 or 2, T]`."""
    rng = take.rng
    detune = between(rng, 2, 14)
    unison = int(rng.choice((1, 2, 3)))
    voice = Voice(
        timbre=_filtered_wave(rng, ("saw", "square", "pulse", "saw"), 500, 6000),
        envelope=Envelope(between_log(rng, 0.003, 0.04), 0.3, between(rng, 0.6, 1), 0.08),
        sweep=Envelope(
            between_log(rng, 0.002, 0.1), between(rng, 0.1, 0.8), between(rng, 0.2, 0.9), 0.1
        ),
        glide_s=between_log(rng, 0.02, 0.12) if chance(rng, 0.6) else 0.0,
        expression=Expression(
            vibrato_hz=between(rng, 4.5, 6.5),
            vibrato_cents=between(rng, 0, 25),
            vibrato_after_s=between(rng, 0.15, 0.4),
        ),
        cents=tuple(float(c) for c in np.linspace(-detune, detune, unison))
        if unison > 1
        else (0.0,),
        spread=between(rng, 0.1, 0.6) if unison > 1 else 0.0,
        drift_cents=between(rng, 0, 3),
    )  # fmt: skip
    return perform(take, voice)


def synth_bass(take: Take) -> Signal:
    """Play a bass: a saw or a square with a filter that snaps shut, or that stays open.

    Shape:
        Returns `[1, T]`, or `[2, T]` where several oscillators are spread over the stage.
    """
    rng = take.rng
    bright_hz = between_log(rng, 1800, 7000)
    crowd = chance(rng, 0.25)
    detune = between(rng, 5, 16) if crowd else 3.0
    cents = (-detune, 0.3 * detune, detune) if crowd else (-detune, detune)
    voice = Voice(
        timbre=_filtered_wave(rng, ("saw", "square", "pulse", "saw", "triangle"), 110, bright_hz),
        envelope=Envelope(0.003, between(rng, 0.2, 1.0), between(rng, 0.5, 0.95), 0.03),
        sweep=Envelope(0.002, between_log(rng, 0.06, 0.6), between(rng, 0.05, 0.8), 0.1),
        low=between(rng, 0.0, 0.5),
        # From a filter that opens over bars to one that wobbles.
        lfo_hz=between_log(rng, 0.08, 6.0),
        lfo_depth=between(rng, 0.1, 0.5) if chance(rng, 0.3) else 0.0,
        glide_s=between_log(rng, 0.02, 0.1) if chance(rng, 0.4) else 0.0,
        cents=cents if crowd or chance(rng, 0.4) else (0.0,),
        spread=between(rng, 0.1, 0.7) if crowd and chance(rng, 0.5) else 0.0,
    )
    dry = perform(take, voice)
    return saturated(dry, between_log(rng, 0.3, 4.0)) if chance(rng, 0.6) else dry


def sub_bass(take: Take) -> Signal:
    """Play an 808: a sine that dies away slowly and glides, bent a little. Returns `[1, T]`."""
    rng = take.rng
    second, third = between(rng, 0.0, 0.2), between(rng, 0.0, 0.15)

    def timbre(f0_hz: float, order: Curve) -> Curve:
        gain = np.zeros(len(order))
        gain[: min(3, len(gain))] = (1.0, second, third)[: len(gain)]
        return gain[None]

    voice = Voice(
        timbre=timbre,
        envelope=Envelope(0.004, between_log(rng, 0.5, 3.0), between(rng, 0.0, 0.8), 0.06),
        sweep=Envelope(0.01, 1.0, 1.0, 0.1),
        glide_s=between_log(rng, 0.04, 0.2),
    )
    return saturated(perform(take, voice), between_log(rng, 0.4, 3.5))


def _crowd(
    take: Take,
    voices: int,
    detune_cents: float,
    *,
    dark_hz: float,
    bright_hz: float,
    smear_cents: float = 0.0,
    shapes: tuple[str, ...] = ("saw",),
) -> Callable[[float], Signal]:
    """Return a maker of loops: a waveform in many voices, through a filter in five steps."""
    rng = take.rng
    shape, width = pick(rng, shapes), between(rng, 0.15, 0.5)
    resonance = between_log(rng, 0.6, 2.0)
    cents = np.linspace(-1, 1, voices) * detune_cents if voices > 1 else np.zeros(1)
    cents = cents + 0.1 * detune_cents * rng.standard_normal(voices)
    cents -= cents.mean()
    pans = np.linspace(-1, 1, voices) if voices > 1 else np.zeros(1)
    pans = between(rng, 0.4, 0.95) * pans[rng.permutation(voices)]
    cutoffs = np.geomspace(
        dark_hz * between_log(rng, 0.7, 1.4), bright_hz * between_log(rng, 0.7, 1.4), 5
    )

    def make(pitch: float) -> Signal:
        f0_hz = midi_to_hz(pitch)
        count = max(1, int(HIGHEST * take.sample_rate / f0_hz))
        hz = f0_hz * np.arange(1.0, count + 1)
        gain = harmonics(shape, count, width=width)
        filters = [lowpass(hz, max(c, 1.3 * f0_hz), resonance=resonance) for c in cutoffs]
        return loop(
            hz, gain * np.asarray(filters), cents=list(cents), pans=list(pans), rng=rng,
            sample_rate=take.sample_rate, smear_cents=smear_cents,
        )  # fmt: skip

    return make


def supersaw(take: Take) -> Signal:
    """Play seven detuned saws. Shape: returns `[2, T]`."""
    rng = take.rng
    layers = _crowd(
        take, int(rng.choice((5, 7, 9))), between(rng, 8, 26), dark_hz=900, bright_hz=14000
    )
    envelope = Envelope(
        between_log(rng, 0.002, 0.06), 0.6, between(rng, 0.6, 1), between(rng, 0.06, 0.3)
    )
    sweep = Envelope(between_log(rng, 0.002, 0.3), between(rng, 0.3, 2), between(rng, 0.4, 1), 0.2)
    return hold(take, layers, envelope, sweep, low=between(rng, 0.2, 0.6))


def synth_pluck(take: Take) -> Signal:
    """Play short notes whose filter shuts at once. Shape: returns `[2, T]`."""
    rng = take.rng
    layers = _crowd(
        take, int(rng.choice((1, 2, 4))), between(rng, 3, 12), dark_hz=250, bright_hz=7000,
        shapes=("saw", "square", "pulse"),
    )  # fmt: skip
    decay_s = between_log(rng, 0.12, 0.45)
    envelope = Envelope(0.002, decay_s, 0.0, between_log(rng, 0.05, 0.4))
    return hold(take, layers, envelope, Envelope(0.002, 0.5 * decay_s, 0.0, 0.2))


def synth_brass(take: Take) -> Signal:
    """Play saws whose filter opens like lips. Shape: returns `[2, T]`."""
    rng = take.rng
    layers = _crowd(
        take, int(rng.choice((2, 3, 5))), between(rng, 4, 12), dark_hz=350, bright_hz=5500
    )
    envelope = Envelope(
        between(rng, 0.01, 0.06), 0.5, between(rng, 0.7, 0.95), between(rng, 0.08, 0.25)
    )
    sweep = Envelope(between(rng, 0.03, 0.15), between(rng, 0.2, 0.8), between(rng, 0.3, 0.8), 0.2)
    return hold(take, layers, envelope, sweep, low=between(rng, 0, 0.2))


def synth_pad(take: Take) -> Signal:
    """Play slow, wide chords. Shape: returns `[2, T]`."""
    rng = take.rng
    layers = _crowd(
        take, int(rng.choice((4, 6, 9))), between(rng, 5, 16), dark_hz=300, bright_hz=4500,
        smear_cents=between(rng, 0, 6), shapes=("saw", "pulse", "square", "triangle"),
    )  # fmt: skip
    envelope = Envelope(between_log(rng, 0.1, 0.7), 2.0, 0.9, between_log(rng, 0.3, 0.9))
    sweep = Envelope(between_log(rng, 0.2, 2.0), between(rng, 1, 4), between(rng, 0.3, 1), 1.0)
    dry = hold(take, layers, envelope, sweep, low=between(rng, 0, 0.4))
    return chorus(
        dry, rate_hz=between(rng, 0.2, 0.8), depth_s=between(rng, 0.001, 0.004),
        mix=between(rng, 0.2, 0.6), sample_rate=take.sample_rate,
    )  # fmt: skip


def string_ensemble(take: Take) -> Signal:
    """Play a section of bowed strings. Shape: returns `[2, T]`."""
    rng = take.rng
    layers = _crowd(
        take, int(rng.integers(8, 14)), between(rng, 5, 11), dark_hz=900, bright_hz=6500,
        smear_cents=between(rng, 3, 7),
    )  # fmt: skip
    envelope = Envelope(between_log(rng, 0.05, 0.25), 0.6, 0.85, between(rng, 0.15, 0.4))
    sweep = Envelope(between_log(rng, 0.05, 0.4), 0.8, between(rng, 0.5, 0.9), 0.3)
    return hold(take, layers, envelope, sweep, low=0.15)


def noise_riser(take: Take) -> Signal:
    """Let noise rise through a band that opens, towards the end of every note; or fall.

    Shape:
        Returns `[2, T]`.
    """
    rng = take.rng
    falling = chance(rng, 0.2)
    size = 1 << 17
    hz = np.fft.rfftfreq(size, 1 / take.sample_rate)
    noise = np.fft.rfft(rng.standard_normal((2, size)), axis=1)
    centres = np.geomspace(between_log(rng, 200, 700), between_log(rng, 6000, 12000), 8)
    narrow = between_log(rng, 0.35, 1.2)
    with np.errstate(divide="ignore"):
        away = np.log2(np.maximum(hz, 1e-3) / centres[:, None])
    bands = np.exp(-((away / narrow) ** 2)) / np.sqrt(centres[:, None] / centres[0])
    bands[:, 0] = 0
    layers = np.fft.irfft(noise[None] * bands[:, None], size, axis=-1).astype(np.float32)
    bus = take.bus(2)
    for note in take.notes:
        samples = take.count(note.duration_s)
        rise = np.linspace(0, 1, samples, dtype=np.float32)
        if falling:
            rise = rise[::-1]
        place = rise * (len(layers) - 1)
        sound = through(layers, place, int(rng.integers(size))) * rise**2
        edge = take.count(EDGE_S)
        sound = faded(sound, attack=edge, release=edge)
        add_at(bus, sound, take.count(note.start_s), gain=note.velocity)
    return bus
