"""Several passes over one track, averaged: shifts of one release, and bags of releases."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import ParameterError
from desmezcla.inference.blocks import Block, in_step
from desmezcla.inference.engine import Engine
from desmezcla.inference.sources import Source


@dataclass(frozen=True)
class Member:
    """An engine and how much each stem of its model counts in the average.

    Attributes:
        engine: The engine.
        weights: By stem; a stem that is not named counts nothing.
    """

    engine: Engine
    weights: Mapping[str, float]


class Ensemble:
    """One or more members that separate a track together.

    Args:
        members: The members.
        stems: Names of the stems to give out, in order.

    Errors:
        ParameterError: if a stem is made by no member, or a weight is negative.
    """

    def __init__(self, members: Iterable[Member], stems: tuple[str, ...]) -> None:
        self.members = tuple(members)
        self.stems = stems
        total = np.zeros(len(stems))
        shares = []
        for member in self.members:
            of_member = member.engine.spec.stems
            share = np.zeros((len(stems), len(of_member)))
            for stem, weight in member.weights.items():
                if weight < 0 or stem not in of_member or stem not in stems:
                    raise ParameterError(
                        f"weight {weight} of stem {stem!r} must be 0 or more and name one of "
                        f"{', '.join(of_member)}; correct the bag"
                    )
                share[stems.index(stem), of_member.index(stem)] = weight
            total += share.sum(axis=1)
            shares.append(share)
        if not total.all():
            missing = ", ".join(s for s, t in zip(stems, total, strict=True) if not t)
            raise ParameterError(f"no member of the bag makes {missing}; give it a weight above 0")
        self._shares: list[NDArray[np.float32]] = [
            (share / total[:, None]).astype(np.float32) for share in shares
        ]

    @property
    def sample_rate(self) -> int:
        """Rate that the first member works at, in Hz."""
        return self.members[0].engine.spec.sample_rate

    def stream(self, source: Source, sample_rate: int | None = None) -> Iterator[Block]:
        """Separate a source, block by block; see `Engine.stream`.

        Shape:
            yields `[S, C, n]`.
        """
        passes, shares = [], []
        for member, share in zip(self.members, self._shares, strict=True):
            offsets_s = member.engine.options.offsets_s()
            for offset_s in offsets_s:
                passes.append(member.engine.stream(source, sample_rate, offset_s=offset_s))
                shares.append(share / np.float32(len(offsets_s)))
        if len(passes) == 1 and np.array_equal(shares[0], np.eye(len(self.stems))):
            yield from passes[0]
            return
        for blocks in in_step(passes):
            parts = [np.tensordot(s, b, axes=1) for s, b in zip(shares, blocks, strict=True)]
            yield np.sum(parts, axis=0, dtype=np.float32)
