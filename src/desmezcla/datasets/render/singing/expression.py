"""How a melody is sung: glides, scoops, vibrato and drift of the pitch; loudness over phrases."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from desmezcla.datasets.render.score import Syllable
from desmezcla.datasets.render.singing.character import Character
from desmezcla.datasets.render.singing.units import Signal

# Rate of the curves.
CONTROL_HZ = 200


def wander(rng: np.random.Generator, count: int, *, period_s: float) -> Signal:
    """Return slow noise of unit variance that changes within a period. Shape: `[count]`."""
    width = max(int(period_s * CONTROL_HZ), 3) | 1
    window = np.hanning(width + 2)[1:-1]
    noise = rng.standard_normal(count + width - 1)
    return np.convolve(noise, window / np.sqrt(np.sum(window**2)), "valid")


def pitch_curve(
    notes: Sequence[Syllable],
    onsets_s: Sequence[float],
    character: Character,
    *,
    count: int,
    rng: np.random.Generator,
) -> Signal:
    """Return the sung pitch as MIDI numbers, `CONTROL_HZ` times a second.

    Shape:
        Returns `[count]`.

    Args:
        notes: In the order of their starts.
        onsets_s: Where the voice leaves for each note: at its consonant if it has one.
        character: Who sings.
        count: How many points.
        rng: Of the performance.
    """
    time_s = np.arange(count) / CONTROL_HZ
    curve = np.full(count, float(notes[0].pitch))
    for before, note, onset_s in zip([notes[0], *notes], notes, onsets_s, strict=False):
        joined = note.start_s - before.end_s < 0.15
        glide_s = character.glide_s * rng.uniform(0.6, 1.4) if joined else 0.01
        # The glide ends as the vowel begins, or the first of it would sound out of tune.
        turn_s = note.start_s - 0.7 * glide_s
        low, high = (max(int(t * CONTROL_HZ), 0) for t in (min(onset_s, turn_s), turn_s + glide_s))
        turn = np.clip((time_s[low : high + 1] - turn_s) / glide_s, 0, 1)
        origin = before.pitch if joined else note.pitch
        arc = origin + (note.pitch - origin) * (0.5 - 0.5 * np.cos(np.pi * turn))
        curve[low : high + 1] = arc
        curve[high + 1 :] = note.pitch
    curve += character.drift * (0.6 * wander(rng, count, period_s=0.6))
    # The fine tremor of every voice, up to some 15 Hz.
    curve += min(0.3 * character.drift, 0.04) * wander(rng, count, period_s=0.08)
    for note in notes:
        _ornament(curve, note, character, rng)
    return curve


def _ornament(
    curve: Signal, note: Syllable, character: Character, rng: np.random.Generator
) -> None:
    """Add to the curve what belongs to one note: scoop, its own intonation, vibrato, a fall."""
    first, last = (int(t * CONTROL_HZ) for t in (note.start_s, note.end_s))
    last = min(last, len(curve))
    if last - first < 3 or note.manner in ("rap", "speech"):
        return
    age_s = np.arange(last - first) / CONTROL_HZ
    held_s = age_s[-1]
    part = curve[first:last]
    part += 0.35 * character.drift * rng.normal()
    if note.manner == "sung" and rng.random() < (0.6 if note.first else 0.15):
        part -= character.scoop * rng.uniform(0.3, 1) * np.exp(-age_s / min(0.06, held_s / 6))
    delay_s = character.vibrato_delay_s * rng.uniform(0.7, 1.3)
    if held_s > delay_s + 0.2:
        grown = np.clip((age_s - delay_s) / 0.35, 0, 1) * np.clip((held_s - age_s) / 0.08, 0, 1)
        rate_hz = character.vibrato_hz * (1 + 0.05 * wander(rng, len(age_s), period_s=0.5))
        turns = np.cumsum(rate_hz) / CONTROL_HZ + rng.random()
        part += rng.uniform(0.6, 1.1) * character.vibrato * grown * np.sin(2 * np.pi * turns)
    if held_s > 0.3 and rng.random() < 0.08:
        part -= rng.uniform(0.5, 3) * np.clip((age_s - held_s + 0.12) / 0.12, 0, 1) ** 2


def loudness_curve(
    notes: Sequence[Syllable], character: Character, *, count: int, rng: np.random.Generator
) -> Signal:
    """Return the gain of the voice, `CONTROL_HZ` times a second. Shape: `[count]`."""
    gain = np.ones(count)
    ends = [i for i, note in enumerate(notes) if note.first and i > 0] + [len(notes)]
    begin = 0
    for end in ends:
        phrase = notes[begin:end]
        begin = end
        span_s = max(phrase[-1].end_s - phrase[0].start_s, 0.1)
        arc_db, tilt_db = rng.uniform(0, 4), rng.normal(0, 1.5)
        for note in phrase:
            low, high = (int(t * CONTROL_HZ) for t in (note.start_s - 0.1, note.end_s + 0.2))
            age = np.arange(max(low, 0), min(high, count)) / CONTROL_HZ - note.start_s
            x = np.clip((age + note.start_s - phrase[0].start_s) / span_s, 0, 1)
            level_db = arc_db * (4 * x * (1 - x) - 0.6) + tilt_db * (x - 0.5) + rng.normal(0, 0.7)
            level_db += 24 * character.dynamics * (np.sqrt(note.velocity) - np.sqrt(0.7))
            if note.duration_s > 0.7:
                swell_db = rng.normal(0.5, 2)
                level_db += swell_db * np.clip(age / note.duration_s, 0, 1)
            gain[max(low, 0) : min(high, count)] = 10 ** (level_db / 20)
    return smooth(gain, time_s=0.06)


def smooth(values: Signal, *, time_s: float) -> Signal:
    """Return a curve averaged over a time."""
    width = max(int(time_s * CONTROL_HZ), 1) | 1
    padded = np.pad(values, width // 2, mode="edge")
    return np.asarray(sliding_window_view(padded, width).mean(axis=1))
