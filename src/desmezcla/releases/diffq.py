"""Weights as DiffQ stores them: groups of values in a few bits each.

A parameter with more than `min_size` MB (of four bytes a value) is cut into groups of
`group_size` values. A group with b bits holds whole levels from 0 to 2^b - 1, which stand for
values at equal distances between the smallest and the largest of the parameter. The levels of all
groups with the same b lie together, as bits: those with the same place value in a row, 64 groups
of 32 values in a block. Parameters are in the order of the network, without their names.

Reference: A. Défossez, Y. Adi, G. Synnaeve, "Differentiable Model Compression via Pseudo
    Quantization Noise", Transactions on Machine Learning Research, 2022.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor

from desmezcla.errors import ReleaseError
from desmezcla.releases.release import Frozen, explain

WORD_BITS = 64
LARGEST_BITS = 14


class _Settings(Frozen):
    """What the file says of its quantizer; the rest of it matters in training only."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    min_size: float = Field(0.01, ge=0)
    group_size: int = Field(1, ge=0)
    min_bits: int = Field(2, ge=1, le=LARGEST_BITS)
    float16: bool = False
    exclude: tuple[()] = ()


def restore(
    state: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], origin: str
) -> dict[str, Tensor]:
    """Return the parameters of a network by name.

    Args:
        state: What the file has: `quantized`, `float16`, `others`, `meta`.
        shapes: Shape of each parameter of the network, in its order.
        origin: The file, for errors.

    Errors:
        ReleaseError: if the state is not of this form or does not fit.
    """
    try:
        meta = state["meta"]
        if meta["klass"] != "diffq.diffq.DiffQuantizer" or meta.get("torch_pack"):
            raise ValueError("only DiffQuantizer in its own packing is known")
        settings = _Settings.model_validate(meta["init_kwargs"])
        tensors = _restore(state, shapes, settings, packed=bool(meta.get("packed")))
    except ValidationError as error:
        raise ReleaseError(f"{origin}: the quantization has {explain(error)}") from error
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ReleaseError(
            f"{origin}: the quantized weights do not fit ({type(error).__name__}: {error}); the "
            "file is damaged or of another version"
        ) from error
    return tensors


def _restore(
    state: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    settings: _Settings,
    *,
    packed: bool,
) -> dict[str, Tensor]:
    limit = settings.min_size * 2**20 // 4
    large = {name: shape for name, shape in shapes.items() if math.prod(shape) > limit}
    small = [name for name in shapes if name not in large]
    plain = state["float16" if settings.float16 else "others"]
    tensors = dict(zip(small, plain, strict=True))
    for (name, shape), parts in zip(large.items(), state["quantized"], strict=True):
        levels, (low, high), bits = (_unpack if packed else _plain)(parts, shape, settings)
        unit = 1 / (2 ** bits.float() - 1)
        scaled = levels.float() * unit[:, None]
        tensors[name] = (scaled * (float(high) - float(low)) + float(low)).reshape(tuple(shape))
    return {name: tensors[name].float() for name in shapes}


def _plain(parts: Any, shape: Sequence[int], settings: _Settings) -> tuple[Tensor, Any, Tensor]:
    """Return the levels `[G, n]`, the limits and the bits `[G]`, which lie there as they are."""
    levels, limits, bits = parts
    return levels, limits, bits.flatten()


def _unpack(parts: Any, shape: Sequence[int], settings: _Settings) -> tuple[Tensor, Any, Tensor]:
    """Return the levels `[G, n]`, the limits and the bits `[G]` of one parameter."""
    by_bits, limits, packed_bits = parts
    size = settings.group_size or math.prod(shape)
    groups, rest = divmod(math.prod(shape), size)
    if rest:
        raise ValueError(f"{math.prod(shape)} values are no groups of {size}")
    bits = _unpack_words(packed_bits, groups) + settings.min_bits
    levels = torch.zeros(groups, size, dtype=torch.int16)
    for count, words in enumerate(by_bits, start=1):
        own = bits == count
        if (words is None) == bool(own.any()):
            raise ValueError(f"the groups of {count} bits are not those of the list of bits")
        if words is not None:
            levels[own] = _unpack_words(words, int(own.sum()) * size).reshape(-1, size)
    if int(bits.max()) > len(by_bits):
        raise ValueError(f"a group has {int(bits.max())} bits")
    return levels, limits, bits


def _unpack_words(words: Tensor, count: int) -> Tensor:
    """Return whole numbers whose bits are spread over words.

    Shape:
        words: `[blocks, place values, n]`; bit k of a word belongs to number k * n + its place.
    """
    if words.dtype != torch.int64 or words.ndim != 3 or words.shape[1] > LARGEST_BITS:
        raise ValueError(f"words of the type {words.dtype} and the shape {tuple(words.shape)}")
    blocks, places, width = words.shape
    if not count <= blocks * WORD_BITS * width < count + WORD_BITS * width:
        raise ValueError(f"{blocks} blocks for {count} values")
    unsigned = words.numpy().view(np.uint64)
    numbers = np.zeros((blocks, WORD_BITS, width), np.int16)
    shifts = np.arange(WORD_BITS, dtype=np.uint64)[:, None]
    for place in range(places):
        bit = (unsigned[:, place, None, :] >> shifts) & np.uint64(1)
        numbers |= bit.astype(np.int16) << place
    return torch.from_numpy(numbers.reshape(-1)[:count])
