"""Reverberation by convolution with impulse responses that are made, not recorded.

References:
    Moorer, "About this reverberation business", Computer Music Journal 3(2), 1979 (exponentially
    decaying noise sounds like a concert hall).
    Jot, "An analysis/synthesis approach to real-time artificial reverberation", ICASSP 1992 (the
    time of decay as a function of frequency).
    Parker and Bilbao, "Spring reverberation: a physical perspective", DAFx 2009 (a spring delays
    low frequencies more from echo to echo, up to a transition frequency).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.effects.convolution import Audio, import_scipy

_OCTAVES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
_LN_60_DB = float(np.log(1000.0))


@dataclass(frozen=True)
class Space:
    """What sounds after a sound.

    Attributes:
        kind: "room" and "hall" have early reflections, which are sparser in the hall; a "plate"
            is dense at once; a "spring" has chirping echoes.
        decay_s: Time in which the middle frequencies fall by 60 dB (RT60).
        predelay_s: Silence before it.
        bass: Factor of the decay at 125 Hz.
        treble: Factor of the decay at 8 kHz.
        width: Of the stereo image; 0 is mono.
    """

    kind: Literal["room", "hall", "plate", "spring"]
    decay_s: float
    predelay_s: float = 0.0
    bass: float = 1.1
    treble: float = 0.4
    width: float = 1.0


def impulse_response(space: Space, sample_rate: int, *, seed: int) -> Audio:
    """Return an impulse response whose channels have an energy of 1 on average.

    Args:
        space: What it is like.
        sample_rate: In Hz.
        seed: Of its noise and its reflections.

    Shape:
        Returns `[2, N]`, as long as the predelay and the longest decay.
    """
    rng = np.random.default_rng(seed)
    longest_s = space.decay_s * max(1.0, space.bass)
    count = max(64, round(longest_s * sample_rate))
    response = (
        _spring(space, count, sample_rate, rng)
        if space.kind == "spring"
        else _tail(space, count, sample_rate, rng)
    )
    if space.kind in ("room", "hall"):
        # The diffuse sound builds up while the reflections come in.
        grown_s = 0.02 if space.kind == "room" else 0.06
        response *= 1 - np.exp(-np.arange(count) / (grown_s * sample_rate))
        response /= np.sqrt(np.mean(np.sum(response**2, axis=1)))
        response += _reflections(space, count, sample_rate, rng)
    mid, side = response.mean(axis=0), 0.5 * (response[0] - response[1]) * space.width
    response = np.stack((mid + side, mid - side))
    response /= np.sqrt(np.mean(np.sum(response**2, axis=1)))
    return np.pad(response, ((0, 0), (round(space.predelay_s * sample_rate), 0))).astype(np.float32)


def decay_times_s(space: Space) -> NDArray[np.float64]:
    """Return the RT60 of the octaves from 125 Hz to 8 kHz.

    The factor bends smoothly from `bass` over 1 (at 1 kHz) to `treble`.
    """
    octave = np.log2(np.array(_OCTAVES_HZ) / 1000.0) / 3
    high = np.maximum(octave, 0) ** 1.5
    factor = np.where(octave < 0, space.bass**-octave, space.treble**high)
    return np.asarray(space.decay_s * factor)


def _tail(
    space: Space, count: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise that decays in each octave at its own speed."""
    fft = import_scipy("fft")
    spectrum = fft.rfft(rng.standard_normal((2, count)))
    octave = np.log2(np.maximum(fft.rfftfreq(count, 1 / sample_rate), 1.0) / _OCTAVES_HZ[0])
    time_s = np.arange(count) / sample_rate
    result = np.zeros((2, count))
    last = len(_OCTAVES_HZ) - 1
    for index, decay_s in enumerate(decay_times_s(space)):
        # Triangles over the octaves, which add up to 1; the outermost go on to 0 Hz and Nyquist.
        weight = np.clip(1 - np.abs(np.clip(octave, 0, last) - index), 0, 1)
        if weight.any():
            band = fft.irfft(spectrum * np.sqrt(weight), count)
            result += band * np.exp(-_LN_60_DB * time_s / decay_s)
    return result


def _reflections(
    space: Space, count: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the first echoes from the walls, with half the energy of the tail."""
    last_s, taps = (0.045, 14) if space.kind == "room" else (0.11, 22)
    result = np.zeros((2, count))
    for side in range(2):
        at_s = np.sort(rng.uniform(0.003, last_s, taps))
        gain = rng.choice((-1.0, 1.0), taps) * np.exp(-1.5 * at_s / last_s)
        at = np.minimum((at_s * sample_rate).astype(int), count - 1)
        np.add.at(result[side], at, gain)
    return np.asarray(result * np.sqrt(0.5 / np.mean(np.sum(result**2, axis=1))))


def _spring(
    space: Space, count: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the echoes of a spring on each side, dispersed more each time, below 4.5 kHz."""
    fft = import_scipy("fft")
    frequency_hz = fft.rfftfreq(count, 1 / sample_rate)
    transition_hz = min(4500.0, 0.4 * sample_rate)
    low = np.clip(1.0 - frequency_hz / transition_hz, 0.0, 1.0)
    result = np.zeros((2, count))
    for side in range(2):
        round_trip_s = rng.uniform(0.033, 0.045)
        # Group delay grows towards the transition; the phase is its integral.
        delay_s = round_trip_s * (1 + 0.6 * (1 - np.sqrt(low)))
        phase = 2 * np.pi * np.cumsum(delay_s) * (frequency_hz[1] - frequency_hz[0])
        loss = 10 ** (-3 * round_trip_s / space.decay_s)
        trip = loss * np.where(low > 0, np.exp(-1j * phase), 0.0)
        # The sum of all round trips, a geometric series.
        result[side] = fft.irfft(trip / (1 + 0.999 * trip), count)
    fade = np.exp(-_LN_60_DB * np.arange(count) / sample_rate / space.decay_s)
    return np.asarray(result * np.maximum(fade, 1e-3))
