"""Windows by name, periodic: the n samples are one period, as overlap-add of frames needs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.signal import windows as shapes

from desmezcla.errors import ParameterError

# Harris 1978, "On the use of windows for harmonic analysis with the discrete Fourier transform",
# table 1: the four-term window with side lobes below -92 dB.
_BLACKMAN_HARRIS = (0.35875, 0.48829, 0.14128, 0.01168)


def _hann(n: int) -> Tensor:
    return shapes.hann(n, sym=False, dtype=torch.float64)


def _blackmanharris(n: int) -> Tensor:
    return shapes.general_cosine(n, a=_BLACKMAN_HARRIS, sym=False, dtype=torch.float64)


_WINDOWS: dict[str, Callable[[int], Tensor]] = {
    "rectangular": lambda n: torch.ones(n, dtype=torch.float64),
    "hann": _hann,
    "sqrt-hann": lambda n: _hann(n).sqrt(),
    "hamming": lambda n: shapes.hamming(n, sym=False, dtype=torch.float64),
    "blackman": lambda n: shapes.blackman(n, sym=False, dtype=torch.float64),
    "blackmanharris": _blackmanharris,
}


def window(name: str, n: int) -> Tensor:
    """Return a periodic window in float32, computed in float64.

    Args:
        name: One of `window_names()`.
        n: Samples, at least 1.

    Shape:
        returns `[n]`.

    Errors:
        ParameterError: if there is no such window, or `n` is not positive.
    """
    if name not in _WINDOWS:
        raise ParameterError(
            f"window={name!r} is unknown; choose one of {', '.join(window_names())}"
        )
    if n < 1:
        raise ParameterError(f"n={n} samples must be at least 1; give the length of the transform")
    return _WINDOWS[name](n).float()


def window_names() -> list[str]:
    """Return the names that `window` knows, sorted."""
    return sorted(_WINDOWS)


def asymmetric_windows(analysis: int, synthesis: int, hop: int) -> tuple[Tensor, Tensor]:
    """Return a long analysis window and a short synthesis window for its end.

    A frame then has the resolution of a long window, and the latency of a short one. The analysis
    window rises over all but the last half of the synthesis window; both fall like the root of a
    Hann window of the short length. The product is that Hann window, so that frames add up to the
    signal.

    Reference:
        Mauler and Martin, "A Low Delay, Variable Resolution, Perfect Reconstruction Spectral
        Analysis-Synthesis System for Speech Enhancement", EUSIPCO 2007.

    Args:
        analysis: Samples of a frame.
        synthesis: Samples at its end that are given to the result, even.
        hop: Samples from one frame to the next, half of `synthesis` or a part of that.

    Shape:
        returns `[analysis]` and `[synthesis]`.

    Errors:
        ParameterError: if the lengths do not fit together.
    """
    if hop < 1 or synthesis % (2 * hop) or synthesis > analysis:
        raise ParameterError(
            f"synthesis={synthesis} must be 2, 4, … times hop={hop}, and at most "
            f"analysis={analysis} samples"
        )
    half = synthesis // 2
    rise = _hann(2 * (analysis - half)).sqrt()[: analysis - half]
    fall = _hann(synthesis).sqrt()[half:]
    long = torch.cat([rise, fall])
    # Where the analysis window is zero, so is the product.
    short = _hann(synthesis) / long[-synthesis:].clamp(min=1e-9)
    return long.float(), (short * hop / half).float()
