"""The band: each player turns its part of a score into a stereo stem."""

import numpy as np

from desmezcla.datasets.demo.score import Hit, Note, Score
from desmezcla.datasets.demo.synth import (
    HIGHEST,
    Signal,
    add_at,
    additive,
    band_noise,
    chorus,
    control_times,
    envelope,
    fm,
    held,
    midi_to_hz,
    reverb,
    smooth,
    span,
    times,
)

# Low and high edge of the noise in Hz, time in which it decays to 1/e in s, level, pan.
CYMBALS = {
    "hat": (7000.0, 16000.0, 0.022, 0.3, 0.25),
    "open_hat": (6000.0, 15000.0, 0.11, 0.28, 0.25),
    "crash": (3000.0, 14000.0, 0.5, 0.22, -0.35),
}
# Frequency at the stroke and later in Hz, decay in s, level, pan.
MEMBRANES = {
    "kick": (170.0, 48.0, 0.13, 1.0, 0.0),
    "high_tom": (240.0, 150.0, 0.16, 0.6, 0.3),
    "low_tom": (150.0, 95.0, 0.2, 0.65, -0.3),
}


def play_drums(score: Score, rng: np.random.Generator, *, count: int, sample_rate: int) -> Signal:
    """Render the drum kit in its room. Shape: returns `[2, count]`."""
    bus = np.zeros((2, count))
    for hit in score.drums:
        if hit.drum in CYMBALS:
            sound, pan = _cymbal(hit, rng, sample_rate), CYMBALS[hit.drum][-1]
        elif hit.drum in MEMBRANES:
            sound, pan = _membrane(hit, rng, sample_rate), MEMBRANES[hit.drum][-1]
        else:
            sound, pan = _snare(hit, rng, sample_rate), 0.05
        add_at(bus, sound, start_s=hit.start_s, pan=pan, sample_rate=sample_rate)
    return reverb(bus, rng, decay_s=0.45, mix=0.12, sample_rate=sample_rate)


def _membrane(hit: Hit, rng: np.random.Generator, sample_rate: int) -> Signal:
    """Strike a skin: its pitch falls with the displacement, and the beater clicks."""
    first_hz, last_hz, decay_s, level, _ = MEMBRANES[hit.drum]
    time_s = times(5 * decay_s, sample_rate)
    fall_s = 0.035
    cycles = last_hz * time_s + (first_hz - last_hz) * fall_s * (1 - np.exp(-time_s / fall_s))
    body = np.sin(2 * np.pi * cycles) * np.exp(-time_s / decay_s)
    click = band_noise(rng, len(time_s), low_hz=1500, high_hz=6000, sample_rate=sample_rate)
    beater = 0.5 * click * np.exp(-time_s / 0.003)
    sound = np.tanh(1.6 * hit.velocity * body) + hit.velocity * beater
    return np.asarray(level * sound * _edges(time_s))


def _snare(hit: Hit, rng: np.random.Generator, sample_rate: int) -> Signal:
    """Strike two modes of the head and the wires under it, which ring longer when hit harder."""
    time_s = times(0.4, sample_rate)
    head = np.sin(2 * np.pi * 187 * time_s) + 0.6 * np.sin(2 * np.pi * 331 * time_s + 0.4)
    wires = band_noise(rng, len(time_s), low_hz=900, high_hz=9000, sample_rate=sample_rate)
    ring_s = 0.045 + 0.05 * hit.velocity
    sound = 0.45 * head * np.exp(-time_s / 0.055) + 0.5 * wires * np.exp(-time_s / ring_s)
    return np.asarray(0.7 * hit.velocity * sound * _edges(time_s))


def _cymbal(hit: Hit, rng: np.random.Generator, sample_rate: int) -> Signal:
    """Strike noise over a few partials that stand in no harmonic relation."""
    low_hz, high_hz, decay_s, level, _ = CYMBALS[hit.drum]
    time_s = times(min(5 * decay_s, 1.8), sample_rate)
    sound = band_noise(rng, len(time_s), low_hz=low_hz, high_hz=high_hz, sample_rate=sample_rate)
    partials = np.array([1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523]) * low_hz
    for partial_hz in partials[partials < HIGHEST * sample_rate]:
        sound += 0.1 * np.sin(2 * np.pi * partial_hz * time_s + rng.uniform(0, 2 * np.pi))
    loud = level * hit.velocity**1.3
    return np.asarray(loud * sound * np.exp(-time_s / decay_s) * _edges(time_s))


def _edges(time_s: Signal) -> Signal:
    """Fade half a millisecond in and five out, so that no stroke begins or ends with a jump."""
    nearest = np.minimum(time_s / 0.0005, (time_s[-1] - time_s) / 0.005)
    return np.asarray(np.clip(nearest, 0.0, 1.0))


def play_bass(score: Score, *, count: int, sample_rate: int) -> Signal:
    """Render the bass: a sawtooth through a low-pass filter that each note opens and closes.

    The filter is applied to the harmonics as its magnitude response, 12 dB per octave.
    Shape: returns `[2, count]`, the same in both channels.
    """
    time_s = control_times(count, sample_rate)
    starts_s = [note.start_s for note in score.bass]
    pitch = held(time_s, starts_s, [note.pitch for note in score.bass])
    f0_hz = midi_to_hz(smooth(pitch, time_s=0.006))
    level, cutoff_hz = np.zeros_like(time_s), np.full_like(time_s, 200.0)
    for note in score.bass:
        end_s = note.start_s + note.duration_s
        on = span(note.start_s, end_s)
        age_s = np.maximum(time_s[on] - note.start_s, 0)
        shape = envelope(
            time_s[on], start_s=note.start_s, end_s=end_s, attack_s=0.008, release_s=0.03
        )
        level[on] = note.velocity * shape * (0.6 + 0.4 * np.exp(-age_s / 0.25))
        cutoff_hz[on] = 200 + 900 * note.velocity * np.exp(-age_s / 0.09)
    order = np.arange(1, 31)[:, None]
    gains = level / order / (1 + (order * f0_hz / cutoff_hz) ** 2)
    mono = additive(f0_hz, gains, sample_rate=sample_rate, count=count)
    return np.stack([mono, mono])


def play_keys(score: Score, rng: np.random.Generator, *, count: int, sample_rate: int) -> Signal:
    """Render the chords: pad, electric piano and plucked strings. Shape: returns `[2, count]`."""
    bus = 0.5 * _pad(score, rng, count, sample_rate)
    for note in score.keys:
        sound = _electric_piano(note, sample_rate)
        add_at(bus, sound, start_s=note.start_s, pan=-0.3, sample_rate=sample_rate)
    for index, note in enumerate(score.plucks):
        sound, pan = _pluck(note, sample_rate), (0.65 if index % 2 else 0.25)
        add_at(bus, sound, start_s=note.start_s, pan=pan, sample_rate=sample_rate)
    swung = chorus(bus, rate_hz=0.6, depth_s=0.004, mix=0.5, sample_rate=sample_rate)
    return reverb(swung, rng, decay_s=1.2, mix=0.22, sample_rate=sample_rate)


def _pad(score: Score, rng: np.random.Generator, count: int, sample_rate: int) -> Signal:
    """Glide in four voices from chord to chord: soft sawtooths, detuned left and right."""
    time_s = control_times(count, sample_rate)
    level = np.zeros_like(time_s)
    for chord in score.chords:
        end_s = chord.start_s + chord.duration_s
        on = span(chord.start_s, end_s)
        level[on] = 0.12 * envelope(
            time_s[on], start_s=chord.start_s, end_s=end_s, attack_s=0.1, release_s=0.1
        )
    starts_s = [chord.start_s for chord in score.chords]
    order = np.arange(1, 13)[:, None]
    out = np.zeros((2, count))
    for voice in range(4):
        led = held(time_s, starts_s, [chord.pitches[voice] for chord in score.chords])
        pitch = smooth(led, time_s=0.02)
        for channel, detune in enumerate((-0.06, 0.06)):
            f0_hz = midi_to_hz(pitch + detune + 0.02 * np.sin(0.9 * time_s + rng.uniform(0, 6)))
            gains = level / order / (1 + (order * f0_hz / 900) ** 2)
            out[channel] += additive(f0_hz, gains, sample_rate=sample_rate, count=count)
    return out


def _electric_piano(note: Note, sample_rate: int) -> Signal:
    """Strike a tine: a modulated sine that mellows, and a bright partial at the stroke."""
    time_s = times(note.duration_s + 0.12, sample_rate)
    shape = _struck(note, time_s, decay_s=0.9)
    f0_hz = float(midi_to_hz(note.pitch))
    index = 1.6 * note.velocity * np.exp(-time_s / 0.5)
    tone = fm(time_s, f0_hz, ratio=1.0, index=index, sample_rate=sample_rate)
    bell = 0.12 * np.exp(-time_s / 0.12)
    bell_hz = 14 * f0_hz
    if bell_hz < HIGHEST * sample_rate:
        tone = tone + bell * np.sin(2 * np.pi * bell_hz * time_s)
    return np.asarray(0.16 * shape * tone)


def _pluck(note: Note, sample_rate: int) -> Signal:
    """Pluck a string: a tone with odd partials that turns into a sine at once."""
    time_s = times(note.duration_s + 0.3, sample_rate)
    index = 2.2 * note.velocity * np.exp(-time_s / 0.06)
    f0_hz = float(midi_to_hz(note.pitch))
    tone = fm(time_s, f0_hz, ratio=2.0, index=index, sample_rate=sample_rate)
    return np.asarray(0.2 * _struck(note, time_s, decay_s=0.22) * tone)


def _struck(note: Note, time_s: Signal, *, decay_s: float) -> Signal:
    """Return the level of a struck or plucked string: a decay, damped at the end of the note."""
    shape = envelope(time_s, start_s=0.0, end_s=time_s[-1], attack_s=0.003, release_s=0.1)
    return np.asarray(note.velocity * shape * np.exp(-time_s / decay_s))
