"""The instruments of rendered songs: every part of a score but the voices becomes sound here."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import PIECES, Hit, Note, Part, Song
from desmezcla.errors import DesmezclaError, ParameterError

try:
    import scipy  # noqa: F401
except ImportError as error:
    raise DesmezclaError(
        "rendering songs needs SciPy, which is not installed; install it with: "
        "pip install 'desmezcla[render]'"
    ) from error

from desmezcla.datasets.render.instruments.catalog import PLAYERS, finished
from desmezcla.datasets.render.instruments.take import Take

INSTRUMENTS = tuple(PLAYERS)
_LOWEST_RATE = 8000

__all__ = ["INSTRUMENTS", "play"]


def play(
    part: Part,
    song: Song,
    *,
    rng: np.random.Generator,
    material: Material | None,
    sample_rate: int,
    samples: int,
) -> NDArray[np.float32]:
    """Play one part of a song, dry: an instrument as it sounds in front of it, before the mix.

    Args:
        part: What to play; its instrument is one of `INSTRUMENTS`.
        song: The song that it belongs to.
        rng: Decides on the concrete instrument (recordings, patch, amplifier, tuning) and on the
            accidents of the performance; the same generator gives the same sound.
        material: Recorded sounds. What they do not hold, or all without them, is synthesised.
        sample_rate: In Hz, from 8000.
        samples: Length of the song.

    Shape:
        Returns `[2, samples]`, at about -20 dB of full scale (RMS) while it plays.

    Errors:
        ParameterError: if the instrument or a piece of the kit is unknown, or the events are not
            what the instrument plays.
    """
    _check(part, sample_rate, samples)
    take = Take(part, song, rng, material, sample_rate, samples)
    if not part.events or samples == 0:
        return np.zeros((2, samples), np.float32)
    return finished(take, PLAYERS[part.instrument](take))


def _check(part: Part, sample_rate: int, samples: int) -> None:
    if part.instrument not in PLAYERS:
        raise ParameterError(
            f"instrument={part.instrument!r} of the part {part.name!r} must be one of "
            f"{', '.join(INSTRUMENTS)}"
        )
    if sample_rate < _LOWEST_RATE:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be at least {_LOWEST_RATE}")
    if samples < 0:
        raise ParameterError(f"samples={samples} must be 0 or more")
    struck = part.instrument.startswith("kit_") or part.instrument == "percussion"
    kind = Hit if struck else Note
    wrong = [event for event in part.events if not isinstance(event, kind)]
    if wrong:
        raise ParameterError(
            f"the part {part.name!r} has {wrong[0]!r}, but {part.instrument} plays "
            f"{'hits' if struck else 'notes'}; give it a part of those"
        )
    unknown = {e.piece for e in part.events if isinstance(e, Hit)} - set(PIECES)
    if unknown:
        raise ParameterError(
            f"piece={min(unknown)!r} of the part {part.name!r} must be one of {', '.join(PIECES)}"
        )
