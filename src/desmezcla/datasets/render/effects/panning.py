"""Places in the stereo image."""

import numpy as np

from desmezcla.datasets.render.effects.convolution import Audio


def stereo(audio: Audio) -> Audio:
    """Return mono audio as two equal channels, and stereo audio as it is.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    return np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio


def pan(audio: Audio, position: float) -> Audio:
    """Move mono audio, or the balance of stereo audio, with constant power.

    The gains are cos and sin of an angle, times the square root of 2 so that the middle leaves
    both channels as they are: power, added over both channels, does not depend on the position.

    Args:
        audio: What is placed.
        position: From -1, left, to 1, right.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    angle = (position + 1) * np.pi / 4
    gains = np.sqrt(2) * np.array([[np.cos(angle)], [np.sin(angle)]])
    return np.asarray(audio * gains.astype(np.float32))


def widen(audio: Audio, width: float) -> Audio:
    """Scale the difference of the channels; 0 is mono, 1 leaves the audio as it is.

    Shape:
        audio: `[2, T]`; returns `[2, T]`.
    """
    mid = (audio[0] + audio[1]) * np.float32(0.5)
    side = (audio[0] - audio[1]) * np.float32(0.5 * width)
    return np.stack((mid + side, mid - side))


def haas(audio: Audio, sample_rate: int, *, delay_s: float, gain_db: float = 0.0) -> Audio:
    """Widen by the precedence effect: the right channel comes later, or, below 0, the left.

    Args:
        audio: What is widened.
        sample_rate: In Hz.
        delay_s: At most some 30 ms, after which it is heard as an echo.
        gain_db: Of the channel that comes later.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    result = stereo(audio).copy()
    late = 1 if delay_s >= 0 else 0
    shift = min(round(abs(delay_s) * sample_rate), audio.shape[1])
    gain = np.float32(10 ** (gain_db / 20))
    result[late, shift:] = gain * result[late, : audio.shape[1] - shift]
    result[late, :shift] = 0
    return np.asarray(result)
