"""Spectrograms cut into bands, each with layers of its own, and masks put together from bands.

Reference:
    Luo and Yu, "Music Source Separation with Band-split RNN", IEEE/ACM Transactions on Audio,
    Speech, and Language Processing 31, 2023.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

MakeNorm = Callable[[int], nn.Module]


def spectral_values(spectrum: Tensor) -> Tensor:
    """Return the real and imaginary parts of all channels of a bin beside each other.

    Shape:
        spectrum: `[B, C, F, N]` complex; returns `[B, N, F·C·2]`.
    """
    return torch.view_as_real(spectrum).permute(0, 3, 2, 1, 4).flatten(2)


def masked(spectrum: Tensor, values: Tensor) -> Tensor:
    """Return a spectrogram times complex masks.

    Args:
        spectrum: The mixture.
        values: The masks, with the values of a frame as `spectral_values` has them.

    Shape:
        spectrum: `[B, C, F, N]` complex; values: `[B, S, N, F·C·2]`; returns `[B, S, C, F, N]`.
    """
    shape = (*values.shape[:-1], -1, spectrum.shape[1], 2)
    parts = values.to(spectrum.real.dtype).reshape(shape)  # [B, S, N, F, C, 2]
    masks = torch.view_as_complex(parts.contiguous())
    return spectrum[:, None] * masks.permute(0, 1, 4, 3, 2)


def masked_parts(parts: Tensor, masks: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a spectrogram times complex masks, all of it as real tensors.

    Args:
        parts: The mixture.
        masks: Makes the masks of the mixture, both with the values of a frame as `spectral_values`
            has them: from `[B, N, F·C·2]` to `[B, S, N, F·C·2]`.

    Shape:
        parts: `[B, C, N, F, 2]`; returns `[B, S, C, N, F, 2]`.
    """
    made = masks(parts.permute(0, 2, 3, 1, 4).flatten(2))
    made = torch.unflatten(made, -1, (-1, parts.shape[1], 2)).permute(0, 1, 4, 2, 3, 5)
    (a, b), (c, d) = made.unbind(-1), parts[:, None].unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], -1)


class BandSplit(nn.Module):
    """Makes features of one size from the bands of a frame, which have many sizes.

    Args:
        widths: Values of each band.
        features: Features of each band, H.
        norm: Makes the layer that normalises a band of so many values.
    """

    def __init__(self, widths: Sequence[int], features: int, *, norm: MakeNorm) -> None:
        super().__init__()
        self.widths = list(widths)
        self.to_features = nn.ModuleList(
            [nn.Sequential(norm(width), nn.Linear(width, features)) for width in widths]
        )

    def forward(self, values: Tensor) -> Tensor:
        """Shape: `[B, N, W]`, W all values of a frame; returns `[B, N, K, H]`."""
        bands = zip(self.to_features, torch.split(values, self.widths, -1), strict=True)
        return torch.stack([to_features(band) for to_features, band in bands], 2)


class MaskEstimator(nn.Module):
    """Makes the values of a mask from the features of its bands.

    Each band has dense layers with tanh between them and a gated linear unit at their end.

    Args:
        widths: Values of each band.
        features: Features of each band, H.
        hidden: Width of the layers between the first and the last.
        depth: Dense layers.
        norm: Makes a layer in front that normalises so many features; None for no such layer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        features: int,
        *,
        hidden: int,
        depth: int,
        norm: MakeNorm | None = None,
    ) -> None:
        super().__init__()
        self.to_freqs = nn.ModuleList()
        for width in widths:
            front = [norm(features)] if norm else []
            layers = dense_layers((features, *[hidden] * (depth - 1), 2 * width))
            self.to_freqs.append(nn.Sequential(*front, layers, nn.GLU(-1)))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, N, K, H]`; returns `[B, N, W]`, W all values of a frame."""
        bands = zip(self.to_freqs, x.unbind(2), strict=True)
        return torch.cat([to_freqs(band) for to_freqs, band in bands], -1)


def dense_layers(sizes: Sequence[int]) -> nn.Sequential:
    """Return dense layers from each size to the next, with tanh between them."""
    layers: list[nn.Module] = []
    for size, wanted in pairwise(sizes):
        layers += [nn.Linear(size, wanted), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
