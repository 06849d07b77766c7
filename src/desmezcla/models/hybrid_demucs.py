"""Hybrid Demucs: a U-Net over the spectrogram and one over the waveform that share their middle.

Reference:
    Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop at ISMIR 2021.

Differences from the paper:
    None in the network: parameters have the names and shapes of the authors' program (version 4.1
    of the package `demucs`), so that their weights fit, and the defaults are those of its training.
    What no published network uses is left out: a Wiener filter, a spectrogram alone. A segment of
    one sample has no deviation, which is taken to be 0.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.models.base import ModelConfig, SeparationModel
from desmezcla.nn.band_layers import BandDecoder, BandEncoder
from desmezcla.nn.demucs_layers import (
    BranchOptions,
    check_levels,
    deviation,
    features_last,
    rescale_weights,
)
from desmezcla.nn.hybrid_layers import (
    DecoderLayer,
    EncoderLayer,
    FrequencyEmbedding,
    LayerOptions,
    Strides,
)
from desmezcla.nn.hybrid_spectrum import signal, spectrum
from desmezcla.spec import ModelSpec, ValidLengths

TINY: dict[str, Any] = {
    "nfft": 256,
    "depth": 3,
    "stride": 8,
    "kernel_size": 16,
    "hidden_channels": 8,
    "norm_starts": 2,
    "dconv_depth": 1,
    "dconv_attn": 2,
    "dconv_lstm": 2,
    "dconv_init": 0.1,
    "segment_s": 0.2,
}


class HybridConfig(ModelConfig):
    """What both hybrid networks need to know.

    Attributes:
        hidden_channels: Features of the first level.
        channels_time: The same for the waveform; None for as many.
        growth: Features of a level by those of the one before.
        nfft: Length of the STFT, samples; the hop is a quarter.
        cac: The network takes and gives complex numbers as two channels; if not, it takes and
            gives magnitudes, and the mixture lends its phases.
        depth: Levels.
        multi_freqs: Shares of the rows where a part of the spectrum ends and the next begins; each
            part has weights of its own on the outer levels. Empty for no parts.
        multi_freqs_depth: Outer levels that are so.
        freq_emb: Weight of the vectors that tell the first level which row is which; 0 for none.
        emb_scale: Factor of their weights, by which they learn that much faster.
        kernel_size: Taps of the strided convolutions.
        stride: Of these.
        time_stride: Of the levels that both share, whose convolutions have twice as many taps.
        context: Rows and samples on each side that the decoder's gates see.
        context_enc: The same in the encoder.
        norm_starts: First level with group normalisation.
        norm_groups: Groups of that.
        dconv_mode: 1 for residual branches in the encoder, 2 in the decoder, 3 in both, 0 for none.
        dconv_depth: Residual branches one after the other.
        dconv_comp: Features of a level by those of a branch.
        dconv_init: Initial scale of the branches.
        rescale: Deviation that the initial weights are brought nearer to; 0 to leave them.
        segment_s: Seconds that the engine gives the model at once.
    """

    hidden_channels: int = Field(48, ge=1)
    channels_time: int | None = Field(None, ge=1)
    growth: float = Field(2.0, ge=1)
    nfft: int = Field(4096, ge=16, multiple_of=8)
    cac: bool = True
    depth: int = Field(6, ge=1)
    multi_freqs: tuple[float, ...] = ()
    multi_freqs_depth: int = Field(2, ge=1)
    freq_emb: float = Field(0.2, ge=0)
    emb_scale: float = Field(10.0, gt=0)
    kernel_size: int = Field(8, ge=4, multiple_of=4)
    stride: int = Field(4, ge=2)
    time_stride: int = Field(2, ge=2, multiple_of=2)
    context: int = Field(1, ge=0)
    context_enc: int = Field(0, ge=0)
    norm_starts: int = Field(4, ge=0)
    norm_groups: int = Field(4, ge=1)
    dconv_mode: int = Field(1, ge=0, le=3)
    dconv_depth: int = Field(2, ge=1)
    dconv_comp: float = Field(4.0, ge=1)
    dconv_init: float = Field(1e-3, gt=0)
    rescale: float = Field(0.1, ge=0)
    segment_s: float = Field(44.0, gt=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "HybridConfig":
        if self.kernel_size != 2 * self.stride:
            raise ValueError(
                f"kernel_size={self.kernel_size} must be twice stride={self.stride}, so that "
                "rows divide evenly"
            )
        rows, hop = self.nfft // 2, 1
        for _ in range(self.depth):
            hop *= self.stride
            merges = rows <= self.kernel_size
            if rows % self.stride or (merges and hop != self.nfft // 4):
                raise ValueError(
                    f"nfft={self.nfft} must be four times a power of stride={self.stride}, so that "
                    "the levels of both U-Nets meet where one row is left"
                )
            if merges:
                break
            rows //= self.stride
        for width in (self.hidden_channels, self.channels_time or self.hidden_channels):
            check_levels(
                self.widths(width),
                norm_starts=self.norm_starts,
                norm_groups=self.norm_groups,
                compression=self.dconv_comp,
                attention_starts=self.attention_starts,
            )
        return self

    def widths(self, width: int) -> list[int]:
        """Return the features of the levels from those of the first."""
        widths = [width]
        while len(widths) < self.depth:
            widths.append(int(self.growth * widths[-1]))
        return widths

    @property
    def attention_starts(self) -> int:
        """First level whose branches have attention."""
        return self.depth

    @model_validator(mode="after")
    def _parts_fit(self) -> "HybridConfig":
        if list(self.multi_freqs) != sorted({r for r in self.multi_freqs if 0 < r < 1}):
            raise ValueError(
                f"multi_freqs={list(self.multi_freqs)} must be growing shares between 0 and 1"
            )
        rows = self.nfft // 2 // self.stride ** (self.multi_freqs_depth - 1)
        least = min((b - a for a, b in pairwise((0.0, *self.multi_freqs, 1.0))), default=1.0)
        if self.multi_freqs and (
            self.multi_freqs_depth > self.norm_starts
            or rows <= self.kernel_size
            or least * rows < 2 * self.kernel_size
        ):
            raise ValueError(
                f"multi_freqs={list(self.multi_freqs)} on {self.multi_freqs_depth} levels need "
                f"levels without normalisation (norm_starts={self.norm_starts}) and parts of at "
                f"least {2 * self.kernel_size} rows; take fewer levels or parts"
            )
        return self

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return max(1, round(self.segment_s * self.sample_rate))


class Config(HybridConfig):
    """Configuration; the defaults are those of the published networks.

    Attributes:
        hybrid_old: The first networks were trained with a slip, which they need: the spectrogram
            is surrounded by silence instead of a reflection, and its signal comes late.
        dconv_attn: First level whose branches have attention.
        dconv_lstm: First level whose branches have recurrent layers.
    """

    hybrid_old: bool = False
    dconv_attn: int = Field(4, ge=0)
    dconv_lstm: int = Field(4, ge=0)

    @property
    def attention_starts(self) -> int:
        """First level whose branches have attention."""
        return self.dconv_attn


HybridConfigT = TypeVar("HybridConfigT", bound=HybridConfig)


class HybridModel(SeparationModel[HybridConfigT], ABC):
    """STFT, two U-Nets, and the sum of what they give.

    A subclass says by `branches` what the residual branches are, and by `middle` what stands
    between encoders and decoders.
    """

    window: Tensor

    def __init__(self, config: HybridConfigT) -> None:
        super().__init__(config)
        self.spec = ModelSpec(
            stems=config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            segment_samples=config.samples,
            normalise="track",
            window="triangle",
            valid_lengths=self.valid_lengths(),
        )
        self.register_buffer("window", torch.hann_window(config.nfft), persistent=False)
        self.freq_emb: FrequencyEmbedding | None = None
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.tencoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        self._add_levels()
        if config.rescale:
            rescale_weights(self, config.rescale)

    @abstractmethod
    def branches(self, level: int) -> BranchOptions:
        """Return what the residual branches of a level are like."""

    @abstractmethod
    def middle(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes into the decoders, from what comes out of the encoders.

        Shape:
            x: `[B, H, F, N]`; xt: `[B, H, 1, M]`; returns the same.
        """

    def valid_lengths(self) -> ValidLengths | None:
        """Return the lengths that the engine fills segments up to."""
        return None

    def _add_levels(self) -> None:
        """Add the layers of all levels; those of the decoders stand in reverse."""
        config = self.config
        kernel, stride = config.kernel_size, config.stride
        width, width_t = config.hidden_channels, config.channels_time or config.hidden_channels
        inputs, inputs_t = config.channels * (2 if config.cac else 1), config.channels
        outputs, outputs_t = len(config.stems) * inputs, len(config.stems) * inputs_t
        rows = config.nfft // 2
        for index in range(config.depth):
            last, merges = index == 0, 1 < rows <= kernel
            if merges:
                width = width_t = max(width, width_t)
            if rows == 1:
                step = config.time_stride
                layers = self._layers(index, Strides(False, 2 * step, step, step // 2))
            elif merges:
                layers = self._layers(index, Strides(True, rows, stride, 0))
            else:
                layers = self._layers(index, Strides(True, kernel, stride, kernel // 4))
            if config.multi_freqs and index < config.multi_freqs_depth:
                ratios = config.multi_freqs
                self.encoder.append(BandEncoder(inputs, width, layers[0], ratios))
                self.decoder.insert(0, BandDecoder(width, outputs, layers[1], ratios, last=last))
            else:
                self.encoder.append(EncoderLayer(inputs, width, layers[0]))
                self.decoder.insert(0, DecoderLayer(width, outputs, layers[1], last=last))
            if rows > 1:
                steps = Strides(False, kernel, stride, kernel // 4, alone=merges)
                layers = self._layers(index, steps)
                self.tencoder.append(EncoderLayer(inputs_t, width_t, layers[0]))
                self.tdecoder.insert(0, DecoderLayer(width_t, outputs_t, layers[1], last=last))
                rows = 1 if merges else rows // stride
            if index == 0 and config.freq_emb:
                self.freq_emb = FrequencyEmbedding(rows, width, config.emb_scale)
            inputs, inputs_t, outputs, outputs_t = width, width_t, width, width_t
            width, width_t = int(config.growth * width), int(config.growth * width_t)

    def _layers(self, index: int, strides: Strides) -> tuple[LayerOptions, LayerOptions]:
        """Return what the layers of the encoder and of the decoder are like on a level."""
        config = self.config
        norm_groups = config.norm_groups if index >= config.norm_starts else None
        branches = self.branches(index)
        encoder = branches if config.dconv_mode & 1 else None
        decoder = branches if config.dconv_mode & 2 else None
        return (
            LayerOptions(strides, norm_groups, encoder, config.context_enc),
            LayerOptions(strides, norm_groups, decoder, config.context),
        )

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        length = mix.shape[-1]
        mix = F.pad(mix, (0, self.silence_after(length)))
        z = spectrum(mix, self.window, mirrored=self.mirrored)  # [B, C, F, N]
        image = as_channels(z) if self.config.cac else z.abs()
        level, scale = image.mean((1, 2, 3), keepdim=True), deviation(image, (1, 2, 3))
        level_t, scale_t = mix.mean((1, 2), keepdim=True), deviation(mix, (1, 2))
        x, xt = self.network((image - level) / (1e-5 + scale), (mix - level_t) / (1e-5 + scale_t))
        # A few rows at a time, which stay in a processor's cache while they are turned around.
        parts = [self._bins(part.float() * scale + level) for part in torch.split(x, 64, 2)]
        if self.config.cac:
            # The highest bin, which the inverse transform would otherwise have to make room for.
            parts.append(torch.zeros_like(parts[0][..., :1]))
        bins = torch.cat(parts, -1)  # [B, S, C, N, F]
        if not self.config.cac:
            bins = bins * torch.sgn(z).mT[:, None]
        stems = signal(bins, self.window, mirrored=self.mirrored, length=mix.shape[-1])
        xt = xt.float() * scale_t + level_t  # [B, S·C, T]
        return (stems + torch.unflatten(xt, 1, stems.shape[1:3]))[..., :length]

    def network(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Run the two U-Nets on a standardised spectrogram and waveform.

        Shape:
            x: `[B, H, F, N]`; xt: `[B, C, T]`; returns `[B, S·H, F, N]` and `[B, S·C, T]`.
        """
        x, xt = features_last(x), features_last(xt[:, :, None])
        skips: list[Tensor] = []
        skips_t: list[Tensor] = []
        lengths: list[int] = []
        lengths_t: list[int] = []
        for index, encode in enumerate(self.encoder):
            lengths.append(x.shape[-1])
            added = None
            if index < len(self.tencoder):
                lengths_t.append(xt.shape[-1])
                encode_t = cast(EncoderLayer, self.tencoder[index])
                xt = encode_t(xt)
                if encode_t.strides.alone:
                    added = xt
                else:
                    skips_t.append(xt)
            x = encode(x, added)
            if index == 0 and self.freq_emb is not None:
                x = x + (self.config.freq_emb * self.freq_emb()).to(x.dtype)
            skips.append(x)
        x, xt = self.middle(x, xt)
        for index, decode in enumerate(self.decoder, len(self.tdecoder) - len(self.decoder)):
            x, before = decode(x, skips.pop(), lengths.pop())
            if index >= 0:
                decode_t = cast(DecoderLayer, self.tdecoder[index])
                if decode_t.strides.alone:
                    xt, _ = decode_t(before, None, lengths_t.pop())
                else:
                    xt, _ = decode_t(xt, skips_t.pop(), lengths_t.pop())
        return x, xt[:, :, 0]

    def _bins(self, image: Tensor) -> Tensor:
        """Return complex numbers, or magnitudes, as the inverse transform takes them.

        Shape:
            image: `[B, S·H, F, N]`; returns `[B, S, C, N, F]`.
        """
        axes = (len(self.spec.stems), self.config.channels)
        if not self.config.cac:
            return torch.unflatten(image, 1, axes).mT
        parts = torch.unflatten(image, 1, (*axes, 2)).permute(0, 1, 2, 5, 4, 3)
        return torch.view_as_complex(parts.contiguous())

    @property
    def mirrored(self) -> bool:
        """Whether the spectrogram goes on as a reflection beyond the ends; see `hybrid_old`."""
        return True

    def silence_after(self, samples: int) -> int:
        """Return how much silence a mixture gets at its end."""
        return 0


class HybridDemucs(HybridModel[Config]):
    """The Hybrid Demucs separator: `[B, C, T] -> [B, S, C, T]`."""

    def branches(self, level: int) -> BranchOptions:
        """Return branches with attention and recurrent layers on the inner levels."""
        config = self.config
        return BranchOptions(
            config.dconv_depth,
            config.dconv_comp,
            config.dconv_init,
            lstm=level >= config.dconv_lstm,
            attention=level >= config.dconv_attn,
        )

    def middle(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Return nothing but zeros: the decoders start from the innermost skip connection."""
        return torch.zeros_like(x), torch.zeros_like(xt)

    @property
    def mirrored(self) -> bool:
        """Whether the spectrogram goes on as a reflection beyond the ends."""
        return not self.config.hybrid_old


def as_channels(spectrum: Tensor) -> Tensor:
    """Return real and imaginary parts as channels. Shape: `[B, C, F, N] -> [B, 2C, F, N]`."""
    return torch.view_as_real(spectrum).permute(0, 1, 4, 2, 3).flatten(1, 2)
