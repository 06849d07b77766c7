"""Modulation: chorus, flanger, doubling, phaser and tremolo."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.effects.convolution import Audio, import_scipy
from desmezcla.datasets.render.effects.panning import stereo

# A modulated delay is computed in pieces of this size, so that memory does not grow with it.
_BLOCK_SAMPLES = 1 << 18


def vibrato(
    channel: NDArray[np.float32],
    sample_rate: int,
    *,
    delay_s: float,
    depth_s: float,
    rate_hz: float,
    phase: float = 0.0,
) -> NDArray[np.float32]:
    """Delay a channel by a length that swings like a sine; read between samples linearly.

    Args:
        channel: What is delayed.
        sample_rate: In Hz.
        delay_s: Mean delay.
        depth_s: Swing to both sides, at most `delay_s`.
        rate_hz: Swings in a second.
        phase: Where the swing begins, in turns.

    Shape:
        channel: `[T]`; returns `[T]`.
    """
    padding = int(np.ceil((delay_s + depth_s) * sample_rate)) + 2
    padded = np.pad(channel, (padding, 0))
    result = np.empty_like(channel)
    for start in range(0, len(channel), _BLOCK_SAMPLES):
        n = np.arange(start, min(start + _BLOCK_SAMPLES, len(channel)))
        swing = np.sin(2 * np.pi * (rate_hz / sample_rate * n + phase))
        delay = (delay_s + depth_s * swing) * sample_rate
        whole = np.ceil(delay)
        part = (whole - delay).astype(np.float32)
        index = n + padding - whole.astype(np.int64)
        first = padded[index]
        result[n[0] : n[-1] + 1] = first + part * (padded[index + 1] - first)
    return result


def chorus(
    audio: Audio,
    sample_rate: int,
    *,
    rate_hz: float = 0.7,
    depth_s: float = 0.002,
    delay_s: float = 0.012,
    mix: float = 0.4,
) -> Audio:
    """Add a voice that drifts around the pitch, in opposite phase on both sides.

    A delay of 1 to 4 ms makes it a flanger without feedback.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    dry = stereo(audio)
    wet = [
        vibrato(
            channel, sample_rate, delay_s=delay_s, depth_s=depth_s, rate_hz=rate_hz, phase=phase
        )
        for channel, phase in zip(dry, (0.0, 0.5), strict=True)
    ]
    return np.asarray(dry * np.float32(1 - mix) + np.stack(wet) * np.float32(mix))


def double(audio: Audio, sample_rate: int, *, delay_s: float = 0.018, gain_db: float = -6) -> Audio:
    """Add two copies beside the sound, each a little late and, slowly changing, out of tune.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    middle = audio.mean(axis=0)
    result = stereo(audio).copy()
    gain = np.float32(10 ** (gain_db / 20))
    for side, (stretch, rate_hz) in enumerate(((1.0, 0.31), (1.37, 0.23))):
        result[side] += gain * vibrato(
            middle, sample_rate, delay_s=stretch * delay_s, depth_s=0.0015, rate_hz=rate_hz
        )
    return np.asarray(result)


def tremolo(audio: Audio, sample_rate: int, *, rate_hz: float, depth: float) -> Audio:
    """Swing the level like a sine, between 1 - depth and 1.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    turns = rate_hz / sample_rate * np.arange(audio.shape[1])
    gain = 1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * turns))
    return np.asarray(audio * gain.astype(np.float32))


def phaser(
    audio: Audio,
    sample_rate: int,
    *,
    rate_hz: float = 0.3,
    lowest_hz: float = 300.0,
    highest_hz: float = 2500.0,
    stages: int = 4,
    mix: float = 0.5,
) -> Audio:
    """Add a copy through allpass filters of first order whose corner sweeps up and down.

    The sweep is slow, so each short frame is filtered with the response of its own moment, and
    the frames overlap by half under Hann windows, which add up to 1.

    Args:
        audio: What is filtered.
        sample_rate: In Hz.
        rate_hz: Sweeps in a second.
        lowest_hz: Lower end of the sweep.
        highest_hz: Upper end of the sweep.
        stages: Number of allpass filters; two make one notch.
        mix: Part of the filtered copy.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    fft = import_scipy("fft")
    size = 1 << max(8, round(np.log2(0.04 * sample_rate)))
    hop, n_fft = size // 2, 2 * size
    samples = audio.shape[1]
    frames = -(-samples // hop) + 1
    padded = np.pad(audio, ((0, 0), (hop, (frames + 3) * hop - samples)))
    result = np.zeros_like(padded)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    # A first-order allpass (c + z) / (1 + c z) with z = exp(-j w) is turned by -90 degrees at its
    # corner, where c = (tan(w/2) - 1) / (tan(w/2) + 1).
    z = np.exp(-2j * np.pi * np.arange(size + 1) / n_fft)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * hop / sample_rate * np.arange(frames))
    corners_hz = np.minimum(lowest_hz * (highest_hz / lowest_hz) ** swing, 0.45 * sample_rate)
    for frame, corner_hz in enumerate(corners_hz):
        tangent = np.tan(np.pi * corner_hz / sample_rate)
        c = (tangent - 1) / (tangent + 1)
        response = (1 - mix) + mix * ((c + z) / (1 + c * z)) ** stages
        at = frame * hop
        spectrum = fft.rfft(padded[:, at : at + size] * window, n_fft)
        wet = fft.irfft(spectrum * response.astype(np.complex64), n_fft)
        result[:, at : at + n_fft] += wet[:, : result.shape[1] - at]
    return result[:, hop : hop + samples]
