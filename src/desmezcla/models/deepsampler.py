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

    For live use (`causal=True`) nothing looks ahead: convolutions see frames before, attention a
    bounded past, and frames are long but give only their last samples to the stems, whose number is
    the latency (Mauler and Martin, EUSIPCO 2007). All that is remembered is of bounded size.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.bands import band_weights, warped_centres
from desmezcla.dsp.frames import magnitude, overlap_add, trailing_frames
from desmezcla.dsp.framing import Framing
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import asymmetric_windows
from desmezcla.models.base import (
    Core,
    ModelConfig,
    SeparationModel,
    SpectralModel,
    StreamCore,
    StreamStep,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.frame_layers import (
    SLOPE,
    BandSplitBlock,
    FeatureNorm,
    FrameConv,
    Level,
    fewer_bands,
    more_bands,
)
from desmezcla.nn.streaming import Memory

TINY: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": 64,
    "bands": 32,
    "widths": (8, 12),
    "strides": (2, 2),
    "width": 16,
    "depth": 1,
    "heads": 2,
    "level_s": 0.02,
    "segment_s": 0.1,
    "context_s": 0.02,
}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        bands: Bands that the network sees.
        widths: Channels of the levels of the U-Net, from the finest.
        strides: What each level divides the number of bands by, even.
        width: Channels of the bottleneck.
        depth: Pairs of transformers (over time, over bands) in the bottleneck.
        heads: Attention heads of a transformer.
        kernel: Taps of the convolutions, odd.
        level_s: Seconds over which the level is averaged that the input is divided by.
        causal: Nothing looks ahead, but for the latency.
        synthesis_samples: If causal, the last samples of a frame that become part of the stems, a
            multiple of two hops: what the model looks ahead.
        past_s: If causal, seconds that attention looks back.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    n_fft: int = Field(4096, ge=16, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    bands: int = Field(256, ge=8)
    widths: tuple[int, ...] = Field((24, 48, 64), min_length=1)
    strides: tuple[int, ...] = Field((2, 2, 2), min_length=1)
    width: int = Field(96, ge=4)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    kernel: int = Field(5, ge=1)
    level_s: float = Field(4.0, gt=0)
    causal: bool = False
    synthesis_samples: int = Field(2048, ge=2)
    past_s: float = Field(1.5, gt=0)
    segment_s: float = Field(12.0, gt=0)
    context_s: float = Field(1.5, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if len(self.strides) != len(self.widths) or any(s < 2 or s % 2 for s in self.strides):
            raise ValueError(
                f"strides={self.strides} must be {len(self.widths)} even numbers, one for each of "
                f"widths={self.widths}"
            )
        if self.bands > self.bins or self.bands % math.prod(self.strides):
            raise ValueError(
                f"bands={self.bands} must be at most {self.bins} bins and a multiple of "
                f"{math.prod(self.strides)}, by which strides={self.strides} divide it"
            )
        if self.width % (2 * self.heads):
            raise ValueError(f"width={self.width} must be a multiple of 2 x heads={self.heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")
        given = self.synthesis_samples
        if self.causal and (given % (2 * self.hop_length) or given > self.n_fft):
            raise ValueError(
                f"synthesis_samples={given} must be 2, 4, … times hop_length={self.hop_length}, "
                f"and at most n_fft={self.n_fft}"
            )
        return self

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1

    def frames(self, seconds: float) -> int:
        """Return how many frames there are in some seconds, one at least."""
        return max(1, round(seconds * self.sample_rate / self.hop_length))


class DeepSampler(SpectralModel[Config]):
    """The DeepSampler separator: `[B, C, T] -> [B, S, C, T]`.

    Inside, feature maps are `[B, H, N, K]` with H features and K bands, and lie in memory with the
    features last, which is what convolutions and layer norms of a processor are fastest on.
    """

    window: Tensor
    synthesis: Tensor
    weights: Tensor
    averages: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        causal, hop = config.causal, config.hop_length
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=hop,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=hop,
            latency_samples=config.synthesis_samples - 1 if causal else None,
        )
        weights = band_weights(warped_centres(config.bins, config.bands), config.bins)
        to_bins = torch.from_numpy(weights).float()
        self.register_buffer("weights", to_bins.repeat_interleave(2, 0), persistent=False)
        self.register_buffer("averages", (to_bins / to_bins.sum(0)).T, persistent=False)
        if causal:
            window, synthesis = asymmetric_windows(config.n_fft, config.synthesis_samples, hop)
            self.register_buffer("synthesis", synthesis, persistent=False)
        else:
            window = torch.hann_window(config.n_fft)
        self.register_buffer("window", window, persistent=False)
        self.level_frames = config.frames(config.level_s) // 2 * 2 + 1
        views = 4 if config.channels == 2 else 1
        finest, coarsest = config.widths[0], config.bands // math.prod(config.strides)
        self.entry = FrameConv(views, finest, (3, 3), causal=causal)
        self.place = nn.Parameter(torch.zeros(finest, 1, config.bands))
        coarser = (*config.widths[1:], config.width)
        steps = list(zip(config.widths, coarser, config.strides, strict=True))
        levels = [Level(width, config.kernel, causal=causal) for width in config.widths]
        self.encoder = nn.ModuleList(levels)
        self.down = nn.ModuleList([fewer_bands(*step) for step in steps])
        self.coarse_place = nn.Parameter(torch.zeros(config.width, 1, coarsest))
        past = config.frames(config.past_s)
        self.bottleneck = nn.ModuleList(
            [BandSplitBlock(config.width, config.heads, past) for _ in range(config.depth)]
        )
        self.up = nn.ModuleList(
            [more_bands(coarse, fine, stride) for fine, coarse, stride in steps]
        )
        levels = [Level(width, config.kernel, causal=causal) for width in config.widths]
        self.decoder = nn.ModuleList(levels)
        self.exit_norm = FeatureNorm(finest)
        self.exit = FrameConv(finest, len(config.stems) * config.channels, (3, 3), causal=causal)

    def weights_from(self, source: SeparationModel[Config]) -> dict[str, Tensor]:
        """Return weights to start with; see `SeparationModel`.

        Kernels of a model that looks both ways keep what they know of the past, at the same
        distances; what they know of the future is taken to hold now.
        """
        weights = source.state_dict()
        if not self.config.causal or source.config.causal:
            return weights
        steps = max(1, round(source.config.hop_length / self.config.hop_length))
        for name, layer in source.named_modules():
            if isinstance(layer, FrameConv):
                key = f"{name}.weight"
                weights[key] = _looking_back(weights[key], steps)
        return weights

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`. If causal, frame n ends with hop n."""
        config = self.config
        if config.causal:
            given = config.synthesis_samples
            frames = trailing_frames(audio, config.n_fft, config.hop_length, given=given)
            spectra: Tensor = torch.fft.rfft(frames * self.window).mT
            return spectra
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        parts = torch.view_as_real(self.transform(mix).mT)  # [B, C, N, F, 2]
        stems = self._separated(parts, self._memory())
        return torch.view_as_complex(stems).mT

    def _memory(self) -> Memory | None:
        """Return the memory at the beginning of a signal; None if all of it is seen at once."""
        return Memory() if self.config.causal else None

    def frame_energies(self, mix: Tensor, stems: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies by frames; see `SpectralModel`.

        A bin's mask m is interpolated between those of two bands, with weights w. The error's
        energy Σ_f |m_f·x_f - s_f|² is therefore a quadratic form of the masks of the bands that
        only joins neighbours: no spectrum of a stem is put together, which would take longer than
        the network.
        """
        # In full precision: what is left of a good estimate is a small difference of large numbers.
        with torch.no_grad(), torch.autocast(mix.device.type, enabled=False):
            parts = torch.view_as_real(self.transform(mix).mT)
            mixed = parts.flatten(-2)  # [B, C, N, 2·F]
            wanted = torch.view_as_real(self.transform(stems).mT).flatten(-2)
            power, weights = mixed.square(), self.weights.T
            own = F.linear(power, weights.square())[:, None]  # [B, 1, C, N, K]
            joint = F.linear(power, weights[1:] * weights[:-1])[:, None]
            cross = F.linear(mixed[:, None] * wanted, weights)  # [B, S, C, N, K]
            level = torch.linalg.vector_norm(wanted, dim=-1).square()
            memory = self._memory()
            views = self._views(parts, memory)
        masks = self._band_masks(views, memory).float()
        errors = level + (masks * (own * masks - 2 * cross)).sum(-1)
        errors = errors + 2 * (joint * masks[..., 1:] * masks[..., :-1]).sum(-1)
        return errors.clamp(min=0), level, power.sum(-1)

    def stream_core(self) -> StreamCore | None:
        """Return the steps; see `SeparationModel.stream_core`."""
        size, hop = self.config.n_fft, self.config.hop_length
        if not self.config.causal:
            return None
        framing = Framing(
            size,
            hop,
            self.config.synthesis_samples,
            before_samples=size - hop,
            parts=("spectra",),
            analysis=self.window.cpu().numpy(),
            synthesis=self.synthesis.cpu().numpy(),
        )
        return StreamCore(framing, StreamStep(self, lambda *x: (self._separated(*x),)))

    def _separated(self, parts: Tensor, memory: Memory | None) -> Tensor:
        """Return the stems' spectra. Shape: `[B, C, N, F, 2] -> [B, S, C, N, F, 2]`."""
        return self._masked(parts, self._band_masks(self._views(parts, memory), memory))

    def core(self) -> Core | None:
        """Return what lies between the STFT and its inverse; see `Core`."""
        if self.config.causal:
            return None  # what runs on streams is exported instead
        framing = stft_framing(self.window, self.config.hop_length)
        return spectral_core(self, lambda parts: self._separated(parts, None), framing)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        if self.config.causal:
            return self._waveforms(self.spectra(mix), mix.shape[-1])
        parts = torch.view_as_real(self.transform(mix).mT)
        return self._stems(mix, parts, self._band_masks(self._views(parts, None), None))

    def _stems(self, mix: Tensor, parts: Tensor, masks: Tensor) -> Tensor:
        """Return the stems' signals; the last one is what the others leave, as the masks have it.

        Shape:
            mix: `[B, C, T]`; parts: `[B, C, N, F, 2]`; masks: `[B, S, C, N, K]`.
            Returns `[B, S, C, T]`.
        """
        spectra = torch.view_as_complex(self._masked(parts, masks[:, :-1])).mT
        stems = self._waveforms(spectra, mix.shape[-1])
        return torch.cat([stems, mix[:, None] - stems.sum(1, keepdim=True)], 1)

    def _waveforms(self, spectra: Tensor, length: int) -> Tensor:
        """Return the signals of spectrograms. Shape: `[*, F, N] -> [*, T]`."""
        hop = self.config.hop_length
        if self.config.causal:
            frames = torch.fft.irfft(spectra.mT)[..., -self.config.synthesis_samples :]
            return overlap_add(frames * self.synthesis, hop)[..., :length]
        return istft(spectra, hop_length=hop, window=self.window, length=length)

    def _masked(self, parts: Tensor, band_masks: Tensor) -> Tensor:
        """Return the stems' spectra: a real mask times real and imaginary part of each bin.

        Shape:
            parts: `[B, C, N, F, 2]`; band_masks: `[B, S, C, N, K]`; returns `[B, S, C, N, F, 2]`.
        """
        # Real and imaginary part lie side by side, and so do the masks: whole rows are multiplied.
        masks: Tensor = F.linear(band_masks, self.weights).to(parts.dtype)  # [B, S, C, N, 2·F]
        return (masks * parts.flatten(-2)[:, None]).view(*masks.shape[:-1], *parts.shape[-2:])

    def _band_masks(self, views: Tensor, memory: Memory | None) -> Tensor:
        """Return the masks of the stems. Shape: `[B, H, N, K] -> [B, S, C, N, K]`."""
        x = self.entry(views, memory) + self.place
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            skips.append(level(x, memory))
            x = F.leaky_relu(down(skips[-1]), SLOPE)
        x = x + self.coarse_place
        for block in self.bottleneck:
            x = block(x, memory)
        for level, up, skip in reversed(list(zip(self.decoder, self.up, skips, strict=True))):
            x = level(F.leaky_relu(up(x), SLOPE) + skip, memory)
        logits = self.exit(self.exit_norm(x), memory)
        logits = logits.unflatten(1, (len(self.spec.stems), self.spec.channels))
        masks: Tensor = logits.softmax(1)
        return masks

    @torch.no_grad()
    def _views(self, parts: Tensor, memory: Memory | None) -> Tensor:
        """Return compressed magnitudes in bands, relative to the level around or before each frame.

        Left, right, their sum and their difference say where in the stereo image a bin is.

        Shape:
            parts: `[B, C, N, F, 2]`; returns `[B, H, N, K]`.
        """
        if parts.shape[1] == 2:
            left, right = parts.unbind(1)
            middle, side = (left + right) * 0.5**0.5, (left - right) * 0.5**0.5
            parts = torch.stack([left, right, middle, side], 1)
        x = (
            (F.linear(magnitude(parts), self.averages.to(parts.dtype)) + 1e-4).sqrt().sqrt()
        )  # [B, H, N, K]
        level = x.mean((1, 3))  # [B, N]
        x = x / self._average(level, memory)[:, None, :, None] - 1
        return x.contiguous(memory_format=torch.channels_last)

    def _average(self, level: Tensor, memory: Memory | None) -> Tensor:
        """Return the level averaged over frames that are there. Shape: `[B, N]`, as the input."""
        frames = self.level_frames
        if memory is None:
            return F.avg_pool1d(level[:, None], frames, 1, frames // 2, count_include_pad=False)[
                :, 0
            ]
        # Beside the level stands how many frames there are, since the first ones come after none.
        counted = memory.joined(torch.stack([level, torch.ones_like(level)], 1), frames - 1, 2)
        total, count = F.avg_pool1d(counted, frames, 1).unbind(1)
        return total / count


def _looking_back(kernel: Tensor, steps: int) -> Tensor:
    """Return a kernel around a frame as one that ends with it, its taps some frames apart.

    Shape:
        kernel: `[H', H, N, K]` with taps at frames -n, …, n; returns the same with taps at frames
        -2·n, …, 0.
    """
    taps = kernel.shape[2]
    moved = torch.zeros_like(kernel)
    for tap in range(taps):
        frame = min(0, (tap - taps // 2) * steps)
        moved[:, :, max(0, taps - 1 + frame)] += kernel[:, :, tap]
    return moved
