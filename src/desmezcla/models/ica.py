"""ICA: two channels that are sums of two independent sources, taken apart by one matrix.

References:
    Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis", IEEE
    Transactions on Neural Networks 10(3), 1999.
    Matsuoka and Nakashima, "Minimal distortion principle for blind source separation", ICA 2001.

Differences from the paper:
    The iteration begins with the best of several rotations, so that it does not depend on where
    the channels happen to stand. Components have no level of their own: each is given out as its
    part of the two channels (the minimal distortion principle), and these add up to the mixture.
    With one channel, or two that are multiples of each other, there is one component: the second
    stem is silent. Delays and reverberation between the channels are no part of this model. The
    engine gives the model a segment at a time, and each finds its own components.
"""

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.dsp.ica import unmixing_matrix
from desmezcla.models.base import ModelConfig, SeparationModel
from desmezcla.spec import ModelSpec

TINY: dict[str, Any] = {"segment_s": 0.1}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: Two names, for the components from left to right.
        starts: Rotations that are tried before the best is improved.
        iterations: Most steps of the fixed-point iteration.
        tolerance: Change of the directions, as 1 - |cosine|, at which it ends.
        seed: Seed of the starts.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[str, str] = ("source1", "source2")
    starts: int = Field(8, ge=1)
    iterations: int = Field(100, ge=1)
    tolerance: float = Field(1e-10, gt=0)
    seed: int = 0
    segment_s: float = Field(30.0, gt=0)


class Ica(SeparationModel[Config]):
    """Independent component analysis: `[B, C, T] -> [B, S, C, T]`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = ModelSpec(
            stems=config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            segment_samples=max(1, round(config.segment_s * config.sample_rate)),
        )

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        # Matrices are estimated in full precision, whatever autocast says.
        with torch.autocast(mix.device.type, enabled=False):
            return torch.stack([self._images(item) for item in mix])

    def _images(self, mix: Tensor) -> Tensor:
        """Return what each component puts into the channels: `[C, T] -> [S, C, T]`."""
        config = self.config
        unmixing = unmixing_matrix(
            mix,
            starts=config.starts,
            iterations=config.iterations,
            tolerance=config.tolerance,
            generator=torch.Generator().manual_seed(config.seed),
        )
        images = mix.new_zeros(len(config.stems), *mix.shape)
        mixing = torch.linalg.pinv(unmixing)  # [C, K]
        right, left = mixing[-1].abs(), mixing[0].abs()
        order = sorted(range(len(unmixing)), key=lambda k: math.atan2(right[k], left[k]))
        for stem, component in enumerate(order):
            projection = torch.outer(mixing[:, component], unmixing[component])
            images[stem] = (projection @ mix.double()).to(mix)
        # What no component explains (the mean of a constant channel) goes to the first.
        images[0] += mix - images.sum(0)
        return images
