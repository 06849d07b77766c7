"""Plucked strings, as sums of decaying modes: guitars, basses, banjo, harp, sitar.

The modes are those of a stiff string (Fletcher and Rossing, The Physics of Musical Instruments,
chapter 2), plucked at a point and heard through a pickup or a body. The result is what a
Karplus-Strong loop with a comb for the place of the pluck gives, with exact pitch and free decay
times; the body is one filter for the whole part, as in commuted synthesis (Smith 1993).
"""

from dataclasses import dataclass, replace

import numpy as np

from desmezcla.datasets.render.instruments.blocks import convolved
from desmezcla.datasets.render.instruments.modal import modes, noise_burst
from desmezcla.datasets.render.instruments.take import (
    HIGHEST,
    Signal,
    add_at,
    between,
    between_log,
    half_cosine,
    midi_to_hz,
)


@dataclass(frozen=True)
class String:
    """A kind of string.

    Attributes:
        decay_s: Time in which the fundamental of A2 falls to 1/e; higher notes fall faster.
        damping: How much faster high partials die: 1 halves the time at 1 kHz.
        stiffness: Inharmonicity at A2.
        slope: Exponent with which the partials fall: 1 is bright, 2 a soft pluck.
        plucked_at: Place of the pluck on the string, as part of its length.
        pickup_at: Place of a magnetic pickup, or None.
        cutoff_hz: Low-pass of the fingertip or the plectrum at full velocity.
        noise: Level of the noise of the pluck.
        beating_cents: Detuning of the two planes in which the string swings.
        muted: Part of the decay that is left when the palm lies on the string.
    """

    decay_s: float = 2.0
    damping: float = 0.8
    stiffness: float = 8e-5
    slope: float = 1.0
    plucked_at: float = 0.14
    pickup_at: float | None = None
    cutoff_hz: float = 6000.0
    noise: float = 0.05
    beating_cents: float = 0.6
    muted: float = 0.12


STRINGS = {
    "acoustic": String(slope=1.0, cutoff_hz=7000, noise=0.09, decay_s=1.6),
    "nylon": String(slope=1.4, cutoff_hz=2600, decay_s=1.0, damping=1.6, noise=0.05),
    "electric": String(
        slope=0.75, plucked_at=0.11, pickup_at=0.13, cutoff_hz=5500, decay_s=3.2, damping=0.7
    ),
    "banjo": String(slope=0.8, cutoff_hz=8000, decay_s=0.35, damping=0.35, noise=0.1),
    "harp": String(slope=1.3, plucked_at=0.4, cutoff_hz=3200, decay_s=1.9, damping=1.0),
    "sitar": String(slope=0.35, plucked_at=0.09, cutoff_hz=9000, decay_s=2.2, damping=0.22),
    "pizzicato": String(slope=1.5, plucked_at=0.2, cutoff_hz=2600, decay_s=0.22, damping=0.9),
    "finger": String(
        slope=0.9, plucked_at=0.2, pickup_at=0.18, cutoff_hz=1500, decay_s=2.4, damping=1.8,
        stiffness=1.5e-4,
    ),
    "pick": String(
        slope=0.7, plucked_at=0.12, pickup_at=0.17, cutoff_hz=3600, decay_s=2.4, damping=1.1,
        stiffness=1.5e-4, noise=0.15,
    ),
    "slap": String(
        slope=0.5, plucked_at=0.27, pickup_at=0.12, cutoff_hz=5500, decay_s=2.0, damping=0.8,
        stiffness=1.8e-4, noise=0.35,
    ),
    "fretless": String(
        slope=1.1, plucked_at=0.24, pickup_at=0.1, cutoff_hz=1300, decay_s=2.6, damping=1.6,
    ),
    "upright": String(
        slope=1.3, plucked_at=0.3, cutoff_hz=1300, decay_s=0.9, damping=2.2, noise=0.12,
        stiffness=1.2e-4,
    ),
}  # fmt: skip


class Plucked:
    """Makes strokes of a kind of string, a little different in each song.

    Args:
        kind: Key of `STRINGS`.
        rng: Decides on the instrument.
        sample_rate: In Hz.
    """

    def __init__(self, kind: str, rng: np.random.Generator, sample_rate: int) -> None:
        string = STRINGS[kind]
        pickup = string.pickup_at
        self.string = replace(
            string,
            decay_s=string.decay_s * between_log(rng, 0.7, 1.4),
            damping=string.damping * between_log(rng, 0.7, 1.4),
            slope=string.slope + between(rng, -0.12, 0.15),
            plucked_at=string.plucked_at * between_log(rng, 0.75, 1.35),
            pickup_at=None if pickup is None else pickup * between_log(rng, 0.7, 1.6),
            cutoff_hz=string.cutoff_hz * between_log(rng, 0.7, 1.4),
            beating_cents=between(rng, 0.2, 1.2),
        )
        self._rng = rng
        self._rate = sample_rate

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        string, f0_hz = self.string, midi_to_hz(pitch)
        octaves = (pitch - 45) / 12
        order = np.arange(1.0, max(2.0, min(90.0, HIGHEST * self._rate / f0_hz)))
        stiffness = string.stiffness * 2.0**octaves
        hz = f0_hz * order * np.sqrt((1 + stiffness * order**2) / (1 + stiffness))
        gain = np.sin(np.pi * order * string.plucked_at) / order**string.slope
        if string.pickup_at is not None:
            # Of a fretted string, the pickup is nearer to the middle.
            gain *= np.sin(np.pi * order * min(0.5, string.pickup_at * 2 ** (0.5 * octaves)))
        cutoff = string.cutoff_hz * (0.3 + 0.7 * velocity) * (0.45 if short else 1.0)
        gain /= 1 + (hz / cutoff) ** 2
        decay_s = string.decay_s * 2 ** (-0.55 * octaves) / (1 + string.damping * hz / 1000)
        if short:
            decay_s = np.minimum(decay_s * string.muted * 2, string.muted / (1 + hz / 1500))
        beat = 2 ** (string.beating_cents / 1200)
        sound = modes(
            np.concatenate([hz, hz * beat]),
            np.concatenate([decay_s, 0.6 * decay_s]),
            np.concatenate([gain, 0.45 * gain]) / np.abs(gain).sum(),
            samples=samples,
            sample_rate=self._rate,
        )
        return self._with_noise(sound, velocity)

    def _with_noise(self, sound: Signal, velocity: float) -> Signal:
        """Add the noise of the finger or the plectrum."""
        burst = noise_burst(
            self._rng,
            low_hz=400,
            high_hz=self.string.cutoff_hz,
            decay_s=0.006,
            sample_rate=self._rate,
        )
        out = np.array(sound)
        add_at(out, burst, 0, gain=0.35 * self.string.noise * velocity)
        return out


def body(
    rng: np.random.Generator,
    audio: Signal,
    *,
    sample_rate: int,
    air_hz: float,
    top_hz: float = 6000.0,
    wet: float = 0.6,
) -> Signal:
    """Return strings through a wooden body: an air mode, modes of the top, and a soft treble.

    Args:
        rng: Decides on the body.
        audio: Sound of the strings.
        sample_rate: In Hz.
        air_hz: Lowest mode (100 Hz for a guitar, 60 Hz for a double bass, 270 Hz for a violin).
        top_hz: Up to where the top has modes.
        wet: Level of the body beside the strings.

    Shape:
        audio: `[1, T]`; returns `[2, T]`: two microphones hear the modes with other phases.
    """
    count = 40
    hz = np.sort(np.exp(rng.uniform(np.log(1.7 * air_hz), np.log(top_hz), count)))
    hz = np.concatenate([[air_hz, 1.95 * air_hz], hz])
    decay_s = 5.0 / (np.pi * hz) * rng.uniform(0.6, 1.6, len(hz))
    gain = np.sqrt(hz / hz[0]) ** -0.4 * rng.uniform(0.2, 1.0, len(hz)) * hz / sample_rate
    sides = []
    for _ in range(2):
        phase = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.7, 0.7, len(hz))
        ringing = modes(
            hz, decay_s, gain, samples=2048, sample_rate=sample_rate, phase=phase
        )[0]  # fmt: skip
        response = np.zeros(2048, np.float32)
        response[: len(ringing)] = ringing * half_cosine(2048)[::-1][: len(ringing)]
        response = wet * response / np.sqrt(np.sum(response**2) + 1e-9)
        response[0] += 1.0
        sides.append(response)
    return convolved(np.repeat(audio, 2, axis=0), np.stack(sides))
