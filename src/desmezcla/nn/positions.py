"""Numbers as vectors of sines and cosines.

Reference:
    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5.
"""

import math

import torch
from torch import Tensor


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """Return the sines, then the cosines, of positions times falling frequencies.

    Frequency i of h is 10000^(-i / h), in radians per position.

    Args:
        positions: Any numbers, such as those of frames.
        size: Length 2·h of a vector, even.

    Shape:
        positions: `[*]`; returns `[*, size]`.
    """
    half = size // 2
    places = torch.arange(half, dtype=positions.dtype, device=positions.device)
    angles = positions[..., None] * torch.exp(-math.log(10000.0) / half * places)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
