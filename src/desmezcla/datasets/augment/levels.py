"""Levels: gain, polarity, silence, normalisation."""

from typing import Literal

import numpy as np
from pydantic import Field

from desmezcla.datasets.augment.base import (
    Audio,
    ExampleAugmentation,
    Range,
    StemAugmentation,
)


class Gain(StemAugmentation):
    """Multiply a stem by a factor drawn evenly: y = g·x, as Open-Unmix trains.

    Attributes:
        factor: Range of g.
    """

    kind: Literal["gain"] = "gain"
    factor: Range = (0.25, 1.25)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with another level."""
        changed: Audio = audio * np.float32(rng.uniform(*self.factor))
        return changed


class GainDb(StemAugmentation):
    """Multiply a stem by a factor whose level is drawn evenly: y = 10^(G/20)·x.

    Attributes:
        range_db: Range of G, dB.
    """

    kind: Literal["gain_db"] = "gain_db"
    range_db: Range = (-9.0, 3.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with another level."""
        changed: Audio = audio * np.float32(10 ** (rng.uniform(*self.range_db) / 20))
        return changed


class Polarity(StemAugmentation):
    """Turn a stem upside down: y = -x."""

    kind: Literal["polarity"] = "polarity"
    p: float = Field(default=0.5, ge=0, le=1)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `-audio`."""
        return -audio


class Silence(StemAugmentation):
    """Leave a stem out of the song: y = 0."""

    kind: Literal["silence"] = "silence"
    p: float = Field(default=0.1, ge=0, le=1)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return zeros."""
        return np.zeros_like(audio)


class Normalise(ExampleAugmentation):
    """Bring the highest sample of the mixture to a level, and the targets by the same gain.

    The mixture then lies in [-peak, peak]; a silent one stays as it is.

    Attributes:
        peak: The level, 1 for full scale.
    """

    kind: Literal["normalise"] = "normalise"
    peak: float = Field(default=1.0, gt=0)

    def __call__(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        """Return mixture `[C, T]` and stems `[S, C, T]` with another level."""
        highest = float(np.abs(mixture).max(initial=0.0))
        if highest == 0.0 or rng.random() >= self.p:
            return mixture, stems
        # Dividing last leaves the peak at exactly 1.
        return (
            mixture / np.float32(highest) * np.float32(self.peak),
            stems / np.float32(highest) * np.float32(self.peak),
        )
