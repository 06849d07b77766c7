"""Demucs: a U-Net on the waveform, with recurrence and attention inside.

References:
    Défossez, Usunier, Bottou and Bach, "Music Source Separation in the Waveform Domain", 2019.
    Residual branches: Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop
    at ISMIR 2021.

Differences from the paper:
    This is the third version, as the second paper has it: residual branches with recurrent layers
    and attention instead of one large LSTM in the middle, and GELU. The network of the first paper
    is `dconv_mode=0, gelu=False, lstm_layers=2`. Parameters have the names and shapes of the
    authors' program (version 4.1 of the package `demucs`), so that their weights fit.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.front_end import FrontEnd
from desmezcla.models.base import Core, ModelConfig, Part, SeparationModel
from desmezcla.nn.demucs_layers import (
    BranchOptions,
    MapNorm,
    RecurrentMemory,
    ResidualBranches,
    TimeConv,
    TimeConvTranspose,
    check_levels,
    deviation,
    features_last,
    gated,
    rescale_weights,
)
from desmezcla.spec import ModelSpec, ValidLengths

# What the deviation is at least, by which a segment is divided.
LEVEL_FLOOR = 1e-5

TINY: dict[str, Any] = {
    "depth": 2,
    "stride": 16,
    "kernel_size": 32,
    "hidden_channels": 8,
    "norm_starts": 1,
    "dconv_depth": 1,
    "dconv_attn": 1,
    "dconv_lstm": 1,
    "dconv_init": 0.1,
    "segment_s": 0.2,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of the published networks.

    Attributes:
        hidden_channels: Features of the first level.
        growth: Features of a level by those of the one before.
        depth: Levels.
        rewrite: A gate on each level.
        lstm_layers: Recurrent layers in the middle.
        kernel_size: Taps of the strided convolutions.
        stride: Of these.
        context: Samples on each side that the decoder's gates see.
        gelu: GELU between convolutions; ReLU if not.
        norm_starts: First level with group normalisation.
        norm_groups: Groups of that.
        dconv_mode: 1 for residual branches in the encoder, 2 in the decoder, 3 in both, 0 for none.
        dconv_depth: Residual branches one after the other.
        dconv_comp: Features of a level by those of a branch.
        dconv_attn: First level whose branches have attention.
        dconv_lstm: First level whose branches have recurrent layers.
        dconv_init: Initial scale of the branches.
        normalize: The network standardises what it is given by the mean of the channels.
        resample: The network works at twice the sample rate.
        rescale: Deviation that the initial weights are brought nearer to; 0 to leave them.
        segment_s: Seconds that the engine gives the model at once.
    """

    hidden_channels: int = Field(64, ge=1)
    growth: float = Field(2.0, ge=1)
    depth: int = Field(6, ge=1)
    rewrite: bool = True
    lstm_layers: int = Field(0, ge=0)
    kernel_size: int = Field(8, ge=1)
    stride: int = Field(4, ge=1)
    context: int = Field(1, ge=0)
    gelu: bool = True
    norm_starts: int = Field(4, ge=0)
    norm_groups: int = Field(4, ge=1)
    dconv_mode: int = Field(1, ge=0, le=3)
    dconv_depth: int = Field(2, ge=1)
    dconv_comp: float = Field(4.0, ge=1)
    dconv_attn: int = Field(4, ge=0)
    dconv_lstm: int = Field(4, ge=0)
    dconv_init: float = Field(1e-4, gt=0)
    normalize: bool = True
    resample: bool = True
    rescale: float = Field(0.1, ge=0)
    segment_s: float = Field(44.0, gt=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.kernel_size < self.stride:
            raise ValueError(
                f"kernel_size={self.kernel_size} must be at least stride={self.stride}, so that no "
                "sample is left out"
            )
        if self.resample and (self.kernel_size % 2 or self.stride % 2):
            raise ValueError(
                f"kernel_size={self.kernel_size} and stride={self.stride} must be even with "
                "resample, so that lengths can be halved"
            )
        check_levels(
            self.widths,
            norm_starts=self.norm_starts,
            norm_groups=self.norm_groups,
            compression=self.dconv_comp,
            attention_starts=self.dconv_attn,
        )
        return self

    @property
    def widths(self) -> list[int]:
        """Features of the levels."""
        widths = [self.hidden_channels]
        while len(widths) < self.depth:
            widths.append(int(self.growth * widths[-1]))
        return widths

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return max(1, round(self.segment_s * self.sample_rate))


class Demucs(SeparationModel[Config]):
    """The Demucs separator: `[B, C, T] -> [B, S, C, T]`."""

    doubling: Tensor
    halving: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.lengths = ValidLengths(
            depth=config.depth,
            kernel=config.kernel_size,
            stride=config.stride,
            oversampling=2 if config.resample else 1,
        )
        self.spec = ModelSpec(
            stems=config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            segment_samples=config.samples,
            normalise="track",
            window="triangle",
            valid_lengths=self.lengths,
        )
        doubling = torch.arange(-26, 27) - torch.tensor([[0.0], [0.5]])
        self.register_buffer("doubling", low_pass(doubling)[:, None], persistent=False)
        halving = torch.arange(-51, 53)[None] / 2
        self.register_buffer("halving", low_pass(halving)[:, None], persistent=False)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs, outputs = config.channels, len(config.stems) * config.channels
        for index, width in enumerate(config.widths):
            self.encoder.append(EncoderLayer(config, index, inputs, width))
            self.decoder.insert(0, DecoderLayer(config, index, width, outputs))
            inputs = outputs = width
        self.lstm = (
            RecurrentMemory(inputs, layers=config.lstm_layers) if config.lstm_layers else None
        )
        if config.rescale:
            rescale_weights(self, config.rescale)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._left(mix, self._network(*self._entered(mix)))

    def core(self) -> Core | None:
        """Return the network between the padding and the cut, with its resampling.

        There is none where recurrent layers cut what they see into pieces: how many is not known
        when the network is exported.
        """
        if self.config.dconv_mode and self.config.dconv_lstm < self.config.depth:
            return None
        places = (len(self.spec.stems), self.spec.channels)
        network = Part(self, lambda mix: torch.unflatten(self._network(mix), 1, places))
        floor = LEVEL_FLOOR if self.config.normalize else None
        return Core(network, FrontEnd(lengths=self.lengths, centred=True, level_floor=floor))

    def _entered(self, mix: Tensor) -> tuple[Tensor]:
        """Return the mixture with silence on both sides, up to a length that divides evenly."""
        level, scale = self._level(mix)
        more = self.lengths.above(mix.shape[-1]) - mix.shape[-1]
        return (F.pad((mix - level) / (LEVEL_FLOOR + scale), (more // 2, more - more // 2)),)

    def _left(self, mix: Tensor, stems: Tensor) -> Tensor:
        """Return the stems at the place and the level of the mixture.

        Shape:
            mix: `[B, C, T]`; stems: `[B, S·C, T']`; returns `[B, S, C, T]`.
        """
        level, scale = self._level(mix)
        before = (stems.shape[-1] - mix.shape[-1]) // 2
        stems = stems[..., before : before + mix.shape[-1]].float() * scale + level
        return torch.unflatten(stems, 1, (len(self.spec.stems), -1))

    def _level(self, mix: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the channels' mean. Shape: `[B, 1, 1]` each."""
        if not self.config.normalize:
            return mix.new_zeros(1), mix.new_ones(1)
        mono = mix.mean(1, keepdim=True)
        return mono.mean(2, keepdim=True), deviation(mono, (2,))

    def _network(self, mix: Tensor) -> Tensor:
        """Run the network. Shape: `[B, C, T] -> [B, S·C, T]`, T valid."""
        x = self._doubled(mix) if self.config.resample else mix
        x = features_last(x[:, :, None])  # [B, C, 1, T]
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        if self.lstm is not None:
            x = self.lstm(x)
        for decode in self.decoder:
            skip = skips.pop()
            before = (skip.shape[-1] - x.shape[-1]) // 2
            x = decode(x + skip[..., before : before + x.shape[-1]])
        return self._halved(x[:, :, 0]) if self.config.resample else x[:, :, 0]

    def _doubled(self, x: Tensor) -> Tensor:
        """Return audio at twice the rate. Shape: `[B, C, T] -> [B, C, 2T]`."""
        with torch.autocast(x.device.type, enabled=False):
            flat = F.pad(x.float().flatten(0, 1)[:, None], (26, 27), mode="replicate")
            both = F.conv1d(flat, self.doubling)  # [B·C, 2, T + 1]
        doubled = both.transpose(1, 2).flatten(1)[:, : 2 * x.shape[-1]]
        return torch.unflatten(doubled, 0, x.shape[:2])

    def _halved(self, x: Tensor) -> Tensor:
        """Return audio at half the rate. Shape: `[B, C, 2T] -> [B, C, T]`."""
        with torch.autocast(x.device.type, enabled=False):
            flat = F.pad(x.float().flatten(0, 1)[:, None], (51, 53), mode="replicate")
            half = F.conv1d(flat, self.halving, stride=2)  # [B·C, 1, T + 1]
        return torch.unflatten(half[:, 0, : x.shape[-1] // 2], 0, x.shape[:2])


def low_pass(distances: Tensor) -> Tensor:
    """Return filters that read a signal between its samples, as the authors' resampler has them.

    A sinc that cuts 5.5 % below half the rate, under a squared cosine of 24 zeros to each side.

    Shape:
        distances: from the place that is read, in samples of the lower rate, `[filters, taps]`;
        returns the same.
    """
    x = (0.945 * distances).clamp(-24, 24)
    taps = torch.sinc(x) * torch.cos(x * (math.pi / 48)).square()
    return taps / taps.sum(-1, keepdim=True)


class EncoderLayer(nn.Sequential):
    """Strided convolution, residual branches, gate. Shape: `[B, H, 1, T] -> [B, H', 1, T']`."""

    def __init__(self, config: Config, index: int, inputs: int, width: int) -> None:
        super().__init__(
            TimeConv(inputs, width, config.kernel_size, stride=config.stride),
            normalisation(config, index, width),
            nn.GELU() if config.gelu else nn.ReLU(),
            *([branches(config, index, width)] if config.dconv_mode & 1 else []),
            *gate(config, index, width, taps=1),
        )
        self.gated = config.rewrite

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        parts, last = list(self), []
        if self.gated:
            parts, last = parts[:-3], parts[-3:]
        for part in parts:
            x = part(x)
        return gated(x, cast(TimeConv, last[0]), last[1]) if last else x


class DecoderLayer(nn.Sequential):
    """Gate, residual branches, transposed convolution. Shape: `[B, H, 1, T] -> [B, H', 1, T']`."""

    def __init__(self, config: Config, index: int, width: int, outputs: int) -> None:
        end = (normalisation(config, index, outputs), nn.GELU() if config.gelu else nn.ReLU())
        super().__init__(
            *gate(config, index, width, taps=2 * config.context + 1),
            *([branches(config, index, width)] if config.dconv_mode & 2 else []),
            TimeConvTranspose(width, outputs, config.kernel_size, config.stride),
            *(end if index > 0 else ()),
        )
        self.gated = config.rewrite

    def forward(self, x: Tensor) -> Tensor:
        """Decode."""
        parts = list(self)
        if self.gated:
            conv, norm, _, *parts = parts
            x = gated(x, cast(TimeConv, conv), norm)
        for part in parts:
            x = part(x)
        return x


def gate(config: Config, index: int, features: int, *, taps: int) -> list[nn.Module]:
    """Return the convolution, normalisation and gate of a level, if it has them."""
    if not config.rewrite:
        return []
    return [
        TimeConv(features, 2 * features, taps, padding=taps // 2),
        normalisation(config, index, 2 * features),
        nn.GLU(1),
    ]


def normalisation(config: Config, index: int, features: int) -> nn.Module:
    """Return the normalisation of a level."""
    if index < config.norm_starts:
        return nn.Identity()
    return MapNorm(config.norm_groups, features)


def branches(config: Config, index: int, features: int) -> ResidualBranches:
    """Return the residual branches of a level."""
    options = BranchOptions(
        config.dconv_depth,
        config.dconv_comp,
        config.dconv_init,
        lstm=index >= config.dconv_lstm,
        attention=index >= config.dconv_attn,
    )
    return ResidualBranches(features, options)
