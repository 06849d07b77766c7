"""A guitar or bass amplifier: gain stages, tone stack, power stage, cabinet and microphone.

The strings are summed before they come here, so that a chord beats and growls as one signal.
"""

from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.instruments.blocks import convolved, filtered, saturated
from desmezcla.datasets.render.instruments.effects import passing, peaking
from desmezcla.datasets.render.instruments.modal import modes
from desmezcla.datasets.render.instruments.take import (
    Signal,
    active_rms,
    between,
    between_log,
)


@dataclass(frozen=True)
class Amplifier:
    """Settings of an amplifier.

    Attributes:
        gains: Of the stages, one after the other; the signal comes in at about 0.1.
        tight_hz: High-pass before the first stage, that keeps low strings from flubbing.
        pre_mid_db: Boost of the mids before the gain, as a pedal makes.
        bias: Asymmetry of the first stage, for even harmonics.
        stack: Bass, mid and treble after the gain, in dB.
        mid_hz: Centre of the mid control.
        power: Drive of the power stage.
    """

    gains: tuple[float, ...]
    tight_hz: float
    pre_mid_db: float
    bias: float
    stack: tuple[float, float, float]
    mid_hz: float
    power: float


def amplifier(voicing: str, rng: np.random.Generator) -> Amplifier:
    """Return an amplifier of a voicing: "clean", "crunch", "lead" or "high_gain"."""
    gains: tuple[float, ...]
    if voicing == "clean":
        gains, tight_hz, pre_db = (between_log(rng, 0.6, 2.5),), between(rng, 30, 80), 0.0
        stack = (between(rng, -3, 3), between(rng, -6, 1), between(rng, -1, 6))
    elif voicing == "crunch":
        gains = (between_log(rng, 5, 14), between_log(rng, 1.5, 3.5))
        tight_hz, pre_db = between(rng, 70, 140), between(rng, 0, 5)
        stack = (between(rng, -4, 2), between(rng, -2, 5), between(rng, -3, 4))
    elif voicing == "lead":
        gains = (between_log(rng, 10, 25), between_log(rng, 3, 6))
        tight_hz, pre_db = between(rng, 100, 220), between(rng, 3, 8)
        stack = (between(rng, -5, 0), between(rng, 0, 6), between(rng, -4, 2))
    else:
        gains = (between_log(rng, 12, 30), between_log(rng, 3, 6), between_log(rng, 1.5, 3))
        tight_hz, pre_db = between(rng, 90, 190), between(rng, 2, 9)
        stack = (between(rng, -2, 5), between(rng, -8, 3), between(rng, -1, 5))
    return Amplifier(
        gains=gains,
        tight_hz=tight_hz,
        pre_mid_db=pre_db,
        bias=between(rng, 0.0, 0.35),
        stack=stack,
        mid_hz=between_log(rng, 400, 900),
        power=between_log(rng, 0.5, 1.5),
    )


def amplified(strings: Signal, settings: Amplifier, cabinet: Signal, *, sample_rate: int) -> Signal:
    """Return the sum of the strings through an amplifier.

    Args:
        strings: The direct signal, at any level.
        settings: Of the amplifier.
        cabinet: Response of the loudspeaker, as `cabinet_response` makes it.
        sample_rate: In Hz.

    Shape:
        strings: `[1, T]`; cabinet: `[n]`; returns `[1, T]`.
    """
    level = active_rms(strings, sample_rate)
    if level == 0:
        return strings
    boost = peaking(780.0, settings.pre_mid_db, 0.7, sample_rate)
    tight = passing("highpass", settings.tight_hz, sample_rate)
    audio = filtered(strings * np.float32(0.1 / level), np.concatenate([tight, boost]))
    for index, gain in enumerate(settings.gains):
        audio = saturated(audio, gain, bias=settings.bias / (index + 1))
        # Between tubes: no offset, and less of the highest harmonics.
        between_stages = [
            passing("highpass", 35.0, sample_rate, order=1),
            passing("lowpass", 9000.0, sample_rate, order=1),
        ]
        audio = filtered(audio, np.concatenate(between_stages))
    bass_db, mid_db, treble_db = settings.stack
    stack = [
        peaking(110.0, bass_db, 0.6, sample_rate),
        peaking(settings.mid_hz, mid_db, 0.7, sample_rate),
        peaking(3200.0, treble_db, 0.6, sample_rate),
    ]
    audio = filtered(audio, np.concatenate(stack))
    return convolved(saturated(audio, settings.power), cabinet[None])


def cabinet_response(
    rng: np.random.Generator,
    *,
    sample_rate: int,
    low_hz: float = 80.0,
    high_hz: float = 5000.0,
) -> Signal:
    """Return the response of a loudspeaker in a box before a microphone.

    A band-pass with the resonance of the box, the rise of the cone before its end, a dozen of
    small break-up modes, and the comb of the microphone's distance to the edge.

    Shape:
        Returns `[n]` for 40 ms.
    """
    samples = round(0.04 * sample_rate)
    impulse = np.zeros((1, samples), np.float32)
    impulse[0, 0] = 1.0
    reflected = round(between_log(rng, 0.0004, 0.0025) * sample_rate)
    impulse[0, reflected] += between(rng, -0.35, 0.35)
    edge_hz = high_hz * between_log(rng, 0.8, 1.2)
    box_hz = low_hz * between_log(rng, 1.1, 1.7)
    sections = [
        passing("highpass", low_hz * between_log(rng, 0.8, 1.2), sample_rate),
        passing("lowpass", edge_hz, sample_rate, order=4),
        peaking(box_hz, between(rng, 2, 6), 1.4, sample_rate),
        peaking(between_log(rng, 350, 700), between(rng, -6, 0), 0.9, sample_rate),
        peaking(edge_hz * between(rng, 0.5, 0.75), between(rng, 3, 8), 1.2, sample_rate),
    ]
    response = filtered(impulse, np.concatenate(sections))[0]
    hz = np.sort(np.exp(rng.uniform(np.log(2 * low_hz), np.log(edge_hz), 14)))
    decay_s = 6.0 / (np.pi * hz)
    gain = 0.5 * hz / sample_rate * rng.uniform(-1, 1, len(hz))
    ringing = modes(hz, decay_s, gain, samples=samples, sample_rate=sample_rate)[0]
    response[: len(ringing)] += ringing
    fade = np.minimum(np.arange(samples, 0, -1) / (0.3 * samples), 1)
    response = response * fade
    # A loudspeaker moves no air at 0 Hz.
    response -= response.mean()
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)
