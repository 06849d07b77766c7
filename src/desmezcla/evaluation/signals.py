"""Audio of all stems of a track, read part by part: from memory, or from a file on disk.

BSS Eval passes over the audio twice. Eight references and eight estimates of a song of ten minutes
take 1.7 GB, so that whole evaluations keep them in temporary files and read what they need.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import EvaluationError, ParameterError

Audio = NDArray[Any]


class Signals(Protocol):
    """Stems of equal length and channels that can be read part by part, any number of times."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Their names, in the order of axis S."""

    @property
    def channels(self) -> int:
        """Channels of each stem."""

    @property
    def length_samples(self) -> int:
        """Samples of each stem."""

    def read(self, start: int, stop: int) -> Audio:
        """Return samples from `start` to before `stop`: `[S, C, stop - start]`, floating."""


@dataclass(frozen=True)
class ArraySignals:
    """Stems in memory.

    Attributes:
        stems: Their names.
        audio: One array `[C, T]` for each.
    """

    stems: tuple[str, ...]
    audio: tuple[Audio, ...]

    @property
    def channels(self) -> int:
        """Channels of each stem."""
        return int(self.audio[0].shape[0])

    @property
    def length_samples(self) -> int:
        """Samples of each stem."""
        return int(self.audio[0].shape[1])

    def read(self, start: int, stop: int) -> Audio:
        """Return samples `[S, C, stop - start]`."""
        return np.stack([each[:, start:stop] for each in self.audio])


@dataclass(frozen=True)
class FileSignals:
    """Stems in a file of float32 samples, in the order of time, stem and channel.

    It is read, not mapped into memory: mapped pages count as memory of the process.

    Attributes:
        path: The file.
        stems: Their names.
        channels: Channels of each stem.
        length_samples: Samples of each stem.
    """

    path: Path
    stems: tuple[str, ...]
    channels: int
    length_samples: int

    def read(self, start: int, stop: int) -> Audio:
        """Return samples `[S, C, stop - start]`."""
        width = len(self.stems) * self.channels
        shape = (stop - start, len(self.stems), self.channels)
        flat = np.fromfile(
            self.path, np.float32, count=(stop - start) * width, offset=4 * start * width
        )
        audio: Audio = flat.reshape(shape).transpose(1, 2, 0)
        return audio


@dataclass(frozen=True)
class ChosenSignals:
    """Some stems of signals.

    Attributes:
        signals: All stems.
        stems: Names of those that are wanted, in order.
    """

    signals: Signals
    stems: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Channels of each stem."""
        return self.signals.channels

    @property
    def length_samples(self) -> int:
        """Samples of each stem."""
        return self.signals.length_samples

    def read(self, start: int, stop: int) -> Audio:
        """Return samples `[S, C, stop - start]`."""
        places = [self.signals.stems.index(stem) for stem in self.stems]
        return self.signals.read(start, stop)[places]


@dataclass(frozen=True)
class FittedSignals:
    """Signals cut, or followed by silence, to a length.

    Attributes:
        signals: The signals.
        length_samples: The length.
    """

    signals: Signals
    length_samples: int

    @property
    def stems(self) -> tuple[str, ...]:
        """Their names."""
        return self.signals.stems

    @property
    def channels(self) -> int:
        """Channels of each stem."""
        return self.signals.channels

    def read(self, start: int, stop: int) -> Audio:
        """Return samples `[S, C, stop - start]`."""
        there = self.signals.length_samples
        audio = self.signals.read(min(start, there), min(stop, there))
        missing = stop - start - audio.shape[-1]
        return np.pad(audio, ((0, 0), (0, 0), (0, missing))) if missing else audio


def write_signals(path: Path, stems: tuple[str, ...], blocks: Iterable[Audio]) -> FileSignals:
    """Write the blocks of a separation to a file, to be read part by part.

    Args:
        path: File to write.
        stems: Names of the stems.
        blocks: Consecutive parts `[S, C, n]`.

    Errors:
        EvaluationError: if there is not a single sample.
    """
    channels = length = 0
    with path.open("wb") as file:
        for block in blocks:
            channels = block.shape[1]
            length += block.shape[2]
            file.write(np.ascontiguousarray(block.transpose(2, 0, 1), np.float32).tobytes())
    if length == 0:
        raise EvaluationError(f"the stems {', '.join(stems)} have no samples; check the audio")
    return FileSignals(path, stems, channels, length)


@contextmanager
def spool_folder() -> Iterator[Path]:
    """Give a temporary folder for `write_signals`; it goes when the work is done."""
    with TemporaryDirectory(prefix="desmezcla-") as name:
        yield Path(name)


def array_signals(audio: Mapping[str, Any], what: str) -> ArraySignals:
    """Check arrays that a caller gives, and return them as signals.

    Args:
        audio: By stem, `[C, T]`, numpy or torch.
        what: "references" or "estimates", for messages.

    Errors:
        ParameterError: if there is no stem, or an array is not what it should be.
    """
    if not audio:
        raise ParameterError(f"{what}={{}} must hold at least one stem; pass stem -> [C, T]")
    arrays = {stem: _checked(values, f"{what}[{stem!r}]") for stem, values in audio.items()}
    first = next(iter(arrays))
    for stem, values in arrays.items():
        if values.shape != arrays[first].shape:
            raise ParameterError(
                f"{what}[{stem!r}] has shape {values.shape}, but {what}[{first!r}] has "
                f"{arrays[first].shape}; all must have the same channels and length"
            )
    return ArraySignals(tuple(arrays), tuple(arrays.values()))


def _checked(values: Any, name: str) -> Audio:
    if hasattr(values, "detach"):  # a tensor, on whatever device
        values = values.detach().cpu().numpy()
    array: Audio = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ParameterError(
            f"{name} has shape {array.shape}, but must be [C, T] with at least one sample; "
            "add a channel axis or transpose it"
        )
    if array.shape[0] > 8:
        raise ParameterError(
            f"{name} has shape {array.shape}, but axis 0 must be 1 to 8 channels; transpose it"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ParameterError(f"{name} has type {array.dtype}; convert it to float32 in [-1, 1]")
    if not np.isfinite(array).all():
        raise ParameterError(f"{name} holds NaN or infinite values; replace them")
    return array
