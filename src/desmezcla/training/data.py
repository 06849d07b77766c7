"""From a dataset to batches for training and tracks for validation."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from desmezcla.datasets.augment import augment_from
from desmezcla.datasets.loader import SegmentLoader
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import component_stems, left_out_stem, track_info
from desmezcla.datasets.segments import Segments
from desmezcla.datasets.track import Dataset, Track
from desmezcla.errors import AudioFileError, DatasetError, ParameterError
from desmezcla.models.base import ModelConfig
from desmezcla.training.recipe import Data, Recipe

logger = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
Decoding = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained and validated on.

    Attributes:
        dataset: All tracks that were found.
        training: Those to train on.
        validation: Those to validate on.
        held_out: Whether they were held out of the training tracks, for want of a split "valid".
    """

    dataset: Dataset
    training: Dataset
    validation: tuple[Track, ...]
    held_out: bool


def find_data(recipe: Recipe, *, skip_bad: bool) -> TrainingData:
    """Find the tracks to train and to validate on; of the latter, the headers are read.

    Errors:
        AudioFileError: if a file to validate on cannot be read and `skip_bad` is not given.
        DatasetError: if there is no such dataset, a track lacks a file and `skip_bad` is not
            given, or there are too few tracks.
        ParameterError: if the recipe names no dataset.
    """
    data = recipe.data
    if data.path is None:
        raise ParameterError("data.path=None must be a dataset's folder or manifest; give --data")
    dataset = open_dataset(
        data.path, kind=data.kind, splits=("train", "valid"), skip_faulty=skip_bad
    )
    training, valid = dataset.split("train"), dataset.split("valid").tracks
    if held_out := not valid:
        valid = _held_out(training.tracks, data, recipe.seed)
        names = {track.name for track in valid}
        training = training.where(lambda track: track.name not in names)
    if not training.tracks:
        raise DatasetError(
            f"{str(dataset.root)!r} must have at least 2 tracks, of which one is for validation; "
            f"it has {len(dataset.tracks)}"
        )
    good = [track for track in valid if _is_good(track, skip_bad=skip_bad)]
    if not good:
        raise DatasetError(
            f"no validation track of {str(dataset.root)!r} can be read; mend one of "
            f"{', '.join(track.name for track in valid)}"
        )
    chosen = np.linspace(0, len(good) - 1, min(len(good), data.validation.tracks))
    tracks = tuple(good[round(place)] for place in chosen)
    return TrainingData(dataset, training, tracks, held_out)


def all_stems(model_stems: tuple[str, ...], dataset: Dataset) -> tuple[str, ...]:
    """Return the stems that make up the song: the model's, then those that it leaves to the rest.

    Errors:
        DatasetError: if two of the model's stems hold the same sound.

    >>> from pathlib import Path
    >>> from desmezcla.datasets.track import Source
    >>> stems = {name: (Source(Path(name)),) for name in ("vocals", "drums", "bass")}
    >>> dataset = Dataset("a", Path(), (Track("song", stems),))
    >>> all_stems(("drums",), dataset), all_stems(("vocals", "accompaniment"), dataset)
    (('drums', 'vocals', 'bass'), ('vocals', 'accompaniment'))
    """
    parts = component_stems(dataset.stems)
    covered: list[str] = []
    for stem in model_stems:
        left_out = None if stem in parts else left_out_stem(stem)
        covered += [stem] if left_out is None else [part for part in parts if part != left_out]
    twice = sorted({part for part in covered if covered.count(part) > 1})
    if twice:
        raise DatasetError(
            f"stems={list(model_stems)} hold {', '.join(twice)} more than once, and would not add "
            f"up to the song; the dataset's stems are {', '.join(dataset.stems)}"
        )
    return (*model_stems, *(part for part in parts if part not in covered))


class Batches:
    """Batches for training: a function of the seed and the step.

    Args:
        recipe: What to read, and how to change it.
        config: The model's.
        dataset: The tracks.
        skip_bad: Go on without files that cannot be read.
        decoding: Told of the files that are decoded into the cache.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: ModelConfig,
        dataset: Dataset,
        *,
        skip_bad: bool,
        decoding: Decoding | None = None,
    ) -> None:
        self.recipe = recipe
        self._loader: SegmentLoader | None = None
        self._stems = all_stems(config.stems, dataset)
        self._wanted = len(config.stems)
        self._fields: dict[str, Any] = {
            "stems": self._stems,
            "sample_rate": config.sample_rate,
            "channels": config.channels,
            "segment_samples": round(recipe.data.segment_s * config.sample_rate),
            "seed": recipe.seed,
            "cache": Path(recipe.data.cache) if recipe.data.cache else None,
            "progress": decoding,
            "skip_bad": skip_bad,
        }
        self.use(dataset)
        self._augment = augment_from(
            recipe.augmentation, stems=self._stems, sample_rate=config.sample_rate
        )

    def __call__(self, first_step: int, steps: int, rank: int, world_size: int) -> Iterable[Batch]:
        """Return the batches of some steps; the processes that read stay from call to call."""
        if self._loader is None:
            self._loader = SegmentLoader(
                self._segments,
                batch_size=self.recipe.batch_size,
                steps=steps,
                augment=self._augment,
                workers=self.recipe.data.workers,
                rank=rank,
                world_size=world_size,
            )
        self._loader.first_step, self._loader.steps = first_step, steps
        return _Chosen(self._loader, self._wanted)

    def use(self, dataset: Dataset) -> None:
        """Read the batches that follow from other tracks; their numbers go on."""
        self.close()
        self._loader, self._dataset = None, dataset
        mixing = self.recipe.data.random_mixing
        self._segments = Segments(dataset, random_mixing=mixing, **self._fields)

    def mixtures(self, examples: int) -> Iterator[Tensor]:
        """Yield about that many mixtures as they are in the songs, in batches `[B, C, T]`."""
        segments = Segments(self._dataset, random_mixing=0.0, **self._fields)
        size = min(self.recipe.batch_size, examples)
        workers = self.recipe.data.workers
        loader = SegmentLoader(
            segments, batch_size=size, steps=-(-examples // size), workers=workers
        )
        for mixture, _ in loader:
            yield mixture
        loader.close()

    def close(self) -> None:
        """End the processes that read."""
        if self._loader:
            self._loader.close()


class _Chosen:
    """Batches without the stems that only the mixture needs."""

    def __init__(self, loader: SegmentLoader, stems: int) -> None:
        self._loader, self._stems = loader, stems

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for mixture, stems in self._loader:
            yield mixture, stems[:, : self._stems]


def _is_good(track: Track, *, skip_bad: bool) -> bool:
    """Whether a track's files can be opened; an error if not, unless those are skipped."""
    try:
        track_info(track)
    except (AudioFileError, DatasetError) as error:
        if not skip_bad:
            raise
        logger.warning("track %r is left out: %s", track.name, error)
        return False
    return True


def _held_out(tracks: tuple[Track, ...], data: Data, seed: int) -> tuple[Track, ...]:
    """Draw the tracks that are validated on; in the order of the dataset."""
    count = max(1, round(data.validation.share * len(tracks)))
    drawn = np.random.default_rng([seed, 3]).permutation(len(tracks))[:count]
    return tuple(tracks[place] for place in sorted(drawn))
