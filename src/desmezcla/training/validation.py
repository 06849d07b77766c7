"""Scores of a model while it is trained: by its losses, and by what its user will hear."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.audio.resample import resampled_length
from desmezcla.datasets.reading import read_stem, track_info
from desmezcla.datasets.track import Track
from desmezcla.errors import AudioFileError, DatasetError
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine
from desmezcla.models import SeparationModel
from desmezcla.training.objective import Objective
from desmezcla.training.recipe import Recipe

logger = logging.getLogger(__name__)

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class TrackScores:
    """What one excerpt gave.

    Attributes:
        losses: By name, with "total".
        sdr_db: By stem; a stem that is silent in the excerpt, or in the estimate, is not in it.
    """

    losses: dict[str, float]
    sdr_db: dict[str, float]


@dataclass(frozen=True)
class Validator:
    """Scores a model on the middle of some tracks.

    Attributes:
        tracks: The tracks.
        recipe: Says which stems, and how much of each track.
        objective: The losses.
        skip_bad: Go on without tracks that cannot be read.
    """

    tracks: tuple[Track, ...]
    recipe: Recipe
    objective: Objective
    skip_bad: bool = False

    def scores(self, model: SeparationModel[Any], tracks: Sequence[Track]) -> list[TrackScores]:
        """Score a model on some of the tracks.

        Errors:
            AudioFileError: if a file cannot be read, and that is not to be skipped.
        """
        scores = []
        for track in tracks:
            try:
                scores.append(self.score(model, track))
            except AudioFileError as error:
                if not self.skip_bad:
                    raise
                logger.warning("validation goes on without track %r: %s", track.name, error)
        return scores

    def score(self, model: SeparationModel[Any], track: Track) -> TrackScores:
        """Score a model on the excerpt of one track.

        The losses are those of what the network puts out; the SDR is that of the stems as the
        engine, filter and all, gives them to a user.
        """
        device = next(model.parameters()).device
        spec = model.spec
        mixture, stems = self._excerpt(model, track)
        model.eval()
        with torch.no_grad():
            batch = (torch.from_numpy(audio)[None].to(device) for audio in (mixture, stems))
            losses = {k: float(v) for k, v in self.objective(model, *batch).items()}
        engine = torch_engine(model, EngineOptions(device=str(device)))
        blocks = engine.stream(ArraySource(mixture, spec.sample_rate))
        estimates = np.concatenate(list(blocks), axis=-1)
        sdr_db = {}
        for stem in self.recipe.trained_stems:
            place = spec.stems.index(stem)
            value = sdr(stems[place], estimates[place])
            if np.isfinite(value):
                sdr_db[stem] = value
        return TrackScores(losses, sdr_db)

    def _excerpt(self, model: SeparationModel[Any], track: Track) -> tuple[Audio, Audio]:
        """Return the middle of a track. Shape: `[C, T]` and `[S, C, T]`."""
        spec, excerpt_s = model.spec, self.recipe.data.validation.excerpt_s
        info = track_info(track)
        length = resampled_length(info.length_samples, info.sample_rate, spec.sample_rate)
        samples = min(length, max(1, round(excerpt_s * spec.sample_rate)))
        part = {
            "sample_rate": spec.sample_rate,
            "channels": spec.channels,
            "start_samples": (length - samples) // 2,
            "samples": samples,
        }
        stems = [read_stem(track, stem, **part) for stem in model.config.stems]
        return read_stem(track, "mixture", **part), np.stack(stems)


def summarise(scores: Sequence[TrackScores], stems: Sequence[str]) -> dict[str, Any]:
    """Return mean losses, and the median SDR over the tracks for each stem and their mean.

    A stem without a single finite score is not in it.

    Errors:
        DatasetError: if there are no scores.
    """
    if not scores:
        raise DatasetError("no validation track could be read; mend one, or take other data")
    names = scores[0].losses
    by_stem = {stem: [s.sdr_db[stem] for s in scores if stem in s.sdr_db] for stem in stems}
    medians = {stem: float(np.median(values)) for stem, values in by_stem.items() if values}
    return {
        "loss": {name: float(np.mean([s.losses[name] for s in scores])) for name in names},
        "sdr_db": medians,
        "mean_sdr_db": float(np.mean(list(medians.values()))) if medians else None,
        "tracks": len(scores),
    }


def sdr(reference: Audio | Tensor, estimate: Audio | Tensor) -> float:
    """Return the plain ratio of signal to distortion in dB, `10 log10(|s|² / |s - e|²)`.

    It is not finite where the reference is silent, or the estimate perfect.

    Shape:
        both `[C, T]`.

    >>> round(sdr(np.ones((1, 10)), np.full((1, 10), 0.9)), 1)
    20.0
    """
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.square(s).sum() / np.square(s - e).sum()))
