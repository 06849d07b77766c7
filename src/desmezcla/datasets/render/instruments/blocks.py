"""Filters over whole songs, in blocks that stay in the processor's cache; silent blocks are free.

A filter whose input is silent and whose memory has faded below hearing is set to rest, which also
keeps it from decaying into denormal numbers.
"""

import numpy as np
from scipy import fft, signal

from desmezcla.datasets.render.instruments.take import Curve, Signal

_BLOCK = 1 << 15
_REST = 1e-8
# Samples between two points of a curve: envelopes, pitch.
GRID = 16


def filtered(audio: Signal, sos: Curve) -> Signal:
    """Return a signal through second-order sections. Shape: `[C, T]`, returns the same."""
    out = np.zeros_like(audio)
    state = np.zeros((len(sos), audio.shape[0], 2))
    for start in range(0, audio.shape[1], _BLOCK):
        block = audio[:, start : start + _BLOCK]
        if block.any() or np.abs(state).max() > _REST:
            out[:, start : start + _BLOCK], state = signal.sosfilt(sos, block, axis=1, zi=state)
        else:
            state = np.zeros_like(state)
    return out


def convolved(audio: Signal, response: Signal) -> Signal:
    """Return a signal through a finite response, without its tail beyond the end.

    Shape:
        audio: `[C, T]`; response: `[1 or C, n]`; returns `[C, T]`.
    """
    length = response.shape[1]
    size = max(_BLOCK, 1 << (4 * length - 1).bit_length())
    spectrum = fft.rfft(response.astype(np.float32), size)
    block = size - length + 1
    out = np.zeros((audio.shape[0], audio.shape[1] + size), np.float32)
    for start in range(0, audio.shape[1], block):
        piece = audio[:, start : start + block]
        if piece.any():
            through = fft.irfft(fft.rfft(piece, size) * spectrum, size)
            out[:, start : start + size] += through
    return out[:, : audio.shape[1]]


def saturated(audio: Signal, drive: float, *, bias: float = 0.0) -> Signal:
    """Bend a signal softly, x / sqrt(1 + x²), without much aliasing.

    The mean of the curve between two samples is taken instead of its value (antiderivative
    antialiasing, Parker, Zavalishin and Le Bivic 2016). The antiderivative is sqrt(1 + x²), whose
    divided difference is (a + b) / (sqrt(1 + a²) + sqrt(1 + b²)): no cancellation, no case.

    Args:
        audio: The signal.
        drive: Gain before the bend.
        bias: Added before the bend, for even harmonics; the offset that it makes at rest is
            taken off again.

    Shape:
        audio: `[C, T]`; returns the same.
    """
    out = np.zeros_like(audio)
    last = np.full((audio.shape[0], 1), bias, np.float32)
    rest = np.float32(bias / np.sqrt(1 + bias**2))
    for start in range(0, audio.shape[1], _BLOCK):
        block = audio[:, start : start + _BLOCK]
        driven = np.concatenate([last, np.float32(drive) * block + np.float32(bias)], axis=1)
        last = driven[:, -1:]
        if block.any():
            root = np.sqrt(1 + np.square(driven))
            mean = (driven[:, 1:] + driven[:, :-1]) / (root[:, 1:] + root[:, :-1])
            out[:, start : start + _BLOCK] = mean - rest
    return out


def delayed(audio: Signal, delay: Signal) -> Signal:
    """Return one channel behind a delay line whose delay, in samples, moves. Shape: `[T]`."""
    room = int(delay.max(initial=0)) + 2
    padded = np.concatenate([np.zeros(room, np.float32), audio])
    out = np.zeros_like(audio)
    for start in range(0, len(audio), _BLOCK):
        span = delay[start : start + _BLOCK]
        # Whole and broken samples are kept apart, as single precision would not hold their sum.
        whole = span.astype(np.int32)
        broken = span - whole
        index = np.arange(start + room, start + room + len(span), dtype=np.int32) - whole
        late = padded.take(index)
        out[start : start + _BLOCK] = late + broken * (padded.take(index - 1) - late)
    return out


def grid(samples: int, sample_rate: int) -> Curve:
    """Return the times of the points of a curve that `stretched` joins at `GRID`, in seconds."""
    return np.arange(0, samples + 2 * GRID, GRID) / sample_rate


def stretched(points: Curve, hop: int, samples: int) -> Signal:
    """Join points that lie `hop` samples apart with lines. Shape: `[N]` to `[samples]`.

    There must be points up to `samples` or beyond.
    """
    needed = -(-samples // hop) + 1
    line = points[:needed].astype(np.float32)
    ramp = np.arange(hop, dtype=np.float32) / np.float32(hop)
    joined = line[:-1, None] + ramp * np.diff(line)[:, None]
    return np.asarray(joined.reshape(-1)[:samples])
