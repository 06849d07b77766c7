"""The U-Net of `asym_unet` with a BLSTM over time at its bottom.

Reference:
    The RamDomMusicSeparate project's description (2025), third phase. The BLSTM is that of Graves
    and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM and other neural
    network architectures", Neural Networks 18, 2005.

Differences from the description:
    It says only that temporal mechanisms are integrated. Here the BLSTM sees, for each frame of the
    coarsest level, all bins of a few features, and its result is added to all features. What
    `asym_unet` does otherwise than its description holds here, too.
"""

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from desmezcla.models.asym_unet import TINY as UNET_TINY
from desmezcla.models.asym_unet import MaskUNet, UNetConfig
from desmezcla.nn.asymmetric import OverTime, coarsest_bins

TINY: dict[str, Any] = {**UNET_TINY, "narrow": 2, "hidden_size": 8, "layers": 1}


class Config(UNetConfig):
    """Configuration; see `UNetConfig`, too.

    Attributes:
        narrow: Features of which the BLSTM is shown all bins.
        hidden_size: Width of the BLSTM in each direction.
        layers: Layers of the BLSTM.
    """

    narrow: int = Field(8, ge=1)
    hidden_size: int = Field(256, ge=1)
    layers: int = Field(2, ge=1)


class BlstmUNet(MaskUNet[Config]):
    """The U-Net with a BLSTM: `[B, C, T] -> [B, S, C, T]`."""

    def bottleneck(self) -> nn.Module:
        """Return the BLSTM; see `MaskUNet`."""
        config = self.config
        size = config.narrow * coarsest_bins(config.bins, config.widths)
        return OverTime(config.widths[-1], config.narrow, Blstm(size, config))


class Blstm(nn.Module):
    """A bidirectional LSTM and a dense layer that leads back to the size of the input."""

    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            size, config.hidden_size, config.layers, batch_first=True, bidirectional=True
        )
        self.dense = nn.Linear(2 * config.hidden_size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, N, H]`, as the input."""
        hidden, _ = self.lstm(x)
        result: Tensor = self.dense(hidden)
        return result
