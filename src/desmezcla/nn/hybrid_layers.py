"""Layers of the two U-Nets of Hybrid Demucs, one over the spectrogram and one over the waveform.

Both take feature maps `[B, H, F, T]`: the one strides along frequency, the other, which has one
row, along time. Weights have the names and shapes of the authors' layers.

Reference:
    Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop at ISMIR 2021.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from desmezcla.nn.demucs_layers import (
    BranchOptions,
    MapNorm,
    ResidualBranches,
    TimeConv,
    TimeConvTranspose,
    gated,
)


@dataclass(frozen=True)
class Strides:
    """The strided convolution of a level.

    Attributes:
        along_frequency: Whether it strides along frequency; along time if not.
        kernel: Taps.
        stride: Stride.
        padding: At both ends of the axis that it strides along.
        alone: Whether a layer is this convolution and nothing else.
    """

    along_frequency: bool
    kernel: int
    stride: int
    padding: int
    alone: bool = False

    def down(self, features: int, wanted: int) -> nn.Module:
        """Return the convolution of the encoder."""
        if self.along_frequency:
            sizes = (self.kernel, 1), (self.stride, 1), (self.padding, 0)
            return nn.Conv2d(features, wanted, *sizes)
        return TimeConv(features, wanted, self.kernel, stride=self.stride, padding=self.padding)

    def up(self, features: int, wanted: int) -> nn.Module:
        """Return the transposed convolution of the decoder, without padding."""
        if self.along_frequency:
            return nn.ConvTranspose2d(features, wanted, (self.kernel, 1), (self.stride, 1))
        return TimeConvTranspose(features, wanted, self.kernel, self.stride)


@dataclass(frozen=True)
class LayerOptions:
    """What a layer is like.

    Attributes:
        strides: Its strided convolution.
        norm_groups: Groups of its normalisations; None for none.
        branches: Its residual branches; None for none.
        context: Rows and samples at both sides that the convolution of the gate sees.
        context_rows: Whether it does see rows; samples only if not.
    """

    strides: Strides
    norm_groups: int | None
    branches: BranchOptions | None
    context: int
    context_rows: bool = True

    def gate(self, features: int) -> TimeConv | nn.Conv2d:
        """Return the convolution of the gate."""
        taps = 2 * self.context + 1
        if self.strides.along_frequency and self.context_rows:
            return nn.Conv2d(features, 2 * features, taps, padding=self.context)
        if self.strides.along_frequency:
            return nn.Conv2d(features, 2 * features, (1, taps), padding=(0, self.context))
        return TimeConv(features, 2 * features, taps, padding=self.context)

    def norm(self, features: int) -> nn.Module:
        """Return a normalisation."""
        if self.norm_groups is None:
            return nn.Identity()
        return MapNorm(self.norm_groups, features)


class EncoderLayer(nn.Module):
    """Strided convolution, residual branches, gate."""

    def __init__(self, features: int, wanted: int, options: LayerOptions) -> None:
        super().__init__()
        self.strides = options.strides
        self.conv = options.strides.down(features, wanted)
        if options.strides.alone:
            return
        self.norm1 = options.norm(wanted)
        self.rewrite = options.gate(wanted)
        self.norm2 = options.norm(2 * wanted)
        self.dconv = ResidualBranches(wanted, options.branches) if options.branches else None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Encode.

        Shape:
            x: `[B, H, F, T]`; added: what the other U-Net gives to this one, as the convolution's
            result; returns `[B, H', F', T']`.
        """
        if not self.strides.along_frequency:
            x = F.pad(x, (0, -x.shape[-1] % self.strides.stride))
        y: Tensor = self.conv(x)
        if self.strides.alone:
            return y
        if added is not None:
            y = y + added
        y = F.gelu(self.norm1(y))
        if self.dconv is not None:
            y = self.dconv(y)
        return gated(y, self.rewrite, self.norm2)


class DecoderLayer(nn.Module):
    """Gate, residual branches, transposed convolution.

    Args:
        features: H.
        wanted: H'.
        options: Those of the encoder's layer.
        last: No GELU at the end.
    """

    def __init__(self, features: int, wanted: int, options: LayerOptions, *, last: bool) -> None:
        super().__init__()
        self.strides = options.strides
        self.last = last
        self.conv_tr = options.strides.up(features, wanted)
        self.norm2 = options.norm(wanted)
        if options.strides.alone:
            return
        self.rewrite = options.gate(features)
        self.norm1 = options.norm(2 * features)
        self.dconv = ResidualBranches(features, options.branches) if options.branches else None

    @property
    def bias(self) -> Tensor:
        """What the transposed convolution adds. Shape: `[H', 1, 1]`."""
        return cast(Tensor, self.conv_tr.bias)[:, None, None]

    def forward(self, x: Tensor, skip: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Decode.

        Returns:
            The result, and what went into the transposed convolution.

        Shape:
            x, skip: `[B, H, F, T]`; length: T'; returns `[B, H', F', T']` and `[B, H, F, T]`.
        """
        y = x
        if skip is not None:
            y = gated(x + skip, self.rewrite, self.norm1)
            if self.dconv is not None:
                y = self.dconv(y)
        z: Tensor = self.norm2(self.conv_tr(y))
        padding = self.strides.padding
        if not self.strides.along_frequency:
            z = z[..., padding : padding + length]
        elif padding:
            z = z[:, :, padding:-padding]
        return z if self.last else F.gelu(z), y


class FrequencyEmbedding(nn.Module):
    """A learned vector for each row, smooth over the rows at first.

    Args:
        rows: F.
        features: H.
        scale: Factor of the weights, by which they learn that much faster.
    """

    def __init__(self, rows: int, features: int, scale: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, features)
        self.scale = scale
        with torch.no_grad():
            # A sum of n unit Gaussians has a deviation of √n.
            smooth = self.embedding.weight.cumsum(0)
            counts = torch.arange(1, rows + 1, dtype=smooth.dtype, device=smooth.device)
            self.embedding.weight.copy_(smooth / counts.sqrt()[:, None] / scale)

    def forward(self) -> Tensor:
        """Return the vectors. Shape: `[H, F, 1]`."""
        return self.embedding.weight.T[..., None] * self.scale
