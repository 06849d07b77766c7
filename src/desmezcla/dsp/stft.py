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

    Args:
        spectrum: One-sided complex spectrogram, as `stft` returns it.
        hop_length: Samples from one frame to the next.
        window: The window of the analysis.
        length: Samples to return: those of the signal that was transformed.

    Shape:
        spectrum: `[*, F, N]`; returns `[*, length]`.
    """
    synthesis = Synthesis(spectrum.shape[:-2], hop_length=hop_length, window=window, length=length)
    synthesis.add(spectrum, 0)
    return synthesis.finish()


class Synthesis:
    """The inverse STFT of a spectrogram that comes a few frames at a time.

    Each frame is windowed again and the sum divided by the sum of the squared windows, which
    inverts `stft` exactly (Griffin and Lim 1984, equation 6).

    Args:
        axes: Sizes of the leading axes of the signal.
        hop_length: Samples from one frame to the next.
        window: The window of the analysis.
        length: Samples to give out.
    """

    def __init__(
        self, axes: tuple[int, ...], *, hop_length: int, window: Tensor, length: int
    ) -> None:
        self._hop = hop_length
        self._window = window
        self._length = length
        # The first frame is centred on the first sample, and begins half a window before it. A
        # signal shorter than half a window was continued with zeros by `stft`.
        self._before = window.shape[0] // 2
        frames = 1 + max(length, self._before + 1) // hop_length
        total = (frames - 1) * hop_length + window.shape[0]
        self._signal = window.new_zeros(*axes, total)
        self._weight = window.new_zeros(total)
        self._add(self._weight, window.square().expand(frames, -1), 0)

    def add(self, spectrum: Tensor, first: int) -> None:
        """Add frames.

        Args:
            spectrum: The frames.
            first: Number of the first of them.

        Shape:
            spectrum: `[*, F, n]` complex.
        """
        frames = torch.fft.irfft(spectrum.mT, n=self._window.shape[0], dim=-1)  # [*, n, n_fft]
        self._add(self._signal, frames.mul_(self._window), first)

    def finish(self) -> Tensor:
        """Return the signal. Shape: `[*, length]`."""
        inner = slice(self._before, self._before + self._length)
        # Where no window reaches (with a hop as long as the window), there is nothing to divide.
        tiny = torch.finfo(self._weight.dtype).tiny
        return self._signal[..., inner] / self._weight[inner].clamp(min=tiny)

    def _add(self, signal: Tensor, frames: Tensor, first: int) -> None:
        """Add frames `[*, n, n_fft]` to a signal `[*, L]`, each at its place."""
        count, n_fft = frames.shape[-2:]
        apart = -(-n_fft // self._hop)  # frames that far apart do not overlap
        for offset in range(min(apart, count)):
            part = frames[..., offset::apart, :]
            start = (first + offset) * self._hop
            stop = start + (part.shape[-2] - 1) * apart * self._hop + n_fft
            signal[..., start:stop].unfold(-1, n_fft, apart * self._hop).add_(part)
