"""Losses between signals, or between the real and imaginary parts of spectra."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.losses.base import Loss, SignalDomain, mean_of_stems, parts

# Energy, against which that of any audible signal is large, that keeps logarithms finite.
_TINY_ENERGY = 1e-8


class L1(Loss):
    """Mean absolute error: L_i = mean |e_i - s_i|.

    In the domain "spectrum", the mean is over real and imaginary parts.
    """

    kind: Literal["l1"] = "l1"
    domain: SignalDomain = "waveform"

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the error of each stem."""
        return {"l1": mean_of_stems(parts(estimates - targets).abs())}


class Mse(Loss):
    """Mean squared error: L_i = mean (e_i - s_i)².

    In the domain "spectrum", the mean is over real and imaginary parts.
    """

    kind: Literal["mse"] = "mse"
    domain: SignalDomain = "waveform"

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the error of each stem."""
        return {"mse": mean_of_stems(parts(estimates - targets).square())}


class SiSdr(Loss):
    """Negative scale-invariant signal-to-distortion ratio, dB.

    With α = <e, s> / |s|², over all channels and samples of a stem, and τ = 10^(-limit_db / 10):

        L_i = 10·log10( (|α·s - e|² + τ·|α·s|²) / |α·s|² )

    τ bounds the ratio from above, so that easy examples do not rule the gradient. Where the target
    is silent, which is below -limit_db of the mixture x, the ratio is not defined, and the loss is
    the level of the estimate against the mixture:

        L_i = 10·log10( (|e|² + τ·|x|²) / |x|² )

    Both are -limit_db for a perfect estimate. For an estimate that is silent although the target is
    not, the loss and its gradient are 0: this loss alone should not train a model that starts
    with silence.

    Reference:
        Le Roux, Wisdom, Erdogan and Hershey, "SDR - Half-baked or Well Done?", ICASSP 2019; the
        limit and the case of silence follow Wisdom et al., "What's All the FUSS About Free
        Universal Sound Separation Data?", ICASSP 2021.

    Differences from the papers:
        The mean is not subtracted. The limit is on the ratio to the scaled target, as the ratio
        itself is.

    Attributes:
        limit_db: The largest ratio, dB.
    """

    kind: Literal["si_sdr"] = "si_sdr"
    domain: Literal["waveform"] = "waveform"
    limit_db: float = Field(default=60.0, gt=0, le=100)

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the negative ratio of each stem."""
        floor = 10 ** (-self.limit_db / 10)
        e, s = estimates.flatten(2), targets.flatten(2)  # [B, S, C·T]
        heard = mixture.square().flatten(1).sum(dim=1)[:, None]  # [B, 1]
        power = s.square().sum(dim=2)  # [B, S]
        silent = power <= floor * heard
        # Where it is silent, any divisor will do: the other branch is taken.
        scale = (e * s).sum(dim=2) / torch.where(silent, 1.0, power)
        wanted = scale[..., None] * s
        signal = wanted.square().sum(dim=2)
        noise = (wanted - e).square().sum(dim=2)
        ratio = (noise + floor * signal + _TINY_ENERGY) / (signal + _TINY_ENERGY)
        leak = e.square().sum(dim=2) + floor * heard
        leak_ratio = (leak + _TINY_ENERGY) / (heard + _TINY_ENERGY)
        return {"si_sdr": mean_of_stems(10 * torch.where(silent, leak_ratio, ratio).log10())}
