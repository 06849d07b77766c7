"""The sound generators and effects that the instruments are made of.

All signals are float64 while a song is built; rates and times are explicit. Tones are sums of
sines below the Nyquist frequency, so that none of them folds back (aliases), at any sample rate.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

# Nothing tonal is rendered above this part of the sample rate.
HIGHEST = 0.45
# Time between two points of a control curve (pitch, gain of a harmonic), well under an attack.
CONTROL_S = 0.004


def midi_to_hz(pitch: Signal | float) -> Signal:
    """Return the frequency of a MIDI note number, 69 being 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(pitch, dtype=np.float64) - 69.0) / 12.0))


def times(duration_s: float, sample_rate: int) -> Signal:
    """Return the time of each sample of a sound, in seconds; at least one sample."""
    return np.asarray(np.arange(max(1, round(duration_s * sample_rate))) / sample_rate)


def control_times(count: int, sample_rate: int) -> Signal:
    """Return the times of control curves that reach past `count` samples."""
    return np.asarray(np.arange(int(count / sample_rate / CONTROL_S) + 3) * CONTROL_S)


def span(start_s: float, end_s: float) -> slice:
    """Return the points of a control curve from one time up to another."""
    return slice(int(np.ceil(start_s / CONTROL_S)), int(np.ceil(end_s / CONTROL_S)))


def held(time_s: Signal, starts_s: Sequence[float], values: Sequence[float]) -> Signal:
    """Return the value that began last at each time; the first one before all."""
    last = np.searchsorted(np.asarray(starts_s), time_s, side="right") - 1
    return np.asarray(values, dtype=np.float64)[np.maximum(last, 0)]


def smooth(curve: Signal, *, time_s: float) -> Signal:
    """Round the corners of a control curve with a Gaussian of the given deviation.

    Shape:
        curve: `[*, N]` at one point per `CONTROL_S`; returns the same.
    """
    deviation = time_s / CONTROL_S
    reach = int(np.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    rows = np.atleast_2d(curve)
    padded = np.pad(rows, ((0, 0), (reach, reach)), mode="edge")
    rounded = np.stack([np.convolve(row, kernel, mode="valid") for row in padded])
    return rounded.reshape(curve.shape)


def envelope(
    time_s: Signal, *, start_s: float, end_s: float, attack_s: float, release_s: float
) -> Signal:
    """Rise from 0 at `start_s` to 1 and fall from `end_s - release_s` to 0, along half cosines."""
    rise = np.clip((time_s - start_s) / attack_s, 0.0, 1.0)
    fall = np.clip((end_s - time_s) / release_s, 0.0, 1.0)
    return np.asarray(0.25 * (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall)))


def additive(f0_hz: Signal, gains: Signal, *, sample_rate: int, count: int) -> Signal:
    """Sum the harmonics of a gliding fundamental, each with its own moving gain.

    The sines come from sin(kφ) = 2 cos(φ) sin((k-1)φ) - sin((k-2)φ), which costs one product per
    harmonic. Frequency and gains are interpolated linearly between control points.

    Args:
        f0_hz: Fundamental at each control point, one per `CONTROL_S`.
        gains: Gain of each harmonic at each control point; harmonics that would pass `HIGHEST`
            are left out.
        sample_rate: Of the result, in Hz.
        count: Samples to return; the control curves must reach as far.

    Shape:
        f0_hz: `[N]`; gains: `[K, N]`; returns `[count]`.
    """
    hop = CONTROL_S * sample_rate
    order = np.arange(1, len(gains) + 1)[:, None]
    gains = np.where(order * f0_hz < HIGHEST * sample_rate, gains, 0.0)
    out = np.zeros(count)
    phase = 0.0
    # A block of this size stays in the processor's cache through all harmonics.
    for start in range(0, count, 16384):
        position = np.arange(start, min(start + 16384, count)) / hop
        left = np.minimum(position.astype(np.intp), len(f0_hz) - 2)
        ramp = position - left
        step = 2 * np.pi / sample_rate * (f0_hz[left] + ramp * (f0_hz[left + 1] - f0_hz[left]))
        after = phase + np.cumsum(step)
        angle, phase = after - step, after[-1] % (2 * np.pi)
        twice_cosine, before, now = 2 * np.cos(angle), np.zeros_like(angle), np.sin(angle)
        block = gains[:, left[0] : left[-1] + 2]
        for row in block[: np.flatnonzero(block.any(axis=1)).max(initial=-1) + 1]:
            gain = row[left - left[0]]
            gain += ramp * (row[left - left[0] + 1] - gain)
            out[start : start + len(angle)] += gain * now
            before, now = now, twice_cosine * now - before
    return out


def fm(time_s: Signal, f0_hz: float, *, ratio: float, index: Signal, sample_rate: int) -> Signal:
    """Return a sine whose phase is modulated by another sine (Chowning 1973).

    Its partials lie at f0 (1 + n ratio). They fade fast beyond n = index + 1, so the index is
    held below the value at which they would reach `HIGHEST`.
    """
    room = (HIGHEST * sample_rate / f0_hz - 1) / ratio - 1
    angle = 2 * np.pi * f0_hz * time_s
    return np.asarray(np.sin(angle + np.minimum(index, max(room, 0.0)) * np.sin(ratio * angle)))


def band_noise(
    rng: np.random.Generator, count: int, *, low_hz: float, high_hz: float, sample_rate: int
) -> Signal:
    """Return noise of unit deviation before filtering, limited to a band with soft edges."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / sample_rate)
    rise = 1 / (1 + (low_hz / np.maximum(hz, 1e-3)) ** 6)
    fall = 1 / (1 + (hz / high_hz) ** 6)
    return np.asarray(np.fft.irfft(spectrum * rise * fall, count))


def add_at(bus: Signal, sound: Signal, *, start_s: float, pan: float, sample_rate: int) -> None:
    """Mix a mono sound into a stereo bus, with constant power from left (-1) to right (1).

    What lies beyond the ends of the bus is cut off. This is the one function that writes into
    its argument: the bus is there to be written to.

    Shape:
        bus: `[2, T]`; sound: `[n]`, any n.
    """
    start = round(start_s * sample_rate)
    sound = sound[max(-start, 0) :][: max(bus.shape[1] - max(start, 0), 0)]
    angle = (pan + 1) * np.pi / 4
    span = slice(max(start, 0), max(start, 0) + len(sound))
    bus[0, span] += np.sqrt(2) * np.cos(angle) * sound
    bus[1, span] += np.sqrt(2) * np.sin(angle) * sound


def chorus(
    audio: Signal, *, rate_hz: float, depth_s: float, mix: float, sample_rate: int
) -> Signal:
    """Mix in a copy whose delay swings, in opposite directions left and right.

    Shape:
        audio: `[2, T]`; returns the same.
    """
    count = audio.shape[1]
    index = np.arange(count)
    out = np.array(audio)
    for channel, sign in enumerate((1.0, -1.0)):
        swing = sign * np.sin(2 * np.pi * rate_hz * index / sample_rate)
        delayed = np.interp(
            index - sample_rate * depth_s * (1.6 + swing), index, audio[channel], left=0.0
        )
        out[channel] += mix * delayed
    return out


def reverb(
    audio: Signal, rng: np.random.Generator, *, decay_s: float, mix: float, sample_rate: int
) -> Signal:
    """Add a room: convolution with decaying noise, different left and right (Moorer 1979).

    Args:
        audio: The dry sound, which is kept.
        rng: Source of the noise.
        decay_s: Time in which the room falls by 60 dB.
        mix: Energy of the room's response, as an amplitude beside the dry sound's 1.
        sample_rate: In Hz.

    Shape:
        audio: `[2, T]`; returns the same.
    """
    time_s = times(decay_s, sample_rate)
    response = rng.standard_normal((2, len(time_s))) * 10 ** (-3 * time_s / decay_s)
    # The first reflection comes after the direct sound, and walls swallow high frequencies.
    response *= time_s > 0.012
    size = 1 << (2 * len(time_s) - 1).bit_length()
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    room = np.fft.rfft(response, size) / (1 + (hz / 4500) ** 2) / (1 + (120 / (hz + 1)) ** 2)
    room *= mix / np.sqrt(np.mean(np.abs(room) ** 2, axis=1, keepdims=True) + 1e-12)
    count, block = audio.shape[1], size - len(time_s) + 1
    wet = np.zeros((2, count + size))
    for start in range(0, count, block):
        middle = np.fft.rfft(audio[:, start : start + block].mean(axis=0), size)
        wet[:, start : start + size] += np.fft.irfft(middle * room, size)
    return np.asarray(audio + wet[:, :count])
