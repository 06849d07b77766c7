"""What repeats in a spectrogram, at whatever intervals (REPET-SIM, Rafii and Pardo 2012)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.dsp.median import median_of

# Rows of the similarity matrix that are in memory at a time: it need not fit for a whole track.
_ROWS = 512
# Elements of one neighbour's frames that are gathered at a time.
_SLICE_ELEMENTS = 65536


@dataclass(frozen=True)
class Neighbours:
    """The frames that are most similar to each frame, itself among them, best first.

    Attributes:
        index: Frame numbers, `[N, K]`; meaningless from `count` on.
        count: How many of the K each frame has, `[N]`, at least 1.
    """

    index: Tensor
    count: Tensor


def similar_frames(
    magnitude: Tensor, *, min_similarity: float, min_distance_frames: int, max_frames: int
) -> Neighbours:
    """Find for each frame the frames that resemble it, by the cosine of their spectra.

    Of neighbouring candidates only the best one counts: it is the most similar within
    `min_distance_frames` on each side.

    Args:
        magnitude: Magnitude spectrogram.
        min_similarity: Cosine that a neighbour must exceed, 0 to 1.
        min_distance_frames: Frames that neighbours are apart, at least 1.
        max_frames: Neighbours of a frame at most, at least 1.

    Shape:
        magnitude: `[F, N]`; returns neighbours of the N frames.
    """
    frames = magnitude.shape[-1]
    # Scaled by the peak first, so that squares of very quiet frames do not underflow.
    unit = F.normalize(magnitude / magnitude.amax(0).clamp(min=1e-30), dim=0)
    most = min(max_frames, frames)
    indices, counts = [], []
    with torch.autocast(magnitude.device.type, enabled=False):
        for start in range(0, frames, _ROWS):
            rows = unit[:, start : start + _ROWS]
            similarity = rows.T @ unit  # [rows, N]
            candidates = _local_maxima(similarity, min_distance_frames - 1)
            candidates &= similarity > min_similarity
            here = torch.arange(rows.shape[1], device=unit.device)
            # Each frame resembles itself best, a silent one too.
            candidates[here, start + here] = True
            similarity[here, start + here] = 2.0
            ranked = similarity.masked_fill(~candidates, -1.0).topk(most, dim=1)
            indices.append(ranked.indices)
            counts.append((ranked.values >= 0).sum(1))
    count = torch.cat(counts)
    return Neighbours(torch.cat(indices)[:, : int(count.max())], count)


def repeating_background(magnitude: Tensor, neighbours: Neighbours) -> Tensor:
    """Return the part of a spectrogram that repeats: the median over each frame's neighbours.

    It is never larger than the spectrogram itself. Of an even number of neighbours the lower
    middle one is taken, so that of two only what both have counts as repeated.

    Shape:
        magnitude: `[F, N]`; returns `[F, N]`.
    """
    index, offset = _padded(neighbours)
    background = []
    step = max(1, _SLICE_ELEMENTS // magnitude.shape[-1])
    for start in range(0, magnitude.shape[0], step):
        part = magnitude[start : start + step]
        values = [part[:, frame] + shift for frame, shift in zip(index, offset, strict=True)]
        background.append(torch.minimum(median_of(values), part))
    return torch.cat(background)


def _local_maxima(similarity: Tensor, reach: int) -> Tensor:
    """Mark the entries that are the largest within `reach` columns on each side."""
    highest = F.max_pool1d(similarity[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
    return similarity == highest


def _padded(neighbours: Neighbours) -> tuple[Tensor, Tensor]:
    """Give all frames the same odd number of values without moving their medians.

    What is missing is filled with infinities, as many below as above the lower middle one of those
    that exist.

    Shape:
        returns frame numbers `[K', N]` and what to add to the values there, `[K', N]`: 0 or ±inf.
    """
    most = neighbours.index.shape[1]
    odd = most | 1
    index = F.pad(neighbours.index, (0, odd - most)).T
    place = torch.arange(odd, device=index.device)[:, None]
    below = odd // 2 - (neighbours.count - 1) // 2
    missing = place - neighbours.count  # from 0 on where a value is missing
    filler = torch.where(missing < below, -torch.inf, torch.inf)
    return index, torch.where(missing < 0, 0.0, filler)
