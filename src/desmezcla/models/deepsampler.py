"""DeepSampler: a U-Net of one-dimensional convolutions around a band-split RoFormer.

Reference:
    The DeepSampler project's description (a U-Net whose encoder and decoder are strided
    one-dimensional convolutions, and whose bottleneck is the transformer of Lu, Wang, Kong and
    Hung, "Music Source Separation with Band-Split RoPE Transformer", ICASSP 2024).

Differences from the description:
    It leaves the sizes open. Here the magnitudes are averaged into bands that are single bins up to
    some 1.5 kHz and grow above, which keeps every harmonic that a voice or a bass has there at an
    eighth of the cost. The convolutions run along the bands and along time in turn, and the strides
    along the bands only, so that the frames stay as they are. The masks of the stems are a softmax,
    and so add up to one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.bands import band_weights, warped_centres
from desmezcla.dsp.stft import istft, stft
from desmezcla.models.base import Core, ModelConfig, Part, SpectralModel, spectrogram_spec
from desmezcla.nn.rotary import rotary_frequencies, rotated

TINY: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": 64,
    "bands": 32,
    "widths": (8, 12),
    "width": 16,
    "depth": 1,
    "heads": 2,
    "level_s": 0.02,
    "segment_s": 0.1,
    "context_s": 0.02,
}

SLOPE = 0.1


class Config(ModelConfig):
    """Configuration.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        bands: Bands that the network sees; each level halves their number.
        widths: Channels of the levels of the U-Net, from the finest.
        width: Channels of the bottleneck.
        depth: Pairs of transformers (over time, over bands) in the bottleneck.
        heads: Attention heads of a transformer.
        kernel: Taps of the convolutions, odd.
        level_s: Seconds over which the level is averaged that the input is divided by.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    n_fft: int = Field(4096, ge=16, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    bands: int = Field(256, ge=8)
    widths: tuple[int, ...] = Field((24, 48, 64), min_length=1)
    width: int = Field(96, ge=4)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    kernel: int = Field(5, ge=1)
    level_s: float = Field(4.0, gt=0)
    segment_s: float = Field(12.0, gt=0)
    context_s: float = Field(1.5, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.bands > self.bins or self.bands % 2 ** len(self.widths):
            raise ValueError(
                f"bands={self.bands} must be at most {self.bins} bins and a multiple of "
                f"{2 ** len(self.widths)}, which {len(self.widths)} levels need"
            )
        if self.width % (2 * self.heads):
            raise ValueError(f"width={self.width} must be a multiple of 2 x heads={self.heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")
        return self

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1


class DeepSampler(SpectralModel[Config]):
    """The DeepSampler separator: `[B, C, T] -> [B, S, C, T]`.

    Inside, feature maps are `[B, H, N, K]` with H features and K bands, and lie in memory with the
    features last, which is what convolutions and layer norms of a processor are fastest on.
    """

    window: Tensor
    weights: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_length,
        )
        weights = band_weights(warped_centres(config.bins, config.bands), config.bins)
        self.register_buffer("weights", torch.from_numpy(weights).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.level_frames = 2 * round(config.level_s * config.sample_rate / config.hop_length / 2)
        views = 4 if config.channels == 2 else 1
        finest, coarsest = config.widths[0], config.bands // 2 ** len(config.widths)
        self.entry = nn.Conv2d(views, finest, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(finest, 1, config.bands))
        steps = list(zip(config.widths, (*config.widths[1:], config.width), strict=True))
        self.encoder = nn.ModuleList([Level(fine, config.kernel) for fine, _ in steps])
        self.down = nn.ModuleList([halving(fine, coarse) for fine, coarse in steps])
        self.coarse_place = nn.Parameter(torch.zeros(config.width, 1, coarsest))
        self.bottleneck = nn.ModuleList(
            [BandSplitBlock(config.width, config.heads) for _ in range(config.depth)]
        )
        self.up = nn.ModuleList([doubling(coarse, fine) for fine, coarse in steps])
        self.decoder = nn.ModuleList([Level(fine, config.kernel) for fine, _ in steps])
        self.exit = nn.Sequential(
            FeatureNorm(finest),
            nn.Conv2d(finest, len(config.stems) * config.channels, 3, padding=1),
        )

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return self._masked(spectrum, self._band_masks(self._views(spectrum)))

    def core(self) -> Core:
        """Return what makes the masks of the bands; see `Core`."""

        def enter(mix: Tensor) -> tuple[Tensor, ...]:
            return (self._views(self.transform(mix)),)

        def leave(mix: Tensor, masks: Tensor) -> Tensor:
            return self._waveforms(self._masked(self.transform(mix), masks), mix.shape[-1])

        return Core(Part(self, self._band_masks), enter, leave, length_axes=(2,), inputs=("views",))

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._waveforms(self.spectra(mix), mix.shape[-1])

    def _waveforms(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)

    def _masked(self, spectrum: Tensor, band_masks: Tensor) -> Tensor:
        """Return the stems' STFTs. Shape: `[B, C, F, N]`, `[B, S, C, K, N]`; `[B, S, C, F, N]`."""
        masks = torch.matmul(self.weights, band_masks).to(spectrum.real.dtype)
        # A real mask times a complex bin, without making the mask complex first.
        return torch.view_as_complex(masks[..., None] * torch.view_as_real(spectrum)[:, None])

    def _band_masks(self, views: Tensor) -> Tensor:
        """Return the masks of the stems. Shape: `[B, H, N, K] -> [B, S, C, K, N]`."""
        x = self.entry(views) + self.place
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            skips.append(level(x))
            x = F.leaky_relu(down(skips[-1]), SLOPE)
        x = x + self.coarse_place
        for block in self.bottleneck:
            x = block(x)
        for level, up, skip in reversed(list(zip(self.decoder, self.up, skips, strict=True))):
            x = level(F.leaky_relu(up(x), SLOPE) + skip)
        logits = self.exit(x).unflatten(1, (len(self.spec.stems), self.spec.channels))
        masks: Tensor = logits.softmax(1).transpose(-1, -2)
        return masks

    @torch.no_grad()
    def _views(self, spectrum: Tensor) -> Tensor:
        """Return compressed magnitudes in bands, relative to the level around each frame.

        Left, right, their sum and their difference say where in the stereo image a bin is.

        Shape:
            spectrum: `[B, C, F, N]`; returns `[B, H, N, K]`.
        """
        if spectrum.shape[1] == 2:
            left, right = spectrum.unbind(1)
            middle, side = (left + right) * 0.5**0.5, (left - right) * 0.5**0.5
            spectrum = torch.stack([left, right, middle, side], 1)
        averages = (self.weights / self.weights.sum(0)).to(spectrum.real.dtype)
        x = (spectrum.abs().transpose(-1, -2) @ averages + 1e-4) ** 0.25  # [B, H, N, K]
        level = x.mean((1, 3))[:, None]  # [B, 1, N]
        reach = self.level_frames // 2
        level = F.avg_pool1d(level, 2 * reach + 1, 1, reach, count_include_pad=False)
        x = x / level[..., None] - 1
        return x.contiguous(memory_format=torch.channels_last)


class FeatureNorm(nn.LayerNorm):
    """Layer normalisation of the features at each band and frame. Shape: `[B, H, N, K]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the axis H."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Level(nn.Module):
    """A convolution along the bands and one along time, around which the input is added."""

    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        self.norm = FeatureNorm(features)
        self.bands = nn.Conv2d(features, features, (1, kernel), padding=(0, kernel // 2))
        self.time = nn.Conv2d(features, features, (kernel, 1), padding=(kernel // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, N, K]`, as the input."""
        y = F.leaky_relu(self.bands(self.norm(x)), SLOPE)
        return x + F.leaky_relu(self.time(y), SLOPE)


def halving(features: int, wanted: int) -> nn.Conv2d:
    """Return a convolution along the bands that halves their number."""
    return nn.Conv2d(features, wanted, (1, 4), stride=(1, 2), padding=(0, 1))


def doubling(features: int, wanted: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution along the bands that doubles their number."""
    return nn.ConvTranspose2d(features, wanted, (1, 4), stride=(1, 2), padding=(0, 1))


class BandSplitBlock(nn.Module):
    """A transformer over time for every band, then one over the bands for every frame."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.over_time = Transformer(features, heads)
        self.over_bands = Transformer(features, heads)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, N, K]`, as the input."""
        batch, _, frames, bands = x.shape
        x = x.permute(0, 3, 2, 1).flatten(0, 1)  # [B·K, N, H]
        x = self.over_time(x).unflatten(0, (batch, bands))  # [B, K, N, H]
        x = x.transpose(1, 2).flatten(0, 1)  # [B·N, K, H]
        x = self.over_bands(x).unflatten(0, (batch, frames))  # [B, N, K, H]
        return x.permute(0, 3, 1, 2)


class Transformer(nn.Module):
    """Self-attention with rotary positions, then two dense layers; both are added to the input."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(features)
        self.to_qkv = nn.Linear(features, 3 * features, bias=False)
        self.to_out = nn.Linear(features, features, bias=False)
        self.dense = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, 2 * features),
            nn.GELU(),
            nn.Linear(2 * features, features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[M, L, H]`, as the input; L is the axis that is looked along."""
        qkv = self.to_qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        qkv = qkv.permute(2, 0, 3, 1, 4)  # [3, M, heads, L, h]
        frequencies = rotary_frequencies(qkv.shape[-1], device=x.device)
        first, second = qkv[:2].chunk(2, -1)
        q, k = rotated(first, second, frequencies).unbind()
        v = qkv[2]
        # Written out: on a processor the fused kernel's gradient takes three times as long.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)  # [M, L, H]
        x = x + self.to_out(seen)
        result: Tensor = x + self.dense(x)
        return result
