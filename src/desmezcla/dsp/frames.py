"""Frames that end with the newest samples, for models that may not wait for later ones."""

import torch
import torch.nn.functional as F
from torch import Tensor


def trailing_frames(audio: Tensor, size: int, hop: int, *, given: int) -> Tensor:
    """Return the frames of a signal whose last samples overlap, from before its beginning.

    Frame n ends with the samples from n·hop to (n + 1)·hop. There are all frames of which one of
    the last `given` samples lies in the signal; what they have beyond it is silence.

    Args:
        audio: One sample or more.
        size: Samples W of a frame.
        hop: Samples from one frame to the next.
        given: The last so many samples of a frame are added up by `overlap_add`.

    Shape:
        audio: `[*, T]`; returns `[*, N, W]`.
    """
    frames = (audio.shape[-1] - 1 + given) // hop
    padded = F.pad(audio, (size - hop, frames * hop - audio.shape[-1]))
    return padded.unfold(-1, size, hop)


def magnitude(parts: Tensor) -> Tensor:
    """Return the magnitudes of bins given as real and imaginary part. Shape: `[*, 2] -> [*]`."""
    real, imaginary = parts.unbind(-1)
    # A square as a product: an exported power would cost many times as much.
    return (real * real + imaginary * imaginary).sqrt()


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Return the signal that frames add up to, from its sample 0, as `trailing_frames` has them.

    Args:
        frames: The last V samples of each frame; V is a multiple of the hop.
        hop: Samples from one frame to the next.

    Shape:
        frames: `[*, N, V]`; returns `[*, N·hop]`.
    """
    parts = frames.reshape(*frames.shape[:-1], -1, hop)  # [*, N, R, hop]
    apart = parts.shape[-2] - 1
    # Part r of a frame falls on the hop r after the frame's first.
    hops = torch.stack(
        [F.pad(part, (0, 0, index, apart - index)) for index, part in enumerate(parts.unbind(-2))]
    ).sum(0)  # [*, N + R - 1, hop]
    return hops.flatten(-2)[..., apart * hop :]
