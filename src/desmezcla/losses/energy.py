"""Losses of energies by frames, for which no spectrum needs to be put together."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from desmezcla.losses.base import Loss, mean_of_stems

# Keeps logarithms finite where everything is silent.
_TINY_ENERGY = 1e-8


class FrameSdr(Loss):
    """Negative signal-to-distortion ratio of windows of frames, dB: what BSS Eval's median counts.

    With e, s and x the energies of the error, the stem and the mixture in a window, over all
    channels, and τ = 10^(-limit_db / 10):

        L_i = mean over windows of 10·log10( (e_i + τ·x) / (s_i + τ·x) )

    Windows count alike, however loud they are. τ keeps those in which a stem is silent or hardly
    there from ruling the gradient: there the loss is the level of what the model leaves, against
    the mixture. For an estimate that is silent, L_i is 0.

    Reference:
        The ratio of Vincent, Gribonval and Févotte, "Performance measurement in blind audio source
        separation", IEEE TASLP 14(4), 2006, without allowed distortions; the limit as in Wisdom et
        al., "What's All the FUSS About Free Universal Sound Separation Data?", ICASSP 2021.

    Attributes:
        window_frames: Frames of a window; windows overlap by half.
        limit_db: The largest ratio to the mixture, dB.
    """

    kind: Literal["frame_sdr"] = "frame_sdr"
    domain: Literal["energy"] = "energy"
    window_frames: int = Field(default=43, ge=1)
    limit_db: float = Field(default=30.0, gt=0, le=100)

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the negative ratio of each stem."""
        error, level, heard = (self._windows(e) for e in (estimates, targets, mixture[:, None]))
        floor = 10 ** (-self.limit_db / 10) * heard + _TINY_ENERGY  # [B, 1, W]
        return {"frame_sdr": mean_of_stems(10 * ((error + floor) / (level + floor)).log10())}

    def _windows(self, energy: Tensor) -> Tensor:
        """Return the energy of windows. Shape: `[B, S, C, N] -> [B, S, W]`."""
        size = min(self.window_frames, energy.shape[-1])
        return F.avg_pool1d(energy.sum(2), size, max(1, size // 2))
