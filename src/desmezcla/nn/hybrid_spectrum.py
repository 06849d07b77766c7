"""The STFT of Hybrid Demucs, with as many frames as hops begin in the signal, and its inverse.

Frame n sees a quarter of the window's length more on each side than the hop that starts at sample
n · hop, so that frames and the samples of a strided convolution stand at the same places.

Reference:
    Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop at ISMIR 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Sum of the squares of Hann windows that are a quarter of their length apart.
GAIN = 1.5


def spectrum(audio: Tensor, window: Tensor, *, mirrored: bool) -> Tensor:
    """Return the STFT without its highest bin; the hop is a quarter of the window.

    Args:
        audio: A signal.
        window: A Hann window.
        mirrored: Whether the signal goes on as its reflection beyond its ends; as silence if not.

    Shape:
        audio: `[B, C, T]`; window: `[L]`; returns `[B, C, L / 2, ceil(4T / L)]`.
    """
    length, hop = audio.shape[-1], window.shape[0] // 4
    before = hop // 2 * 3
    after = before + -(-length // hop) * hop - length
    padded = _reflected(audio, before, after) if mirrored else F.pad(audio, (before, after))
    bins = torch.stft(
        padded.flatten(0, 1),
        4 * hop,
        hop,
        window=window,
        center=False,
        normalized=True,
        return_complex=True,
    )
    return torch.unflatten(bins[:, :-1], 0, audio.shape[:2])


def signal(bins: Tensor, window: Tensor, *, mirrored: bool, length: int) -> Tensor:
    """Return the signal of an STFT of `spectrum`.

    Args:
        bins: The STFT, frame after frame.
        window: The window of the analysis.
        mirrored: As for `spectrum`; if not, the signal comes one and a half hops late.
        length: T.

    Shape:
        bins: `[*, N, L / 2]`; returns `[*, T]`.
    """
    hop, count = window.shape[0] // 4, bins.shape[-2]
    frames = torch.fft.irfft(bins, n=4 * hop, norm="ortho") * (window / GAIN)
    quarters = torch.unflatten(frames, -1, (4, hop))  # [*, N, 4, hop]
    added = frames.new_zeros((*frames.shape[:-2], count + 3, hop))
    for index in range(4):
        added[..., index : index + count, :] += quarters[..., index, :]
    if mirrored:
        start = hop // 2 * 3
    else:
        # The authors' program divides there by a sum that lacks the last quarter of one window.
        added[..., 0, :] *= GAIN / (GAIN - window[-hop:].square())
        start = 0
    result: Tensor = added.flatten(-2)[..., start : start + length]
    return result


def _reflected(x: Tensor, before: int, after: int) -> Tensor:
    """Continue a signal by its reflection; one that is too short gets silence first.

    The silence stands at the end, and at the beginning only where that is not enough.

    Shape:
        x: `[B, C, T]`; returns `[B, C, before + T + after]`.
    """
    missing = max(0, max(before, after) + 1 - x.shape[-1])
    right = min(after, missing)
    x = F.pad(x, (missing - right, right))
    return F.pad(x, (before - missing + right, after - right), mode="reflect")
