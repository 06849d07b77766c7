"""Frequency modulation with two to four operators: electric pianos, bells, basses.

Chowning, "The Synthesis of Complex Audio Spectra by Means of Frequency Modulation", 1973.
"""

from dataclasses import dataclass, replace

import numpy as np

from desmezcla.datasets.render.instruments.take import (
    HIGHEST,
    Signal,
    between,
    between_log,
    chance,
    midi_to_hz,
    pick,
)


@dataclass(frozen=True)
class Pair:
    """A carrier and its modulator.

    Attributes:
        carrier: Frequency of the carrier, as a multiple of the note's.
        modulator: Frequency of the modulator, likewise.
        index: Modulation at full velocity.
        index_decay_s: Time in which the modulation falls to 1/e.
        index_floor: Part of the modulation that stays.
        level: Of the carrier.
        decay_s: Time in which the carrier falls to 1/e, at middle C.
    """

    carrier: float
    modulator: float
    index: float
    index_decay_s: float
    index_floor: float
    level: float
    decay_s: float


PATCHES: dict[str, tuple[Pair, ...]] = {
    "electric_piano": (
        Pair(1, 1, 1.5, 0.5, 0.25, 1.0, 1.5),
        Pair(1, 14, 0.5, 0.12, 0.0, 0.35, 0.9),
    ),
    "bell": (Pair(1, 3.5, 3.0, 0.9, 0.05, 1.0, 1.6), Pair(2, 7.07, 1.2, 0.4, 0.0, 0.3, 0.8)),
    "glass": (Pair(1, 5, 1.4, 0.25, 0.05, 1.0, 0.9), Pair(4, 11, 0.8, 0.1, 0.0, 0.25, 0.4)),
    "tubular": (Pair(1, 1.4, 2.2, 1.2, 0.1, 1.0, 2.2),),
    "bass": (Pair(1, 1, 3.5, 0.16, 0.2, 1.0, 1.6), Pair(1, 3, 1.5, 0.05, 0.0, 0.4, 0.9)),
    "hard_bass": (Pair(1, 2, 4.0, 0.25, 0.35, 1.0, 2.5), Pair(0.5, 1, 1.0, 0.4, 0.2, 0.5, 2.0)),
    "clav": (Pair(1, 3, 3.0, 0.35, 0.3, 1.0, 0.9), Pair(1, 8, 1.2, 0.08, 0.05, 0.5, 0.5)),
}


class Fm:
    """Makes strokes of a patch, a little different in each song.

    Args:
        kinds: Keys of `PATCHES`, of which one is picked.
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, kinds: tuple[str, ...], rng: np.random.Generator, sample_rate: int) -> None:
        self._pairs = tuple(
            replace(
                pair,
                index=pair.index * between_log(rng, 0.6, 1.5),
                index_decay_s=pair.index_decay_s * between_log(rng, 0.6, 1.7),
                decay_s=pair.decay_s * between_log(rng, 0.7, 1.5),
                level=pair.level * between_log(rng, 0.7, 1.3),
            )
            for pair in PATCHES[pick(rng, kinds)]
        )
        self._wide = between(rng, 0.0008, 0.0022) if chance(rng, 0.6) else 0.0
        self._rate = sample_rate

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says; the two channels are detuned apart."""
        f0_hz = midi_to_hz(pitch)
        longest_s = 9.0 * max(self._decay_s(pair, pitch, short) for pair in self._pairs)
        time_s = np.arange(min(samples, round(longest_s * self._rate))) / self._rate
        sides = [f0_hz * (1 - self._wide), f0_hz * (1 + self._wide)] if self._wide else [f0_hz]
        return np.stack([self._side(hz, time_s, velocity, pitch, short) for hz in sides])

    @staticmethod
    def _decay_s(pair: Pair, pitch: float, short: bool) -> float:
        return float(pair.decay_s * 2 ** ((60 - pitch) / 36) * (0.3 if short else 1.0))

    def _side(
        self, f0_hz: float, time_s: np.ndarray, velocity: float, pitch: float, short: bool
    ) -> Signal:
        out = np.zeros(len(time_s), np.float32)
        for pair in self._pairs:
            carrier_hz, modulator_hz = f0_hz * pair.carrier, f0_hz * pair.modulator
            # Partials lie at c + n m and fade fast beyond n = index + 1 (Carson's rule).
            room = (HIGHEST * self._rate - carrier_hz) / modulator_hz - 1
            if carrier_hz > HIGHEST * self._rate:
                continue
            index = min(pair.index * velocity**1.3, max(room, 0.0))
            falling = pair.index_floor + (1 - pair.index_floor) * np.exp(
                -(time_s / pair.index_decay_s).astype(np.float32)
            )
            # Phases are wrapped in double precision, which single would lose in a long note.
            turn = (2 * np.pi * (modulator_hz * time_s % 1.0)).astype(np.float32)
            phase = (2 * np.pi * (carrier_hz * time_s % 1.0)).astype(np.float32)
            decay_s = self._decay_s(pair, pitch, short)
            level = pair.level * np.exp(-(time_s / decay_s).astype(np.float32))
            out += level * np.sin(phase + np.float32(index) * falling * np.sin(turn))
        return out
