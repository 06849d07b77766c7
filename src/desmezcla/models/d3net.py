"""D3Net: densely connected networks whose layers look at several resolutions at once.

Reference:
    Takahashi and Mitsufuji, "Densely Connected Multidilated Convolutional Networks for Dense
    Prediction Tasks", CVPR 2021; for music: "D3Net: Densely Connected Multidilated DenseNet for
    Music Source Separation", arXiv:2010.01733, 2020.

Differences from the paper:
    The networks of all stems have the sizes of the one for the vocals, as the authors' program
    gives them; the paper's other stems differ a little in theirs. Above the bins that the network
    sees, the paper gives every stem the mixture and lets the Wiener filter divide it, which does so
    evenly; here each has its even share from the start. Where a level has an odd number of frames
    or bins, the last ones are averaged by themselves, so that no length has to be filled up. The
    Wiener filter is `dsp.wiener`, over the segment that the engine gives.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.wiener import wiener
from desmezcla.models.base import (
    Core,
    InnerCore,
    ModelConfig,
    SpectralModel,
    bin_statistics,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.stem_networks import StemNetworks


class Band(BaseModel):
    """Sizes of the U-Net of one band: a D3 block on each level, down to the middle one and up.

    Attributes:
        features: Of the first convolution.
        growth: Features that a layer of a block adds.
        layers: Layers of a D2 block.
        blocks: D2 blocks of a D3 block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(ge=1)
    growth: tuple[int, ...] = Field(min_length=1)
    layers: tuple[int, ...] = Field(min_length=1)
    blocks: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Band":
        counts = {len(self.growth), len(self.layers), len(self.blocks)}
        if len(counts) > 1 or len(self.growth) % 2 == 0:
            raise ValueError(
                f"growth={self.growth}, layers={self.layers} and blocks={self.blocks} must be "
                "equally long, with an odd number of levels"
            )
        if min(self.growth + self.layers + self.blocks) < 1:
            raise ValueError(
                f"growth={self.growth}, layers={self.layers} and blocks={self.blocks} must be "
                "1 or more each"
            )
        return self

    @property
    def levels(self) -> list[tuple[int, int, int]]:
        """Growth, layers and blocks of each level."""
        return list(zip(self.growth, self.layers, self.blocks, strict=True))


TINY: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 64,
    "network_bins": 56,
    "split_bin": 16,
    "low": Band(features=4, growth=(4,), layers=(2,), blocks=(1,)),
    "high": Band(features=2, growth=(2,), layers=(1,), blocks=(1,)),
    "full": Band(features=2, growth=(2, 3, 2), layers=(1, 2, 1), blocks=(1, 2, 1)),
    "final_growth": 4,
    "final_layers": 1,
    "segment_s": 0.1,
    "context_s": 0.02,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of the vocals.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        network_bins: The networks see that many bins from the lowest.
        split_bin: The first bin of the high band; the bins below it are the low band.
        low: U-Net of the low band.
        high: U-Net of the high band.
        full: U-Net of both together.
        final_growth: Features that a layer of the last D2 block adds.
        final_layers: Layers of the last D2 block.
        wiener_iterations: EM iterations of the multichannel Wiener filter; 0 leaves it out.
        wiener_window_frames: Frames that one filter is computed from; None for all.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    network_bins: int = Field(1600, ge=2)
    split_bin: int = Field(256, ge=1)
    low: Band = Band(
        features=32,
        growth=(16, 18, 20, 22, 20, 18, 16),
        layers=(5, 5, 5, 5, 4, 4, 4),
        blocks=(2,) * 7,
    )
    high: Band = Band(features=8, growth=(2,) * 5, layers=(1,) * 5, blocks=(1,) * 5)
    full: Band = Band(
        features=32,
        growth=(13, 14, 15, 16, 17, 16, 14, 12, 11),
        layers=(4, 5, 6, 7, 8, 6, 5, 4, 4),
        blocks=(2,) * 9,
    )
    final_growth: int = Field(12, ge=1)
    final_layers: int = Field(3, ge=1)
    wiener_iterations: int = Field(1, ge=0)
    wiener_window_frames: int | None = Field(None, ge=1)
    segment_s: float = Field(12.0, gt=0)
    context_s: float = Field(1.5, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if not self.split_bin < self.network_bins <= self.bins:
            raise ValueError(
                f"split_bin={self.split_bin} must be less than network_bins={self.network_bins}, "
                f"which must be at most the {self.bins} bins of n_fft={self.n_fft}"
            )
        return self

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1


class D3Net(SpectralModel[Config]):
    """The D3Net separator: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.networks = StemNetworks(lambda _: Network(config), config.stems, joint=False)

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the estimated magnitudes with the phases of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        seen = self._seen(spectrum)
        return self._masks(seen, self.networks(seen)) * spectrum[:, None]

    def waveforms(self, mix: Tensor) -> Tensor:
        """Return the stems without the Wiener filter; see `SeparationModel`."""
        return self._signals(self.spectra(mix), mix.shape[-1])

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        spectrum = self.transform(mix)
        return self._filtered(spectrum, self.networks(self._seen(spectrum)), mix.shape[-1])

    def core(self) -> Core | InnerCore:
        """Return what lies between the STFT and its inverse, or what comes before the filter."""
        if self._iterations() == 0:
            framing = stft_framing(self.window, self.config.hop_length)
            return spectral_core(self, self._masked_parts, framing)

        def enter(mix: Tensor) -> tuple[Tensor, ...]:
            return (self._seen(self.transform(mix)),)

        def leave(mix: Tensor, magnitudes: Tensor) -> Tensor:
            return self._filtered(self.transform(mix), magnitudes, mix.shape[-1])

        outside = "STFT before; Wiener filter and inverse STFT after"
        return InnerCore(self.networks, enter, leave, (3,), outside, inputs=("magnitude",))

    def _masked_parts(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra. Shape: `[B, C, N, F, 2] -> [B, S, C, N, F, 2]`."""
        seen = magnitude(parts[..., : self.config.network_bins, :]).transpose(
            -1, -2
        )  # [B, C, F', N]
        masks = self._masks(seen, self.networks(seen))
        return masks.transpose(-1, -2)[..., None] * parts[:, None]

    def _iterations(self) -> int:
        """Return the iterations of the Wiener filter.

        With one stem the filter has nothing to weigh it against: its covariance is the mixture's.
        """
        return self.config.wiener_iterations if len(self.spec.stems) > 1 else 0

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem; no other stem depends on it."""
        return self.networks.of(stem)

    @torch.no_grad()
    def fit_statistics(self, mixtures: Iterable[Tensor]) -> None:
        """Let all networks standardise each bin of the magnitude as it is in some mixtures.

        The deviation of a bin is taken to be at least 1e-4 of the largest one.

        Shape:
            mixtures: `[B, C, T]` each.
        """
        mean, deviation = bin_statistics(self._seen(self.transform(mix)) for mix in mixtures)
        for module in self.networks.by_name.values():
            network = cast(Network, module)
            network.input_mean.copy_(mean)
            network.input_scale.copy_(deviation)

    def _seen(self, spectrum: Tensor) -> Tensor:
        """Return what the networks see. Shape: `[B, C, F, N] -> [B, C, F', N]`."""
        return spectrum[:, :, : self.config.network_bins].abs()

    def _masks(self, seen: Tensor, magnitudes: Tensor) -> Tensor:
        """Return what the mixture is multiplied by.

        Shape:
            seen: `[B, C, F', N]`; magnitudes: `[B, S, C, F', N]`; returns `[B, S, C, F, N]`.
        """
        masks = magnitudes / seen.clamp(min=1e-8)[:, None]
        above = self.config.bins - masks.shape[3]
        return F.pad(masks, (0, 0, 0, above), value=1 / len(self.spec.stems))

    def _filtered(self, spectrum: Tensor, magnitudes: Tensor, length: int) -> Tensor:
        """Return the stems after the Wiener filter.

        Shape:
            spectrum: `[B, C, F, N]`; magnitudes: `[B, S, C, F', N]`; returns `[B, S, C, T]`.
        """
        iterations, window = self._iterations(), self.config.wiener_window_frames
        masks = self._masks(self._seen(spectrum), magnitudes)
        stems = [
            wiener(x, m, iterations=iterations, window_frames=window)
            for x, m in zip(spectrum, masks, strict=True)
        ]
        return self._signals(torch.stack(stems), length)

    def _signals(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)


class Network(nn.Module):
    """The network of one stem: a U-Net for each band and one for both, and a gate at the end."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.split_bin = config.split_bin
        self.input_mean = nn.Parameter(torch.zeros(config.network_bins))
        self.input_scale = nn.Parameter(torch.ones(config.network_bins))
        channels = config.channels
        self.low, self.high = (BandUNet(band, channels) for band in (config.low, config.high))
        self.full = BandUNet(config.full, channels)
        width = max(config.low.growth[-1], config.high.growth[-1])
        self.low_match = matched(config.low.growth[-1], width)
        self.high_match = matched(config.high.growth[-1], width)
        final = config.final_growth
        self.final = nn.Sequential(
            d2_block(width + config.full.growth[-1], final, config.final_layers),
            nn.BatchNorm2d(final),
            nn.Conv2d(final, 2 * channels, 1),
            nn.GLU(dim=1),
        )
        self.output_scale = nn.Parameter(torch.ones(config.network_bins, 1))
        self.output_mean = nn.Parameter(torch.ones(config.network_bins, 1))

    def forward(self, magnitude: Tensor) -> Tensor:
        """Shape: `[B, C, F', N]`; returns `[B, 1, C, F', N]`, for one stem."""
        x = (magnitude - self.input_mean[:, None]) / self.input_scale[:, None]
        # With the features last in memory, the convolutions of a processor take a fifth less time.
        x = x.contiguous(memory_format=torch.channels_last)
        low = self.low_match(self.low(x[:, :, : self.split_bin]))
        high = self.high_match(self.high(x[:, :, self.split_bin :]))
        x = self.final(torch.cat([torch.cat([low, high], 2), self.full(x)], 1))
        return F.relu(torch.addcmul(self.output_mean, x, self.output_scale))[:, None]


def matched(features: int, wanted: int) -> nn.Module:
    """Return what brings a band to the number of features of the other."""
    if features == wanted:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm2d(features), nn.Conv2d(features, wanted, 1))


class BandUNet(nn.Module):
    """A U-Net of D3 blocks."""

    def __init__(self, band: Band, inputs: int) -> None:
        super().__init__()
        middle = len(band.growth) // 2
        downwards, upwards = band.levels[:middle], band.levels[middle + 1 :]
        self.entry = nn.Conv2d(inputs, band.features, 3, padding=1)
        self.encoder = nn.ModuleList()
        width = band.features
        for level in downwards:
            self.encoder.append(d3_block(width, *level))
            width = level[0]
        self.bottleneck = d3_block(width, *band.levels[middle])
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        width = band.growth[middle]
        for level, skipped in zip(upwards, reversed(downwards), strict=True):
            up = nn.ConvTranspose2d(width, width, 2, stride=2)
            self.up.append(nn.Sequential(nn.BatchNorm2d(width), up))
            self.decoder.append(d3_block(width + skipped[0], *level))
            width = level[0]

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, C, F, N]`; returns `[B, H, F, N]`."""
        x = self.entry(x)
        skips = []
        for block in self.encoder:
            skips.append(block(x))
            x = F.avg_pool2d(skips[-1], 2, ceil_mode=True)
        x = self.bottleneck(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            skip = skips.pop()
            x = up(x)[..., : skip.shape[2], : skip.shape[3]]
            x = block(torch.cat([x, skip], 1))
        return x


class DenseBlock(nn.Module):
    """Stages in a row, each of which adds to all later ones; what the last one adds comes out.

    To convolve the outputs of all earlier stages together, each with a dilation of its own, is to
    convolve each for all later stages at once, and to add the results up as they come.
    """

    def __init__(self, stages: list[nn.Module], growth: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.growth = growth

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, inputs, F, N]`; returns `[B, growth, F, N]`."""
        pending: Tensor = self.stages[0](x)  # [B, growth · stages, F, N]
        for stage in list(self.stages)[1:]:
            pending = pending[:, self.growth :] + stage(pending[:, : self.growth])
        return pending


def d2_block(inputs: int, growth: int, layers: int) -> DenseBlock:
    """Return a block in which the outputs of layer i are seen with a dilation of 2^i."""
    stages: list[nn.Module] = [
        nn.Sequential(
            nn.BatchNorm2d(growth if i else inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                growth if i else inputs,
                growth * (layers - i),
                3,
                padding=2**i,
                dilation=2**i,
            ),
        )
        for i in range(layers)
    ]
    return DenseBlock(stages, growth)


def d3_block(inputs: int, growth: int, layers: int, blocks: int) -> DenseBlock:
    """Return D2 blocks that are connected as the layers in them are."""
    stages: list[nn.Module] = [
        d2_block(growth if i else inputs, growth * (blocks - i), layers) for i in range(blocks)
    ]
    return DenseBlock(stages, growth)
