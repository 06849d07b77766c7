"""Hybrid Transformer Demucs: two U-Nets, whose middles look at each other.

Reference:
    Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023.

Differences from the paper:
    None in the network: parameters have the names and shapes of the authors' program (version 4.1
    of the package `demucs`), so that their weights fit, and the defaults are those of `htdemucs`,
    the published network, which has four stems (`htdemucs_6s` has six and `bottom_channels=0`).
    Sparse attention (`t_auto_sparsity`) takes the keys whose hashes agree most often with those of
    a group of queries, instead of all pairs that agree often enough: then the scores are computed
    by dense kernels, and each query has the same number of them. Segments longer than those of the
    training, which the program refuses, are taken as they are.
"""

from typing import Any

from pydantic import Field, model_validator
from torch import Tensor

from desmezcla.models.hybrid_demucs import HybridConfig, HybridModel
from desmezcla.nn.cross_transformer import CrossTransformer, TransformerOptions
from desmezcla.nn.demucs_layers import BranchOptions, TimeConv
from desmezcla.spec import ValidLengths

TINY: dict[str, Any] = {
    "nfft": 1024,
    "depth": 1,
    "stride": 64,
    "kernel_size": 128,
    "hidden_channels": 16,
    "dconv_depth": 1,
    "dconv_init": 0.1,
    "bottom_channels": 16,
    "t_layers": 2,
    "t_heads": 2,
    "t_hidden_scale": 2.0,
    "t_dropout": 0.0,
    "segment_s": 0.1,
}


class Config(HybridConfig):
    """Configuration; the defaults are those of the published network with four stems.

    Attributes:
        bottom_channels: Features of the transformer; 0 for those of the innermost level.
        t_layers: Layers of the transformer, for each of the two U-Nets.
        t_hidden_scale: Width of a layer's dense part, by its features.
        t_heads: Attention heads.
        t_dropout: In training.
        t_max_period: Longest period of the positions' sinusoids, by 2π.
        t_weight_pos_embed: Factor of the positions.
        t_cross_first: Whether the first layer looks at the other U-Net.
        t_sparse_self_attn: Layers that look at their own U-Net leave out most scores.
        t_sparse_cross_attn: Layers that look at the other one do.
        t_auto_sparsity: They choose by hashes what to leave out; the only way there is.
        t_sparsity: Part that they leave out.
        use_train_segment: In evaluation, shorter mixtures are filled up to a segment with silence.
    """

    depth: int = Field(4, ge=1)
    dconv_mode: int = Field(3, ge=0, le=3)
    dconv_comp: float = Field(8.0, ge=1)
    bottom_channels: int = Field(512, ge=0)
    t_layers: int = Field(5, ge=1)
    t_hidden_scale: float = Field(4.0, gt=0)
    t_heads: int = Field(8, ge=1)
    t_dropout: float = Field(0.02, ge=0, lt=1)
    t_max_period: float = Field(10000.0, gt=0)
    t_weight_pos_embed: float = 1.0
    t_cross_first: bool = False
    t_sparse_self_attn: bool = False
    t_sparse_cross_attn: bool = False
    t_auto_sparsity: bool = False
    t_sparsity: float = Field(0.9, ge=0, lt=1)
    segment_s: float = Field(7.8, gt=0)
    use_train_segment: bool = True

    @model_validator(mode="after")
    def _transformer_fits(self) -> "Config":
        features = self.transformer_features
        if features % 4 or features % self.t_heads:
            raise ValueError(
                f"the transformer has {features} features, which must be a multiple of 4 and of "
                f"t_heads={self.t_heads}; set bottom_channels"
            )
        if (self.t_sparse_self_attn or self.t_sparse_cross_attn) and not self.t_auto_sparsity:
            raise ValueError("t_auto_sparsity must be true for sparse attention")
        if self.nfft // 2 // self.stride**self.depth < 2:
            raise ValueError(
                f"depth={self.depth} must leave at least 2 rows of nfft={self.nfft}; take less"
            )
        return self

    @property
    def inner_channels(self) -> int:
        """Features of the innermost level."""
        return int(self.hidden_channels * self.growth ** (self.depth - 1))

    @property
    def transformer_features(self) -> int:
        """Features of the transformer."""
        return self.bottom_channels or self.inner_channels


class HtDemucs(HybridModel[Config]):
    """The Hybrid Transformer Demucs separator: `[B, C, T] -> [B, S, C, T]`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        inner, features = config.inner_channels, config.bottom_channels
        if features:
            self.channel_upsampler = TimeConv(inner, features, 1)
            self.channel_downsampler = TimeConv(features, inner, 1)
            self.channel_upsampler_t = TimeConv(inner, features, 1)
            self.channel_downsampler_t = TimeConv(features, inner, 1)
        sparsity = config.t_sparsity
        self.crosstransformer = CrossTransformer(
            TransformerOptions(
                features=config.transformer_features,
                layers=config.t_layers,
                heads=config.t_heads,
                hidden_scale=config.t_hidden_scale,
                dropout=config.t_dropout,
                cross_first=config.t_cross_first,
                max_period=config.t_max_period,
                position_weight=config.t_weight_pos_embed,
                self_sparsity=sparsity if config.t_sparse_self_attn else None,
                cross_sparsity=sparsity if config.t_sparse_cross_attn else None,
            )
        )

    def branches(self, level: int) -> BranchOptions:
        """Return plain branches."""
        config = self.config
        return BranchOptions(config.dconv_depth, config.dconv_comp, config.dconv_init)

    def middle(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the transformer makes of both; see `HybridModel`."""
        if not self.config.bottom_channels:
            result: tuple[Tensor, Tensor] = self.crosstransformer(x, xt)
            return result
        x, xt = self.channel_upsampler(x), self.channel_upsampler_t(xt)
        x, xt = self.crosstransformer(x, xt)
        return self.channel_downsampler(x), self.channel_downsampler_t(xt)

    def valid_lengths(self) -> ValidLengths | None:
        """Return the length of a segment, which the engine fills shorter ones up to."""
        config = self.config
        return ValidLengths(minimum=config.samples) if config.use_train_segment else None

    def silence_after(self, samples: int) -> int:
        """Return what lacks to a segment, in evaluation."""
        if self.training or not self.config.use_train_segment:
            return 0
        return max(0, self.config.samples - samples)
