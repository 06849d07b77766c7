"""The short-time Fourier transform and its inverse, as complex tensors with exact length."""

import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.errors import ParameterError


def stft(audio: Tensor, *, n_fft: int, hop_length: int, window: Tensor) -> Tensor:
    """Transform audio to a one-sided complex spectrogram whose frame n is centred on n·hop_length.

    The edges are reflected, as torch, librosa and Open-Unmix do; where the signal is too short to
    be reflected (at most n_fft / 2 samples), it is continued with zeros first.

    Args:
        audio: Real signal of one sample or more.
        n_fft: Length of the transform, even.
        hop_length: Samples from one frame to the next.
        window: Analysis window of `n_fft` samples.

    Shape:
        audio: `[*, T]`; returns `[*, F, N]` with F = n_fft / 2 + 1 and N = 1 + T // hop_length
        (for T > n_fft / 2).
    """
    if audio.shape[-1] == 0:
        raise ParameterError("audio has 0 samples; the STFT needs at least one")
    # Reflection by n_fft / 2 needs one sample more than that on the inside.
    missing = n_fft // 2 + 1 - audio.shape[-1]
    if missing > 0:
        audio = F.pad(audio, (0, missing))
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(
        flat, n_fft, hop_length, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    return spectrum.reshape(*audio.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, *, hop_length: int, window: Tensor, length: int) -> Tensor:
    """Return the signal whose `stft` is nearest to a spectrogram, cut to an exact length.

    Each frame is windowed again and the sum divided by the sum of the squared windows, which
    inverts `stft` exactly (Griffin and Lim 1984, equation 6).

    Args:
        spectrum: One-sided complex spectrogram, as `stft` returns it.
        hop_length: Samples from one frame to the next.
        window: The window of the analysis.
        length: Samples to return: those of the signal that was transformed.

    Shape:
        spectrum: `[*, F, N]`; returns `[*, length]`.
    """
    n_fft = 2 * (spectrum.shape[-2] - 1)
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    # A signal shorter than half a window was continued with zeros by `stft`.
    full = max(length, n_fft // 2 + 1)
    audio = torch.istft(flat, n_fft, hop_length, window=window, center=True, length=full)
    return audio.reshape(*spectrum.shape[:-2], full)[..., :length]
