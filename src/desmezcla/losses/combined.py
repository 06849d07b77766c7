"""A sum of errors of the signal, of its spectrum, of the mask and of the stereo image."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.losses.base import Loss, SignalDomain, mean_of_stems, parts, windowed_stft

# Bins of the mixture that are weaker than this share of its mean say nothing of a mask.
_WEAKEST_BIN = 0.01
# Magnitudes that are taken for silence; a smaller divisor would make gradients too large.
_SILENCE = 1e-4
# A stem can be stronger than the mixture where another is in opposite phase.
_LARGEST_MASK = 2.0


class Combined(Loss):
    """The combined loss L = α·L_base + β·L_sep + γ·L_mask + δ·L_stereo, for each stem i.

    With estimates e_i and targets s_i in the domain, their spectra E_i, S_i, that of the mixture X,
    and means over examples, channels, bins (samples) and frames:

        L_base   = mean |e_i - s_i| + mean (e_i - s_i)²
        L_sep    = mean ( | |E_i| - |S_i| | + (1 - R_i)·max(0, |E_i| - |S_i|) )
        R_i      = |S_i|² / (|S_i|² + |X - S_i|²)
        L_mask   = mean | M(E_i) - M(S_i) |,  M(A) = min(|A| / max(|X|, 0.01·mean |X|), 2)
        L_stereo = mean | (e_i,left - e_i,right) - (s_i,left - s_i,right) |

    L_sep is the error of the spectrum, to which what is too much is added a second time so far as
    it belongs to other stems: it is cross-talk. L_mask weighs quiet bins as much as loud ones. The
    stereo term is 0 for mono. All four are 0 for perfect estimates.

    In the domain "waveform", e_i and s_i are signals, and the spectra their STFT divided by
    the root of the sum of the squared window, so that noise has the same level in both. In the
    domain "spectrum" they are the model's spectra, whose scale then weighs L1 against MSE.

    Attributes:
        base: α.
        separation: β.
        mask: γ.
        stereo: δ.
        n_fft: Length of the STFT with a Hann window, samples, in the domain "waveform".
        hop_length: Samples from one frame to the next.
    """

    kind: Literal["combined"] = "combined"
    domain: SignalDomain = "waveform"
    base: float = Field(default=0.7, ge=0)
    separation: float = Field(default=0.2, ge=0)
    mask: float = Field(default=0.1, ge=0)
    stereo: float = Field(default=0.05, ge=0)
    n_fft: int = Field(default=4096, ge=4, multiple_of=2)
    hop_length: int = Field(default=1024, ge=1)

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the four terms of each stem, with their weights."""
        difference = estimates - targets
        error = parts(difference)
        base = mean_of_stems(error.abs()) + mean_of_stems(error.square())
        e, s, x = (self._spectrum(v) for v in (estimates, targets, mixture[:, None]))
        estimated, true, others = e.abs(), s.abs(), (x - s).abs()
        return {
            "combined/base": self.base * base,
            "combined/separation": self.separation * separation_error(estimated, true, others),
            "combined/mask": self.mask * mask_error(estimated, true, x.abs()),
            "combined/stereo": self.stereo * stereo_error(difference),
        }

    def _spectrum(self, values: Tensor) -> Tensor:
        if self.domain == "spectrum":
            return values
        spectrum = windowed_stft(
            values, n_fft=self.n_fft, hop_length=self.hop_length, window_length=self.n_fft
        )
        # The squares of a Hann window add up to 3/8 of its length.
        scale: float = (self.n_fft * 3 / 8) ** 0.5
        return spectrum / scale


def separation_error(estimates: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Return L_sep of magnitudes: of what is estimated, of what is true, of the rest of the song.

    Shape:
        all: `[B, S, C, F, N]`; returns `[S]`.
    """
    own, rest = targets.square(), others.square()
    belongs = own / (own + rest).clamp(min=torch.finfo(own.dtype).tiny)
    error = estimates - targets
    return mean_of_stems(error.abs() + (1 - belongs) * error.clamp(min=0))


def mask_error(estimates: Tensor, targets: Tensor, mixture: Tensor) -> Tensor:
    """Return L_mask of magnitudes.

    Shape:
        estimates, targets: `[B, S, C, F, N]`.
        mixture: `[B, 1, C, F, N]`; returns `[S]`.
    """
    weakest = _WEAKEST_BIN * mixture.mean(dim=(2, 3, 4), keepdim=True)
    divisor = torch.maximum(mixture, weakest).clamp(min=_SILENCE)
    estimated, true = ((v / divisor).clamp(max=_LARGEST_MASK) for v in (estimates, targets))
    return mean_of_stems((estimated - true).abs())


def stereo_error(difference: Tensor) -> Tensor:
    """Return L_stereo of estimates less targets. Shape: `[B, S, C, ...]` -> `[S]`."""
    if difference.shape[2] == 1:
        return mean_of_stems(torch.zeros_like(parts(difference)))
    return mean_of_stems(parts(difference[:, :, 0] - difference[:, :, 1]).abs())
