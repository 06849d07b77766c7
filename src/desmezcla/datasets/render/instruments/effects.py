"""Effects that belong to an instrument: chorus, rotary speaker, tremolo, compressor, lo-fi."""

import numpy as np
from scipy import signal

from desmezcla.datasets.render.instruments.blocks import delayed, filtered, stretched
from desmezcla.datasets.render.instruments.take import Curve, Signal

# Samples between two points of a slow curve.
_HOP = 64


def peaking(hz: float, gain_db: float, q: float, sample_rate: int) -> Curve:
    """Return a bell equaliser as a second-order section (Bristow-Johnson). Shape: `[1, 6]`."""
    amplitude = 10 ** (gain_db / 40)
    angle = 2 * np.pi * min(hz, 0.45 * sample_rate) / sample_rate
    alpha = np.sin(angle) / (2 * q)
    cosine = -2 * np.cos(angle)
    section = np.array(
        [1 + alpha * amplitude, cosine, 1 - alpha * amplitude,
         1 + alpha / amplitude, cosine, 1 - alpha / amplitude]
    )  # fmt: skip
    return np.asarray(section[None] / section[3])


def passing(kind: str, hz: float, sample_rate: int, *, order: int = 2) -> Curve:
    """Return a Butterworth filter of a kind ("lowpass", "highpass") as sections."""
    hz = min(hz, 0.45 * sample_rate)
    return np.asarray(signal.butter(order, hz, kind, fs=sample_rate, output="sos"))


def swing(samples: int, rate_hz: float, sample_rate: int, *, phase: float = 0.0) -> Signal:
    """Return a slow sine. Shape: `[samples]`."""
    points = np.arange(0, samples + 2 * _HOP, _HOP)
    return stretched(np.sin(2 * np.pi * rate_hz / sample_rate * points + phase), _HOP, samples)


def chorus(
    audio: Signal, *, rate_hz: float, depth_s: float, mix: float, sample_rate: int
) -> Signal:
    """Mix in a copy whose delay swings, opposite left and right.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    out = np.empty((2, audio.shape[1]), np.float32)
    moved = np.float32(depth_s * sample_rate) * swing(audio.shape[1], rate_hz, sample_rate)
    middle = np.float32(2.2 * depth_s * sample_rate)
    for channel, sign in enumerate((1, -1)):
        dry = audio[min(channel, audio.shape[0] - 1)]
        copy = delayed(dry, middle + sign * moved)
        out[channel] = (dry + mix * copy) * (1 + mix**2) ** -0.5
    return out


def tremolo(audio: Signal, *, rate_hz: float, depth: float, sample_rate: int) -> Signal:
    """Swing the level from one side to the other, as an electric piano does.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    moved = np.float32(0.5 * depth) * swing(audio.shape[1], rate_hz, sample_rate)
    middle = np.float32(1 - 0.5 * depth)
    return np.stack([audio[0] * (middle + moved), audio[-1] * (middle - moved)])


def rotary(
    audio: Signal, rng: np.random.Generator, *, sample_rate: int, fast_hz: float = 6.6
) -> Signal:
    """Play through a rotary speaker that speeds up and slows down, with its horn and its drum.

    The horn (above 800 Hz) turns faster than the drum; each swings in delay (Doppler) and level,
    and two microphones hear it at an angle.

    Shape:
        audio: `[1, T]`; returns `[2, T]`.
    """
    samples = audio.shape[1]
    low = filtered(audio, passing("lowpass", 800.0, sample_rate))[0]
    high = audio[0] - low
    turn = _turns(rng, samples, sample_rate, fast_hz)
    out = np.zeros((2, samples), np.float32)
    for part, ratio, depth_s, level in ((high, 1.0, 2.6e-4, 0.45), (low, 0.83, 1.2e-4, 0.2)):
        for channel in range(2):
            angle = 2 * np.pi * ratio * turn + 0.6 * np.pi * channel
            moved = stretched(np.sin(angle), _HOP, samples)
            late = delayed(part, np.float32(depth_s * sample_rate) * (1 + moved))
            out[channel] += late * (1 + level * moved)
    return out


def _turns(rng: np.random.Generator, samples: int, sample_rate: int, fast_hz: float) -> Curve:
    """Return the turns of the horn at every `_HOP`-th sample.

    The motor changes between slow and fast every few seconds, and takes one to follow.
    """
    points = samples // _HOP + 3
    second = sample_rate / _HOP
    wanted = np.empty(0)
    while len(wanted) < points:
        kept = round(second * rng.uniform(3, 10))
        wanted = np.concatenate([wanted, np.full(kept, rng.choice((0.8, fast_hz)))])
    lag = np.exp(-1 / (0.8 * second))
    speed = signal.lfilter([1 - lag], [1, -lag], wanted[:points], zi=[lag * wanted[0]])[0]
    return np.asarray(np.cumsum(speed) * _HOP / sample_rate)


def compressed(
    audio: Signal,
    *,
    threshold_db: float,
    ratio: float,
    sample_rate: int,
    attack_s: float = 0.008,
    release_s: float = 0.12,
) -> Signal:
    """Turn down what is louder than a threshold below the loudest.

    The level is followed at a sixty-fourth of the sample rate, which is fast enough for the
    attack times of a compressor.

    Shape:
        audio: `[C, T]`; returns the same.
    """
    samples = audio.shape[1]
    frames = samples // _HOP + 2
    peak = np.zeros(frames * _HOP, np.float32)
    peak[:samples] = np.abs(audio).max(axis=0)
    level = peak.reshape(frames, _HOP).max(axis=1).astype(np.float64)
    if level.max(initial=0) == 0:
        return audio
    over_db = 20 * np.log10(level / level.max() + 1e-6) - threshold_db
    wanted_db = np.minimum(0, -over_db * (1 - 1 / ratio))
    fast, slow = (np.exp(-_HOP / (time_s * sample_rate)) for time_s in (attack_s, release_s))
    quick = signal.lfilter([1 - fast], [1, -fast], wanted_db)
    late = signal.lfilter([1 - slow], [1, -slow], wanted_db)
    # What is taken quickly is let go slowly: the lower of both.
    gain = 10 ** (np.minimum(quick, late) / 20)
    return np.asarray(audio * stretched(gain, _HOP, samples))


def crushed(audio: Signal, *, bits: int, hold: int) -> Signal:
    """Quantise to a few bits of the peak, and hold every sample for some. Shape: `[C, T]`."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0:
        return audio
    step = np.float32(peak * 2.0 ** (1 - bits))
    held = np.repeat(audio[:, ::hold], hold, axis=1)[:, : audio.shape[1]]
    return np.asarray(np.round(held / step) * step)
