"""What training makes small: comparisons of estimated with true stems, each with its equation."""

from desmezcla.losses.base import Domain, Loss
from desmezcla.losses.combined import Combined
from desmezcla.losses.energy import FrameSdr
from desmezcla.losses.joint import DeepConvSep
from desmezcla.losses.spectral import MagnitudeL1, MagnitudeMse, MultiResolutionStft
from desmezcla.losses.total import AnyLoss, Losses, losses_from
from desmezcla.losses.waveform import L1, Mse, SiSdr

__all__ = [
    "L1",
    "AnyLoss",
    "Combined",
    "DeepConvSep",
    "Domain",
    "FrameSdr",
    "Loss",
    "Losses",
    "MagnitudeL1",
    "MagnitudeMse",
    "Mse",
    "MultiResolutionStft",
    "SiSdr",
    "losses_from",
]
