"""A U-Net whose filters look along the frequencies or along time, never along both.

References:
    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015.
    Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AsymmetricUNet(nn.Module):
    """A U-Net on spectrograms of any size, with gates of attention on its skip connections.

    Every step down halves the bins, rounded up; the first so many halve the frames, too. What a
    step up gives too much at the upper and at the late edge is cut off.

    Args:
        inputs: Features that come in.
        outputs: Features that go out.
        widths: Features of the levels, from the finest.
        time_levels: Steps down that halve the frames.
        taps: Length of the filters, odd.
        bottleneck: What changes the features of the coarsest level; None for nothing.
        condition: Size of a vector that the encoder's features depend on; 0 for none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        widths: Sequence[int],
        time_levels: int,
        taps: int,
        bottleneck: nn.Module | None = None,
        condition: int = 0,
    ) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        strides = [(2, 2 if i < time_levels else 1) for i in range(len(steps))]
        self.entry = EncoderLevel(inputs, widths[0], taps, (1, 1), condition)
        self.encoder = nn.ModuleList(
            EncoderLevel(fine, coarse, taps, stride, condition)
            for (fine, coarse), stride in zip(steps, strides, strict=True)
        )
        self.bottleneck = bottleneck or nn.Identity()
        self.decoder = nn.ModuleList(
            DecoderLevel(coarse, fine, taps, stride)
            for (fine, coarse), stride in zip(steps, strides, strict=True)
        )
        self.exit = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map one spectrogram to another.

        Shape:
            x: `[B, H, F, N]`; condition: `[B, D]`; returns `[B, H', F, N]`.
        """
        x = self.entry(x, condition)
        skips = []
        for encoder in self.encoder:
            skips.append(x)
            x = encoder(x, condition)
        x = self.bottleneck(x)
        for decoder, skip in reversed(list(zip(self.decoder, skips, strict=True))):
            x = decoder(x, skip)
        result: Tensor = self.exit(x)
        return result


def coarsest_bins(bins: int, widths: Sequence[int]) -> int:
    """Return the number of bins at the coarsest level.

    >>> coarsest_bins(2049, (16, 32, 64))
    513
    """
    # Halving again and again, rounded up each time, is one division rounded up.
    halvings: int = 2 ** (len(widths) - 1)
    return -(-bins // halvings)


class EncoderLevel(nn.Module):
    """A spectral and a temporal convolution, each with a normalisation and a ReLU.

    Each makes its steps along its own axis.
    """

    def __init__(
        self, inputs: int, features: int, taps: int, stride: tuple[int, int], condition: int
    ) -> None:
        super().__init__()
        self.spectral = spectral(inputs, features, taps, stride[0])
        self.spectral_norm = nn.BatchNorm2d(features)
        self.temporal = temporal(features, features, taps, stride[1])
        self.temporal_norm = nn.BatchNorm2d(features)
        self.condition = nn.Linear(condition, features) if condition else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Shape: `[B, H, F, N]` -> `[B, H', F / 2, N / 2]`, or less divided."""
        x = self.spectral_norm(self.spectral(x))
        if self.condition is not None:
            x = x + self.condition(condition)[:, :, None, None]
        return F.relu(self.temporal_norm(self.temporal(F.relu(x))))


class DecoderLevel(nn.Module):
    """A step up, the gated skip joined to it, and the same convolutions without normalisation."""

    def __init__(self, inputs: int, features: int, taps: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, features, stride, stride)
        self.gate = AttentionGate(features)
        self.spectral = spectral(2 * features, features, taps, 1)
        self.temporal = temporal(features, features, taps, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Shape: `[B, H, F / 2, N / 2]`, `[B, H', F, N]` -> `[B, H', F, N]`."""
        x = self.up(x)[:, :, : skip.shape[2], : skip.shape[3]]
        x = torch.cat([x, self.gate(skip, x)], dim=1)
        return F.relu(self.temporal(F.relu(self.spectral(x))))


class AttentionGate(nn.Module):
    """Weighs every place of a skip connection by what the decoder already knows of it.

    With the skip s, the decoder's features g, ReLU ρ and sigmoid σ, what is let through is
    s·σ(ψ·ρ(W_s·s + W_g·g)): the additive attention of Oktay et al., who compute it on the coarser
    of two grids and interpolate. Here g has been brought to the finer one already.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        inner = max(1, features // 2)
        self.of_skip = nn.Conv2d(features, inner, 1, bias=False)
        self.of_decoder = nn.Conv2d(features, inner, 1)
        self.weight = nn.Conv2d(inner, 1, 1)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Shape: `[B, H, F, N]` each; returns the same."""
        seen = F.relu(self.of_skip(skip) + self.of_decoder(decoded))
        return skip * torch.sigmoid(self.weight(seen))


class OverTime(nn.Module):
    """Adds what a sequence model makes of the frames of a feature map.

    A 1x1 convolution leaves few features, which are joined with the bins to one vector per frame,
    so that the sequence model knows which frequency is which; a second one brings the others back.

    Args:
        features: Features of the map.
        narrow: Features that the sequence model is shown.
        sequence: Maps `[B, N, narrow·K]` to the same, K the number of bins.
    """

    def __init__(self, features: int, narrow: int, sequence: nn.Module) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(features, narrow, 1)
        self.sequence = sequence
        self.widen = nn.Conv2d(narrow, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, K, N]`, as the input."""
        narrow = self.narrow(x)  # [B, h, K, N]
        frames = self.sequence(narrow.flatten(1, 2).transpose(1, 2))  # [B, N, h·K]
        result: Tensor = x + self.widen(frames.transpose(1, 2).unflatten(1, narrow.shape[1:3]))
        return result


def spectral(inputs: int, features: int, taps: int, stride: int) -> nn.Conv2d:
    """Return a convolution along the frequencies."""
    return for_relu(nn.Conv2d(inputs, features, (taps, 1), (stride, 1), (taps // 2, 0)))


def temporal(inputs: int, features: int, taps: int, stride: int) -> nn.Conv2d:
    """Return a convolution along time."""
    return for_relu(nn.Conv2d(inputs, features, (1, taps), (1, stride), (0, taps // 2)))


def for_relu(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution with weights drawn anew, so that a ReLU after it keeps the level.

    The decoder has no normalisation that would make good for a level that falls from layer to
    layer (He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", ICCV 2015).
    """
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution
