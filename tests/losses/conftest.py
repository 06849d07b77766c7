"""Stems, estimates and mixtures to compare."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Case = tuple[Tensor, Tensor, Tensor]


def _case(domain: str) -> Case:
    generator = torch.Generator().manual_seed(3)
    if domain == "energy":
        energies = torch.rand(2, 2, 4, 2, 90, generator=generator)
        return 0.1 * energies[0], energies[1], energies[1].sum(dim=1)
    shape = (2, 4, 2, 6000) if domain == "waveform" else (2, 4, 2, 33, 11)
    dtype = torch.float32 if domain == "waveform" else torch.complex64
    targets = 0.1 * torch.randn(shape, generator=generator, dtype=dtype)
    estimates = targets + 0.05 * torch.randn(shape, generator=generator, dtype=dtype)
    return estimates, targets, targets.sum(dim=1)


@pytest.fixture
def case() -> Callable[[str], Case]:
    """Return a function from a domain to noisy estimates, targets and their sum."""
    return _case
