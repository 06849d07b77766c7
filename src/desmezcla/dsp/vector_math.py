"""The same bits in every process, from the first call on."""

from functools import lru_cache

import torch


@lru_cache
def settle_vector_math() -> None:
    """Let MKL find out, in one thread, what processor it is on.

    Its vector functions (cosine, logarithm, …) do so at their first call, and torch makes that from
    all cores at once. Then one of them may use another kernel than the others, with other last
    bits: on two cores, one process in six had another Hann window than the rest.
    """
    torch.cos(torch.zeros(1, device="cpu"))
