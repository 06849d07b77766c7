"""Energies of the parts of estimates, frame by frame, from correlations instead of signals.

A frame is cut out of the song; a filtered reference rings on after its end. The energy of all
channels x_i of the references, each filtered by h_i and added up, is

    |Σ_i h_i * x_i|² = Σ_ij Σ_k r_ij[k] q_ij[k],   q_ij[k] = Σ_b h_i[b + k] h_j[b],

with the correlations r of the frame, for lags k of both signs. So a frame costs one product of its
correlations with numbers that all frames share, and nothing has to be filtered. What is a
difference of filtered references (distortion, interference) is itself a filtered reference, and its
energy loses no digits. Artifacts do: |y - P y|² = |y|² - 2 ⟨y, P y⟩ + |P y|² ends at the rounding
noise of |y|², and is taken to be that at least: no estimate has a SAR beyond 157 dB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from desmezcla.evaluation.metrics.correlations import Channels, Span, power_of_two

# Of sums in double precision, relative to them.
_ROUNDING = torch.finfo(torch.float64).eps

# Samples read at once where frames are longer.
_READ_SAMPLES = 1 << 18


@dataclass(frozen=True)
class Layout:
    """Which channels are what.

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

    @staticmethod
    def joined(parts: "Sequence[Energies]") -> "Energies":
        """Return the energies of the frames of all parts, in order."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(Energies)]
        return Energies(*(torch.cat(column, dim=-1) for column in columns))


class Forms:
    """What the correlations of any frame are multiplied with, for given filters.

    Args:
        layout: Which channels are what.
        filters: The filters of the frames.
    """

    def __init__(self, layout: Layout, filters: Filters) -> None:
        self.layout = layout
        c = layout.channels
        known, taps, _ = filters.every.shape
        every = filters.every.reshape(known, taps, layout.estimates, c).permute(2, 3, 0, 1)
        alone = every.new_zeros(len(layout.pairs), c, known, taps)
        for index, (j, _) in enumerate(layout.pairs):
            alone[index, :, j * c : (j + 1) * c] = filters.alone[index].permute(2, 0, 1)
        direct = torch.zeros_like(alone)
        for index, (j, _) in enumerate(layout.pairs):
            for channel in range(c):
                direct[index, channel, j * c + channel, 0] = 1.0
        of_pairs = every[[e for _, e in layout.pairs]]  # [P, C, I, L], as the others
        self._squares = torch.stack(
            [_square(h) for h in (of_pairs, alone, alone - direct, of_pairs - alone)]
        )  # [4, P, I·I·L]
        self._products = torch.stack([of_pairs, alone])  # [2, P, C, I, L]

    def energies(self, correlations: Tensor, direct: Tensor) -> Energies:
        """Return the energies of some frames.

        Args:
            correlations: Those of the references with all channels.
            direct: |s|² of the references, |y|² of the estimates and |y - s|² of the pairs.

        Shape:
            correlations: `[frames, I, I + O, L]`; direct: `[S + E + P, frames]`.
        """
        s, e, c = self.layout.references, self.layout.estimates, self.layout.channels
        known = s * c
        own = correlations[:, :, :known].flatten(1)
        squares = (self._squares @ own.T).clamp(min=0)  # [4, P, frames]
        every, alone, spatial, interference = squares
        # [frames, I, E, C, L], and for the pairs [P, frames, C, I, L]
        mixed = correlations[:, :, known:].reshape(len(own), known, e, c, -1)
        of_pairs = torch.stack([mixed[:, :, k].transpose(1, 2) for _, k in self.layout.pairs])
        shared = torch.einsum("kpcil,pfcil->kpf", self._products, of_pairs)
        estimate = direct[s : s + e]
        own_estimate = estimate[[k for _, k in self.layout.pairs]]
        left = own_estimate - 2 * shared + squares[:2]
        artifacts, beyond = left.maximum(_ROUNDING * own_estimate)
        return Energies(
            direct[:s],
            estimate,
            direct[s + e :],
            alone,
            spatial,
            beyond,
            every,
            interference,
            artifacts,
        )


def _square(filters: Tensor) -> Tensor:
    """Return the q of |Σ_i h_i * x_i|², added up over the outputs, both signs of k in one.

    Shape:
        filters: `[P, C, I, L]`; returns `[P, I·I·L]`.
    """
    taps = filters.shape[-1]
    size = power_of_two(2 * taps)
    spectra = torch.fft.rfft(filters, n=size)
    product = torch.einsum("pcif,pcjf->pijf", spectra, spectra.conj())
    q: Tensor = torch.fft.irfft(product, n=size)[..., :taps]
    # r_ji[-k] q_ji[-k] is r_ij[k] q_ij[k] again.
    q[..., 1:] *= 2
    return q.flatten(1)


def direct_energies(channels: Channels, layout: Layout, frame: Span) -> Tensor:
    """Return |s|², |y|² and |y - s|² of a frame, from its samples. Shape: `[S + E + P]`."""
    return sum(
        (_direct(channels.read(*part), layout) for part in _parts(frame)),
        start=torch.zeros((), dtype=torch.float64, device=channels.device),
    )


def _parts(frame: Span) -> Iterator[Span]:
    for start in range(*frame, _READ_SAMPLES):
        yield start, min(frame[1], start + _READ_SAMPLES)


def _direct(audio: Tensor, layout: Layout) -> Tensor:
    stems = audio.reshape(layout.references + layout.estimates, -1)
    true, estimates = stems[: layout.references], stems[layout.references :]
    errors = [estimates[e] - true[j] for j, e in layout.pairs]
    return torch.cat([stems.square().sum(dim=1), torch.stack(errors).square().sum(dim=1)])
