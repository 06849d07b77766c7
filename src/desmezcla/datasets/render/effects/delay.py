"""Echoes: slap, filtered feedback, and ping-pong, as impulse responses of the wet signal alone."""

import numpy as np

from desmezcla.datasets.render.effects.convolution import Audio, convolve
from desmezcla.datasets.render.effects.eq import Band, equalise

# Echoes that are softer than this against the first are left out.
_FAINTEST_DB = -40.0
_LONGEST_S = 5.0
# Room for the filters' own response after an echo.
_TAIL_S = 0.03


def echo_response(
    sample_rate: int,
    *,
    time_s: float,
    feedback: float,
    ping_pong: bool = False,
    low_hz: float = 200.0,
    high_hz: float = 5000.0,
) -> Audio:
    """Return the impulse response of an echo whose feedback goes through a high and a low pass.

    Args:
        sample_rate: In Hz.
        time_s: From one echo to the next.
        feedback: Gain from one echo to the next, from 0 (a single slap) to below 1.
        ping_pong: Echoes change sides, the first one is on the left.
        low_hz: Corner of the high pass.
        high_hz: Corner of the low pass.

    Shape:
        Returns `[2, N]`; the first echo has a gain of 1 before its filters.
    """
    echoes = 1
    if feedback > 0:
        echoes += int(min(_FAINTEST_DB / (20 * np.log10(feedback)), _LONGEST_S / time_s))
    step = round(time_s * sample_rate)
    tail = round(_TAIL_S * sample_rate)
    response = np.zeros((2, echoes * step + tail), np.float32)
    pulse = np.zeros((1, tail), np.float32)
    pulse[0, 0] = 1.0
    filters = (Band("high_pass", low_hz), Band("low_pass", high_hz))
    for number in range(1, echoes + 1):
        pulse = equalise(pulse, filters, sample_rate)
        at = number * step
        # On one side only, an echo needs twice the power to be as loud.
        gain = feedback ** (number - 1) * (np.sqrt(2) if ping_pong else 1.0)
        sides = [(number - 1) % 2] if ping_pong else [0, 1]
        for side in sides:
            response[side, at : at + tail] += np.float32(gain) * pulse[0]
    return response


def echo(
    audio: Audio,
    sample_rate: int,
    *,
    time_s: float,
    feedback: float,
    ping_pong: bool = False,
    low_hz: float = 200.0,
    high_hz: float = 5000.0,
) -> Audio:
    """Return the echoes of audio without the audio; the options are `echo_response`'s.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    response = echo_response(
        sample_rate,
        time_s=time_s,
        feedback=feedback,
        ping_pong=ping_pong,
        low_hz=low_hz,
        high_hz=high_hz,
    )
    return convolve(audio, response)
