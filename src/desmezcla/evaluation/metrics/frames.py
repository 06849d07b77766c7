"""From signals to the energies of frames: with filters of the track, or of each frame."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from desmezcla.dsp.threads import on_all_cores
from desmezcla.evaluation.metrics.correlations import Channels, Span, across, span_correlations
from desmezcla.evaluation.metrics.energies import (
    Energies,
    Filters,
    Forms,
    Layout,
    direct_energies,
)
from desmezcla.evaluation.metrics.filters import Equations, distortion_filters

# Correlations of so many bytes are kept from the search for the filters to the scores; beyond that
# they are computed again.
_KEPT_BYTES = 384 << 20


def framewise_energies(
    channels: Channels, layout: Layout, frames: list[Span], taps: int
) -> Energies:
    """Return the energies of frames, each with filters of its own.

    Args:
        channels: The signals.
        layout: Which channels are what.
        frames: The frames.
        taps: Length of the filters.
    """
    parts = []
    for frame, correlations in zip(frames, span_correlations(channels, frames, taps), strict=True):
        filters = _filters(channels, layout, correlations, frame)
        direct = direct_energies(channels, layout, frame)
        parts.append(Forms(layout, filters).energies(correlations[None], direct[:, None]))
    return Energies.joined(parts)


def track_energies(
    channels: Channels, layout: Layout, frames: list[Span], length: int, taps: int
) -> Energies:
    """Return the energies of frames, with filters that are found once for the whole track.

    Args:
        channels: The signals.
        layout: Which channels are what.
        frames: The frames, all of one length.
        length: Samples of the track.
        taps: Length of the filters.
    """
    tables = _Tables(channels, frames, taps)
    filters = _filters(channels, layout, tables.of_track(length), (0, length))
    forms = Forms(layout, filters)
    # Filled in place: a small tensor left behind by each frame would hold the heap's large holes
    # open, half a gigabyte in a song.
    kinds = layout.references + layout.estimates + len(layout.pairs)
    direct = filters.every.new_empty(kinds, len(frames))

    def fill(index: int) -> None:
        direct[:, index] = direct_energies(channels, layout, frames[index])

    on_all_cores(fill, range(len(frames)), channels.device)
    parts = [
        forms.energies(correlations[None], direct[:, index, None])
        for index, correlations in enumerate(tables)
    ]
    return Energies.joined(parts)


class _Tables:
    """The correlations of frames, kept for a second use as far as memory allows.

    Args:
        channels: The signals.
        frames: The frames.
        taps: How many lags.
    """

    def __init__(self, channels: Channels, frames: list[Span], taps: int) -> None:
        self._channels, self._frames, self._taps = channels, frames, taps
        known = channels.references
        self._shape = (known, known + channels.estimates, taps)
        self._kept: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        """Yield those of one frame after the other."""
        if self._kept is not None:
            yield from self._kept
        else:
            yield from span_correlations(self._channels, self._frames, self._taps)

    def of_track(self, length: int) -> Tensor:
        """Return the correlations of the whole track. Shape: `[I, I + O, L]`."""
        edges = [stop for _, stop in self._frames]
        starts = [start for start, _ in self._frames]
        frames_tile = starts[1:] == edges[:-1] and edges[0] - starts[0] >= self._taps
        if not frames_tile:
            return next(span_correlations(self._channels, [(0, length)], self._taps))
        rest = [(edges[-1], length)] if edges[-1] < length else []
        total = across(self._channels, [edges[-1], *starts[1:]], (0, length), self._taps)
        total += sum(span_correlations(self._channels, rest, self._taps))
        bytes_needed = 8 * len(self._frames) * math.prod(self._shape)
        kept = (
            total.new_empty(len(self._frames), *self._shape)
            if bytes_needed <= _KEPT_BYTES
            else None
        )
        for index, correlations in enumerate(self):
            total += correlations
            if kept is not None:
                kept[index] = correlations
        self._kept = kept
        return total


def _filters(channels: Channels, layout: Layout, correlations: Tensor, span: Span) -> Filters:
    """Find the filters that project the estimates onto the references in a span."""
    c, s = layout.channels, layout.references
    alone, ridge = [], 0.0
    for j, k in layout.pairs:
        own, to = slice(j * c, (j + 1) * c), slice((s + k) * c, (s + k + 1) * c)
        right = correlations[own, to].permute(0, 2, 1).flatten(0, 1)  # d
        equations = Equations(correlations[own, own], right)
        alone.append(equations.solve(right)[0].reshape(c, -1, c))
        ridge = max(ridge, equations.ridge)
    every = distortion_filters(channels, correlations, span, ridge=ridge)
    return Filters(every, torch.stack(alone))
