"""Attention: all scores, or only those of queries and keys whose hashes are alike.

References:
    Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023,
    section 3.1 (a tenth of the scores, chosen by 32 rounds of hashing into 4 buckets).
    Kitaev, Kaiser and Levskaya, "Reformer: The Efficient Transformer", ICLR 2020.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROUNDS = 32
BUCKETS = 4
# Queries that look at the same keys.
GROUP = 32
# Queries whose scores are held together where they are computed one step after the other.
QUERIES_AT_ONCE = 672


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Do what `torch.nn.functional.linear` does. Shape: `[B, N, H] -> [B, N, H']`."""
    if x.device.type != "cpu":
        return F.linear(x, weight, bias)
    # As a convolution of one tap, which takes a processor a sixth less than a matrix product.
    return F.conv2d(x.mT[:, :, None], weight[..., None, None], bias)[:, :, 0].mT


def heads_apart(x: Tensor, heads: int) -> Tensor:
    """Shape: `[B, N, H] -> [B, heads, N, H / heads]`."""
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)


def heads_together(x: Tensor) -> Tensor:
    """Shape: `[B, heads, N, h] -> [B, N, heads · h]`."""
    return x.transpose(1, 2).flatten(2)


def attention(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0) -> Tensor:
    """Return for each query the average of the values, weighted by how its key fits.

    Shape:
        q: `[B, heads, N, h]`; k, v: `[B, heads, M, h]`; returns `[B, heads, N, h]`.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    if q.dtype != torch.bfloat16 or has_matrix_unit():
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    # Without a matrix unit the fused kernel of a processor takes half as long again as these steps;
    # with one, these steps would take half as long again.
    keys = (k * k.shape[-1] ** -0.5).mT.contiguous()
    parts = [
        F.dropout((part @ keys).softmax(-1), dropout) @ v
        for part in torch.split(q, QUERIES_AT_ONCE, 2)
    ]
    return torch.cat(parts, 2)


@cache
def has_matrix_unit() -> bool:
    """Say whether the processor multiplies matrices of bfloat16 by instructions for that (AMX)."""
    if not hasattr(torch.cpu, "get_capabilities"):  # in an older PyTorch
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


class SparseAttention(nn.Module):
    """Attention that leaves out most scores: those of queries and keys with unlike hashes.

    Queries with alike hashes stand together in groups, and a group looks at the keys whose hashes
    agree most often with those of its queries, as dense attention does. In training the hashes are
    drawn anew each time; in evaluation they are always the same.

    Args:
        features: H.
        heads: Heads.
        sparsity: Part of the keys that a group does not look at.
    """

    directions: Tensor

    def __init__(self, features: int, heads: int, *, sparsity: float) -> None:
        super().__init__()
        self.heads, self.sparsity = heads, sparsity
        self.q = nn.Linear(features, features)
        self.k = nn.Linear(features, features)
        self.v = nn.Linear(features, features)
        self.proj = nn.Linear(features, features)
        generator = torch.Generator().manual_seed(0)
        shape = (features // heads, ROUNDS * BUCKETS // 2)
        directions = torch.randn(shape, generator=generator, device="cpu")
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Look from one sequence at another one, or at itself.

        Shape:
            x: `[B, N, H]`; other: `[B, M, H]`; returns `[B, N, H]`.
        """
        q, k, v = (
            heads_apart(part(of), self.heads)
            for part, of in ((self.q, x), (self.k, other), (self.v, other))
        )
        result: Tensor = self.proj(heads_together(self._sparse(q, k, v)))
        return result

    def _sparse(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Shape: q: `[B, heads, N, h]`, as the result; k, v: `[B, heads, M, h]`."""
        count, size = q.shape[2:]
        with torch.no_grad():
            order, chosen = self._choices(q, k)
        groups = -(-count // GROUP)
        padded = F.pad(_taken(q, order), (0, 0, 0, groups * GROUP - count))
        padded = torch.unflatten(padded, 2, (groups, GROUP))  # [B, heads, G, GROUP, h]
        keys, values = (
            torch.unflatten(_taken(part, chosen.flatten(2)), 2, (groups, -1)) for part in (k, v)
        )  # [B, heads, G, K, h]
        seen = F.scaled_dot_product_attention(padded, keys, values).flatten(2, 3)[:, :, :count]
        return torch.zeros_like(seen).scatter(2, order[..., None].expand(-1, -1, -1, size), seen)

    def _choices(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the order of the queries in groups, and the keys that each group looks at.

        Shape:
            q: `[B, heads, N, h]`; k: `[B, heads, M, h]`; returns `[B, heads, N]` and
            `[B, heads, G, K]`, both numbers of queries and keys.
        """
        directions = torch.randn_like(self.directions) if self.training else self.directions
        of_queries, of_keys = _hashes(q, directions), _hashes(k, directions)
        # Sorted by their buckets in the first rounds, as digits of a number.
        digits = torch.unflatten(of_queries, -1, (ROUNDS, BUCKETS)).argmax(-1)[..., :8]
        weights = BUCKETS ** torch.arange(8, device=q.device)
        order = (digits * weights).sum(-1).argsort(stable=True, dim=-1)  # [B, heads, N]
        count = order.shape[-1]
        groups = -(-count // GROUP)
        ordered = F.pad(_taken(of_queries, order), (0, 0, 0, groups * GROUP - count))
        summed = torch.unflatten(ordered, 2, (groups, GROUP)).sum(3)
        agreements = summed @ of_keys.mT  # [B, heads, G, M]
        kept = max(1, round((1 - self.sparsity) * k.shape[2]))
        return order, agreements.topk(kept, -1).indices


def _hashes(x: Tensor, directions: Tensor) -> Tensor:
    """Return in which bucket each vector falls in each round, as ones among zeros.

    A round's buckets are some directions and their opposites; a vector falls in that nearest to it.

    Shape:
        x: `[B, heads, N, h]`; returns `[B, heads, N, ROUNDS · BUCKETS]`.
    """
    along = torch.unflatten(x.float() @ directions, -1, (ROUNDS, BUCKETS // 2))
    bucket = torch.cat([along, -along], -1).argmax(-1)
    return F.one_hot(bucket, BUCKETS).flatten(-2).to(torch.float32)


def _taken(x: Tensor, index: Tensor) -> Tensor:
    """Take vectors by their numbers. Shape: x: `[B, heads, N, h]`, index: `[B, heads, n]`."""
    return x.gather(2, index[..., None].expand(-1, -1, -1, x.shape[-1]))
