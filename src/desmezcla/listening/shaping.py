"""What is done to excerpts: fades for all, low-pass and damage for those that are to be bad."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.listening.optional import require

Audio = NDArray[np.float32]

FADE_S = 0.02

# Of the low anchor of ITU-R BS.1534-3.
ANCHOR_HZ = 3500.0

_DAMAGE_FRAME_S = 0.04


def faded(audio: Audio, sample_rate: int, *, fade_s: float = FADE_S) -> Audio:
    """Fade in and out, with halves of a Hann window, so that cuts do not click.

    Args:
        audio: The excerpt.
        sample_rate: In Hz.
        fade_s: Length of each fade; at most half of the excerpt.

    Shape:
        audio: `[C, T]`; so is what is returned.
    """
    length = min(round(fade_s * sample_rate), audio.shape[1] // 2)
    if length == 0:
        return np.array(audio)
    ramp = np.sin(0.5 * np.pi * (np.arange(length) + 0.5) / length) ** 2
    shape = np.ones(audio.shape[1])
    shape[:length], shape[-length:] = ramp, ramp[::-1]
    result: Audio = (audio * shape).astype(np.float32)
    return result


def low_passed(audio: Audio, sample_rate: int, *, cutoff_hz: float = ANCHOR_HZ) -> Audio:
    """Remove what is above a frequency: the low anchor of ITU-R BS.1534.

    A Butterworth filter of eighth order, forwards and backwards, so that nothing is delayed. Its
    gain is -6 dB at the cutoff. A cutoff above half of the rate changes nothing.

    Shape:
        audio: `[C, T]`; so is what is returned.
    """
    if cutoff_hz >= sample_rate / 2:
        return np.array(audio)
    signal = require("scipy.signal")
    sections = signal.butter(8, cutoff_hz, fs=sample_rate, output="sos")
    filtered: Audio = signal.sosfiltfilt(sections, audio, axis=-1).astype(np.float32)
    return filtered


def damaged(audio: Audio, sample_rate: int, *, seed: int) -> Audio:
    """Damage an excerpt strongly: holes in its spectrum, and clipping.

    Two of three bins of the spectrogram, drawn at random, are removed, which gives the chirping
    that bad masks give; what is left is clipped at a third of its peak.

    Shape:
        audio: `[C, T]`; so is what is returned.
    """
    signal = require("scipy.signal")
    frame = min(round(_DAMAGE_FRAME_S * sample_rate), audio.shape[1])
    _, _, spectrum = signal.stft(audio, sample_rate, nperseg=frame)
    kept = np.random.default_rng(seed).random(spectrum.shape[1:]) < 1 / 3
    _, holed = signal.istft(spectrum * kept, sample_rate, nperseg=frame)
    holed = holed[:, : audio.shape[1]]
    limit = max(float(np.abs(holed).max()) / 3, np.finfo(np.float32).tiny)
    result: Audio = np.clip(holed, -limit, limit).astype(np.float32)
    return result
