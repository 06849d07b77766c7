"""Changes of the sound: noise, equaliser, bandwidth, distortion, room."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from desmezcla.datasets.augment.base import (
    Audio,
    PositiveRange,
    Range,
    SignalAugmentation,
    StemAugmentation,
    rms,
)
from desmezcla.datasets.augment.spectrum import biquads, convolve, low_pass


class GaussianNoise(SignalAugmentation):
    """Add white noise: y = x + n, with 20·log10(rms(x) / rms(n)) = SNR.

    A silent signal gets none.

    Attributes:
        snr_db: Range of the signal-to-noise ratio, dB.
    """

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    on: Literal["stems", "mixture"] = "mixture"
    snr_db: Range = (20.0, 50.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with noise that is independent in each channel."""
        noise = rng.standard_normal(audio.shape, dtype=np.float32)
        ratio = 10 ** (rng.uniform(*self.snr_db) / 20)
        return audio + noise * (rms(audio) / (rms(noise) * ratio)).astype(np.float32)


class Eq(SignalAugmentation):
    """Send a signal through a low shelf, peaking filters and a high shelf.

    The filters are those of Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter
    coefficients". Frequencies are drawn evenly on a logarithmic scale, and stay below nine tenths
    of half the sample rate.

    Attributes:
        peaks: Number of peaking filters, between the two shelves.
        gain_db: Range of the gain of each filter, dB.
        frequency_hz: Range of the centre, or corner, frequencies, Hz.
        q: Range of the quality factor of the peaks; shelves have 1/√2, and no overshoot.
    """

    kind: Literal["eq"] = "eq"
    peaks: int = Field(default=2, ge=0, le=16)
    gain_db: Range = (-6.0, 6.0)
    frequency_hz: PositiveRange = (80.0, 12000.0)
    q: PositiveRange = (0.5, 2.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]`, filtered."""
        sections = []
        memory_s = 0.0
        for shape in ("low_shelf", *["peak"] * self.peaks, "high_shelf"):
            log_hz = rng.uniform(*np.log(self.frequency_hz))
            hz = min(math.exp(log_hz), 0.45 * sample_rate)
            q = rng.uniform(*self.q) if shape == "peak" else math.sqrt(0.5)
            gain_db = rng.uniform(*self.gain_db)
            sections.append(biquad(shape, hz=hz, gain_db=gain_db, q=q, sample_rate=sample_rate))
            # The gain makes the poles of a peak slower by that much, those of a shelf by less.
            memory_s += q * 10 ** (abs(gain_db) / 40) / (math.pi * hz)
        # After 14 time constants an exponential is below -120 dB; those of a chain add up at most.
        return biquads(audio, sections, math.ceil(14 * memory_s * sample_rate))


class LowPass(StemAugmentation):
    """Take away what lies above a frequency, as in songs of old, of telephones and of low rates.

    The frequency is drawn evenly on a logarithmic scale. All stems go together, since it is a
    song that has been recorded or resampled so; above half the sample rate, nothing changes.

    Attributes:
        cutoff_hz: Range of the frequency from which on there is nothing, Hz.
    """

    kind: Literal["low_pass"] = "low_pass"
    p: float = Field(default=0.1, ge=0, le=1)
    together: bool = True
    cutoff_hz: PositiveRange = (3000.0, 16000.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` without the highest frequencies."""
        cutoff_hz = math.exp(rng.uniform(*np.log(self.cutoff_hz)))
        return audio if 2 * cutoff_hz > sample_rate else low_pass(audio, cutoff_hz, sample_rate)


def biquad(
    shape: str, *, hz: float, gain_db: float, q: float, sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numerator and denominator of a filter of second order, in powers of z^-1.

    Args:
        shape: "peak", "low_shelf" or "high_shelf".
        hz: Centre or corner frequency.
        gain_db: Gain at the centre, or far beyond the corner.
        q: Quality factor.
        sample_rate: In Hz.
    """
    a = 10 ** (gain_db / 40)
    w = 2 * math.pi * hz / sample_rate
    alpha = math.sin(w) / (2 * q)
    if shape == "peak":
        middle = -2 * math.cos(w)
        return (
            np.array([1 + alpha * a, middle, 1 - alpha * a]),
            np.array([1 + alpha / a, middle, 1 - alpha / a]),
        )
    # The high shelf is the low shelf with the frequency axis turned round: cos(w) -> -cos(w).
    sign = 1 if shape == "low_shelf" else -1
    cos = sign * math.cos(w)
    more, less, root = a + 1, a - 1, 2 * math.sqrt(a) * alpha
    b = a * np.array([more - less * cos + root, 2 * (less - more * cos), more - less * cos - root])
    d = np.array([more + less * cos + root, -2 * (less + more * cos), more + less * cos - root])
    turn = np.array([1, sign, 1])
    return b * turn, d * turn


class SoftClip(SignalAugmentation):
    """Drive a signal into saturation and keep its peak P: y = P·tanh(g·x / P) / tanh(g).

    Attributes:
        drive_db: Range of g, dB; at 0 dB the peak is lowered by 2.4 dB against quiet parts.
    """

    kind: Literal["soft_clip"] = "soft_clip"
    drive_db: Range = (0.0, 12.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]`, distorted."""
        drive = np.float32(10 ** (rng.uniform(*self.drive_db) / 20))
        peak = np.abs(audio).max(axis=(1, 2), keepdims=True)
        peak = np.where(peak > 0, peak, np.float32(1))
        clipped: Audio = np.tanh(audio * (drive / peak)) * (peak / np.tanh(drive))
        return clipped


class Reverb(SignalAugmentation):
    """Put a signal into a room: y = x + h * (mean of the channels of x).

    The impulse response h is noise that decays by 60 dB in the reverberation time, another for
    each channel, after a short delay; its energy is that of the wet level. The direct sound keeps
    its time and level, and what would sound on after the end is cut.

    Reference:
        Moorer, "About This Reverberation Business", Computer Music Journal 3(2), 1979.

    Attributes:
        rt60_s: Range of the reverberation time, seconds.
        delay_s: Range of the time from the direct sound to the first reflection, seconds.
        wet_db: Range of the energy of h against that of the direct sound, dB.
    """

    kind: Literal["reverb"] = "reverb"
    rt60_s: PositiveRange = (0.2, 1.2)
    delay_s: Range = (0.0, 0.03)
    wet_db: Range = (-20.0, -6.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with reverberation."""
        tail = self.response(rng, channels=audio.shape[1], sample_rate=sample_rate)
        return audio + convolve(audio.mean(axis=1, keepdims=True), tail)

    def response(self, rng: np.random.Generator, *, channels: int, sample_rate: int) -> Audio:
        """Return a random impulse response, without the direct sound. Shape: `[C, L]`."""
        rt60 = rng.uniform(*self.rt60_s) * sample_rate
        # The direct sound itself is at 0.
        delay = max(1, round(rng.uniform(*self.delay_s) * sample_rate))
        level = 10 ** (rng.uniform(*self.wet_db) / 20)
        length = max(1, round(rt60))
        noise: Audio = rng.standard_normal((channels, length), dtype=np.float32)
        noise *= (10 ** (-3 * np.arange(length) / rt60)).astype(np.float32)
        noise *= level / np.sqrt(np.square(noise).sum(axis=1, keepdims=True))
        return np.pad(noise, ((0, 0), (delay, 0)))
