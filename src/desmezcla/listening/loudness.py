"""One loudness for all versions of an excerpt, by ITU-R BS.1770.

All versions are brought to the same level, with the same rule:

    level = min(target, min over versions of (highest peak + loudness - peak))

so that no sample of any is beyond the highest peak, `PEAK_DBFS`. A version below `SILENT_LUFS`
counts as silent: it is left as it is and does not count for the level, since amplifying nothing
gives noise.

Reference:
    Recommendation ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak
    audio level", 2015.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.listening.optional import require

Audio = NDArray[np.float32]

TARGET_LUFS = -23.0
SILENT_LUFS = -60.0

# Highest sample of any stimulus; what a converter makes between samples needs the rest.
PEAK_DBFS = -1.0

# The gate of BS.1770 works on blocks of this length.
_BLOCK_S = 0.4


@dataclass(frozen=True)
class Levelled:
    """Versions of an excerpt at one loudness.

    Attributes:
        level_lufs: The loudness of all that are not silent.
        lufs: What each had; None for a silent one.
        gains_db: What each is amplified by.
        audio: The amplified versions.
    """

    level_lufs: float
    lufs: Mapping[str, float | None]
    gains_db: Mapping[str, float]
    audio: Mapping[str, Audio]


def loudness_lufs(audio: Audio, sample_rate: int) -> float | None:
    """Return the integrated loudness; None below `SILENT_LUFS`.

    Shape:
        audio: `[C, T]`; what is shorter than 0.4 s is followed by silence.
    """
    if not audio.any():
        return None
    missing = math.ceil(_BLOCK_S * sample_rate) - audio.shape[1]
    samples = np.pad(audio, ((0, 0), (0, max(missing, 0)))).T.astype(np.float64)
    meter = require("pyloudnorm").Meter(sample_rate, block_size=_BLOCK_S)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # Where all blocks are below the gate, the mean is one of nothing.
        warnings.simplefilter("ignore", RuntimeWarning)
        lufs = float(meter.integrated_loudness(samples))
    return lufs if math.isfinite(lufs) and lufs >= SILENT_LUFS else None


def levelled(
    versions: Mapping[str, Audio], sample_rate: int, *, target_lufs: float = TARGET_LUFS
) -> Levelled:
    """Bring all versions of an excerpt to one loudness.

    Args:
        versions: The same seconds, by what they are called.
        sample_rate: In Hz.
        target_lufs: The loudness wanted; less where a version would clip.

    Shape:
        versions: `[C, T]` each.
    """
    lufs = {name: loudness_lufs(audio, sample_rate) for name, audio in versions.items()}
    limits = [
        PEAK_DBFS - _db(float(np.abs(versions[name]).max())) + loud
        for name, loud in lufs.items()
        if loud is not None
    ]
    level = min([target_lufs, *limits])
    gains = {name: 0.0 if loud is None else level - loud for name, loud in lufs.items()}
    audio = {name: versions[name] * np.float32(10 ** (gains[name] / 20)) for name in versions}
    return Levelled(level, lufs, gains, audio)


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude)
