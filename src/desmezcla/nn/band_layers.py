"""A level of Hybrid Demucs with weights of its own for each part of the spectrum.

The parts meet without a seam: with the same weights in all of them, a level gives what a single
layer gives. Weights have the names and shapes of the authors' layers.

Reference:
    Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop at ISMIR 2021.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from desmezcla.nn.hybrid_layers import DecoderLayer, EncoderLayer, LayerOptions


class BandEncoder(nn.Module):
    """Encoder layers side by side along frequency.

    Args:
        features: H.
        wanted: H'.
        options: What each layer is like.
        ratios: Where a part ends and the next begins, as shares of the rows.
    """

    def __init__(
        self, features: int, wanted: int, options: LayerOptions, ratios: Sequence[float]
    ) -> None:
        super().__init__()
        self.strides, self.ratios = options.strides, tuple(ratios)
        each = replace(options, strides=replace(options.strides, padding=0))
        self.layers = nn.ModuleList(
            [EncoderLayer(features, wanted, each) for _ in range(len(self.ratios) + 1)]
        )

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Encode. Shape: x: `[B, H, F, T]`; added: must be None; returns `[B, H', F', T]`."""
        assert added is None  # the other U-Net joins on an inner level
        kernel, stride, padding = self.strides.kernel, self.strides.stride, self.strides.padding
        rows = x.shape[2]
        # Result r is made from the rows r·stride to r·stride + kernel of the padded map.
        x = F.pad(x, (0, 0, padding, padding))
        ends, first = [], 0
        for ratio in self.ratios:
            limit = round(rows * ratio) + padding
            first += round((limit - first * stride - kernel) / stride + 1)
            ends.append(first)
        ends.append((x.shape[2] - kernel) // stride + 1)
        parts, first = [], 0
        for layer, end in zip(self.layers, ends, strict=True):
            parts.append(layer(x[:, :, first * stride : (end - 1) * stride + kernel]))
            first = end
        return torch.cat(parts, 2)


class BandDecoder(nn.Module):
    """Decoder layers side by side along frequency; see `BandEncoder` and `DecoderLayer`."""

    def __init__(
        self,
        features: int,
        wanted: int,
        options: LayerOptions,
        ratios: Sequence[float],
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.strides, self.ratios, self.last = options.strides, tuple(ratios), last
        # A part does not look into its neighbour, nor is it cut before it has been added.
        each = replace(options, strides=replace(options.strides, padding=0), context_rows=False)
        self.layers = nn.ModuleList(
            [DecoderLayer(features, wanted, each, last=True) for _ in range(len(self.ratios) + 1)]
        )

    def forward(self, x: Tensor, skip: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Decode.

        Shape:
            x, skip: `[B, H, F, T]`; returns `[B, H', F', T]`, and x.
        """
        stride, padding = self.strides.stride, self.strides.padding
        ends = [*(round(x.shape[2] * ratio) for ratio in self.ratios), x.shape[2]]
        parts: list[Tensor] = []
        first = 0
        for layer, end in zip(self.layers, ends, strict=True):
            part, _ = layer(x[:, :, first:end], skip[:, :, first:end], length)
            if parts:
                # Both reach over the seam by a stride, and both have their bias there.
                before, bias = parts[-1], cast(DecoderLayer, layer).bias
                shared = before[:, :, -stride:] + part[:, :, :stride] - bias
                parts[-1], part = before[:, :, :-stride], part[:, :, stride:]
                parts.append(shared)
            parts.append(part)
            first = end
        y = torch.cat(parts, 2)[:, :, padding:-padding]
        return y if self.last else F.gelu(y), x
