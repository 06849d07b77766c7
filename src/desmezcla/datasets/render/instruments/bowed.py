"""Sustained instruments with one line each: bows, brass, reeds and flutes.

A timbre is a sum of harmonics under formants, darker at soft moments and brighter at loud ones.
"""

from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.instruments.players import Envelope, Expression
from desmezcla.datasets.render.instruments.solo import Breath, Timbre, Voice, perform
from desmezcla.datasets.render.instruments.take import (
    Curve,
    Signal,
    Take,
    between,
    between_log,
)


@dataclass(frozen=True)
class Wind:
    """An instrument that is blown or bowed.

    Attributes:
        slope: Exponent with which the harmonics fall.
        even: Level of the even harmonics beside the odd ones.
        dark_hz: Cutoff at the softest.
        bright_hz: Cutoff at the loudest.
        formants: Frequency in Hz, gain in dB and width in octaves of the resonances.
        attack_s: Time of the attack.
        breath: Noise of the air or the bow.
        vibrato_hz: Its rate.
        vibrato_cents: Its depth.
        glide_s: Time between bound notes.
        reeds_cents: Detuning of two reeds, 0 for one.
    """

    slope: float
    even: float
    dark_hz: float
    bright_hz: float
    formants: tuple[tuple[float, float, float], ...]
    attack_s: float
    breath: Breath
    vibrato_hz: float = 5.3
    vibrato_cents: float = 15.0
    glide_s: float = 0.03
    reeds_cents: float = 0.0


WINDS = {
    "violin": Wind(
        0.9, 1.0, 2500, 7000, ((280, 5, 0.4), (460, 6, 0.4), (1100, -5, 0.6), (2600, 7, 0.7)),
        0.07, Breath(0.02, 2000, 9000, 0.05), 5.8, 22.0, 0.06,
    ),
    "cello": Wind(
        0.9, 1.0, 1200, 4200, ((110, 4, 0.4), (220, 6, 0.4), (700, -4, 0.6), (1700, 5, 0.7)),
        0.09, Breath(0.025, 900, 6000, 0.05), 5.2, 18.0, 0.07,
    ),
    "trumpet": Wind(
        0.35, 1.0, 1300, 5500, ((1250, 7, 0.7), (2400, 3, 0.6)),
        0.035, Breath(0.006, 1500, 6000, 0.03), 5.2, 10.0, 0.02,
    ),
    "brass": Wind(
        0.5, 1.0, 600, 3200, ((550, 6, 0.7), (1500, 2, 0.6)),
        0.05, Breath(0.006, 800, 4000, 0.02), 5.0, 7.0, 0.025,
    ),
    "saxophone": Wind(
        0.75, 0.9, 1300, 5000, ((600, 6, 0.6), (1250, 4, 0.5), (2600, 4, 0.5)),
        0.045, Breath(0.03, 1500, 9000, 0.06), 5.2, 16.0, 0.03,
    ),
    "flute": Wind(
        1.7, 0.8, 1200, 3000, ((800, 3, 1.0),),
        0.06, Breath(0.05, 1200, 8000, 0.12), 5.0, 11.0, 0.02,
    ),
    "clarinet": Wind(
        0.9, 0.12, 1300, 3800, ((1500, 4, 0.7),),
        0.045, Breath(0.012, 1500, 7000, 0.03), 4.8, 5.0, 0.02,
    ),
    "harmonica": Wind(
        0.55, 0.8, 2200, 6000, ((900, 3, 0.5), (2300, 6, 0.6)),
        0.05, Breath(0.03, 1500, 8000, 0.06), 5.0, 12.0, 0.03,
    ),
    "accordion": Wind(
        0.6, 0.9, 2500, 6500, ((700, 3, 0.6), (1900, 4, 0.7)),
        0.05, Breath(0.008, 1500, 7000, 0.02), 5.0, 0.0, 0.0, 14.0,
    ),
}  # fmt: skip


def wind(take: Take, kind: str) -> Signal:
    """Play a take on a synthesised instrument. Shape: returns `[1 or 2, T]`."""
    rng, model = take.rng, WINDS[kind]
    reeds = model.reeds_cents * between(rng, 0.3, 1.5)
    voice = Voice(
        timbre=_timbre(model, rng),
        envelope=Envelope(
            model.attack_s * between_log(rng, 0.7, 1.6),
            between(rng, 0.15, 0.5),
            between(rng, 0.75, 0.95),
            between(rng, 0.05, 0.12),
        ),
        sweep=Envelope(1.5 * model.attack_s, between(rng, 0.2, 0.6), between(rng, 0.55, 0.9), 0.1),
        low=0.1,
        glide_s=model.glide_s,
        expression=Expression(
            vibrato_hz=model.vibrato_hz * between(rng, 0.9, 1.1),
            vibrato_cents=model.vibrato_cents * between(rng, 0.4, 1.5),
            vibrato_after_s=between(rng, 0.1, 0.4),
        ),
        cents=(-reeds, 0.0, reeds) if reeds else (0.0,),
        spread=0.3 if reeds else 0.0,
        breath=model.breath,
        drift_cents=between(rng, 1, 4),
        scoop=between(rng, 0.2, 0.9),
    )
    return perform(take, voice)


def _timbre(model: Wind, rng: np.random.Generator) -> Timbre:
    """Return the harmonics of an instrument, with formants that differ a little per song."""
    formants = [
        (hz * between_log(rng, 0.88, 1.14), gain_db * between(rng, 0.6, 1.4), width)
        for hz, gain_db, width in model.formants
    ]
    slope, shift = model.slope + between(rng, -0.1, 0.15), between_log(rng, 0.8, 1.25)
    cutoffs = np.geomspace(model.dark_hz, model.bright_hz, 4)[:, None] * shift

    def harmonics(f0_hz: float, order: Curve) -> Curve:
        hz = f0_hz * order
        gain = np.where(order % 2 == 0, model.even, 1.0) / order**slope
        for centre_hz, gain_db, width in formants:
            away = np.log2(hz / centre_hz) / width
            gain = gain * 10 ** (gain_db / 20 * np.exp(-(away**2)))
        # A high note on a low cutoff must keep its fundamental.
        layers = gain / (1 + (hz / np.maximum(cutoffs, 1.5 * f0_hz)) ** 3)
        return np.asarray(layers / np.sqrt(np.sum(layers[-1] ** 2)))

    return harmonics
