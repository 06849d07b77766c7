"""Saturation: harmonics of valves, transistors and tape, at a level that stays about the same."""

from typing import Literal

import numpy as np

from desmezcla.datasets.render.effects.convolution import Audio
from desmezcla.datasets.render.effects.eq import Band, equalise


def saturate(
    audio: Audio,
    *,
    drive_db: float,
    kind: Literal["tanh", "valve", "clip"] = "tanh",
    mix: float = 1.0,
) -> Audio:
    """Bend the waveform.

    Args:
        audio: What is saturated.
        drive_db: Gain in front of the bend, which begins around full scale; it is taken back.
        kind: "tanh" is even on both sides (odd harmonics), "valve" bends one side first (even
            harmonics too), "clip" stays straight up to a corner.
        mix: Part of the bent signal, from 0 to 1.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    drive = np.float32(10 ** (drive_db / 20))
    driven = audio * drive
    if kind == "tanh":
        bent = np.tanh(driven)
    elif kind == "clip":
        bent = np.clip(driven, -1, 1)
    else:
        bias = np.float32(0.35)
        # Its slope at zero is made 1, and what it gives for silence is taken off.
        slope = 1 - np.tanh(bias) ** 2
        bent = (np.tanh(driven + bias) - np.tanh(bias)) / slope
    wet = np.float32(mix) / drive
    return np.asarray(audio * np.float32(1 - mix) + bent * wet)


def tape(audio: Audio, sample_rate: int, *, drive_db: float, cutoff_hz: float = 15000.0) -> Audio:
    """Record on tape: a bump in the bass, soft saturation, and fewer highs.

    Shape:
        audio: `[C, T]`; returns `[C, T]`.
    """
    bands = (
        Band("bell", 80.0, 1.5, 1.0),
        Band("high_shelf", 0.6 * cutoff_hz, -1.5),
        Band("low_pass", cutoff_hz),
    )
    return equalise(saturate(audio, drive_db=drive_db), bands, sample_rate)
