"""The singer: one voice from a source and five resonances, on the syllables of a melody."""

import numpy as np

from desmezcla.datasets.demo.score import Score, Syllable
from desmezcla.datasets.demo.synth import (
    CONTROL_S,
    HIGHEST,
    Signal,
    add_at,
    additive,
    band_noise,
    control_times,
    envelope,
    held,
    midi_to_hz,
    reverb,
    smooth,
    span,
    times,
)

# Formants of a man's vowels in Hz (Peterson and Barney 1952, table II; the fourth and fifth are
# those of a singer, close together so that the voice carries).
VOWEL_FORMANTS_HZ = {
    "a": (730, 1090, 2440, 2900, 3500),
    "e": (530, 1840, 2480, 3000, 3600),
    "i": (270, 2290, 3010, 3300, 3800),
    "o": (570, 840, 2410, 2800, 3400),
    "u": (300, 870, 2240, 2800, 3400),
}
# What the mouth does before the vowel: the formants of a voiced consonant.
CONSONANT_FORMANTS_HZ = {
    "m": (250, 950, 2200, 2900, 3500),
    "n": (250, 1400, 2400, 2900, 3500),
    "l": (350, 1200, 2700, 3000, 3600),
}
# The noise of an unvoiced one: band in Hz, duration in s, level.
CONSONANT_NOISES = {
    "s": (4800.0, 9500.0, 0.11, 0.16),
    "t": (2800.0, 7000.0, 0.03, 0.3),
    "h": (700.0, 3500.0, 0.08, 0.1),
}
BANDWIDTHS_HZ = (80.0, 90.0, 120.0, 150.0, 200.0)


def play_vocals(score: Score, rng: np.random.Generator, *, count: int, sample_rate: int) -> Signal:
    """Render the singer, dry in the middle, in a hall. Shape: returns `[2, count]`."""
    time_s = control_times(count, sample_rate)
    f0_hz = midi_to_hz(_sung_pitch(time_s, score.vocals, rng))
    level, formants_hz = _articulation(time_s, score.vocals)
    order = np.arange(1, 1 + int(min(HIGHEST * sample_rate, 9000) / f0_hz.min()))[:, None]
    # The spectrum of the vocal folds as it leaves the lips, 6 dB per octave, before the tract.
    gains = _vocal_tract(order * f0_hz, formants_hz, f0_hz) / order
    gains *= level / np.sqrt(np.sum(gains**2, axis=0))
    voice = additive(f0_hz, gains, sample_rate=sample_rate, count=count)
    breath = band_noise(rng, count, low_hz=1500, high_hz=7000, sample_rate=sample_rate)
    voice += 0.012 * breath * np.interp(np.arange(count) / sample_rate, time_s, level)
    bus = np.stack([voice, voice])
    for syllable in score.vocals:
        if syllable.consonant in CONSONANT_NOISES:
            _hiss(bus, syllable, rng, sample_rate)
    return reverb(bus, rng, decay_s=1.0, mix=0.2, sample_rate=sample_rate)


def _sung_pitch(time_s: Signal, notes: tuple[Syllable, ...], rng: np.random.Generator) -> Signal:
    """Glide between notes, scoop up into them, and let vibrato grow on long ones."""
    starts_s = [note.start_s for note in notes]
    pitch = smooth(held(time_s, starts_s, [note.pitch for note in notes]), time_s=0.022)
    age_s = time_s - held(time_s, starts_s, starts_s)
    scoop = -0.5 * np.exp(-np.maximum(age_s, 0) / 0.05)
    depth = 0.32 * np.clip((age_s - 0.18) / 0.3, 0, 1)
    wander = smooth(rng.standard_normal(len(time_s)), time_s=0.05)
    rate_hz = 5.4 + 2.0 * wander
    vibrato = depth * np.sin(2 * np.pi * np.cumsum(rate_hz) * CONTROL_S)
    return np.asarray(pitch + scoop + vibrato + 0.25 * wander)


def _articulation(time_s: Signal, notes: tuple[Syllable, ...]) -> tuple[Signal, Signal]:
    """Return the loudness of the voice `[N]` and the formants `[5, N]` that the mouth forms."""
    level = np.zeros_like(time_s)
    formants_hz = np.tile(np.array(VOWEL_FORMANTS_HZ["a"], float)[:, None], len(time_s))
    for note in notes:
        end_s = note.start_s + note.duration_s
        voiced = CONSONANT_FORMANTS_HZ.get(note.consonant)
        vowel_s = note.start_s + (0.07 if voiced else 0.0)
        on, lead = span(note.start_s, end_s), span(note.start_s, vowel_s)
        formants_hz[:, on] = np.array(VOWEL_FORMANTS_HZ[note.vowel], float)[:, None]
        if voiced:
            formants_hz[:, lead] = np.array(voiced, float)[:, None]
            level[lead] = 0.35 * note.velocity
        tail_s = 0.04 if note.duration_s < 0.3 else 0.09
        shape = envelope(time_s[on], start_s=vowel_s, end_s=end_s, attack_s=0.05, release_s=tail_s)
        level[on] = np.maximum(level[on], note.velocity * shape)
    return smooth(level, time_s=0.008), smooth(formants_hz, time_s=0.02)


def _vocal_tract(hz: Signal, formants_hz: Signal, f0_hz: Signal) -> Signal:
    """Return the magnitude of five resonances in cascade (Klatt 1980), 1 at 0 Hz each.

    Shape:
        hz: `[K, N]`; formants_hz: `[5, N]`; f0_hz: `[N]`; returns `[K, N]`.
    """
    response = np.ones_like(hz)
    for index, (centre_hz, width_hz) in enumerate(zip(formants_hz, BANDWIDTHS_HZ, strict=True)):
        # Singers raise the first formant with the pitch, or the fundamental would be lost.
        centre = np.maximum(centre_hz, 1.05 * f0_hz) if index == 0 else centre_hz
        response *= centre**2 / np.hypot(centre**2 - hz**2, width_hz * hz)
    return response


def _hiss(bus: Signal, syllable: Syllable, rng: np.random.Generator, sample_rate: int) -> None:
    """Mix the noise of an unvoiced consonant into a bus, just before its vowel."""
    low_hz, high_hz, duration_s, level = CONSONANT_NOISES[syllable.consonant]
    time_s = times(duration_s, sample_rate)
    noise = band_noise(rng, len(time_s), low_hz=low_hz, high_hz=high_hz, sample_rate=sample_rate)
    shape = np.sin(np.pi * time_s / duration_s) ** 2
    start_s = syllable.start_s - 0.7 * duration_s
    sound = level * syllable.velocity * noise * shape
    add_at(bus, sound, start_s=start_s, pan=0.0, sample_rate=sample_rate)
