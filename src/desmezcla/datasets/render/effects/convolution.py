"""Fast convolution: what all linear effects are made of.

Filters run as convolution with their impulse responses, not as recursions. Both take about as
long on music; but a recursion decays into denormal numbers in a silence, which takes a processor
a hundred times as long, while here silence costs nothing at all.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import DesmezclaError

Audio = NDArray[np.float32]

_MIN_FFT = 16384


def convolve(audio: Audio, response: NDArray[np.floating[Any]]) -> Audio:
    """Convolve audio with an impulse response, and cut the result to the length of the audio.

    Overlap-add of frames at least four times as long as the response; frames of silence are
    skipped.

    Args:
        audio: What is filtered.
        response: One impulse response for all channels, or one each. Mono audio becomes as many
            channels as the response has.

    Shape:
        audio: `[C, T]`; response: `[1 or C, N]`; returns `[C, T]`.
    """
    fft = import_scipy("fft")
    taps = response.shape[1]
    n_fft = max(_MIN_FFT, 1 << (4 * taps - 1).bit_length())
    hop = n_fft - taps + 1
    spectrum = fft.rfft(response.astype(np.float32), n_fft)
    channels, samples = max(len(audio), len(response)), audio.shape[1]
    result = np.zeros((channels, samples), np.float32)
    for start in range(0, samples, hop):
        frame = audio[:, start : start + hop]
        if not frame.any():
            continue
        stop = min(start + n_fft, samples)
        wet = fft.irfft(fft.rfft(frame, n_fft) * spectrum, n_fft)
        result[:, start:stop] += wet[:, : stop - start]
    return result


def import_scipy(module: str) -> Any:
    """Return a module of SciPy, which comes with the extra `render`.

    Errors:
        DesmezclaError: if it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError as error:
        raise DesmezclaError(
            "rendering songs needs SciPy, which is not installed; "
            "install it with: pip install 'desmezcla[render]'"
        ) from error
