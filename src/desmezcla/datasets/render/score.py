"""What a song is before it sounds: sections, chords, and parts made of events in seconds.

A score holds times and pitches only, so the same seed is the same song at any sample rate.
"""

from dataclasses import dataclass
from typing import Literal

Stem = Literal["vocals", "drums", "bass", "other"]


@dataclass(frozen=True)
class Note:
    """A note of an instrument; pitch is a MIDI number (69 is 440 Hz), velocity lies in (0, 1]."""

    start_s: float
    duration_s: float
    pitch: float
    velocity: float

    @property
    def end_s(self) -> float:
        """When it stops, in seconds from the start of the song."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Syllable(Note):
    """A note that is sung, rapped or spoken.

    Attributes:
        manner: How it is uttered. The pitch of "rap" and "speech" is where the voice hovers.
        first: It begins a phrase: a breath may precede it.
        word: Number of the syllable in the words of the song; the same number is the same sound,
            so that a chorus repeats its words, and doubles and harmonies sing what the lead sings.
    """

    manner: Literal["sung", "rap", "speech", "ooh"] = "sung"
    first: bool = False
    word: int = 0


# The pieces of a kit that a score may call for.
PIECES = (
    "kick",
    "snare",
    "rim",
    "hihat_closed",
    "hihat_open",
    "hihat_pedal",
    "ride",
    "ride_bell",
    "crash",
    "tom_high",
    "tom_mid",
    "tom_low",
    "clap",
    "snap",
    "tambourine",
    "shaker",
    "cowbell",
    "conga_high",
    "conga_low",
)


@dataclass(frozen=True)
class Hit:
    """A stroke on a piece of the kit (one of `PIECES`); velocity lies in (0, 1]."""

    start_s: float
    piece: str
    velocity: float


@dataclass(frozen=True)
class Chord:
    """A stretch of harmony: the pitch class of its root (0 is C) and its tones above the root."""

    start_s: float
    duration_s: float
    root: int
    intervals: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A part of the form.

    Attributes:
        kind: "intro", "verse", "prechorus", "chorus", "bridge", "solo", "break" or "outro".
        energy: How full the arrangement is, in [0, 1].
    """

    kind: str
    start_s: float
    duration_s: float
    energy: float


@dataclass(frozen=True)
class Part:
    """What one player plays.

    Attributes:
        name: Unique in the song, for instance "rhythm_guitar_left".
        stem: The stem that it belongs to.
        role: What it does, for the mix: "lead", "double", "harmony", "backing", "drums",
            "percussion", "bass", "rhythm", "comp", "pad", "arpeggio", "melody", "fill".
        instrument: Key of the instrument, one of those that `instruments.INSTRUMENTS` lists, or
            of a voice for the stem "vocals" ("voice").
        events: Notes, hits or syllables in the order of their starts; all of one kind.
    """

    name: str
    stem: Stem
    role: str
    instrument: str
    events: tuple[Note, ...] | tuple[Hit, ...] | tuple[Syllable, ...]


@dataclass(frozen=True)
class Song:
    """A composed song."""

    style: str
    tempo_bpm: float
    beats_per_bar: int
    tonic: int
    mode: str
    duration_s: float
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    parts: tuple[Part, ...]
