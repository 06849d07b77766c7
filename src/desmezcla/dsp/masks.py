"""Time-frequency masks: what part of each bin of the mixture belongs to which stem."""

import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.errors import ParameterError


def ratio_mask(magnitudes: Tensor, *, dim: int, power: float = 1.0) -> Tensor:
    """Share each bin out in proportion to the stems' magnitudes, raised to a power.

    Power 1 is the ideal ratio mask, power 2 the Wiener filter. The masks sum to one in every bin;
    where all magnitudes are zero, each stem gets the same share.

    Args:
        magnitudes: Magnitudes of all stems, zero or positive.
        dim: Axis of the stems.
        power: Exponent, positive; the larger, the nearer to a binary mask.

    Shape:
        magnitudes: `[*, S, *]` with S at `dim`; returns the same.

    Errors:
        ParameterError: if the power is not positive.
    """
    if power <= 0:
        raise ParameterError(f"power={power} must be positive; 1 and 2 are usual")
    peak = magnitudes.amax(dim, keepdim=True)
    # Relative to the loudest stem, the sum lies between 1 and S: nothing can overflow or vanish,
    # at any level and any power, and no constant has to be added.
    relative = torch.where(peak > 0, magnitudes / peak, 1.0).pow(power)
    return relative / relative.sum(dim, keepdim=True)


def binary_mask(magnitudes: Tensor, *, dim: int) -> Tensor:
    """Give each bin to the stem with the largest magnitude; the first one where several have it.

    Args:
        magnitudes: Magnitudes of all stems, zero or positive.
        dim: Axis of the stems.

    Shape:
        magnitudes: `[*, S, *]` with S at `dim`; returns the same, of zeros and ones.
    """
    winner = magnitudes.argmax(dim)
    stems = magnitudes.shape[dim]
    return F.one_hot(winner, stems).movedim(-1, dim).to(magnitudes.dtype)


def complex_ratio_mask(stem: Tensor, mixture: Tensor, *, bound: float = 10.0) -> Tensor:
    """Return the complex factor that turns the mixture into the stem (Williamson et al. 2016).

    Where stems cancel each other the factor has no limit; its modulus is bounded and its phase is
    kept. Where the mixture is zero the mask is zero.

    Args:
        stem: Complex spectrogram of the stem.
        mixture: Complex spectrogram of the mixture.
        bound: Largest modulus of the mask, positive.

    Shape:
        stem, mixture: `[*]`, broadcast; returns `[*]`, complex.

    Errors:
        ParameterError: if the bound is not positive.
    """
    if bound <= 0:
        raise ParameterError(f"bound={bound} must be positive; 10 keeps nearly every bin exact")
    # Modulus and phase apart: a product stem·conj(mixture) would underflow at low levels.
    # 0/0 and x/0 are multiplied by the phase of a zero, which `sgn` gives as zero.
    modulus = (stem.abs() / mixture.abs()).nan_to_num(0.0).clamp(max=bound)
    return modulus * stem.sgn() * mixture.sgn().conj()


def band_mask(
    frequencies_hz: Tensor, *, low_hz: float, high_hz: float, octaves: float = 1.0
) -> Tensor:
    """Return the gain of a band with raised-cosine slopes on a logarithmic frequency axis.

    Args:
        frequencies_hz: Centre of each bin.
        low_hz: Lower edge, where the gain is one half; 0 for a low-pass.
        high_hz: Upper edge, where the gain is one half; infinity for a high-pass.
        octaves: Width of each slope, from gain 0 to gain 1, positive.

    Shape:
        frequencies_hz: `[F]`; returns `[F]`, between 0 and 1.

    Errors:
        ParameterError: if the edges are not in order or the slopes have no width.
    """
    if not 0 <= low_hz < high_hz:
        raise ParameterError(f"low_hz={low_hz} must be at least 0 and below high_hz={high_hz}")
    if octaves <= 0:
        raise ParameterError(f"octaves={octaves} must be positive; 1 is usual")
    above_low = _slope(frequencies_hz, low_hz, octaves)
    above_high = _slope(frequencies_hz, high_hz, octaves)
    return above_low * (1 - above_high)


def _slope(frequencies_hz: Tensor, edge_hz: float, octaves: float) -> Tensor:
    """Rise from 0 to 1 around an edge; all ones for an edge at 0, all zeros for one at infinity."""
    if edge_hz == 0:
        return torch.ones_like(frequencies_hz)
    # Bin 0 lies at -infinity octaves, an infinite edge at infinity: both clamp to gain 0.
    distance = torch.log2(frequencies_hz / edge_hz) / octaves
    return (1 + torch.sin(torch.pi * distance.clamp(-0.5, 0.5))) / 2
