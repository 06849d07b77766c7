"""The composer: a seed becomes a key, a tempo, chords, a groove and a melody with syllables.

The score holds times and pitches only, so the same seed is the same song at any sample rate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

BEATS_PER_BAR = 4
STEPS_PER_BAR = 16
BARS_PER_SECTION = 4

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 2, 3, 4), (3, 0, 4, 5)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 6), (0, 6, 5, 6), (0, 2, 6, 3), (5, 6, 0, 0)),
}
# Steps of a bar (sixteenths) at which the kick plays.
KICKS = ((0, 8), (0, 6, 8), (0, 7, 10), (0, 3, 8, 11), (0, 4, 8, 12), (0, 8, 10, 14))
# Bass figures: step, length in steps, semitones above the chord's root.
BASS_FIGURES = (
    tuple((step, 2, 0) for step in range(0, 16, 2)),
    ((0, 3, 0), (3, 3, 0), (6, 2, 0), (8, 3, 0), (11, 3, 7), (14, 2, 0)),
    ((0, 6, 0), (6, 2, 12), (8, 4, 0), (12, 2, 7), (14, 2, 7)),
    ((0, 4, 0), (4, 2, 12), (7, 3, 0), (10, 2, 0), (12, 2, 12), (14, 2, 7)),
)
# Electric piano: step and length of each chord in a bar.
COMPS = (
    ((0, 6), (6, 4), (10, 6)),
    ((0, 4), (6, 2), (8, 4), (14, 2)),
    ((2, 2), (6, 2), (10, 2), (14, 2)),
    ((0, 8), (8, 8)),
)
# Rhythms of a sung phrase of two bars: step and length of each syllable; a breath follows.
PHRASES = (
    ((0, 2), (2, 2), (4, 4), (8, 2), (10, 2), (12, 4), (16, 8)),
    ((0, 3), (3, 3), (6, 2), (8, 6), (14, 2), (16, 3), (19, 7)),
    ((0, 4), (4, 2), (6, 4), (10, 2), (12, 3), (15, 3), (18, 8)),
    ((0, 2), (2, 4), (6, 2), (8, 2), (10, 4), (14, 2), (16, 4), (20, 6)),
)
VOWELS = "aeiou"
CONSONANTS = ("", "", "s", "t", "m", "n", "l", "h")


@dataclass(frozen=True)
class Note:
    """A note of an instrument; pitch is a MIDI number, velocity lies in [0, 1]."""

    start_s: float
    duration_s: float
    pitch: int
    velocity: float


@dataclass(frozen=True)
class Hit:
    """A stroke on one part of the drum kit; velocity lies in [0, 1]."""

    start_s: float
    drum: str
    velocity: float


@dataclass(frozen=True)
class Syllable(Note):
    """A sung note with the sounds that it is sung on."""

    consonant: str
    vowel: str


Event = TypeVar("Event", Note, Hit, Syllable)


@dataclass(frozen=True)
class Chord:
    """A bar of harmony: four voices from low to high, each led to its nearest next pitch."""

    start_s: float
    duration_s: float
    pitches: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """A whole song."""

    tempo_bpm: float
    chords: tuple[Chord, ...]
    keys: tuple[Note, ...]
    plucks: tuple[Note, ...]
    bass: tuple[Note, ...]
    drums: tuple[Hit, ...]
    vocals: tuple[Syllable, ...]


def compose(rng: np.random.Generator, *, duration_s: float) -> Score:
    """Write a song up to a duration; a longer one begins with the same notes."""
    return _Composer(rng, duration_s).score()


class _Composer:
    """What the parts of one song agree on, and a method for each part."""

    def __init__(self, rng: np.random.Generator, duration_s: float) -> None:
        self.tempo_bpm = float(rng.integers(84, 125))
        self.step_s = 60 / self.tempo_bpm * BEATS_PER_BAR / STEPS_PER_BAR
        self.swing_steps = float(rng.choice((0.0, 0.0, 0.12, 0.22)))
        mode = str(rng.choice(tuple(SCALES)))
        self.scale = SCALES[mode]
        self.tonic = int(rng.integers(0, 12))
        progressions = PROGRESSIONS[mode]
        self.sections = [progressions[i] for i in rng.permutation(len(progressions))[:2]]
        self.words_seed = int(rng.integers(1 << 31))
        self.duration_s = duration_s
        self.bars = int(np.ceil(duration_s / (STEPS_PER_BAR * self.step_s)))
        # A generator per part, so that the length of one does not change the next.
        self.parts = rng.spawn(5)

    def score(self) -> Score:
        keys, plucks, bass, drums, vocals = self.parts
        return Score(
            tempo_bpm=self.tempo_bpm,
            chords=self._chords(),
            keys=self._begun(self._keys(keys)),
            plucks=self._begun(self._plucks(plucks)),
            bass=self._begun(self._bass(bass)),
            drums=self._begun(self._drums(drums)),
            vocals=self._begun(self._vocals(vocals)),
        )

    def _begun(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Return what begins before the end of the song."""
        return tuple(event for event in events if event.start_s < self.duration_s)

    def _time(self, rng: np.random.Generator, bar: int, step: float, *, loose_s: float) -> float:
        """Return the time of a step with swing and a player's looseness; never before 0."""
        late = self.swing_steps if step % 2 == 1 else 0.0
        jitter = float(np.clip(rng.normal(0, loose_s), -2 * loose_s, 2 * loose_s))
        return max(0.0, (bar * STEPS_PER_BAR + step + late) * self.step_s + jitter)

    def _place(self, bar: int) -> tuple[int, int]:
        """Return the kind of section (0 verse, 1 chorus) and the bar inside it."""
        section, inside = divmod(bar, BARS_PER_SECTION)
        return section % 2, inside

    def _degree(self, bar: int) -> int:
        section, inside = self._place(bar)
        return self.sections[section][inside]

    def _pitch(self, degree: int, *, lowest: int) -> int:
        """Return the pitch of a degree of the scale, in the octaves above `lowest`."""
        octave, index = divmod(degree, len(self.scale))
        base = lowest + (self.tonic - lowest) % 12
        return base + 12 * octave + self.scale[index]

    def _near(self, degree: int, target: float) -> int:
        """Return the pitch of a degree, whatever its octave, nearest to a target."""
        pitch = self._pitch(degree, lowest=48)
        return pitch + 12 * round((target - pitch) / 12)

    def _chord_pitches(self, bar: int) -> list[int]:
        root = self._degree(bar)
        return [self._near(root + third, 62) for third in (0, 2, 4, 6)]

    def _chords(self) -> tuple[Chord, ...]:
        bar_s = STEPS_PER_BAR * self.step_s
        voices = sorted(self._chord_pitches(0))
        chords = []
        for bar in range(self.bars):
            target = sorted(self._chord_pitches(bar))
            # Of the inversions and octaves of the chord, the one that moves the voices least.
            options = [target[i:] + [p + 12 for p in target[:i]] for i in range(4)]
            options += [[p - 12 for p in option] for option in options]
            last = voices
            voices = min(
                options, key=lambda o: sum(abs(a - b) for a, b in zip(o, last, strict=True))
            )
            chords.append(Chord(bar * bar_s, bar_s, tuple(voices)))
        return tuple(chords)

    def _keys(self, rng: np.random.Generator) -> list[Note]:
        comps = [COMPS[i] for i in rng.permutation(len(COMPS))[:2]]
        return [
            Note(
                self._time(rng, bar, step, loose_s=0.007),
                length * self.step_s * 0.9,
                pitch,
                _velocity(rng, 0.75 if step % 4 == 0 else 0.6),
            )
            for bar in range(self.bars)
            for step, length in comps[self._place(bar)[0]]
            for pitch in sorted(self._chord_pitches(bar))[:3]
        ]

    def _plucks(self, rng: np.random.Generator) -> list[Note]:
        """Broken chords in eighths an octave above the piano, in every second section."""
        order = rng.permutation(8) % 4
        return [
            Note(
                self._time(rng, bar, 2 * i, loose_s=0.006),
                2 * self.step_s,
                sorted(self._chord_pitches(bar))[voice] + 12,
                _velocity(rng, 0.7),
            )
            for bar in range(self.bars)
            if self._place(bar)[0]
            for i, voice in enumerate(order)
        ]

    def _bass(self, rng: np.random.Generator) -> list[Note]:
        figures = [BASS_FIGURES[i] for i in rng.permutation(len(BASS_FIGURES))[:2]]
        notes = []
        for bar in range(self.bars):
            figure = figures[self._place(bar)[0]]
            root = self._near(self._degree(bar), 37)
            for index, (step, length, above) in enumerate(figure):
                pitch = root + above
                if index == len(figure) - 1:
                    # The last note leads to the root of the next bar, from a step below.
                    pitch = self._near(self._degree(bar + 1) - 1, 37)
                start_s = self._time(rng, bar, step, loose_s=0.004)
                accent = 0.9 if step % 8 == 0 else 0.72
                notes.append(
                    Note(start_s, length * self.step_s * 0.88, pitch, _velocity(rng, accent))
                )
        return notes

    def _drums(self, rng: np.random.Generator) -> list[Hit]:
        kicks = [KICKS[i] for i in rng.permutation(len(KICKS))[:2]]
        hat_spacing = 1 if self.tempo_bpm < 100 and rng.random() < 0.5 else 2
        hits = []
        for bar in range(self.bars):
            chorus, inside = self._place(bar)
            fill = inside == BARS_PER_SECTION - 1
            last = 12 if fill else STEPS_PER_BAR
            plan = [(step, "kick", 0.95) for step in kicks[chorus] if step < last]
            plan += [(step, "snare", 0.9) for step in (4, 12) if step < last]
            plan += [(int(s), "snare", 0.22) for s in (7, 9, 15) if rng.random() < 0.3]
            plan += [(s, "hat", 0.8 if s % 4 == 0 else 0.5) for s in range(0, last, hat_spacing)]
            if chorus and not fill:
                plan.append((14, "open_hat", 0.7))
            if inside == 0:
                plan.append((0, "crash", 0.8))
            if fill:
                parts = rng.choice(("snare", "high_tom", "low_tom"), size=3)
                order = ("snare", *sorted(map(str, parts)))
                plan += [(12 + i, drum, 0.7 + 0.08 * i) for i, drum in enumerate(order)]
            hits += [
                Hit(self._time(rng, bar, step, loose_s=0.004), drum, _velocity(rng, strength))
                for step, drum, strength in plan
            ]
        return hits

    def _vocals(self, rng: np.random.Generator) -> list[Syllable]:
        rhythms = [PHRASES[i] for i in rng.permutation(len(PHRASES))[:2]]
        centre = int(rng.choice((55, 64)))
        syllables = []
        for bar in range(0, self.bars, 2):
            rhythm = rhythms[self._place(bar)[0]]
            # Words and contour come again with the section, and with the phrase inside it.
            words = np.random.default_rng([self.words_seed, *self._place(bar)])
            steps = words.choice((-2, -1, -1, 0, 1, 1, 2), size=len(rhythm))
            degree = 0
            for (step, length), move in zip(rhythm, steps, strict=True):
                degree += int(move)
                pitch = self._sung_pitch(bar + step // STEPS_PER_BAR, step, degree, centre)
                start_s = self._time(rng, bar, step, loose_s=0.008)
                end_s = (bar * STEPS_PER_BAR + step + length) * self.step_s
                syllables.append(
                    Syllable(
                        start_s,
                        end_s - start_s,
                        pitch,
                        _velocity(rng, 0.85 if step % 8 == 0 else 0.7),
                        consonant=str(words.choice(CONSONANTS)),
                        vowel=str(words.choice(list(VOWELS))),
                    )
                )
        return syllables

    def _sung_pitch(self, bar: int, step: int, degree: int, centre: int) -> int:
        """Return a pitch of the scale, drawn to a tone of the chord on strong beats."""
        middle = centre + 3 * self._place(bar)[0]
        free = self._near(degree, middle + 2 * degree)
        tones = [self._near(self._degree(bar) + third, free) for third in (0, 2, 4)]
        pitch = free if step % 8 else min(tones, key=lambda p: abs(p - free))
        # A melody that leaves the singer's range goes on an octave nearer.
        return pitch - 12 * round((pitch - middle) / 16)


def _velocity(rng: np.random.Generator, centre: float) -> float:
    return float(np.clip(rng.normal(centre, 0.06), 0.15, 1.0))
