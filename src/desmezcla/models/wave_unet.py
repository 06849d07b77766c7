"""Wave-U-Net: a U-Net of one-dimensional convolutions on the waveform.

Reference:
    Stoller, Ewert and Dixon, "Wave-U-Net: A Multi-Scale Neural Network for End-to-End Audio Source
    Separation", ISMIR 2018.

Differences from the paper:
    None in the network. The defaults are those of M6, the paper's model for several instruments:
    input context, difference output, stereo, linear upsampling. Beyond the ends of what it is given
    the model sees zeros, where the paper's training gives it what is there in the track; the
    engine discards as much as the context reaches. Without context, the interpolation after the
    last frame repeats it.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.front_end import FrontEnd
from desmezcla.models.base import Core, ModelConfig, Part, SeparationModel
from desmezcla.spec import ModelSpec, ValidLengths

TINY: dict[str, Any] = {"levels": 3, "filters": 8, "segment_s": 0.1}

SLOPE = 0.2


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper's M6.

    Attributes:
        levels: Levels of the U-Net; each halves the rate.
        filters: Features of the first level, by which every level has more than the one before.
        down_kernel: Taps of the convolutions on the way down, odd.
        up_kernel: Taps of the convolutions on the way up, odd.
        context: Convolve without padding, so that every output comes from real input; the input
            is as much longer than the output.
        difference: The last stem is the mixture less the others, and has no output of its own.
        learned_upsampling: Learn for each feature where between its neighbours a new frame lies
            (M5), and not halfway.
        segment_s: Seconds that the engine gives the model at once.
    """

    sample_rate: int = 22050
    levels: int = Field(12, ge=1, le=16)
    filters: int = Field(24, ge=1)
    down_kernel: int = Field(15, ge=1)
    up_kernel: int = Field(5, ge=1)
    context: bool = True
    difference: bool = True
    learned_upsampling: bool = False
    segment_s: float = Field(20.0, gt=0)

    @model_validator(mode="after")
    def _options_fit(self) -> "Config":
        for field, kernel in (("down_kernel", self.down_kernel), ("up_kernel", self.up_kernel)):
            if kernel % 2 == 0:
                raise ValueError(f"{field}={kernel} must be odd")
        if self.difference and len(self.stems) < 2:
            raise ValueError(f"difference=True needs two stems or more, not {self.stems}")
        return self

    def shrinkage(self, level: int) -> int:
        """Return how many frames fewer than came in come out of a level and all below it.

        The bottleneck takes one kernel. A level above doubles what is lost below it, and takes a
        kernel on either way.
        """
        lost = self.down_kernel - 1
        for _ in range(self.levels - level):
            lost = 2 * lost + self.down_kernel - 1 + self.up_kernel - 1
        return lost if self.context else 0


class WaveUNet(SeparationModel[Config]):
    """The Wave-U-Net separator: `[B, C, T] -> [B, S, C, T]`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        unit = 2**config.levels
        segment_samples = max(unit, round(config.segment_s * config.sample_rate))
        self.spec = ModelSpec(
            stems=config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            segment_samples=segment_samples,
            context_samples=min(config.shrinkage(0) // 2, segment_samples // 4),
            # From there every level keeps the same samples as in the whole track.
            hop_samples=unit,
        )
        self.network = UNet(config)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        stems: Tensor = self.network(self._padded(mix))
        return stems[..., : mix.shape[-1]]

    def core(self) -> Core:
        """Return the whole model but for the padding; see `SeparationModel.core`."""
        config = self.config
        unit = 2**config.levels
        if not config.context:
            return Core(self.network, FrontEnd(lengths=ValidLengths.multiples(unit)))
        # Multiples of the unit, less what all levels lose; see `_padded`.
        kernel = unit - (unit - 1) * config.up_kernel
        lengths = ValidLengths(depth=1, kernel=kernel, stride=unit)
        around = config.shrinkage(0) // 2
        network = Part(self, lambda mix: self.network(F.pad(mix, (around, around))))
        return Core(network, FrontEnd(lengths=lengths))

    def _padded(self, mix: Tensor) -> Tensor:
        """Return the mixture with zeros around it, so that every level has whole frames."""
        config, length = self.config, mix.shape[-1]
        unit = 2**config.levels
        if not config.context:
            return F.pad(mix, (0, -length % unit))
        # A level makes 2·m - up_kernel frames of m below it, so all levels make
        # unit·m - (unit - 1)·up_kernel samples of m frames at the bottleneck.
        lost = (unit - 1) * config.up_kernel
        wanted = -(-(length + lost) // unit) * unit - lost
        around = config.shrinkage(0) // 2
        return F.pad(mix, (around, around + wanted - length))


class UNet(nn.Module):
    """The network, for a mixture of a length that fits its levels."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [config.filters * (level + 1) for level in range(config.levels + 1)]
        padding = "valid" if config.context else "same"
        self.down = nn.ModuleList(
            nn.Conv1d(wide, wanted, config.down_kernel, padding=padding)
            for wide, wanted in pairwise([config.channels, *widths])
        )
        self.upsampling = nn.ModuleList(
            Upsampling(widths[level + 1], learned=config.learned_upsampling, context=config.context)
            for level in range(config.levels)
        )
        self.up = nn.ModuleList(
            nn.Conv1d(
                widths[level] + widths[level + 1],
                widths[level],
                config.up_kernel,
                padding=padding,
            )
            for level in range(config.levels)
        )
        self.outputs = len(config.stems) - config.difference
        self.exit = nn.Conv1d(widths[0] + config.channels, self.outputs * config.channels, 1)

    def forward(self, mix: Tensor) -> Tensor:
        """Return the stems. Shape: `[B, C, T'] -> [B, S, C, T]`, T' as much longer as is lost."""
        config = self.config
        x, skips = mix, []
        *levels, bottleneck = self.down
        for down in levels:
            skips.append(F.leaky_relu(down(x), SLOPE))
            x = skips[-1][..., ::2]
        x = F.leaky_relu(bottleneck(x), SLOPE)
        for level in reversed(range(config.levels)):
            x = self.upsampling[level](x)
            # What the levels below lost is lost twice as often here: the half of it at each end.
            skip = cropped(skips[level], config.shrinkage(level + 1))
            x = F.leaky_relu(self.up[level](torch.cat([skip, x], 1)), SLOPE)
        seen = cropped(mix, config.shrinkage(0) // 2)  # [B, C, T]
        stems: Tensor = self.exit(torch.cat([seen, x], 1)).tanh()
        stems = stems.reshape(len(mix), self.outputs, *seen.shape[1:])  # [B, S or S - 1, C, T]
        if config.difference:
            stems = torch.cat([stems, (seen - stems.sum(1))[:, None]], 1)
        return stems


class Upsampling(nn.Module):
    """Put a frame between any two, from n to 2·n - 1 with context, else to 2·n."""

    def __init__(self, features: int, *, learned: bool, context: bool) -> None:
        super().__init__()
        self.context = context
        self.place = nn.Parameter(torch.zeros(features, 1)) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, n] -> [B, H, 2·n - 1]` or `[B, H, 2·n]`."""
        after = torch.cat([x[..., 1:], x[..., -1:]], -1)
        share = 0.5 if self.place is None else self.place.sigmoid()
        between = share * x + (1 - share) * after
        doubled = torch.stack([x, between], -1).flatten(-2)  # [B, H, 2·n]
        return doubled[..., :-1] if self.context else doubled


def cropped(x: Tensor, frames: int) -> Tensor:
    """Return x without so many frames at each end."""
    return x[..., frames:-frames] if frames else x
