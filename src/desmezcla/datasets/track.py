"""What a dataset is: tracks, each with a source of audio per stem, and what is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Source:
    """Where the audio of one stem, or of the mixture, lies.

    Attributes:
        path: An audio file.
        stream: Which of its audio streams, from 0 (`.stem.mp4` has five).
        channel: The one channel to take (MIR-1K has the voice on the right); None for all.
    """

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """A song with its stems.

    Attributes:
        name: Unique in its dataset.
        stems: Name of a stem -> where its parts lie. More than one part (DSD100 has none, a
            multitrack folder may) are added. A stem that the song does not have is not in it.
        mixture: The song as published; None where it is the sum of the stems.
        split: Which part of the dataset it belongs to.
        genre: As the dataset states it, or "".
        licence: As the dataset states it, or "".
    """

    name: str
    stems: Mapping[str, tuple[Source, ...]]
    mixture: Source | None = None
    split: Split = "train"
    genre: str = ""
    licence: str = ""

    def files(self) -> tuple[Path, ...]:
        """Return every file of the track, each once."""
        sources = [source for parts in self.stems.values() for source in parts]
        mixture = [self.mixture] if self.mixture else []
        return tuple(dict.fromkeys(source.path for source in sources + mixture))


@dataclass(frozen=True)
class Dataset:
    """Tracks that belong together.

    Attributes:
        name: What it is called, for instance "musdb18hq".
        root: The folder, or the manifest, that it was read from.
        tracks: In the order of their names, within a split.
        problems: What was wrong with files that were left out, one line each, with their names.
    """

    name: str
    root: Path
    tracks: tuple[Track, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of all stems that a track has, the four usual ones first."""
        usual = ("vocals", "drums", "bass", "other")
        found = {stem for track in self.tracks for stem in track.stems}
        return (*(s for s in usual if s in found), *sorted(found.difference(usual)))

    def where(self, wanted: Callable[[Track], bool]) -> "Dataset":
        """Return the dataset with the tracks that are wanted."""
        return replace(self, tracks=tuple(track for track in self.tracks if wanted(track)))

    def split(self, split: Split) -> "Dataset":
        """Return the part of the dataset with the tracks of a split."""
        return self.where(lambda track: track.split == split)
