"""Where the engine's audio comes from; a source can be read as often as there is need."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from desmezcla.audio.container import DEFAULT_LAYOUTS
from desmezcla.audio.reader import AudioReader
from desmezcla.inference.blocks import Block


class Source(Protocol):
    """Audio that can be read in blocks, from its beginning, any number of times."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    def layout(self) -> tuple[str, ...]:
        """Name of each channel."""

    @property
    def length_samples(self) -> int | None:
        """Length as far as it is known beforehand; the blocks tell the truth."""

    def blocks(self) -> Iterator[Block]:
        """Read from the beginning: `[C, n]` each."""


@dataclass(frozen=True)
class ArraySource:
    """Audio in memory.

    Attributes:
        audio: Samples, `[C, T]`.
        sample_rate: In Hz.
        block_samples: Length of the blocks.
    """

    audio: Block
    sample_rate: int
    block_samples: int = 1 << 16

    @property
    def layout(self) -> tuple[str, ...]:
        """The usual layout for that many channels."""
        return DEFAULT_LAYOUTS[self.audio.shape[0]]

    @property
    def length_samples(self) -> int:
        """The length T."""
        return int(self.audio.shape[1])

    def blocks(self) -> Iterator[Block]:
        """Read from the beginning."""
        for start in range(0, self.length_samples, self.block_samples):
            yield self.audio[:, start : start + self.block_samples]


class FileSource:
    """Audio of a file, or of a part of it.

    Args:
        path: Audio file, or video file with sound.
        start_s: Where to begin, in seconds.
        duration_s: How much to read, in seconds; None for all.

    Errors:
        AudioFileError: if the file cannot be read.
    """

    def __init__(
        self, path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None
    ) -> None:
        self.path = Path(path)
        self.start_s = start_s
        self.duration_s = duration_s
        with self._reader() as reader:
            self.info = reader.info
            self.layout = reader.layout
        self.sample_rate = self.info.sample_rate

    @property
    def length_samples(self) -> int | None:
        """Length that the file declares, less what lies outside of the part."""
        length = self.info.length_samples
        if length is not None:
            length = max(0, length - round(self.start_s * self.sample_rate))
        if self.duration_s is not None:
            wanted = round(self.duration_s * self.sample_rate)
            length = wanted if length is None else min(length, wanted)
        return length

    def blocks(self) -> Iterator[Block]:
        """Read from the beginning of the part."""
        with self._reader() as reader:
            yield from reader.blocks()

    def _reader(self) -> AudioReader:
        return AudioReader(self.path, start_s=self.start_s, duration_s=self.duration_s)
