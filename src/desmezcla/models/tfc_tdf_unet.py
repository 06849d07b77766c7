"""TFC-TDF-UNet: a U-Net of convolutions and dense layers over frequency on the complex spectrum.

Reference:
    Kim, Choi, Chung, Lee and Jung, "KUIELab-MDX-Net: A Two-Stream Neural Network for Music
    Demixing", MDX Workshop at ISMIR 2021 (version 2). Kim, Lee and Jung, "Sound Demixing Challenge
    2023 Music Demixing Track Technical Report: TFC-TDF-UNet v3", arXiv:2306.09382, 2023
    (version 3). Both go back to Choi, Kim, Chung, Lee and Jung, "Investigating U-Nets with various
    Intermediate Blocks for Spectrogram-based Singing Voice Separation", ISMIR 2020.

Differences from the paper:
    Left out of version 2 are what comes after the networks of the stems: the mixer, one 1x1
    convolution over all their outputs, and the average with Demucs. The paper has another `n_fft`
    for every stem (vocals 6144, drums 4096, bass 16384, other 8192); here one transform serves all
    of them, that of the vocals by default: train a stem by itself for another. Any number of
    frames is taken, and filled up with zeros to a multiple of 2 to the number of scales. The
    densely connected version 1 and group normalisation are not built.
"""

from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.stft import istft, stft
from desmezcla.models.base import (
    Core,
    ModelConfig,
    SpectralModel,
    complex_of,
    parts_of,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.stem_networks import StemNetworks
from desmezcla.spec import ValidLengths

TINY: dict[str, Any] = {
    "joint": True,
    "n_fft": 128,
    "hop_length": 64,
    "network_bins": 64,
    "scales": 2,
    "layers": 1,
    "width": 8,
    "growth": 4,
    "bottleneck_factor": 2,
    "segment_s": 0.1,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of KUIELab-MDX-Net for the vocals.

    Version 3, as its paper trains it on MUSDB18-HQ, is `version="v3", joint=True, n_fft=8192,
    network_bins=4096, subbands=4, layers=2, width=128, growth=128, bottleneck_factor=4,
    norm="instance", activation="gelu"`.

    Attributes:
        version: "v2" multiplies the decoder by the encoder; "v3" has residual blocks that
            normalise first, and concatenates.
        joint: One network for all stems instead of one for each.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        network_bins: The network sees that many bins from the lowest; the stems have no others.
        subbands: Parts of equal width that the bins are divided into and that become channels.
        scales: Times that bins and frames are halved.
        layers: Convolutions of a block (v2), or blocks at each scale (v3).
        width: Features at the finest scale.
        growth: Features that each coarser scale has more.
        bottleneck_factor: By how much fewer than the bins a dense layer over them has features.
        norm: Normalisation over the batch, or of each example by itself.
        activation: Function after a normalisation.
        segment_s: Seconds that the engine gives the model at once; 256 frames by default.
    """

    version: Literal["v2", "v3"] = "v2"
    joint: bool = False
    n_fft: int = Field(6144, ge=8, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    network_bins: int = Field(2048, ge=4)
    subbands: int = Field(1, ge=1)
    scales: int = Field(5, ge=1)
    layers: int = Field(3, ge=1)
    width: int = Field(32, ge=1)
    growth: int = Field(32, ge=0)
    bottleneck_factor: int = Field(8, ge=1)
    norm: Literal["batch", "instance"] = "batch"
    activation: Literal["relu", "gelu"] = "relu"
    segment_s: float = Field(255 * 1024 / 44100, gt=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.network_bins > self.n_fft // 2 + 1:
            raise ValueError(
                f"network_bins={self.network_bins} must be at most the {self.n_fft // 2 + 1} bins "
                f"of n_fft={self.n_fft}"
            )
        parts = self.subbands * 2**self.scales
        # Two features at least, since the statistics of a single one are not defined.
        if self.network_bins % parts or self.network_bins < 2 * parts * self.bottleneck_factor:
            raise ValueError(
                f"network_bins={self.network_bins} must be a multiple of {parts} (subbands times 2 "
                f"to the number of scales) and at least {2 * parts * self.bottleneck_factor}, so "
                f"that bottleneck_factor={self.bottleneck_factor} leaves two of the coarsest bins"
            )
        return self

    @property
    def planes(self) -> int:
        """Planes that the network sees: real and imaginary parts of the subbands of a channel."""
        return 2 * self.channels * self.subbands

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Features and bins of every scale, from the finest."""
        bins = self.network_bins // self.subbands
        return [(self.width + i * self.growth, bins >> i) for i in range(self.scales + 1)]

    @property
    def steps(self) -> list[tuple[int, int]]:
        """Features before and after every step to a coarser scale."""
        return list(pairwise(features for features, _ in self.sizes))

    def function(self) -> nn.Module:
        """Return the activation; it writes over its input where it can."""
        return nn.ReLU(inplace=True) if self.activation == "relu" else nn.GELU()

    def normalised(self, features: int) -> tuple[nn.Module, nn.Module]:
        """Return an untrained normalisation and the activation after it."""
        norms = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
        return norms[self.norm](features, affine=True), self.function()


class TfcTdfUnet(SpectralModel[Config]):
    """The TFC-TDF-UNet separator: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=config.n_fft // 2,
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.lengths = ValidLengths.multiples(2**config.scales)
        kind = Version2 if config.version == "v2" else Version3
        self.networks = StemNetworks(partial(kind, config), config.stems, joint=config.joint)

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the estimated STFTs; see `SpectralModel`."""
        parts = parts_of(self.transform(mix))
        frames = parts.shape[2]
        parts = F.pad(parts, (0, 0, 0, 0, 0, self.lengths.above(frames) - frames))
        return complex_of(self._estimates(parts)[:, :, :, :frames])

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._waveforms(self.spectra(mix), mix.shape[-1])

    def core(self) -> Core:
        """Return what lies between the STFT and its inverse; see `Core`."""
        framing = stft_framing(self.window, self.config.hop_length)
        return spectral_core(self, self._estimates, framing, lengths=self.lengths)

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem; an error if one serves all."""
        return self.networks.of(stem)

    def _estimates(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra, of as many frames as `lengths` allows.

        Shape:
            parts: `[B, C, N, F, 2]`; returns `[B, S, C, N, F, 2]`.
        """
        config = self.config
        x = parts[..., : config.network_bins, :].permute(0, 1, 4, 2, 3).flatten(1, 2)
        x = torch.unflatten(x, -1, (config.subbands, -1))  # [B, 2C, N, K, F'/K]
        planes = self.networks(x.transpose(2, 3).flatten(1, 2))  # [B, S, C·2·K, N, F'/K]
        places = (config.channels, 2, config.subbands)
        x = torch.unflatten(planes.to(self.window.dtype), 2, places)
        x = x.transpose(-2, -3).flatten(-2)  # [B, S, C, 2, N, F']
        x = F.pad(x, (0, config.n_fft // 2 + 1 - config.network_bins))
        return x.permute(0, 1, 2, 4, 5, 3)

    def _waveforms(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)


class Version2(nn.Module):
    """A U-Net whose decoder is multiplied by the encoder."""

    def __init__(self, config: Config, stems: int) -> None:
        super().__init__()
        sizes, steps, new = config.sizes, config.steps, config.normalised
        self.entry = nn.Sequential(nn.Conv2d(config.planes, config.width, 1), *new(config.width))
        self.encoder = nn.ModuleList([Block2(config, *size) for size in sizes[:-1]])
        self.down = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(fine, coarse, 2, 2), *new(coarse)) for fine, coarse in steps]
        )
        self.bottleneck = Block2(config, *sizes[-1])
        self.up = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, 2), *new(fine))
                for fine, coarse in reversed(steps)
            ]
        )
        self.decoder = nn.ModuleList([Block2(config, *size) for size in reversed(sizes[:-1])])
        self.exit = nn.Conv2d(config.width, stems * config.planes, 1)
        self.planes = config.planes

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, P, N, F]`, P planes; returns `[B, S, P, N, F]`."""
        x = self.entry(x)
        skips = []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))
            x = down(skips[-1])
        x = self.bottleneck(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(up(x) * skips.pop())
        result: Tensor = self.exit(x).unflatten(1, (-1, self.planes))
        return result


class Block2(nn.Module):
    """Convolutions over time and frequency (TFC), and two dense layers over the bins (TDF)."""

    def __init__(self, config: Config, features: int, bins: int) -> None:
        super().__init__()
        new, narrow = config.normalised, bins // config.bottleneck_factor
        self.tfc = nn.Sequential()
        for _ in range(config.layers):
            self.tfc.extend([nn.Conv2d(features, features, 3, padding=1), *new(features)])
        self.tdf = nn.Sequential(
            nn.Linear(bins, narrow, bias=False),
            *new(features),
            nn.Linear(narrow, bins, bias=False),
            *new(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, N, F]`, as the input."""
        x = self.tfc(x)
        result: Tensor = x + self.tdf(x)
        return result


class Version3(nn.Module):
    """A U-Net of residual blocks; its end is multiplied by its beginning and sees the mixture."""

    def __init__(self, config: Config, stems: int) -> None:
        super().__init__()
        sizes, steps, new = config.sizes, config.steps, config.normalised
        width, planes = config.width, config.planes
        self.entry = nn.Conv2d(planes, width, 1, bias=False)
        self.encoder = nn.ModuleList([stage(config, size[0], *size) for size in sizes[:-1]])
        self.down = nn.ModuleList(
            [
                nn.Sequential(*new(fine), nn.Conv2d(fine, coarse, 2, 2, bias=False))
                for fine, coarse in steps
            ]
        )
        self.bottleneck = stage(config, sizes[-1][0], *sizes[-1])
        self.up = nn.ModuleList(
            [
                nn.Sequential(*new(coarse), nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False))
                for fine, coarse in reversed(steps)
            ]
        )
        self.decoder = nn.ModuleList(
            [stage(config, 2 * size[0], *size) for size in reversed(sizes[:-1])]
        )
        self.exit = nn.Sequential(
            nn.Conv2d(width + planes, width, 1, bias=False),
            config.function(),
            nn.Conv2d(width, stems * planes, 1, bias=False),
        )
        self.planes = planes

    def forward(self, mix: Tensor) -> Tensor:
        """Shape: `[B, P, N, F]`, P planes; returns `[B, S, P, N, F]`."""
        x = entered = self.entry(mix)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            skips.append(blocks(x))
            x = down(skips[-1])
        x = self.bottleneck(x)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            x = blocks(torch.cat([up(x), skips.pop()], 1))
        result: Tensor = self.exit(torch.cat([mix, x * entered], 1)).unflatten(1, (-1, self.planes))
        return result


def stage(config: Config, inputs: int, features: int, bins: int) -> nn.Sequential:
    """Return the blocks of one scale of version 3."""
    widths = [inputs] + [features] * (config.layers - 1)
    return nn.Sequential(*[Block3(config, width, features, bins) for width in widths])


class Block3(nn.Module):
    """Convolution, dense layers over the bins, convolution, around which there is a shortcut."""

    def __init__(self, config: Config, inputs: int, features: int, bins: int) -> None:
        super().__init__()
        new, narrow = config.normalised, bins // config.bottleneck_factor
        self.before = nn.Sequential(
            *new(inputs), nn.Conv2d(inputs, features, 3, padding=1, bias=False)
        )
        self.tdf = nn.Sequential(
            *new(features),
            nn.Linear(bins, narrow, bias=False),
            *new(features),
            nn.Linear(narrow, bins, bias=False),
        )
        self.after = nn.Sequential(
            *new(features), nn.Conv2d(features, features, 3, padding=1, bias=False)
        )
        self.shortcut = nn.Conv2d(inputs, features, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, N, F]`; returns `[B, H', N, F]`."""
        y = self.before(x)
        result: Tensor = self.after(y + self.tdf(y)) + self.shortcut(x)
        return result
