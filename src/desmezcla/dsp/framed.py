"""All frames of a signal at once, and the signal again; NumPy only.

What `FrameStream` does with a signal in blocks, for networks that see a whole piece of it.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from desmezcla.dsp.framing import Audio, Framing, Part, from_parts, to_parts


def framed(framing: Framing, audio: Audio, *, frames: int | None = None) -> tuple[Audio, ...]:
    """Return the frames of a signal as `Framing.parts` says.

    Args:
        framing: Where they lie.
        audio: The signal, one sample or more.
        frames: Append zeros until there are so many; None for none.

    Shape:
        audio: `[*, T]`; returns frames `[*, N, W]`, spectra `[*, N, F, 2]`, or both.
    """
    size, hop, before = framing.frame_samples, framing.hop_samples, framing.before_samples
    length = audio.shape[-1]
    count = framing.frames(length)
    reflected = framing.edges == "reflected"
    if reflected:
        audio = _padded(audio, 0, max(0, before + 1 - length))
        audio = np.pad(audio, [*[(0, 0)] * (audio.ndim - 1), (before, before)], mode="reflect")
    else:
        audio = _padded(audio, before, 0)
    audio = _padded(audio, 0, max(0, (count - 1) * hop + size - audio.shape[-1]))
    windows = sliding_window_view(audio, size, axis=-1)[..., ::hop, :][..., :count, :]
    more = 0 if frames is None else frames - count
    return tuple(
        _longer(part, count + more, windows.ndim - 2) for part in to_parts(framing, windows)
    )


def unframed(
    framing: Framing, names: tuple[Part, ...], parts: tuple[Audio, ...], length: int
) -> Audio:
    """Return the signal that frames stand for.

    Args:
        framing: Where they lie.
        names: What each of `parts` is.
        parts: The frames; they are added.
        length: Samples of the signal.

    Shape:
        parts: frames `[*, N, V]`, spectra `[*, N, F, 2]`; returns `[*, T]`.
    """
    count, given, hop = framing.frames(length), framing.synthesis_samples, framing.hop_samples
    parts = tuple(
        part[..., :count, :] if name == "frames" else part[..., :count, :, :]
        for name, part in zip(names, parts, strict=True)
    )
    frames = from_parts(framing, names, parts)
    skipped = framing.before_samples - framing.frame_samples + given
    total = np.zeros((*frames.shape[:-2], max((count - 1) * hop + given, skipped + length)), "f4")
    _add(total, frames, hop)
    inner = slice(skipped, skipped + length)
    if framing.power is None:
        return total[..., inner]
    weight = np.zeros(total.shape[-1], np.float32)
    _add(weight, np.broadcast_to(framing.power, (count, given)), hop)
    # Where no frame reaches (with a hop as long as the frame), there is nothing to divide.
    result: Audio = total[..., inner] / np.maximum(weight[inner], np.finfo(np.float32).tiny)
    return result


def _add(signal: Audio, frames: Audio, hop: int) -> None:
    """Add frames `[*, N, V]` to a signal `[*, L]`, each at its place."""
    count, size = frames.shape[-2:]
    apart = -(-size // hop)  # frames that far apart do not overlap
    for first in range(min(apart, count)):
        part = frames[..., first::apart, :]
        start, step = first * hop, apart * hop
        stop = start + (part.shape[-2] - 1) * step + size
        places = sliding_window_view(signal[..., start:stop], size, axis=-1, writeable=True)
        places[..., ::step, :] += part


def _padded(audio: Audio, before: int, after: int) -> Audio:
    """Return a signal with zeros on both sides. Shape: `[*, T] -> [*, T']`."""
    if not before and not after:
        return audio
    return np.pad(audio, [*[(0, 0)] * (audio.ndim - 1), (before, after)])


def _longer(part: Audio, count: int, axis: int) -> Audio:
    """Return a part with zeros after it on an axis, so that this has `count` entries."""
    more = count - part.shape[axis]
    if more <= 0:
        return part
    pads = [(0, 0)] * part.ndim
    pads[axis] = (0, more)
    return np.pad(part, pads)
