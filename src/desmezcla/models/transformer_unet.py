"""The U-Net of `asym_unet` with a transformer over time at its bottom.

Reference:
    The RamDomMusicSeparate project's description (2025), third phase. The transformer and its
    positions are those of Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

Differences from the description:
    It says only that attention with positional encoding is integrated. Here the transformer sees,
    for each frame of the coarsest level, all bins of a few features, and its result is added to all
    features. Its layers normalise what comes in, not what goes out, which trains without a warm-up
    (Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020). What
    `asym_unet` does otherwise than its description holds here, too.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.models.asym_unet import TINY as UNET_TINY
from desmezcla.models.asym_unet import MaskUNet, UNetConfig
from desmezcla.nn.asymmetric import OverTime, coarsest_bins
from desmezcla.nn.positions import sinusoids

TINY: dict[str, Any] = {
    **UNET_TINY,
    "narrow": 2,
    "hidden_size": 8,
    "layers": 1,
    "heads": 2,
    "dropout": 0.0,
}


class Config(UNetConfig):
    """Configuration; see `UNetConfig`, too.

    Attributes:
        narrow: Features of which the transformer is shown all bins.
        hidden_size: Width of the transformer.
        layers: Layers of the transformer.
        heads: Attention heads of a layer.
        dropout: In the transformer, in training.
    """

    narrow: int = Field(8, ge=1)
    hidden_size: int = Field(256, ge=2, multiple_of=2)
    layers: int = Field(4, ge=1)
    heads: int = Field(8, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "Config":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be a multiple of heads={self.heads}"
            )
        return self


class TransformerUNet(MaskUNet[Config]):
    """The U-Net with a transformer: `[B, C, T] -> [B, S, C, T]`."""

    def bottleneck(self) -> nn.Module:
        """Return the transformer; see `MaskUNet`."""
        config = self.config
        size = config.narrow * coarsest_bins(config.bins, config.widths)
        return OverTime(config.widths[-1], config.narrow, Transformer(size, config))


class Transformer(nn.Module):
    """Layers of self-attention between two dense layers."""

    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.enter = nn.Linear(size, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                config.heads,
                4 * width,
                config.dropout,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, N, H]`, as the input."""
        x = self.enter(x)
        x = x + sinusoids(torch.arange(x.shape[1], device=x.device, dtype=x.dtype), x.shape[2])
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.leave(self.norm(x))
        return result
