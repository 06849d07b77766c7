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
