"""Struck strings, tines and bars, as sums of decaying modes: pianos, clavinet, mallets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from desmezcla.datasets.render.instruments.modal import modes, noise_burst
from desmezcla.datasets.render.instruments.take import (
    HIGHEST,
    Signal,
    add_at,
    between,
    between_log,
    midi_to_hz,
)


class Piano:
    """Strings in threes, struck by felt: they beat, and fall fast, then slowly (Weinreich 1977).

    Args:
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, rng: np.random.Generator, sample_rate: int) -> None:
        self._rng, self._rate = rng, sample_rate
        self._hard = between_log(rng, 0.6, 1.8)
        self._stiff = between_log(rng, 1.5e-4, 5e-4)
        self._cents = between(rng, 0.3, 1.6)
        self._struck_at = between(rng, 0.11, 0.135)
        self._decay_s = between(rng, 2.5, 5.0)
        self._thump = between(rng, 0.05, 0.25)

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        f0_hz, octaves = midi_to_hz(pitch), (pitch - 60) / 12
        order = np.arange(1.0, max(2.0, min(70.0, HIGHEST * self._rate / f0_hz)))
        stiff = self._stiff * 2.0 ** (octaves * (1.3 if octaves > 0 else 0.3))
        hz = f0_hz * order * np.sqrt((1 + stiff * order**2) / (1 + stiff))
        felt_hz = 900 * self._hard * (0.4 + 1.6 * velocity**1.5) * 2 ** (0.35 * octaves)
        gain = np.sin(np.pi * order * self._struck_at) / order**0.6 / (1 + (hz / felt_hz) ** 1.8)
        decay_s = self._decay_s * 2 ** (-0.75 * octaves) / (1 + hz / 1600)
        sides = []
        for side in (-1, 1):
            beat = 2 ** (self._cents * (1 + 0.3 * side) / 1200)
            sides.append(
                modes(
                    np.concatenate([hz, hz * beat, hz / beat]),
                    np.concatenate([0.25 * decay_s, decay_s, 0.8 * decay_s]),
                    np.concatenate([gain, 0.35 * gain, 0.25 * gain]) / np.abs(gain).sum(),
                    samples=samples,
                    sample_rate=self._rate,
                )
            )
        out = np.concatenate(sides)
        thump = noise_burst(
            self._rng, low_hz=60, high_hz=900, decay_s=0.025, sample_rate=self._rate
        )
        add_at(out, thump, 0, gain=0.2 * self._thump * velocity**2)
        return out


class Tine:
    """An electric piano: a tine before a pickup, whose curve brings harmonics at hard strokes.

    Args:
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, rng: np.random.Generator, sample_rate: int) -> None:
        self._rate = sample_rate
        self._bark = between_log(rng, 0.5, 2.5)
        self._offset = between(rng, 0.15, 0.8)
        self._bell = between(rng, 0.03, 0.2)
        self._decay_s = between(rng, 1.2, 3.0)

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        f0_hz = midi_to_hz(pitch)
        decay_s = self._decay_s * 2 ** ((60 - pitch) / 30)
        tine = modes(
            np.array([f0_hz]), np.array([decay_s]), np.array([1.0]),
            samples=samples, sample_rate=self._rate,
        )  # fmt: skip
        bell = modes(
            f0_hz * np.array([6.27, 9.1]), np.array([0.12, 0.06]),
            self._bell * velocity * np.array([1.0, 0.4]),
            samples=samples, sample_rate=self._rate,
        )  # fmt: skip
        # The pickup hears the change of distance to a tine that swings off its centre. Its
        # harmonics are given room below the limit by a weaker bend for high notes.
        bend = np.float32(self._bark * velocity * min(1.0, 900 / f0_hz))
        heard = np.tanh(bend * (tine + self._offset)) - np.tanh(bend * np.float32(self._offset))
        out = heard / bend
        add_at(out, bell, 0)
        return np.asarray(out)


@dataclass(frozen=True)
class Bar:
    """A struck bar or tongue: ratios of its modes, their levels, and decay at middle C."""

    ratios: tuple[float, ...]
    levels: tuple[float, ...]
    decay_s: float
    knock: float = 0.1


BARS = {
    "marimba": Bar((1, 3.93, 9.24), (1, 0.22, 0.08), 0.45, 0.2),
    "xylophone": Bar((1, 3.0, 6.1, 10.2), (1, 0.5, 0.25, 0.1), 0.2, 0.35),
    "vibraphone": Bar((1, 3.98, 10.6), (1, 0.18, 0.05), 2.2, 0.05),
    "glockenspiel": Bar((1, 2.71, 5.15, 8.43), (1, 0.45, 0.25, 0.12), 1.4, 0.15),
    "kalimba": Bar((1, 5.6, 13.2), (1, 0.15, 0.05), 0.7, 0.25),
    "music_box": Bar((1, 4.2, 6.24, 11.3), (1, 0.25, 0.2, 0.08), 0.9, 0.2),
    "celesta": Bar((1, 2.0, 4.0, 6.3), (1, 0.3, 0.12, 0.05), 1.0, 0.05),
    "steel_pan": Bar((1, 2.0, 3.02, 4.1, 5.3), (1, 0.7, 0.35, 0.2, 0.1), 0.5, 0.1),
}


class Mallet:
    """Strokes on a kind of bar.

    Args:
        kind: Key of `BARS`.
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, kind: str, rng: np.random.Generator, sample_rate: int) -> None:
        self._bar, self._rng, self._rate = BARS[kind], rng, sample_rate
        self._hard = between_log(rng, 0.5, 1.8)
        self._decay = between_log(rng, 0.7, 1.5)
        self._spread = 1 + 0.02 * rng.standard_normal(len(self._bar.ratios))
        self._spread[0] = 1.0

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        f0_hz = midi_to_hz(pitch)
        ratios = np.asarray(self._bar.ratios) * self._spread
        levels = np.asarray(self._bar.levels) * (self._hard * velocity) ** np.arange(len(ratios))
        decay_s = self._decay * self._bar.decay_s * 2 ** ((60 - pitch) / 18) / ratios**0.8
        out = np.zeros((1, samples), np.float32)
        sound = modes(
            ratios * f0_hz, decay_s, levels, samples=samples, sample_rate=self._rate
        )  # fmt: skip
        add_at(out, sound, 0)
        knock = noise_burst(
            self._rng, low_hz=300, high_hz=4000, decay_s=0.006, sample_rate=self._rate
        )
        add_at(out, knock, 0, gain=0.4 * self._bar.knock * velocity * self._hard)
        return out


class Clavinet:
    """Short strings struck against a bridge before two pickups.

    Args:
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, rng: np.random.Generator, sample_rate: int) -> None:
        self._rng, self._rate = rng, sample_rate
        self._pickups = sorted(rng.uniform(0.06, 0.35, 2))
        self._sign = float(rng.choice((-1.0, 1.0)))
        self._decay_s = between(rng, 0.6, 1.4)
        self._cutoff_hz = between_log(rng, 2500, 7000)

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        f0_hz = midi_to_hz(pitch)
        order = np.arange(1.0, max(2.0, min(60.0, HIGHEST * self._rate / f0_hz)))
        hz = f0_hz * order * np.sqrt(1 + 1e-4 * order**2)
        first, second = (_comb(order, place) for place in self._pickups)
        gain = (first + self._sign * second) / order**0.5
        gain /= 1 + (hz / (self._cutoff_hz * (0.4 + 0.6 * velocity))) ** 2
        decay_s = self._decay_s * 2 ** ((60 - pitch) / 24) / (1 + hz / 2500)
        return modes(
            hz, decay_s, gain / np.abs(gain).sum(), samples=samples, sample_rate=self._rate
        )


def _comb(order: ArrayLike, place: float) -> np.ndarray:
    return np.asarray(np.sin(np.pi * np.asarray(order) * place))
