"""Rotary positions: vectors turned by where they stand.

Reference:
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
"""

import torch
from torch import Tensor


def rotary_frequencies(size: int, *, device: torch.device | None = None) -> Tensor:
    """Return the turn per position, in radians, of each pair of components of a vector.

    Args:
        size: Components of a vector, even.
        device: Where to.

    Shape:
        Returns `[size / 2]`, falling from 1.
    """
    return torch.pow(10000.0, -torch.arange(0, size, 2, device=device) / size)


def rotated(first: Tensor, second: Tensor, frequencies: Tensor) -> Tensor:
    """Return vectors with pairs of components turned by their position times a frequency.

    Then the product of two vectors depends on the distance of their positions only. It does not
    depend on which components make a pair, so the pairs need not be put back where they came from.

    Args:
        first: The first component of each pair.
        second: The second component of each pair.
        frequencies: Turn per position of each pair.

    Shape:
        first, second: `[..., L, h / 2]`; frequencies: `[h / 2]`; returns `[..., L, h]`, all first
        components before all second ones.
    """
    positions = torch.arange(first.shape[-2], device=first.device)[:, None]
    angles = positions * frequencies  # [L, h / 2]
    cosine, sine = angles.cos().to(first.dtype), angles.sin().to(first.dtype)
    turned = torch.addcmul(first * cosine, second, sine, value=-1)
    return torch.cat([turned, torch.addcmul(first * sine, second, cosine)], -1)
