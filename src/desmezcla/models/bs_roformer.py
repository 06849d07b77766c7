"""BS-RoFormer: transformers along time and across bands in turn, and complex masks.

Reference:
    Lu, Wang, Kong and Hung, "Music Source Separation with Band-Split RoPE Transformer", ICASSP
    2024.

Differences from the paper:
    The network is that of Phil Wang's PyTorch version, with which the checkpoints that people
    publish were trained: parameters have the names and shapes of the package `bs-roformer` 0.3.0
    to 0.4.1. (Before 0.3.0 the attention has no gates; from 0.5.0 on it mixes in the values of the
    first block, and later versions add still more.) It differs from the paper so: the output of
    each head is multiplied by a sigmoid gate; one normalisation after the last block takes the
    place of one in front of each band's mask layers. `skip_connection` and `mlp_expansion_factor`
    are options of the program Music-Source-Separation-Training, which trained most of them.
    The defaults are the paper's, with one exception: its large model, which has 12 blocks, was
    trained for one stem at a time, and here the stems share all blocks; give one stem for the
    paper's. (Its ablations have 6 blocks and 72.2 million parameters.) Published checkpoints have
    heads of 64 instead of 48.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from desmezcla.dsp.stft import istft, stft
from desmezcla.models.base import (
    Core,
    ModelConfig,
    SpectralModel,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.band_split import (
    BandSplit,
    MaskEstimator,
    masked,
    masked_parts,
    spectral_values,
)
from desmezcla.nn.modes import only_the_result
from desmezcla.nn.rotary import rotary_frequencies, rotated

TINY: dict[str, Any] = {
    "dim": 8,
    "depth": 1,
    "heads": 2,
    "dim_head": 4,
    "freqs_per_bands": (10, 20, 99),
    "n_fft": 256,
    "win_length": 256,
    "hop_length": 128,
    "mlp_expansion_factor": 2,
    "attn_dropout": 0.0,
    "ff_dropout": 0.0,
    "segment_s": 0.1,
    "context_s": 0.02,
}

PLACES_AT_ONCE = 4096
"""That a transformer transforms together on a processor, about."""

BANDS = (*[2] * 24, *[4] * 12, *[12] * 8, *[24] * 8, *[48] * 8, 128, 129)


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper.

    Attributes:
        dim: Features of a band.
        depth: Blocks, each of a transformer along time and one across bands.
        heads: Attention heads.
        dim_head: Size of a head, even.
        time_transformer_depth: Layers of a transformer along time.
        freq_transformer_depth: Layers of a transformer across bands.
        attn_dropout: Of the attention and of what comes from it, in training.
        ff_dropout: After each of the dense layers of a transformer, in training.
        freqs_per_bands: Bins of each band, from the lowest.
        mask_estimator_depth: Dense layers of a mask.
        mlp_expansion_factor: Width of the layers inside a mask, in multiples of `dim`.
        skip_connection: Add the outputs of all blocks before it to the input of each block.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples; 10 ms.
        win_length: Length of its Hann window, samples, in the middle of `n_fft`.
        normalized: Divide the STFT by the root of `n_fft`.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    dim: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(8, ge=1)
    dim_head: int = Field(48, ge=2, multiple_of=2)
    time_transformer_depth: int = Field(1, ge=1)
    freq_transformer_depth: int = Field(1, ge=1)
    attn_dropout: float = Field(0.1, ge=0, lt=1)
    ff_dropout: float = Field(0.1, ge=0, lt=1)
    freqs_per_bands: tuple[PositiveInt, ...] = Field(BANDS, min_length=1)
    mask_estimator_depth: int = Field(2, ge=1)
    mlp_expansion_factor: int = Field(4, ge=1)
    skip_connection: bool = False
    n_fft: int = Field(2048, ge=4, multiple_of=2)
    hop_length: int = Field(441, ge=1)
    win_length: int = Field(2048, ge=1)
    normalized: bool = False
    segment_s: float = Field(8.0, gt=0)
    context_s: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        bins = self.n_fft // 2 + 1
        if sum(self.freqs_per_bands) != bins:
            raise ValueError(
                f"freqs_per_bands={self.freqs_per_bands} has {sum(self.freqs_per_bands)} bins, but "
                f"must have the {bins} of n_fft={self.n_fft}"
            )
        if self.win_length > self.n_fft:
            raise ValueError(
                f"win_length={self.win_length} must be at most n_fft={self.n_fft} samples"
            )
        return self


class BSRoformer(SpectralModel[Config]):
    """The BS-RoFormer separator: `[B, C, T] -> [B, S, C, T]`."""

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
        self.register_buffer("window", stft_window(config), persistent=False)
        along_time, across_bands = Rotary(config.dim_head), Rotary(config.dim_head)
        self.layers = nn.ModuleList(
            [
                nn.ModuleList(
                    [
                        Transformer(config, config.time_transformer_depth, along_time),
                        Transformer(config, config.freq_transformer_depth, across_bands),
                    ]
                )
                for _ in range(config.depth)
            ]
        )
        self.final_norm = RMSNorm(config.dim)
        # A value for the real and one for the imaginary part of each channel.
        widths = [2 * config.channels * bins for bins in config.freqs_per_bands]
        self.band_split = BandSplit(widths, config.dim, norm=RMSNorm)
        self.mask_estimators = nn.ModuleList(
            [
                MaskEstimator(
                    widths,
                    config.dim,
                    hidden=config.mlp_expansion_factor * config.dim,
                    depth=config.mask_estimator_depth,
                )
                for _ in config.stems
            ]
        )

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return masked(spectrum, self._masks(spectral_values(spectrum)))

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._waveforms(self.spectra(mix), mix.shape[-1])

    def core(self) -> Core:
        """Return what lies between the STFT and its inverse; see `Core`."""
        framing = stft_framing(self.window, self.config.hop_length)
        return spectral_core(self, lambda parts: masked_parts(parts, self._masks), framing)

    def _waveforms(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)

    def _masks(self, values: Tensor) -> Tensor:
        """Return the stems' masks. Shape: `[B, N, F·C·2]`; returns `[B, S, N, F·C·2]`."""
        x = self.band_split(values)  # [B, N, K, H]
        earlier: list[Tensor] = []
        for block in self.layers:
            over_time, over_bands = cast(nn.ModuleList, block)
            x = sum(earlier, x)
            x = over_time(x.transpose(1, 2)).transpose(1, 2)
            x = over_bands(x)
            if self.config.skip_connection:
                earlier = [sum(earlier, x)]
        x = self.final_norm(x)
        return torch.stack([estimator(x) for estimator in self.mask_estimators], 1)


def stft_window(config: Config) -> Tensor:
    """Return the window whose STFT has the configured length and scale. Shape: `[n_fft]`."""
    window = torch.hann_window(config.win_length)
    before = (config.n_fft - config.win_length) // 2
    window = F.pad(window, (before, config.n_fft - config.win_length - before))
    # The inverse STFT divides by the window's square, and so undoes the scale, too.
    return window * config.n_fft**-0.5 if config.normalized else window


class RMSNorm(nn.Module):
    """Divides the last axis by its root mean square, and multiplies it by a gain."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[..., size]`, as the input."""
        scale: float = len(self.gamma) ** 0.5
        return F.normalize(x, dim=-1) * scale * self.gamma


class Rotary(nn.Module):
    """Holds the frequencies of rotary positions, which checkpoints have among their weights."""

    freqs: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("freqs", rotary_frequencies(size))


class Transformer(nn.Module):
    """Layers of attention and dense layers; what each gives is added to what it was given."""

    def __init__(self, config: Config, depth: int, rotary: Rotary) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ModuleList([Attention(config, rotary), FeedForward(config)]) for _ in range(depth)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, M, L, H]`, as the input; L is the axis that is looked along."""
        sequences = x.flatten(0, 1)  # [B·M, L, H]
        at_once = len(sequences)
        if x.device.type == "cpu" and only_the_result():
            # No sequence knows of another, and what a layer makes of a few needs less than half of
            # the memory, in the same time.
            at_once = max(1, PLACES_AT_ONCE // x.shape[2])
        pieces = [
            self._transformed(piece.contiguous()) for piece in torch.split(sequences, at_once)
        ]
        return torch.cat(pieces).reshape(x.shape)

    def _transformed(self, x: Tensor) -> Tensor:
        """Shape: `[M, L, H]`, as the input."""
        for layer in self.layers:
            attention, dense = cast(nn.ModuleList, layer)
            x = x + attention(x)
            x = x + dense(x)
        return x


class Attention(nn.Module):
    """Self-attention with rotary positions, and a gate for each head."""

    def __init__(self, config: Config, rotary: Rotary) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attn_dropout
        inner = config.heads * config.dim_head
        self.rotary_embed = rotary
        self.norm = RMSNorm(config.dim)
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_gates = nn.Linear(config.dim, config.heads)
        self.to_out = nn.Sequential(
            nn.Linear(inner, config.dim, bias=False), nn.Dropout(config.attn_dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[M, L, H]`, as the input; L is the axis that is looked along."""
        x = self.norm(x)
        qkv = torch.unflatten(F.linear(x, self._weight()), -1, (3, self.heads, -1))
        qkv = qkv.permute(2, 0, 3, 1, 4)
        first, second = qkv[:2].chunk(2, -1)  # of [3, M, heads, L, h]
        q, k = rotated(first, second, self.rotary_embed.freqs).unbind()
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, qkv[2], dropout_p=dropout)
        gates = self.to_gates(x).sigmoid().transpose(1, 2)  # [M, heads, L]
        seen = (seen * gates[..., None]).transpose(1, 2).flatten(2)  # [M, L, heads·h]
        result: Tensor = self.to_out(seen)
        return result

    def _weight(self) -> Tensor:
        """Return the weight of q, k and v with the first components of all pairs before the second.

        In the checkpoints those of a pair of q or k are neighbours, and to take every other value
        of q and k would take a processor far longer than to take every other row of a weight.
        """
        turned, v = self.to_qkv.weight.tensor_split([2 * len(self.to_qkv.weight) // 3])
        pairs = torch.unflatten(turned, 0, (2 * self.heads, -1, 2)).transpose(1, 2)
        return torch.cat([pairs.flatten(0, 2), v])


class FeedForward(nn.Module):
    """Two dense layers, the one inside four times as wide."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.Sequential(
            RMSNorm(config.dim),
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Dropout(config.ff_dropout),
            nn.Linear(4 * config.dim, config.dim),
            nn.Dropout(config.ff_dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[M, L, H]`, as the input."""
        result: Tensor = self.net(x)
        return result
