"""What the players of a song agree on: its clock, its passages and its harmony, in steps.

A step is a sixteenth note. Players write in steps, counted from the start of the song; the clock
turns them into seconds.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from desmezcla.datasets.render.composer.styles import Style
from desmezcla.datasets.render.score import Note

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
Manner = Literal["", "sung", "rap", "speech"]
MINOR_MODES = ("minor", "dorian", "phrygian")


@dataclass(frozen=True)
class Clock:
    """Steps to seconds.

    Attributes:
        step_s: Length of a sixteenth.
        bar_steps: Steps of a bar: 16, or 12 in 3/4 and 6/8.
        metre: "4/4", "3/4" or "6/8".
        swing: Share of a swung pair that its first half takes; 0.5 is straight.
        swing_steps: What is swung: 2 for eighths, 1 for sixteenths.
    """

    step_s: float
    bar_steps: int
    metre: str
    swing: float = 0.5
    swing_steps: int = 2

    @property
    def beat_steps(self) -> int:
        """Steps of what a foot taps: a quarter, or a dotted quarter in 6/8."""
        return 6 if self.metre == "6/8" else 4

    @property
    def bar_s(self) -> float:
        """Length of a bar."""
        return self.bar_steps * self.step_s

    def seconds(self, step: float) -> float:
        """Return when a step sounds: time runs slower in the first half of each swung pair."""
        half = self.swing_steps
        pairs, inside = divmod(step, 2 * half)
        if inside < half:
            bent = inside * 2 * self.swing
        else:
            bent = 2 * half * self.swing + (inside - half) * 2 * (1 - self.swing)
        return (pairs * 2 * half + bent) * self.step_s


@dataclass(frozen=True)
class Passage:
    """A section in bars.

    Attributes:
        kind: As in `score.Section`.
        start_bar: Where it begins.
        bars: Its length.
        energy: How full the arrangement is, in [0, 1].
        turn: How many of its kind came before.
        manner: How the voice utters it: "sung", "rap", "speech", or "" where it rests.
        index: Its place in the song.
    """

    kind: str
    start_bar: int
    bars: int
    energy: float
    turn: int
    manner: Manner
    index: int


@dataclass(frozen=True)
class Span:
    """A chord: where it begins and how long it lasts in steps, its root and its tones above."""

    start: int
    length: int
    root: int
    intervals: tuple[int, ...]

    @property
    def end(self) -> int:
        """The step at which the next chord begins."""
        return self.start + self.length

    @property
    def classes(self) -> tuple[int, ...]:
        """Pitch classes of its tones."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)


@dataclass(frozen=True)
class Tune:
    """A traditional melody, transposed to the song: start and length in steps, and pitch."""

    bars: int
    notes: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first player plays.

    Attributes:
        seed: From which every player draws a generator of its own.
        rests: Where the lead voice rests for a while inside a sung passage, in steps.
        tune: What the melody players know by heart, or None.
    """

    style: Style
    seed: int
    clock: Clock
    tonic: int
    mode: str
    duration_s: float
    passages: tuple[Passage, ...]
    spans: tuple[Span, ...]
    rests: tuple[tuple[float, float], ...] = ()
    tune: Tune | None = None

    @cached_property
    def bars(self) -> int:
        """Bars of the song; what is left of its duration lets the last chord ring."""
        return self.passages[-1].start_bar + self.passages[-1].bars

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven tones of the mode above the tonic."""
        return SCALES[self.mode]

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return the generator of a purpose; the same names give the same numbers."""
        name = "/".join(map(str, names))
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    @cached_property
    def _span_of_step(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans for _ in range(span.length))

    def chord(self, step: float) -> Span:
        """Return the harmony at a step; beyond the end, the last one."""
        steps = self._span_of_step
        return steps[max(0, min(int(step), len(steps) - 1))]

    def chords(self, passage: Passage) -> list[Span]:
        """Return the harmony of a passage."""
        start = passage.start_bar * self.clock.bar_steps
        end = start + passage.bars * self.clock.bar_steps
        return [span for span in self.spans if start <= span.start < end]

    def bar_starts(self, passage: Passage) -> range:
        """Return the first step of each bar of a passage."""
        size = self.clock.bar_steps
        first = passage.start_bar * size
        return range(first, first + passage.bars * size, size)


@dataclass(frozen=True)
class Seat:
    """A player who got the job.

    Attributes:
        name: Of the part.
        take: What is played comes from this name, so that a double plays the same.
        manner: Key of `band.MANNERS`.
        instrument: Key of the instrument.
        role: As in `score.Part`.
        low: Lowest pitch.
        high: Highest pitch.
        floor: Energy of a passage below which the player rests.
    """

    name: str
    take: str
    manner: str
    instrument: str
    role: str
    low: int
    high: int
    floor: float


class Hand:
    """A player's timing and touch, and what was played so far.

    Args:
        plan: The song.
        rng: Where the looseness comes from.
        loose_s: Deviation of the timing.
        late_s: How far behind the beat the player sits.
    """

    def __init__(
        self, plan: Plan, rng: np.random.Generator, *, loose_s: float, late_s: float = 0.0
    ) -> None:
        self.plan = plan
        self.rng = rng
        self.loose_s = loose_s
        self.late_s = late_s
        self.notes: list[Note] = []
        self._normals: list[float] = []

    def normal(self) -> float:
        """Return a standard normal number, at most 2.5 deviations away."""
        if not self._normals:
            self._normals = np.clip(self.rng.normal(size=2048), -2.5, 2.5).tolist()
        return self._normals.pop()

    def time(self, step: float) -> float:
        """Return when a step is played by this hand, never before 0."""
        return max(0.0, self.plan.clock.seconds(step) + self.late_s + self.loose_s * self.normal())

    def velocity(self, centre: float) -> float:
        """Return a velocity near a centre, in (0, 1]."""
        return min(1.0, max(0.05, centre + 0.05 * self.normal()))

    def note(self, step: float, length: float, pitch: float, velocity: float) -> None:
        """Play a note of a length in steps."""
        self.chord(step, length, (pitch,), velocity)

    def chord(
        self,
        step: float,
        length: float,
        pitches: tuple[int, ...] | tuple[float, ...] | list[int],
        velocity: float,
        *,
        spread_s: float = 0.0,
    ) -> None:
        """Play pitches in their order, each `spread_s` after the one before."""
        start_s = self.time(step)
        end_s = self.plan.clock.seconds(step + length)
        for index, pitch in enumerate(pitches):
            at_s = start_s + index * spread_s
            duration_s = max(0.03, end_s - at_s)
            self.notes.append(Note(at_s, duration_s, float(pitch), self.velocity(velocity)))
