"""Organs with drawbars and a rotary speaker."""

import numpy as np

from desmezcla.datasets.render.instruments.blocks import saturated
from desmezcla.datasets.render.instruments.effects import rotary
from desmezcla.datasets.render.instruments.modal import modes, noise_burst
from desmezcla.datasets.render.instruments.players import Stroke, strike
from desmezcla.datasets.render.instruments.take import (
    Signal,
    Take,
    active_rms,
    add_at,
    between,
    between_log,
    chance,
    midi_to_hz,
    pick,
)

# Multiples of the fundamental that the nine drawbars sound: 16', 5 1/3', 8', 4', … 1'.
_FOOTAGES = np.array([0.5, 1.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
# Usual settings, 0 to 8 each.
_REGISTRATIONS = (
    "888000000", "888800000", "888888888", "008080800", "868800000", "800000888",
    "888000008", "688600000", "008800000", "838000000", "878645466", "506000000",
)  # fmt: skip


class ToneWheels:
    """Makes held notes of a registration.

    Args:
        rng: Decides on the registration, the percussion and the click of the keys.
        sample_rate: In Hz.
    """

    def __init__(self, rng: np.random.Generator, sample_rate: int) -> None:
        self._rng, self._rate = rng, sample_rate
        bars = np.array([int(digit) for digit in pick(rng, _REGISTRATIONS)])
        # A step of a drawbar is 3 dB, and 0 is silent.
        self._levels = np.where(bars > 0, 10 ** (3 * (bars - 8) / 20), 0.0)
        self._click = between(rng, 0.02, 0.15)
        self._percussion = between(rng, 0.4, 1.0) if chance(rng, 0.4) else 0.0
        self._third = float(rng.choice((2.0, 3.0)))

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a note, as `players.Sounder` says."""
        f0_hz = midi_to_hz(pitch)
        forever = np.full(len(_FOOTAGES), 1e4)
        phase = self._rng.uniform(0, 2 * np.pi, len(_FOOTAGES))
        hz = f0_hz * _FOOTAGES
        # The highest wheels are missing: their drawbars sound an octave lower.
        hz = np.where(hz > 6000, hz / 2, hz)
        out = modes(
            hz, forever, self._levels, samples=samples, sample_rate=self._rate, phase=phase
        )  # fmt: skip
        if self._percussion:
            knock = modes(
                np.array([f0_hz * self._third]), np.array([0.15]), np.array([self._percussion]),
                samples=samples, sample_rate=self._rate,
            )  # fmt: skip
            add_at(out, knock, 0)
        click = noise_burst(
            self._rng, low_hz=800, high_hz=6000, decay_s=0.003, sample_rate=self._rate
        )
        add_at(out, click, 0, gain=self._click)
        return out


def organ(take: Take) -> Signal:
    """Play a tone-wheel organ through a driven rotary speaker. Shape: returns `[2, T]`."""
    rng = take.rng
    stroke = Stroke(release_s=0.02, level=0.15, detune_cents=0.0, attack_s=0.004)
    dry = strike(take, ToneWheels(rng, take.sample_rate), stroke)
    return through_speaker(take, dry)


def through_speaker(take: Take, dry: Signal) -> Signal:
    """Drive a rotary speaker. Shape: dry: `[1, T]`; returns `[2, T]`."""
    rng = take.rng
    level = active_rms(dry, take.sample_rate)
    if level == 0:
        return np.repeat(dry, 2, axis=0)
    drive = between_log(rng, 0.15, 2.0)
    driven = saturated(dry * np.float32(1 / level), drive)
    return rotary(driven, rng, sample_rate=take.sample_rate, fast_hz=between(rng, 5.8, 7.4))
