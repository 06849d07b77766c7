"""A transformer over two sequences that look at themselves and at each other in turns.

Weights have the names and shapes of the authors' layers.

References:
    Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023.
    Sequences that look at hashes of each other: Kitaev, Kaiser and Levskaya, "Reformer: The
    Efficient Transformer", ICLR 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from desmezcla.nn.demucs_layers import LayerScale
from desmezcla.nn.sparse_attention import (
    SparseAttention,
    attention,
    dense,
    heads_apart,
    heads_together,
)

INITIAL_SCALE = 1e-4


@dataclass(frozen=True)
class TransformerOptions:
    """What the layers of the transformer are like.

    Attributes:
        features: H.
        layers: Of each sequence.
        heads: Of an attention.
        hidden_scale: Width of the dense layers' inside, by H.
        dropout: In training.
        cross_first: Whether the first layer looks at the other sequence.
        max_period: Longest period of the positions' sinusoids, by 2π.
        position_weight: Factor of the positions.
        self_sparsity: Part of the scores that a layer which looks at its own sequence leaves out;
            None for ordinary attention.
        cross_sparsity: The same for one that looks at the other.
    """

    features: int
    layers: int
    heads: int
    hidden_scale: float
    dropout: float
    cross_first: bool
    max_period: float
    position_weight: float
    self_sparsity: float | None
    cross_sparsity: float | None


class Attention(nn.Module):
    """Attention with all scores."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        features = options.features
        self.heads, self.dropout = options.heads, options.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * features, features))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * features))
        self.out_proj = nn.Linear(features, features)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Look from one sequence at another one, or at itself.

        Shape:
            x: `[B, N, H]`; other: `[B, M, H]`; returns `[B, N, H]`.
        """
        weight, bias, features = self.in_proj_weight, self.in_proj_bias, x.shape[-1]
        if x is other:
            q, k, v = dense(x, weight, bias).chunk(3, -1)
        else:
            q = dense(x, weight[:features], bias[:features])
            k, v = dense(other, weight[features:], bias[features:]).chunk(2, -1)
        q, k, v = (heads_apart(part, self.heads) for part in (q, k, v))
        seen = attention(q, k, v, dropout=self.dropout if self.training else 0.0)
        result: Tensor = dense(heads_together(seen), self.out_proj.weight, self.out_proj.bias)
        return result


class SequenceNorm(nn.GroupNorm):
    """Normalisation over a whole sequence and its features. Shape: `[B, N, H]`."""

    def __init__(self, features: int) -> None:
        super().__init__(1, features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the axes N and H."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[1:], eps=self.eps), self.weight)


class Layer(nn.Module):
    """Attention, then dense layers, each normalised before and added to what came in.

    Args:
        options: Of the transformer.
        cross: Whether it looks at the other sequence.
    """

    def __init__(self, options: TransformerOptions, *, cross: bool) -> None:
        super().__init__()
        features = options.features
        sparsity = options.cross_sparsity if cross else options.self_sparsity
        look = (
            Attention(options)
            if sparsity is None
            else SparseAttention(features, options.heads, sparsity=sparsity)
        )
        # The names say what a layer looks at; only one of the two is there.
        self.self_attn: nn.Module | None = None if cross else look
        self.cross_attn: nn.Module | None = look if cross else None
        hidden = int(features * options.hidden_scale)
        self.linear1 = nn.Linear(features, hidden)
        self.linear2 = nn.Linear(hidden, features)
        self.norm1 = nn.LayerNorm(features)
        self.norm2 = nn.LayerNorm(features)
        if cross:
            self.norm3 = nn.LayerNorm(features)
        self.norm_out = SequenceNorm(features)
        self.gamma_1 = LayerScale(features, INITIAL_SCALE)
        self.gamma_2 = LayerScale(features, INITIAL_SCALE)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Shape: x: `[B, N, H]`, as the result; other: `[B, M, H]`."""
        normal = self.norm1(x)
        if self.cross_attn is not None:
            look, dense_norm = self.cross_attn(normal, self.norm2(other)), self.norm3
        else:
            assert self.self_attn is not None
            look, dense_norm = self.self_attn(normal, normal), self.norm2
        x = x + self.gamma_1(self.dropout(look))
        hidden = self.dropout(F.gelu(dense(dense_norm(x), self.linear1.weight, self.linear1.bias)))
        x = x + self.gamma_2(self.dropout(dense(hidden, self.linear2.weight, self.linear2.bias)))
        result: Tensor = self.norm_out(x)
        return result


class CrossTransformer(nn.Module):
    """Layers over a spectrogram and over a waveform, which look at each other in turns."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.options = options
        self.norm_in = nn.LayerNorm(options.features)
        self.norm_in_t = nn.LayerNorm(options.features)
        crosses = [(index % 2 == 1) != options.cross_first for index in range(options.layers)]
        self.layers = nn.ModuleList([Layer(options, cross=cross) for cross in crosses])
        self.layers_t = nn.ModuleList([Layer(options, cross=cross) for cross in crosses])

    def forward(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Transform both.

        Shape:
            x: `[B, H, F, N]`; xt: `[B, H, 1, M]`; returns the same.
        """
        options = self.options
        rows, frames = x.shape[2:]
        # The order of a sequence is of no account to attention, so that of the memory is kept.
        x, xt = x.permute(0, 2, 3, 1).flatten(1, 2), xt.permute(0, 2, 3, 1).flatten(1, 2)
        places = grid_positions(rows, frames, options, device=x.device)  # [F·N, H]
        places_t = line_positions(xt.shape[1], options, device=x.device)  # [M, H]
        x = self.norm_in(x) + options.position_weight * places
        xt = self.norm_in_t(xt) + options.position_weight * places_t
        for layer, layer_t in zip(self.layers, self.layers_t, strict=True):
            x, xt = layer(x, xt), layer_t(xt, x)
        x = torch.unflatten(x, 1, (rows, frames)).permute(0, 3, 1, 2)
        return x, xt[:, None].permute(0, 3, 1, 2)


def line_positions(count: int, options: TransformerOptions, *, device: torch.device) -> Tensor:
    """Return cosines and sines of the positions on a line, of falling frequencies.

    Shape:
        returns `[count, H]`.
    """
    half = options.features // 2
    places = torch.arange(half, device=device)
    angles = torch.arange(count, device=device)[:, None] / options.max_period ** (
        places / max(1, half - 1)
    )
    return torch.cat([angles.cos(), angles.sin()], -1)


def grid_positions(
    rows: int, columns: int, options: TransformerOptions, *, device: torch.device
) -> Tensor:
    """Return sines and cosines of the positions in a grid, row by row.

    The first half of the features tells the column, the second the row.

    Shape:
        returns `[rows · columns, H]`.
    """
    half = options.features // 2
    turns = options.max_period ** (-torch.arange(0, half, 2, device=device) / half)

    def along(count: int) -> Tensor:  # [count, H / 2]
        angles = torch.arange(count, device=device)[:, None] * turns
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

    of_column = along(columns).expand(rows, -1, -1)
    of_row = along(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([of_column, of_row], -1).flatten(0, 1)
