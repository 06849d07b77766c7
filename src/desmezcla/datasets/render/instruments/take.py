"""What all players share: the take that they are given, time, pitch, dice, and the bus."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import Hit, Note, Part, Song

Signal = NDArray[np.float32]
Curve = NDArray[np.float64]
T = TypeVar("T")

# No partial is rendered above this part of the sample rate.
HIGHEST = 0.45
# Every sound that ends before it has decayed is faded out over this time.
EDGE_S = 0.004


@dataclass(frozen=True)
class Take:
    """What one player is asked to play, and with what.

    Attributes:
        part: The part.
        song: The song that it belongs to.
        rng: Decides on the concrete instrument and on every accident of the performance.
        material: Recorded sounds, or None to synthesise everything.
        sample_rate: In Hz.
        samples: Length of the song.
    """

    part: Part
    song: Song
    rng: np.random.Generator
    material: Material | None
    sample_rate: int
    samples: int

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes of the part."""
        return tuple(event for event in self.part.events if isinstance(event, Note))

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The strokes of the part."""
        return tuple(event for event in self.part.events if isinstance(event, Hit))

    def count(self, seconds: float) -> int:
        """Return a time as a number of samples."""
        return max(0, round(seconds * self.sample_rate))

    def bus(self, channels: int) -> Signal:
        """Return silence as long as the song. Shape: `[channels, samples]`."""
        return np.zeros((channels, self.samples), np.float32)


def midi_to_hz(pitch: float) -> float:
    """Return the frequency of a MIDI note number, 69 being 440 Hz."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def hz_to_midi(hz: float) -> float:
    """Return the MIDI note number of a frequency."""
    return float(69.0 + 12.0 * np.log2(hz / 440.0))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Throw a number that is uniform in a range."""
    return float(rng.uniform(low, high))


def between_log(rng: np.random.Generator, low: float, high: float) -> float:
    """Throw a number whose logarithm is uniform: for frequencies, times and gains."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Throw a coin."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Pick one of several."""
    return options[int(rng.integers(len(options)))]


def pan_gains(pan: float) -> tuple[float, float]:
    """Return the gains left and right of a place from -1 to 1, 1 and 1 in the middle."""
    angle = (pan + 1) * np.pi / 4
    return float(np.sqrt(2) * np.cos(angle)), float(np.sqrt(2) * np.sin(angle))


def add_at(bus: Signal, sound: Signal, start: int, *, gain: float = 1.0, pan: float = 0.0) -> None:
    """Add a sound to a bus; what lies beyond the ends of the bus is cut off.

    This is the one function that writes into its argument: the bus is there to be written to.

    Shape:
        bus: `[C, T]`; sound: `[1 or C, n]`, any n. A bus of one channel has no place for pan.
    """
    skipped = max(-start, 0)
    start = max(start, 0)
    sound = sound[:, skipped : skipped + max(bus.shape[1] - start, 0)]
    stop = start + sound.shape[1]
    gains = (1.0,) if bus.shape[0] == 1 else pan_gains(pan)
    for channel, side in enumerate(gains):
        source = sound[min(channel, sound.shape[0] - 1)]
        bus[channel, start:stop] += np.float32(gain * side) * source


def faded(sound: Signal, *, attack: int, release: int) -> Signal:
    """Return a sound with half cosines at its ends, of so many samples.

    Shape:
        sound: `[C, n]`; returns the same.
    """
    out = np.array(sound, np.float32)
    attack, release = min(attack, out.shape[1]), min(release, out.shape[1])
    if attack:
        out[:, :attack] *= half_cosine(attack)
    if release:
        out[:, -release:] *= half_cosine(release)[::-1]
    return out


@lru_cache(maxsize=64)
def half_cosine(samples: int) -> Signal:
    """Return a rise from 0 to 1, not to be written to. Shape: `[samples]`."""
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(samples) + 0.5) / samples)).astype(np.float32)
    rise.setflags(write=False)
    return rise


def rms(sound: Signal) -> float:
    """Return the root mean square, 0 for nothing."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if sound.size else 0.0


def active_rms(audio: Signal, sample_rate: int) -> float:
    """Return the root mean square of what lies within 35 dB of the loudest tenth of a second."""
    frame = max(1, sample_rate // 10)
    whole = audio[:, : audio.shape[1] // frame * frame]
    if not whole.size:
        return rms(audio)
    frames = whole.reshape(audio.shape[0], -1, frame)
    power = np.einsum("cnk,cnk->n", frames, frames) / (frame * audio.shape[0])
    return float(np.sqrt(np.mean(power[power >= power.max() * 10**-3.5])))
