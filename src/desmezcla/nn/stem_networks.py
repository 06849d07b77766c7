"""One network for every stem, or one for all of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError


class StemNetworks(nn.Module):
    """Networks that see the same input, and their outputs side by side.

    Args:
        network: Makes an untrained network for so many stems, which returns `[B, stems, *]`.
        stems: Names of the stems.
        joint: One network for all stems instead of one for each.
    """

    def __init__(
        self, network: Callable[[int], nn.Module], stems: tuple[str, ...], *, joint: bool
    ) -> None:
        super().__init__()
        self.joint = joint
        # The prefix lets a stem be called "keys", which a dictionary of modules reserves.
        names = ["all"] if joint else [f"stem_{stem}" for stem in stems]
        each = len(stems) // len(names)
        self.by_name = nn.ModuleDict({name: network(each) for name in names})

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, *]`; returns `[B, S, *]`."""
        return torch.cat([network(x) for network in self.by_name.values()], 1)

    def of(self, stem: str) -> nn.Module:
        """Return the network of a stem; no other stem depends on it.

        Errors:
            ParameterError: if one network serves all stems.
        """
        if self.joint:
            raise ParameterError(
                f"stem={stem!r} has no network of its own with joint=True; train all stems together"
            )
        return self.by_name[f"stem_{stem}"]
