"""Dynamics: compressor, gate, de-esser and limiter, each of which is a gain that varies with time.

A gain is computed once per `HOP` samples, at the borders between the hops, and interpolated
linearly: that is fast, and finer than any attack that is used. The gain of a sum, multiplied into
each of its parts, leaves them adding up to the compressed sum.

References:
    Giannoulis, Massberg and Reiss, "Digital dynamic range compressor design – a tutorial and
    analysis", JAES 60(6), 2012 (static curve with a soft knee; the decoupled peak detector).

Differences from the paper:
    The detector smooths the gain reduction in dB. Its release, y[n] = max(x[n], a y[n-1]), is
    computed without a loop: divided by a^n it is a running maximum.
"""

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.effects.convolution import Audio, convolve, import_scipy

HOP = 32
Curve = NDArray[np.float64]

_SILENCE = 1e-9


def to_db(value: Curve) -> Curve:
    """Return amplitudes in dB, those of silence as -180."""
    return 20 * np.log10(np.maximum(value, _SILENCE))


def from_db(value_db: Curve) -> Curve:
    """Return the amplitudes of levels in dB."""
    return 10 ** (value_db / 20)


def peaks(audio: Audio) -> Curve:
    """Return the highest absolute sample of each hop, over all channels.

    Shape:
        audio: `[C, T]`; returns `[ceil(T / HOP)]`.
    """
    peak = np.abs(_by_hop(audio[0]).ravel())
    for channel in audio[1:]:
        peak = np.maximum(peak, np.abs(_by_hop(channel).ravel()))
    # Pairs of neighbours, then pairs of pairs: faster than many small maxima.
    for _ in range(HOP.bit_length() - 1):
        peak = np.maximum(peak[::2], peak[1::2])
    return np.asarray(peak, np.float64)


def levels(audio: Audio) -> Curve:
    """Return the root mean square of each hop, over all channels.

    Shape:
        audio: `[C, T]`; returns `[ceil(T / HOP)]`.
    """
    hops = [_by_hop(channel) for channel in audio]
    power = np.mean([np.einsum("kh,kh->k", h, h) for h in hops], axis=0) / HOP
    return np.asarray(np.sqrt(power), np.float64)


def apply_gain(audio: Audio, gain: Curve) -> Audio:
    """Multiply audio by a gain that is given at the borders of the hops.

    Shape:
        audio: `[C, T]`; gain: `[ceil(T / HOP) + 1]`; returns `[C, T]`.
    """
    ramp = (np.arange(HOP, dtype=np.float32) / HOP)[None]
    points = gain.astype(np.float32)[:, None]
    curve = points[:-1] + (points[1:] - points[:-1]) * ramp
    return np.asarray(audio * curve.reshape(1, -1)[:, : audio.shape[1]])


def compressor_gain(
    level: Curve,
    sample_rate: int,
    *,
    threshold_db: float,
    ratio: float,
    attack_s: float = 0.01,
    release_s: float = 0.1,
    knee_db: float = 6.0,
) -> Curve:
    """Return the gain with which a compressor answers to a level.

    Args:
        level: Of each hop, see `levels` and `peaks`.
        sample_rate: In Hz.
        threshold_db: Where it begins.
        ratio: By how much a rise of the level is divided above the threshold.
        attack_s: Time constant of more reduction.
        release_s: Time constant of less reduction.
        knee_db: Width of the bend around the threshold.

    Shape:
        level: `[K]`; returns `[K + 1]`.
    """
    over = to_db(level) - threshold_db
    knee = np.maximum(knee_db, 1e-6)
    bent = np.where(
        np.abs(over) <= knee / 2, (over + knee / 2) ** 2 / (2 * knee), np.maximum(over, 0.0)
    )
    reduction_db = (1 - 1 / ratio) * bent
    rate = sample_rate / HOP
    smooth = _attack(_release(reduction_db, release_s * rate), attack_s * rate)
    return from_db(-np.concatenate((smooth[:1], smooth)))


def compress(
    audio: Audio,
    sample_rate: int,
    *,
    threshold_db: float,
    ratio: float,
    attack_s: float = 0.01,
    release_s: float = 0.1,
    knee_db: float = 6.0,
) -> Audio:
    """Compress audio, all its channels by one gain; the options are `compressor_gain`'s.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    gain = compressor_gain(
        levels(audio),
        sample_rate,
        threshold_db=threshold_db,
        ratio=ratio,
        attack_s=attack_s,
        release_s=release_s,
        knee_db=knee_db,
    )
    return apply_gain(audio, gain)


def gate(
    audio: Audio,
    sample_rate: int,
    *,
    threshold_db: float,
    floor_db: float = -40.0,
    hold_s: float = 0.05,
    release_s: float = 0.1,
) -> Audio:
    """Lower what is quieter than a threshold; it opens within two hops, ahead of the sound.

    Args:
        audio: What is gated.
        sample_rate: In Hz.
        threshold_db: Level that opens it.
        floor_db: Gain while it is closed.
        hold_s: How long it stays open.
        release_s: Time constant of closing, of the gain in dB.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    ndimage = import_scipy("ndimage")
    rate = sample_rate / HOP
    is_open = (to_db(levels(audio)) > threshold_db).astype(float)
    hold = max(1, round(hold_s * rate))
    # Open from one hop before, until `hold` after.
    held = ndimage.maximum_filter1d(is_open, hold + 2, origin=(hold + 2) // 2 - 1)
    openness = _release(held, release_s * rate)
    return apply_gain(audio, from_db(floor_db * (1 - np.concatenate((openness[:1], openness)))))


def deess(
    audio: Audio,
    sample_rate: int,
    *,
    threshold_db: float,
    frequency_hz: float = 6000.0,
    ratio: float = 4.0,
) -> Audio:
    """Compress what is above a frequency, and leave the rest alone.

    The bands are split without a shift of phase, so that they add up to the audio.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    half = round(0.0015 * sample_rate)
    corner = min(frequency_hz / sample_rate, 0.45)
    kernel = import_scipy("signal").firwin(2 * half + 1, 2 * corner, pass_zero=False)
    high = convolve(np.pad(audio, ((0, 0), (0, half))), kernel[None])[:, half:]
    quick = {"threshold_db": threshold_db, "ratio": ratio, "attack_s": 0.002, "release_s": 0.05}
    return audio - high + compress(high, sample_rate, **quick)


def limiter_gain(
    peak: Curve,
    sample_rate: int,
    *,
    ceiling_db: float,
    lookahead_s: float = 0.003,
    release_s: float = 0.08,
) -> Curve:
    """Return the gain that keeps every sample at or below a ceiling.

    The gain that each hop allows is held for the look-ahead on both sides, lets go exponentially,
    and is averaged over that same length; a mean of values that a hop all allows, it allows too.

    Args:
        peak: Of each hop; see `peaks`.
        sample_rate: In Hz.
        ceiling_db: Highest absolute sample.
        lookahead_s: How long before a peak the gain begins to fall.
        release_s: Time constant of the way back, of the gain in dB.

    Shape:
        peak: `[K]`; returns `[K + 1]`.
    """
    ndimage = import_scipy("ndimage")
    reduction_db = np.maximum(0.0, to_db(peak) - ceiling_db)
    # The gain at a border counts for the hops on both sides of it.
    border = np.maximum(np.append(reduction_db, 0.0), np.insert(reduction_db, 0, 0.0))
    rate = sample_rate / HOP
    width = 2 * max(1, round(lookahead_s * rate)) + 1
    held = _release(ndimage.maximum_filter1d(border, width, mode="nearest"), release_s * rate)
    return from_db(-np.maximum(border, ndimage.uniform_filter1d(held, width, mode="nearest")))


def _by_hop(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut `[T]` into `[ceil(T / HOP), HOP]`, the last hop filled up with zeros."""
    rest = -len(channel) % HOP
    return np.pad(channel, (0, rest)).reshape(-1, HOP) if rest else channel.reshape(-1, HOP)


def _release(curve: Curve, time_constant: float) -> Curve:
    """Let a curve that is nowhere negative fall exponentially only: y[n] = max(x[n], a y[n-1])."""
    slope = np.arange(len(curve)) / max(time_constant, 1e-3)
    with np.errstate(divide="ignore"):
        log = np.log(curve)
    return np.asarray(np.exp(np.maximum.accumulate(log + slope) - slope))


def _attack(curve: Curve, time_constant: float) -> Curve:
    """Smooth a curve by one pole; y[n] = a y[n-1] + (1 - a) x[n]."""
    pole = float(np.exp(-1 / max(time_constant, 1e-3)))
    signal = import_scipy("signal")
    smooth, _ = signal.lfilter([1 - pole], [1, -pole], curve, zi=[pole * curve[0]])
    return np.asarray(smooth)
