"""The sound of the units that a song uses, side by side in one array."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import resample
from desmezcla.datasets.render.singing.units import UNIT_RATE, Signal, Unit, Voice

# Twice the rate of the recordings, so that reading between two samples along a straight line
# costs 0.4 dB at 10 kHz and not 1.3.
BANK_RATE = 2 * UNIT_RATE
_MARGIN_S = 0.03


@dataclass(frozen=True)
class Bank:
    """Sound `[N]` at `BANK_RATE`, and for each unit the sample of the time 0 of its recording.

    Attributes:
        audio: The sound.
        energy: Its running sum of squares `[N + 1]`.
        origins: Of each unit, by its number in the voice.
    """

    audio: NDArray[np.float32]
    energy: Signal
    origins: dict[int, float]

    def level(self, centre: Signal, half: Signal) -> Signal:
        """Return the root mean square around places."""
        low, high = (
            np.clip((centre + side * half).astype(np.int64), 0, len(self.audio)) for side in (-1, 1)
        )
        power = (self.energy[high] - self.energy[low]) / np.maximum(high - low, 1)
        return np.asarray(np.sqrt(power + 1e-12))


def build_bank(voice: Voice, numbers: Iterable[int]) -> Bank:
    """Put the sound of some units of a voice into a bank."""
    clips, origins, filled = [np.zeros(64, np.float32)], {}, 64
    for number in sorted(set(numbers)):
        clip, begin = _clip(voice, voice.units[number])
        clip = resample(clip[None], UNIT_RATE, BANK_RATE)[0]
        origins[number] = filled - begin * (BANK_RATE / UNIT_RATE)
        clips.append(clip)
        filled += len(clip)
    audio = np.concatenate([*clips, np.zeros(64, np.float32)])
    energy = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    return Bank(audio, energy, origins)


def _clip(voice: Voice, unit: Unit) -> tuple[NDArray[np.float32], int]:
    """Return the sound of a unit with a margin, and its first sample in the recording."""
    recording = voice.recording(unit.source)
    begin = max(int((unit.start_s - _MARGIN_S) * UNIT_RATE), 0)
    return recording[begin : int((unit.end_s + _MARGIN_S) * UNIT_RATE)], begin
