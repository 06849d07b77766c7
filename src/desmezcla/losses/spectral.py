"""Losses between magnitudes of spectra."""

from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from desmezcla.losses.base import Loss, mean_of_stems, windowed_stft


class MagnitudeMse(Loss):
    """Mean squared error of magnitudes, which trains Open-Unmix: L_i = mean (|E_i| - |S_i|)²."""

    kind: Literal["magnitude_mse"] = "magnitude_mse"
    domain: Literal["spectrum"] = "spectrum"

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the error of each stem."""
        return {"magnitude_mse": mean_of_stems((estimates.abs() - targets.abs()).square())}


class MagnitudeL1(Loss):
    """Mean absolute error of magnitudes, which trains Spleeter: L_i = mean | |E_i| - |S_i| |."""

    kind: Literal["magnitude_l1"] = "magnitude_l1"
    domain: Literal["spectrum"] = "spectrum"

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the error of each stem."""
        return {"magnitude_l1": mean_of_stems((estimates.abs() - targets.abs()).abs())}


def _window_within_transform(resolution: tuple[int, int, int]) -> tuple[int, int, int]:
    n_fft, hop_length, window_length = resolution
    if not 1 <= hop_length <= window_length <= n_fft or n_fft % 2:
        raise ValueError("a resolution is (n_fft, hop, window), hop <= window <= n_fft, n_fft even")
    return resolution


class MultiResolutionStft(Loss):
    """Spectral convergence and difference of logarithmic magnitudes, at several resolutions.

    For each resolution, and then averaged over them:

        L_sc,i  = | |S_i| - |E_i| |_F / max(| |S_i| |_F, 0.01·| |X| |_F)
        L_mag,i = mean | ln max(|S_i|, floor) - ln max(|E_i|, floor) |

    The Frobenius norm is over channels, bins and frames of an example. The mixture X in the
    denominator, and the floor, keep both finite for silent stems.

    Reference:
        Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020, equations 4 to 6.

    Differences from the paper:
        The lower bounds.

    Attributes:
        resolutions: Transform, hop and window of each, samples; Hann windows.
        floor: Lowest magnitude that is told from silence. A full-scale sine has a quarter of the
            length of the window.
    """

    kind: Literal["multi_resolution_stft"] = "multi_resolution_stft"
    domain: Literal["waveform"] = "waveform"
    resolutions: tuple[
        Annotated[tuple[int, int, int], AfterValidator(_window_within_transform)], ...
    ] = Field(default=((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)), min_length=1)
    floor: float = Field(default=1e-3, gt=0)

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the two terms of each stem."""
        both = [
            self._at(*resolution, estimates, targets, mixture) for resolution in self.resolutions
        ]
        convergence, log_magnitude = torch.stack(both).mean(dim=0)  # [2, S]
        return {
            "multi_resolution_stft/convergence": convergence,
            "multi_resolution_stft/log_magnitude": log_magnitude,
        }

    def _at(
        self, n_fft: int, hop: int, window: int, estimates: Tensor, targets: Tensor, mixture: Tensor
    ) -> Tensor:
        """Return both terms at one resolution. Shape: `[2, S]`."""
        e, s, x = (
            windowed_stft(audio, n_fft=n_fft, hop_length=hop, window_length=window).abs()
            for audio in (estimates, targets, mixture)
        )
        error, level, heard = (
            torch.linalg.vector_norm(values, dim=(-3, -2, -1)) for values in (s - e, s, x)
        )  # [B, S], [B, S], [B]
        tiny = torch.finfo(level.dtype).tiny
        convergence = error / torch.maximum(level, 0.01 * heard[:, None]).clamp(min=tiny)
        logs = s.clamp(min=self.floor).log() - e.clamp(min=self.floor).log()
        return torch.stack([mean_of_stems(convergence), mean_of_stems(logs.abs())])
