"""Layers of DeepSampler, on feature maps of frames and bands.

Feature maps are `[B, H, N, K]` with H features, N frames and K bands. With a memory, a layer looks
back in time only; without, it looks both ways.

References:
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
    Lu, Wang, Kong and Hung, "Music Source Separation with Band-Split RoPE Transformer", ICASSP
    2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from desmezcla.nn.rotary import rotary_frequencies, rotated
from desmezcla.nn.streaming import Memory

SLOPE = 0.1
"""Of the leaky ReLUs."""


class FrameConv(nn.Conv2d):
    """A convolution over frames and bands that sees as many before as after.

    If causal, it sees only frames before, which the memory has.
    """

    def __init__(self, inputs: int, outputs: int, taps: tuple[int, int], *, causal: bool) -> None:
        self.past = taps[0] - 1 if causal else 0
        super().__init__(
            inputs, outputs, taps, padding=(0 if causal else taps[0] // 2, taps[1] // 2)
        )

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Shape: `[B, H, N, K] -> [B, H', N, K]`."""
        if memory is not None and self.past:
            x = memory.joined(x, self.past, 2)
        return super().forward(x)


class FeatureNorm(nn.LayerNorm):
    """Layer normalisation of the features at each band and frame. Shape: `[B, H, N, K]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the axis H."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Level(nn.Module):
    """A convolution along the bands and one along time, around which the input is added."""

    def __init__(self, features: int, kernel: int, *, causal: bool) -> None:
        super().__init__()
        self.norm = FeatureNorm(features)
        self.bands = FrameConv(features, features, (1, kernel), causal=causal)
        self.time = FrameConv(features, features, (kernel, 1), causal=causal)

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Shape: `[B, H, N, K]`, as the input."""
        y = F.leaky_relu(self.bands(self.norm(x)), SLOPE)
        return x + F.leaky_relu(self.time(y, memory), SLOPE)


def fewer_bands(features: int, wanted: int, stride: int) -> nn.Conv2d:
    """Return a convolution along the bands that divides their number by an even stride."""
    return nn.Conv2d(
        features, wanted, (1, 2 * stride), stride=(1, stride), padding=(0, stride // 2)
    )


def more_bands(features: int, wanted: int, stride: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution along the bands that multiplies their number by a stride."""
    return nn.ConvTranspose2d(
        features, wanted, (1, 2 * stride), stride=(1, stride), padding=(0, stride // 2)
    )


class BandSplitBlock(nn.Module):
    """A transformer over time for every band, then one over the bands for every frame.

    Args:
        features: H.
        heads: Of the attention.
        past: With a memory, so many frames are seen.
    """

    def __init__(self, features: int, heads: int, past: int) -> None:
        super().__init__()
        self.over_time = Transformer(features, heads, past)
        self.over_bands = Transformer(features, heads)

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Shape: `[B, H, N, K]`, as the input."""
        batch, _, frames, bands = x.shape
        x = x.permute(0, 3, 2, 1).flatten(0, 1)  # [B·K, N, H]
        x = self.over_time(x, memory).unflatten(0, (batch, bands))  # [B, K, N, H]
        x = x.transpose(1, 2).flatten(0, 1)  # [B·N, K, H]
        x = self.over_bands(x, None).unflatten(0, (batch, frames))  # [B, N, K, H]
        return x.permute(0, 3, 1, 2)


class Transformer(nn.Module):
    """Self-attention with rotary positions, then two dense layers; both are added to the input.

    Args:
        features: H.
        heads: Of the attention.
        past: With a memory, each place sees so many: itself and those before it.
    """

    def __init__(self, features: int, heads: int, past: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.past = past
        if past:
            self.turns = Turns(features // heads, past)
        self.attention_norm = nn.LayerNorm(features)
        self.to_qkv = nn.Linear(features, 3 * features, bias=False)
        self.to_out = nn.Linear(features, features, bias=False)
        self.dense = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, 2 * features),
            nn.GELU(),
            nn.Linear(2 * features, features),
        )

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Shape: `[M, L, H]`, as the input; L is the axis that is looked along."""
        qkv = self.to_qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        qkv = qkv.permute(2, 0, 3, 1, 4)  # [3, M, heads, L, h]
        if memory is None:
            frequencies = rotary_frequencies(qkv.shape[-1], device=x.device)
            first, second = qkv[:2].chunk(2, -1)
            q, k = rotated(first, second, frequencies).unbind()
            seen = attention(q, k, qkv[2])
        else:
            seen = self._looking_back(qkv, memory)
        x = x + self.to_out(seen.transpose(1, 2).flatten(2))
        result: Tensor = x + self.dense(x)
        return result

    def _looking_back(self, qkv: Tensor, memory: Memory) -> Tensor:
        """Attend to a bounded past, one piece as long as that after the other.

        Before the first place stand zeros, which are seen as well.

        Shape:
            qkv: `[3, M, heads, L, h]`; returns `[M, heads, L, h]`.
        """
        before, length = self.past - 1, qkv.shape[3]
        q, k = self.turns(qkv[:2], memory).unbind()
        kv = memory.joined(torch.stack([k, qkv[2]]), before, 3)  # [2, M, heads, before + L, h]
        pieces = []
        for first in range(0, length, self.past):
            piece = q[:, :, first : first + self.past]
            keys, values = kv[:, :, :, first : first + before + piece.shape[2]].unbind()
            pieces.append(attention(piece, keys, values, past=self.past))
        return torch.cat(pieces, 2)


class Turns(nn.Module):
    """Rotary positions for a signal without an end.

    The turn of each pair of components is rounded to whole turns in a round of places, one at
    least. A place is then known by its number in the round: vectors that were turned once need not
    be turned again when time goes on, and nothing grows.

    Args:
        size: Components of a vector, even.
        past: Places that are told apart.
    """

    cosine: Tensor
    sine: Tensor
    place: Tensor

    def __init__(self, size: int, past: int) -> None:
        super().__init__()
        self.round = 4 * past
        turns = rotary_frequencies(size).double() * self.round / (2 * torch.pi)
        places = torch.arange(self.round)[:, None]
        angles = places * turns.round().clamp(min=1) * (2 * torch.pi / self.round)
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)
        self.register_buffer("place", torch.zeros(1, dtype=torch.long), persistent=False)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """Turn the vectors of the places that follow. Shape: `[*, L, h]`, as the input."""
        first = memory.recall((1,), self.place)
        places = first + torch.arange(x.shape[-2] + 1, device=x.device)
        memory.keep(places[-1:] % self.round)
        places = places[:-1] % self.round
        cosine, sine = self.cosine[places].to(x.dtype), self.sine[places].to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)


def attention(q: Tensor, k: Tensor, v: Tensor, *, past: int | None = None) -> Tensor:
    """Return the values v weighed by how the keys k fit the queries q.

    Args:
        q: Queries, at the places of the last keys.
        k: Keys.
        v: Values.
        past: Each query sees so many keys: that at its own place and those before; None for all.

    Shape:
        q: `[M, heads, L, h]`; k, v: `[M, heads, L', h]`; returns `[M, heads, L, h]`.
    """
    length, keys = q.shape[2], k.shape[2]
    if past is None and not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v)
    # Written out: on a processor the fused kernel's gradient takes three times as long.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if past is not None and length > 1:  # a single query is given what it sees
        seen = torch.ones(length, keys, dtype=torch.bool, device=q.device)
        scores = scores.masked_fill(~seen.triu().tril(past - 1), -torch.inf)
    seen_values: Tensor = scores.softmax(-1) @ v
    return seen_values
