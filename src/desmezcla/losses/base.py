"""What every loss is: a frozen configuration that compares estimates with targets."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from desmezcla.dsp.stft import stft

SignalDomain = Literal["waveform", "spectrum"]
Domain = Literal["waveform", "spectrum", "energy"]


class Loss(BaseModel, ABC):
    """A comparison of estimates with targets, for each stem.

    Attributes:
        kind: Name of the class in a recipe.
        weight: Factor of the loss in the total.
        domain: What is compared: "waveform" for `[B, S, C, T]`, as `SeparationModel.waveforms`
            gives, "spectrum" for complex `[B, S, C, F, N]`, as `SpectralModel.spectra` gives, or
            "energy" for the errors' energy by frames, as `SpectralModel.frame_energies` gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    weight: float = Field(default=1.0, gt=0)
    domain: Domain

    @abstractmethod
    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the named terms whose sum is the loss, without the weight.

        Args:
            estimates: What the model gives; in the domain "energy", the energy of its errors.
            targets: What it should give; in the domain "energy", the energy of that.
            mixture: What it was given, or the energy of that.
            stems: Names of the stems.

        Shape:
            estimates, targets: `[B, S, C, ...]`, for the domain.
            mixture: `[B, C, ...]`; returns `[S]` for each term.
        """


def mean_of_stems(values: Tensor) -> Tensor:
    """Return the mean over all axes but that of the stems. Shape: `[B, S, ...]` -> `[S]`."""
    return values.mean(dim=[axis for axis in range(values.ndim) if axis != 1])


def parts(values: Tensor) -> Tensor:
    """Return complex numbers as real and imaginary parts on a last axis, and real ones as is."""
    return torch.view_as_real(values) if values.is_complex() else values


def windowed_stft(audio: Tensor, *, n_fft: int, hop_length: int, window_length: int) -> Tensor:
    """Return the STFT with a Hann window that may be shorter than the transform.

    Shape:
        audio: `[..., T]`; returns `[..., F, N]`.
    """
    window = torch.hann_window(window_length, dtype=audio.dtype, device=audio.device)
    left = (n_fft - window_length) // 2
    window = torch.nn.functional.pad(window, (left, n_fft - window_length - left))
    return stft(audio, n_fft=n_fft, hop_length=hop_length, window=window)
