"""One singer sings one part: events and curves become grains, and grains become sound."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.score import Syllable
from desmezcla.datasets.render.singing.bank import BANK_RATE, Bank, build_bank
from desmezcla.datasets.render.singing.breaths import breaths
from desmezcla.datasets.render.singing.character import Character
from desmezcla.datasets.render.singing.colour import aspiration, tilted, whispered, with_air
from desmezcla.datasets.render.singing.expression import (
    CONTROL_HZ,
    loudness_curve,
    pitch_curve,
    smooth,
    wander,
)
from desmezcla.datasets.render.singing.psola import Grains, overlap_add
from desmezcla.datasets.render.singing.timeline import Event, plan_events
from desmezcla.datasets.render.singing.units import Signal, Unit, Voice, hz_to_midi, midi_to_hz

# Spacing of the grains of unvoiced sound, and half their width.
_UNVOICED_S = 0.005
# Level that the vowel of every unit is brought to.
_LEVEL = 0.1


def perform(
    notes: Sequence[Syllable],
    numbers: Sequence[int],
    voice: Voice,
    character: Character,
    *,
    rng: np.random.Generator,
    sample_rate: int,
    samples: int,
) -> NDArray[np.float32]:
    """Sing notes.

    Shape:
        Returns `[samples]`.

    Args:
        notes: In the order of their starts, one voice.
        numbers: The unit of the voice for each note.
        voice: Whose units they are.
        character: Who sings.
        rng: Of the performance.
        sample_rate: Of the result, in Hz.
        samples: Its length.
    """
    late = [replace(n, start_s=max(n.start_s + character.late_s, 0.0)) for n in notes]
    bank = build_bank(voice, numbers)
    events = plan_events(late, numbers, voice.units, character, rng=rng)
    count = int((samples / sample_rate + 0.5) * CONTROL_HZ)
    onset_of = {event.vowel_s: event.onset_s for event in events}
    onsets_s = [onset_of.get(note.start_s, note.start_s) for note in late]
    pitch = pitch_curve(late, onsets_s, character, count=count, rng=rng)
    gain = loudness_curve(late, character, count=count, rng=rng)
    for event in events:
        if event.spoken:
            _speak(pitch, event, voice)
    marks_s, periods_s = _output_marks(pitch, character, rng)
    parts = []
    for event in events:
        unit, origin = voice.units[event.unit], bank.origins[event.unit]
        span = slice(*np.searchsorted(marks_s, (event.onset_s, event.end_s)))
        singer = _Mouth(event, unit, bank, origin, character, rng)
        parts += [singer.voiced(marks_s[span], periods_s[span]), singer.unvoiced()]
    grains = Grains.joined(parts)
    if character.whispers:
        grains = whispered(grains, rng)
    points_s = np.arange(count) / CONTROL_HZ
    grains = replace(grains, gain=grains.gain * np.interp(grains.time_s, points_s, gain))
    sound = overlap_add(bank.audio, grains, sample_rate=sample_rate, samples=samples)
    effort = np.interp(np.arange(samples) / sample_rate, points_s, gain)
    sound = tilted(sound, effort.astype(np.float32), character, sample_rate)
    sound += aspiration(bank, grains, character, rng, sample_rate=sample_rate, samples=samples)
    sound = with_air(sound, rng, sample_rate)
    return sound + breaths(late, character, rng=rng, sample_rate=sample_rate, samples=samples)


def _output_marks(
    pitch: Signal, character: Character, rng: np.random.Generator
) -> tuple[Signal, Signal]:
    """Return the instants of the periods of a melody, with the scatter of a voice."""
    f0_hz = midi_to_hz(pitch)
    phase = np.concatenate([[0.0], np.cumsum(f0_hz)]) / CONTROL_HZ
    time_s = np.arange(len(phase)) / CONTROL_HZ
    marks_s = np.interp(np.arange(1, int(phase[-1])), phase, time_s)
    periods_s = 1 / np.interp(marks_s, time_s[:-1], f0_hz)
    screams = character.scream * np.abs(wander(rng, len(pitch), period_s=0.5))
    screams = np.interp(marks_s, time_s[:-1], screams)
    scatter = np.hypot(character.jitter, screams) * rng.standard_normal(len(marks_s))
    return np.sort(marks_s + np.clip(scatter, -0.6, 0.6) * periods_s), periods_s


def _speak(pitch: Signal, event: Event, voice: Voice) -> None:
    """Move the pitch of a spoken syllable as it was spoken, around where the score has it."""
    unit = voice.units[event.unit]
    if len(unit.marks_s) < 2:
        return
    place = slice(int(event.onset_s * CONTROL_HZ), int(event.end_s * CONTROL_HZ) + 1)
    time_s = np.arange(place.start, min(place.stop, len(pitch))) / CONTROL_HZ
    knots_s, source_s = _spoken_knots(event, unit)
    heard_s = np.interp(time_s, knots_s, source_s)
    spoken = hz_to_midi(1 / np.interp(heard_s, unit.marks_s, unit.periods_s))
    moved = np.clip(spoken - hz_to_midi(voice.natural_hz), -6, 7)
    pitch[place.start : place.start + len(time_s)] += smooth(moved, time_s=0.03)


def _spoken_knots(event: Event, unit: Unit) -> tuple[list[float], list[float]]:
    return (
        [event.onset_s, event.vowel_s, max(event.end_s, event.vowel_s + 0.01)],
        [unit.start_s, unit.vowel_s, unit.end_s],
    )


class _Mouth:
    """Turns one event into grains."""

    def __init__(
        self,
        event: Event,
        unit: Unit,
        bank: Bank,
        origin: float,
        character: Character,
        rng: np.random.Generator,
    ) -> None:
        self.event, self.unit, self.bank, self.origin = event, unit, bank, origin
        self.character, self.rng = character, rng
        held_s = event.end_s - event.vowel_s
        opening_s = 0.0 if event.open else min(unit.stable_s - unit.vowel_s, 0.35 * held_s)
        closing_s = min(unit.end_s - unit.release_s, 0.3 * held_s) if event.coda else 0.0
        self.hold_s = event.vowel_s + max(opening_s, 0.0)
        self.close_s = max(event.end_s - closing_s, self.hold_s)

    def _source_time(self, time_s: Signal) -> tuple[Signal, NDArray[np.bool_]]:
        """Return where in the recording the voice is at a time, and whether it is held there."""
        event, unit = self.event, self.unit
        if event.spoken:
            knots_s, source_s = _spoken_knots(event, unit)
            return np.interp(time_s, knots_s, source_s), np.zeros(len(time_s), bool)
        start_s = unit.stable_s if event.open else unit.vowel_s
        before = np.interp(
            time_s,
            [event.onset_s, event.vowel_s, max(self.hold_s, event.vowel_s + 1e-4)],
            [min(unit.start_s, start_s), start_s, unit.stable_s],
        )
        after = unit.release_s + np.interp(
            time_s, [self.close_s, self.event.end_s + 1e-4], [0, unit.end_s - unit.release_s]
        )
        held = (time_s >= self.hold_s) & ((time_s < self.close_s) | (not event.coda))
        place = np.where(time_s < self.hold_s, before, after)
        place[held] = self._sustain(time_s[held])
        return place, held

    def _sustain(self, time_s: Signal) -> Signal:
        """Return places of the stable part: straight through, or to and fro on long notes."""
        unit = self.unit
        length_s = unit.release_s - unit.stable_s
        wanted_s = max(self.close_s - self.hold_s, 1e-3)
        age_s = time_s - self.hold_s
        if wanted_s < 1.3 * length_s:
            return unit.stable_s + age_s * min(length_s / wanted_s, 1.3)
        # Half the speed of speech. Chance, which must be slow or the voice becomes hoarse, keeps
        # the turns from being heard as a tremolo.
        knots_s = np.arange(0, wanted_s + 0.05, 0.05)
        stray_s = 1.5 / unit.f0_hz * self.rng.standard_normal(len(knots_s))
        walk_s = 0.5 * age_s + self.rng.uniform(0, 0.3) * length_s
        walk_s = walk_s + np.interp(age_s, knots_s, stray_s)
        folded = length_s - np.abs(walk_s % (2 * length_s) - length_s)
        return np.asarray(unit.stable_s + folded)

    def _nearest(self, place_s: Signal) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the mark next to each place, and whether the voice sounds there."""
        marks = self.unit.marks_s
        right = np.clip(np.searchsorted(marks, place_s), 1, len(marks) - 1)
        near = np.where(place_s - marks[right - 1] < marks[right] - place_s, right - 1, right)
        return near, np.abs(place_s - marks[near]) < 0.8 * self.unit.periods_s[near]

    def _fade(self, time_s: Signal) -> Signal:
        event = self.event
        rise = np.clip((time_s - event.onset_s) / event.fade_in_s, 0, 1)
        fall = np.clip((event.end_s - time_s) / max(event.fade_out_s, 1e-3), 0, 1)
        return np.asarray(np.sin(np.pi / 2 * rise) * np.sin(np.pi / 2 * fall))

    def voiced(self, marks_s: Signal, periods_s: Signal) -> Grains:
        """Return the grains of the periods at `marks_s`."""
        place_s, held = self._source_time(marks_s)
        near, sounds = self._nearest(place_s)
        marks_s, periods_s = marks_s[sounds], periods_s[sounds]
        near, held = near[sounds], held[sounds]
        half_s = self.unit.periods_s[near]
        centre = self.origin + self.unit.marks_s[near] * BANK_RATE
        half = half_s * BANK_RATE
        formant = self.character.formant
        # The energy of a sound stays what it was when its grains come more often.
        gain = _LEVEL / self.unit.level * np.sqrt(periods_s * formant / half_s)
        uneven = np.clip(self.unit.level / self.bank.level(centre, half), 0.4, 2.5)
        # Held vowels are made even; what leads to them may not be much louder than they are.
        gain *= np.where(held, uneven**0.8, np.minimum(1.3 * uneven, 1)) * self._fade(marks_s)
        gain *= 1 + 0.04 * self.rng.standard_normal(len(gain))
        if self.character.rough > 0:
            gain *= self._growl(marks_s)
        return Grains(marks_s, centre, half, half_s / formant, gain)

    def _growl(self, marks_s: Signal) -> Signal:
        """Return gains that weaken every other period, or two of three, now more, now less."""
        every = int(self.rng.integers(2, 4))
        count = int((self.event.end_s - self.event.onset_s) * CONTROL_HZ) + 2
        depth = self.character.rough * np.clip(wander(self.rng, count, period_s=0.3), 0, 1)
        depth = np.interp(marks_s - self.event.onset_s, np.arange(count) / CONTROL_HZ, depth)
        return np.asarray(1 - depth * (np.arange(len(marks_s)) % every != 0))

    def unvoiced(self) -> Grains:
        """Return the grains of consonants and breath."""
        event = self.event
        first = np.ceil(event.onset_s / _UNVOICED_S)
        steps = np.arange(first, np.floor(event.end_s / _UNVOICED_S), dtype=np.float64)
        time_s = steps * _UNVOICED_S
        place_s, held = self._source_time(time_s)
        _, sounds = self._nearest(place_s)
        quiet = ~sounds & ~held
        time_s, place_s = time_s[quiet], place_s[quiet]
        size = np.full(len(time_s), _UNVOICED_S)
        centre, half = self.origin + place_s * BANK_RATE, size * BANK_RATE
        loud = self.bank.level(centre, half) / self.unit.level
        gain = _LEVEL / self.unit.level * np.minimum(1.3 / loud, 1) * self._fade(time_s)
        return Grains(time_s, centre, half, size, gain)
