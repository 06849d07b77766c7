"""What an evaluation gives: scores of stems, of tracks, and of a system over many tracks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from desmezcla.evaluation.config import BssEvalConfig

Frames = NDArray[np.float64]

# One value per frame, in the order in which papers print them.
FRAME_METRICS = ("SDR", "ISR", "SIR", "SAR")

# One value per track.
TRACK_METRICS = ("global_SDR", "SI-SDR")

METRICS = FRAME_METRICS + TRACK_METRICS

StemScores = TypedDict(
    "StemScores",
    {
        "SDR": Frames,
        "ISR": Frames,
        "SIR": Frames,
        "SAR": Frames,
        "global_SDR": float,
        "SI-SDR": float,
    },
)
"""Scores of one stem in dB: one value per frame `[frames]`, or one for the track.

A frame that cannot be scored, because a reference or an estimate is silent in it, is NaN.
"""

Scores = dict[str, StemScores]
"""By name of the stem."""

# The waveform that is drawn below curves of scores has one value for so much time.
PEAK_HOP_S = 0.1


@dataclass(frozen=True)
class TrackScores:
    """Scores of one track.

    Attributes:
        track: Its name, unique among the tracks of a result.
        stems: Scores by name of the stem.
        config: How they were made.
        split: Part of the dataset, "test" as a rule.
        genre: As the dataset states it, or "".
        duration_s: Length of the references.
        peaks: Largest magnitude of the mixture in each `PEAK_HOP_S` of time, for drawings; may be
            empty (results of other programs).
        notes: What is to be known of the scores, one sentence each: silent stems, for instance.
    """

    track: str
    stems: Scores
    config: BssEvalConfig
    split: str = "test"
    genre: str = ""
    duration_s: float = 0.0
    peaks: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """Scores of one system (a release, an oracle, somebody's estimates) on the tracks of a dataset.

    Attributes:
        name: What it is called in tables.
        tracks: In the order of their names.
        root: The folder that they were read from; excerpts of audio may lie in it.
        about: What `evaluation.json` says: "system", "dataset", "config", "version"; empty for
            results of other programs.
    """

    name: str
    tracks: tuple[TrackScores, ...]
    root: Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of all stems that were scored, the four usual ones first."""
        usual = ("vocals", "drums", "bass", "other")
        found = {stem for track in self.tracks for stem in track.stems}
        return (*(s for s in usual if s in found), *sorted(found.difference(usual)))
