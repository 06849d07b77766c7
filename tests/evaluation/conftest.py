"""Signals for tests of scores."""

import sys
import types
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from desmezcla.evaluation.signals import ArraySignals

Audio = NDArray[np.float64]

# museval imports musdb, for whole datasets only, and that imports stempeg, which refuses to be
# imported where there is no ffmpeg program.
sys.modules.setdefault("musdb", types.ModuleType("musdb"))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import museval  # noqa: F401
    from mir_eval import separation  # noqa: F401


@pytest.fixture
def signals() -> Callable[[Audio], ArraySignals]:
    """Give what makes signals of an array `[S, C, T]`."""

    def make(audio: Audio) -> ArraySignals:
        return ArraySignals(tuple(f"stem {i}" for i in range(len(audio))), tuple(audio))

    return make


@pytest.fixture
def pair() -> Callable[..., tuple[Audio, Audio]]:
    """Give what makes references and estimates that share something with all of them."""

    def make(
        stems: int, channels: int, samples: int, *, seed: int = 0, colour: int = 1
    ) -> tuple[Audio, Audio]:
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((stems, channels, samples + colour - 1))
        kernel = np.hanning(colour + 2)[1:-1]
        references = np.apply_along_axis(np.convolve, -1, white, kernel, "valid")
        leak = np.roll(references, 1, axis=0) * 0.3
        noise = 0.2 * rng.standard_normal(references.shape)
        return references, 0.8 * np.roll(references, 3, axis=-1) + leak + noise

    return make
