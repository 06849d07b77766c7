"""Random segments of songs to train on, a function of a seed and a number."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.cache import BadSourceError
from desmezcla.datasets.clips import Progress, TrackClips, prepare
from desmezcla.datasets.track import Dataset
from desmezcla.errors import DatasetError, ParameterError

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]
Place = tuple[TrackClips, int]
"""A track, and the first sample of a segment in it."""

# Draws for one example before the dataset is taken to be unreadable.
_MAX_DRAWS = 100
# Below this level, -80 dB, a segment counts as silent.
_SILENCE = 1e-4


class Segments:
    """Segments of equal length from random places of random tracks.

    Example i is drawn by a generator seeded with `[seed, 0, i]`: it is the same in any process, at
    any time, so that training resumes by going on to the next number. A track that is shorter than
    a segment is followed by silence, and so is a stem that ends before the others; a stem that a
    track does not have is silent.

    Only the samples of the segment are read, see `prepare`, which is called at the beginning.

    Args:
        dataset: The tracks.
        stems: Which stems, in this order.
        sample_rate: In Hz.
        channels: 1 or 2.
        segment_samples: Length of a segment.
        seed: Of the random numbers.
        random_mixing: Probability that an example takes each stem from a place of its own, of a
            track that is drawn among those that have the stem.
        weighting: "length" draws a track in proportion to its length, so that every second of
            music comes equally often; "uniform" draws all tracks equally often.
        silent_redraws: How often another place is drawn while all stems are silent (-80 dB).
        cache: Folder of decoded files; None for `$DESMEZCLA_HOME/cache`.
        jobs: Files that are decoded at once.
        progress: Called with the number of files that are decoded and their number in all.
        skip_bad: Leave out, with a warning, tracks with a file that cannot be read. Where this
            shows only while an example is read, that example is drawn again.

    Errors:
        DatasetError: as `prepare`.
        ParameterError: if an argument is out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        stems: tuple[str, ...],
        sample_rate: int,
        channels: int,
        segment_samples: int,
        seed: int = 0,
        random_mixing: float = 0.0,
        weighting: Literal["length", "uniform"] = "length",
        silent_redraws: int = 0,
        cache: Path | None = None,
        jobs: int = 1,
        progress: Progress | None = None,
        skip_bad: bool = False,
    ) -> None:
        if segment_samples < 1 or seed < 0 or silent_redraws < 0:
            raise ParameterError(
                f"segment_samples={segment_samples} must be 1 or more, seed={seed} and "
                f"silent_redraws={silent_redraws} 0 or more"
            )
        if not 0 <= random_mixing <= 1:
            raise ParameterError(f"random_mixing={random_mixing} is a probability, 0 to 1")
        if weighting not in ("length", "uniform"):
            raise ParameterError(f"weighting={weighting!r} must be 'length' or 'uniform'")
        self.stems, self.seed = stems, seed
        self.sample_rate, self.channels = sample_rate, channels
        self.segment_samples = segment_samples
        self._random_mixing = random_mixing
        self._silent_redraws, self._skip_bad = silent_redraws, skip_bad
        self._warned: set[str] = set()
        tracks = prepare(
            dataset,
            stems=stems,
            sample_rate=sample_rate,
            channels=channels,
            cache=cache,
            jobs=jobs,
            progress=progress,
            skip_bad=skip_bad,
        )
        uniform = weighting == "uniform"
        self._songs = _Choice(tracks, None, uniform)
        self._choices = {stem: _Choice(tracks, stem, uniform) for stem in stems}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape `[S, C, T]` of an example."""
        return len(self.stems), self.channels, self.segment_samples

    def example(self, index: int) -> Audio:
        """Return example number `index`, from 0.

        Shape:
            returns `[S, C, T]`.

        Errors:
            DatasetError: if a file cannot be read.
        """
        example = np.empty(self.shape, np.float32)
        for problem in self.draw(index, example):
            self.warn(problem)
        return example

    def draw(self, index: int, out: Audio) -> list[str]:
        """Write example number `index` to `out`, and return what was wrong with other draws.

        Shape:
            out: `[S, C, T]`.

        Errors:
            DatasetError: if a file cannot be read.
        """
        rng = np.random.default_rng([self.seed, 0, index])
        problems: list[str] = []
        silent = 0
        while len(problems) < _MAX_DRAWS:
            places = self._places(rng)
            try:
                self._read(places, out)
            except BadSourceError as error:
                if not self._skip_bad:
                    raise
                problems.append(str(error))
                continue
            if silent == self._silent_redraws or max(out.max(), -out.min()) >= _SILENCE:
                return problems
            silent += 1
        raise DatasetError(
            f"example {index} could not be read in {_MAX_DRAWS} draws; the last problem was: "
            f"{problems[-1]}"
        )

    def warn(self, problem: str) -> None:
        """Log a problem, unless it has been logged before."""
        if problem not in self._warned:
            self._warned.add(problem)
            _log.warning("another segment is taken: %s", problem)

    def _places(self, rng: np.random.Generator) -> list[Place]:
        if rng.random() < self._random_mixing:
            return [self._choices[stem].draw(rng, self.segment_samples) for stem in self.stems]
        return [self._songs.draw(rng, self.segment_samples)] * len(self.stems)

    def _read(self, places: list[Place], out: Audio) -> None:
        for stem, (track, start), target in zip(self.stems, places, out, strict=True):
            is_empty = True
            for clip in track.stems[stem]:
                samples = min(self.segment_samples, clip.length_samples - start)
                if samples <= 0:
                    continue
                if is_empty:
                    clip.read(start, target[:, :samples])
                    target[:, samples:] = 0
                    is_empty = False
                else:
                    part = np.empty((self.channels, samples), np.float32)
                    clip.read(start, part)
                    target[:, :samples] += part
            if is_empty:
                target[:] = 0


class _Choice:
    """Draws places in tracks: whole tracks, or only one stem of those that have it."""

    def __init__(self, tracks: tuple[TrackClips, ...], stem: str | None, uniform: bool) -> None:
        self.tracks = [track for track in tracks if track.length_samples(stem)]
        self.lengths = [track.length_samples(stem) for track in self.tracks]
        self.bounds = np.cumsum(np.ones(len(self.tracks)) if uniform else self.lengths)

    def draw(self, rng: np.random.Generator, segment_samples: int) -> Place:
        """Draw a track, and a place at which a segment fits into it if one does at all."""
        at = rng.random() * self.bounds[-1]
        chosen = int(np.searchsorted(self.bounds[:-1], at, side="right"))
        last = max(0, self.lengths[chosen] - segment_samples)
        return self.tracks[chosen], int(rng.integers(last, endpoint=True))
