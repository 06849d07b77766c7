"""Syllables as the singers use them: where the vowel lies, and where each period of the voice is.

Whatever a voice comes from (a recording, speech synthesis, the formant singer), it becomes a
`Voice`: a list of units with the sound of each, from which any melody is sung.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

# Rate of the clips of all voices, in Hz: that of the recordings.
UNIT_RATE = 48_000


@dataclass(frozen=True)
class Unit:
    """A syllable: consonants, a vowel with a stable middle, and how it ends.

    All times are in seconds within the recording.

    Attributes:
        source: Which recording of the voice.
        start_s: Where its consonants begin.
        vowel_s: Where the vowel begins.
        stable_s: Where the vowel has its colour.
        release_s: Where it begins to lose it.
        end_s: Where the next syllable, or silence, begins.
        marks_s: One instant per period of the voice, at the same phase, from start to end.
        periods_s: The period at each mark.
        f0_hz: Median fundamental of the stable part.
        level: Its root mean square.
        colour: Its spectrum in bands, in dB, less their mean.
    """

    source: int
    start_s: float
    vowel_s: float
    stable_s: float
    release_s: float
    end_s: float
    marks_s: Signal
    periods_s: Signal
    f0_hz: float
    level: float
    colour: Signal


@dataclass(frozen=True)
class Voice:
    """Somebody who can sing: units, and the recordings that they lie in.

    Attributes:
        name: Who it is.
        sung: The recordings are sung, not spoken.
        units: In the order of the recordings, so that neighbours were spoken together.
        recording: Returns the sound `[T]` of a source at `UNIT_RATE`.
    """

    name: str
    sung: bool
    units: tuple[Unit, ...]
    recording: Callable[[int], NDArray[np.float32]]

    @property
    def natural_hz(self) -> float:
        """The middle of the pitches that it was recorded at."""
        return float(np.median([unit.f0_hz for unit in self.units]))


def hz_to_midi(hz: Signal | float) -> Signal:
    """Return the MIDI number of frequencies."""
    return np.asarray(69.0 + 12.0 * np.log2(np.asarray(hz) / 440.0))


def midi_to_hz(midi: Signal | float) -> Signal:
    """Return the frequency of MIDI numbers."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(midi) - 69.0) / 12.0))
