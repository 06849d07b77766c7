"""Energies of the parts of estimates, frame by frame, with given distortion filters.

A frame is cut out of the song, so that the references are silent before and after it, and the
filtered references ring on after its end. They are convolved by overlap-save: blocks of one
transform each, whatever the length of the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from desmezcla.evaluation.correlations import Read
from desmezcla.evaluation.overlap_save import OverlapSave

# Samples, of all channels together, that are transformed at once.
_BATCH_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Filters:
    """Distortion filters of all estimates.

    Attributes:
        every: From all channels of all references to each channel of each estimate,
            `[S·C, L, E·C]`.
        alone: From the channels of one reference to those of one estimate, for each pair,
            `[P, C, L, C]`.
    """

    every: Tensor
    alone: Tensor


@dataclass(frozen=True)
class Energies:
    """Sums of squares over all samples and channels of frames.

    Attributes:
        reference: |s|², `[S, frames]`.
        estimate: |y|², `[E, frames]`.
        error: |y - s|², of pairs of a reference and an estimate, `[P, frames]`, as the rest.
        alone: |P_s y|².
        spatial: |P_s y - s|².
        beyond: |y - P_s y|².
        every: |P y|².
        interference: |P y - P_s y|².
        artifacts: |y - P y|².
    """

    reference: Tensor
    estimate: Tensor
    error: Tensor
    alone: Tensor
    spatial: Tensor
    beyond: Tensor
    every: Tensor
    interference: Tensor
    artifacts: Tensor

    def plus(self, other: "Energies") -> "Energies":
        """Return the sums of the same frames' energies."""
        return Energies(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @staticmethod
    def joined(parts: "Sequence[Energies]") -> "Energies":
        """Return the energies of the frames of all parts, in order."""
        every = [[getattr(part, field.name) for part in parts] for field in fields(Energies)]
        return Energies(*(torch.cat(kind, dim=-1) for kind in every))


@dataclass(frozen=True)
class Layout:
    """Which channels are what: all those of the references first, then those of the estimates.

    Attributes:
        references: How many there are, S.
        estimates: How many there are, E.
        channels: Of each, C.
        pairs: A reference and an estimate each, P.
    """

    references: int
    estimates: int
    channels: int
    pairs: tuple[tuple[int, int], ...]


def frame_energies(
    read: Read, layout: Layout, filters: Filters, starts: list[int], length: int
) -> Energies:
    """Return the energies in frames of one length.

    Args:
        read: Gives the signals, all channels.
        layout: What they are.
        filters: The filters that belong to these frames.
        starts: First sample of each frame.
        length: Samples of a frame.
    """
    every = OverlapSave(filters.every, length + filters.every.shape[1] - 1)
    alone = [OverlapSave(each, length + every.past) for each in filters.alone]
    blocks = -(-(length + every.past) // every.step)
    channels = layout.channels * (layout.references + layout.estimates)
    at_once = max(1, _BATCH_SAMPLES // (every.size * channels))
    frames_at_once = max(1, at_once // blocks)
    parts = []
    for first in range(0, len(starts), frames_at_once):
        group = starts[first : first + frames_at_once]
        total: Energies | None = None
        for begin in range(0, blocks, at_once):
            count = min(at_once, blocks - begin)
            span = (begin * every.step - every.past, (begin + count) * every.step)
            audio = torch.stack([_cut(read, start, length, span) for start in group], dim=1)
            now = _block_energies(audio, layout, every, alone)
            total = now if total is None else total.plus(now)
        assert total is not None  # a frame has at least one block
        parts.append(total)
    return Energies.joined(parts)


def _cut(read: Read, start: int, length: int, span: tuple[int, int]) -> Tensor:
    """Return a span of a frame, with silence before and after the frame. Shape: `[I, n]`."""
    first, last = min(length, max(0, span[0])), min(length, span[1])
    audio = read(start + first, start + last)
    return torch.nn.functional.pad(audio, (first - span[0], span[1] - last))


def _block_energies(
    audio: Tensor, layout: Layout, every: OverlapSave, alone: list[OverlapSave]
) -> Energies:
    """Return the energies of some blocks of frames.

    Shape:
        audio: `[I, frames, past + blocks·step]`.
    """
    c, s = layout.channels, layout.references
    frames = audio.shape[1]
    rows = audio[: s * c].unfold(-1, every.size, every.step).flatten(1, 2)
    spectra = every.spectra(rows)  # [F, rows, S·C]

    def filtered(bank: OverlapSave, spectra: Tensor) -> Tensor:
        """Return `[n, C, frames, samples]`."""
        output = bank.apply(spectra)
        return output.reshape(-1, c, frames, output[0].numel() // frames)

    now = audio[..., every.past :]
    now = now.reshape(-1, c, frames, now.shape[-1])
    references, estimates = now[:s], now[s:]
    projected = filtered(every, spectra)  # [E, C, frames, n]
    kinds: list[list[Tensor]] = []
    for (j, e), bank in zip(layout.pairs, alone, strict=True):
        own = filtered(bank, spectra[..., j * c : (j + 1) * c])[0]
        true, estimate, full = references[j], estimates[e], projected[e]
        kinds.append(
            [
                _energy(estimate - true),
                _energy(own),
                _energy(own - true),
                _energy(estimate - own),
                _energy(full),
                _energy(full - own),
                _energy(estimate - full),
            ]
        )
    return Energies(
        torch.stack([_energy(x) for x in references]),
        torch.stack([_energy(x) for x in estimates]),
        *(torch.stack(kind) for kind in zip(*kinds, strict=True)),
    )


def _energy(x: Tensor) -> Tensor:
    """Sum squares over channels and samples. Shape: `[C, frames, n]` -> `[frames]`."""
    return x.square().sum(dim=(0, 2))
