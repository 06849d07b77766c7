"""CWS-PResUNet: a residual U-Net on the subbands of the mixture, which corrects their phases too.

Reference:
    Liu, Kong and Liu, "CWS-PResUNet: Music Source Separation with Channel-wise Subband Phase-aware
    ResUNet", MDX Workshop at ISMIR 2021. The estimate of magnitude and phase is that of Kong, Cao,
    Liu, Choi and Wang, "Decoupling Magnitude and Phase Estimation with Deep ResUNet for Music
    Source Separation", ISMIR 2021.

Differences from the paper:
    The default is its 166-layer network, which it trains for the stems but the vocals; here the
    vocals have an output of it too. Its 276-layer network for the vocals is `joint=False,
    blocks=8` with the stem "vocals" alone. The filter bank is this project's (`dsp.subbands`), with
    as many filters of the same length. The network leaves out the last bin of every band; the
    authors leave it silent, here it is treated as the bin below it. The frames are filled up with
    zeros before and not after the first normalisation, and the averages of the normalisations have
    a momentum of 0.1, not 0.01.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.subbands import TAPS_PER_BAND, join_bands, split_bands, subband_filters
from desmezcla.models.base import InnerCore, ModelConfig, SeparationModel, spectrogram_spec
from desmezcla.nn.stem_networks import StemNetworks

TINY: dict[str, Any] = {
    "subbands": 2,
    "n_fft": 64,
    "hop_length": 32,
    "widths": (6, 8),
    "blocks": 1,
    "bottleneck": 1,
    "output_blocks": 1,
    "segment_s": 0.1,
    "context_s": 0.02,
}

SLOPE = 0.01


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper's network for several stems.

    Attributes:
        joint: One network for all stems, with an output for each, instead of one for each.
        subbands: Bands of equal width that the signal is divided into.
        n_fft: Length of the STFT of a band, samples of the band.
        hop_length: Hop of the STFT of a band, samples of the band.
        widths: Features of the levels of the U-Net, from the finest.
        blocks: Residual blocks (two convolutions each) of a level.
        bottleneck: Levels between encoder and decoder that keep their size.
        output_blocks: Residual blocks of the output of a stem.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    joint: bool = True
    subbands: int = Field(4, ge=2)
    n_fft: int = Field(512, ge=4, multiple_of=2)
    hop_length: int = Field(110, ge=1)
    widths: tuple[int, ...] = Field((32, 64, 128, 256, 384, 384), min_length=1)
    blocks: int = Field(4, ge=1)
    bottleneck: int = Field(4, ge=1)
    output_blocks: int = Field(4, ge=1)
    segment_s: float = Field(10.0, gt=0)
    context_s: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if min(self.widths) < 1:
            raise ValueError(f"widths={self.widths} must be 1 or more each")
        if self.bins % self.grid:
            raise ValueError(
                f"n_fft={self.n_fft} must be a multiple of {2 * self.grid}, "
                f"so that {len(self.widths)} levels can halve its bins"
            )
        return self

    @property
    def bins(self) -> int:
        """Bins of a band that the network sees: all but the last."""
        return self.n_fft // 2

    @property
    def grid(self) -> int:
        """What the numbers of frames and bins are multiples of."""
        return 1 << len(self.widths)


class PresUnet(SeparationModel[Config]):
    """The CWS-PResUNet separator: `[B, C, T] -> [B, S, C, T]`.

    Inside, P = C·K planes stand for the bands of the channels.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length * config.subbands,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_length * config.subbands,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", subband_filters(config.subbands), persistent=False)
        self.networks = StemNetworks(partial(ResUNet, config), config.stems, joint=config.joint)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        spectrum = self._spectrum(mix)
        maps = self.networks(self._magnitudes(spectrum))
        return self._waveforms(self._estimates(spectrum, maps), mix.shape[-1])

    def core(self) -> InnerCore:
        """Return the networks, from the bands' magnitudes to the four maps; see `InnerCore`."""

        def enter(mix: Tensor) -> tuple[Tensor, ...]:
            return (self._magnitudes(self._spectrum(mix)),)

        def leave(mix: Tensor, maps: Tensor) -> Tensor:
            return self._waveforms(self._estimates(self._spectrum(mix), maps), mix.shape[-1])

        outside = (
            "filters of bands and STFT before; maps to spectra, inverse STFT and filters after"
        )
        return InnerCore(self.networks, enter, leave, (2,), outside, inputs=("magnitudes",))

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem; an error if one serves all."""
        return self.networks.of(stem)

    def _spectrum(self, mix: Tensor) -> Tensor:
        """Return the STFTs of the bands. Shape: `[B, C, T] -> [B, P, N, F]`."""
        config = self.config
        bands = split_bands(mix, self.filters).flatten(1, 2)  # [B, P, M]
        spectrum = stft(bands, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)
        return spectrum.transpose(-1, -2)

    def _magnitudes(self, spectrum: Tensor) -> Tensor:
        """Return what the networks see. Shape: `[B, P, N, F] -> [B, P, N', F - 1]`."""
        frames = spectrum.shape[2]
        return F.pad(spectrum[..., :-1].abs(), (0, 0, 0, -frames % self.config.grid))

    def _estimates(self, spectrum: Tensor, maps: Tensor) -> Tensor:
        """Return the STFTs of the bands of the stems.

        With the maps M, Q, P_r and P_i, and the mixture |X|·e^(iφ), the estimate is
        relu(|X|·sigmoid(M) + Q)·e^(i(φ + θ)), where θ is the angle of P_r + i·P_i.

        Shape:
            spectrum: `[B, P, N, F]`; maps: `[B, S, 4, P, N', F - 1]`; returns `[B, S, P, N, F]`.
        """
        mixture = spectrum[:, None]
        magnitude = mixture.abs()
        maps = torch.cat([maps, maps[..., -1:]], -1)[..., : spectrum.shape[2], :]
        mask, addend, real, imaginary = maps.to(magnitude.dtype).unbind(2)
        estimated = F.relu(magnitude * mask.sigmoid() + addend)
        scale = estimated * (real.square() + imaginary.square() + 1e-8).rsqrt()
        phases = mixture / magnitude.clamp(min=1e-10)
        return phases * torch.complex(scale * real, scale * imaginary)

    def _waveforms(self, estimates: Tensor, length: int) -> Tensor:
        """Return the stems. Shape: `[B, S, P, N, F] -> [B, S, C, T]`."""
        config = self.config
        bands = istft(
            estimates.transpose(-1, -2),
            hop_length=config.hop_length,
            window=self.window,
            length=-(-length // config.subbands) + TAPS_PER_BAND - 1,
        )
        bands = bands.reshape(*bands.shape[:2], config.channels, config.subbands, -1)
        return join_bands(bands, self.filters, length)


class ResUNet(nn.Module):
    """A U-Net of residual blocks, and for every stem some blocks after it."""

    def __init__(self, config: Config, stems: int) -> None:
        super().__init__()
        planes, widths, count = config.channels * config.subbands, config.widths, config.blocks
        self.norm = nn.BatchNorm2d(config.bins)
        self.encoder = nn.ModuleList(
            [
                residual_blocks(inputs, width, count)
                for inputs, width in zip((planes, *widths[:-1]), widths, strict=True)
            ]
        )
        coarsest = widths[-1]
        self.bottleneck = residual_blocks(coarsest, coarsest, count * config.bottleneck)
        downwards = widths[::-1]
        self.up = nn.ModuleList(
            [
                nn.Sequential(
                    nn.BatchNorm2d(inputs),
                    nn.ReLU(inplace=True),
                    nn.ConvTranspose2d(inputs, width, 3, stride=2, bias=False),
                )
                for inputs, width in zip((coarsest, *downwards[:-1]), downwards, strict=True)
            ]
        )
        self.decoder = nn.ModuleList(
            [residual_blocks(2 * width, width, count) for width in downwards]
        )
        self.outputs = nn.ModuleList(
            [
                nn.Sequential(
                    residual_blocks(widths[0], widths[0], config.output_blocks),
                    nn.Conv2d(widths[0], 4 * planes, 1),
                )
                for _ in range(stems)
            ]
        )
        self.apply(initialise)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Shape: `[B, P, N, F]`; returns `[B, S, 4, P, N, F]`."""
        x = self.norm(magnitudes.transpose(1, 3)).transpose(1, 3)
        skips = []
        for blocks in self.encoder:
            skips.append(blocks(x))
            x = F.avg_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            # Kernels of 3 at a stride of 2 give one frame and one bin too many.
            x = blocks(torch.cat([up(x)[..., :-1, :-1], skips.pop()], 1))
        maps = [output(x).unflatten(1, (4, -1)) for output in self.outputs]
        return torch.stack(maps, 1)


class ResidualBlock(nn.Module):
    """Two convolutions, each after a normalisation, around which the input is added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, N, F]`; returns `[B, H', N, F]`."""
        result: Tensor = self.shortcut(x) + self.body(x)
        return result


def residual_blocks(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Return residual blocks in a row, of which the first changes the number of features."""
    return nn.Sequential(*[ResidualBlock(outputs if i else inputs, outputs) for i in range(count)])


def initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution as Glorot and Bengio (2010) do."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
