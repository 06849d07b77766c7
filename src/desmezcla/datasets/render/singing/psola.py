"""Pitch-synchronous overlap-add: a voice is taken apart into grains and set together anew.

Moulines and Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech
synthesis using diphones", 1990. A grain is two periods of the source under a Hann window; laid at
the periods of the melody it keeps its formants, and read faster or slower it moves them.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.singing.units import Signal

# Grains that are laid at once: large enough for numpy, small enough for the cache.
_AT_ONCE = 256


@dataclass(frozen=True)
class Grains:
    """Grains to be laid, all fields `[G]`.

    Attributes:
        time_s: Where the middle of the grain goes.
        centre: Where it lies in the bank, in samples.
        half: Half its width there, in samples of the bank.
        half_s: Half its width where it goes, in seconds.
        gain: Its gain; the sign may be negative.
    """

    time_s: Signal
    centre: Signal
    half: Signal
    half_s: Signal
    gain: Signal

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.intp]) -> "Grains":
        return Grains(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.time_s)

    @staticmethod
    def joined(parts: list["Grains"]) -> "Grains":
        """Return the grains of all parts in the order of their time."""
        names = [field.name for field in fields(Grains)]
        both = Grains(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
        return both[np.argsort(both.time_s, kind="stable")]


def overlap_add(
    bank: NDArray[np.float32], grains: Grains, *, sample_rate: int, samples: int
) -> NDArray[np.float32]:
    """Lay grains of a bank into silence.

    Shape:
        bank: `[N]`; returns `[samples]`.
    """
    widest = int(grains.half_s.max() * sample_rate) + 2 if len(grains) else 0
    out = np.zeros(samples + 2 * widest + 2, np.float64)
    inside = (grains.time_s >= 0) & (grains.time_s * sample_rate < samples)
    grains = grains[inside]
    for begin in range(0, len(grains), _AT_ONCE):
        _lay(out, bank, grains[begin : begin + _AT_ONCE], sample_rate, widest)
    return out[widest : widest + samples].astype(np.float32)


def _lay(
    out: Signal, bank: NDArray[np.float32], grains: Grains, sample_rate: int, origin: int
) -> None:
    """Add grains to `out`, whose sample `origin` is the time 0."""
    at = grains.time_s * sample_rate
    whole = np.floor(at).astype(np.int64)
    half = grains.half_s * sample_rate
    reach = int(half.max()) + 1
    steps = np.arange(-reach, reach + 1)
    turns = ((steps - (at - whole)[:, None]) / half[:, None]).astype(np.float32)  # [G, L]
    window = np.where(np.abs(turns) < 1, 0.5 + 0.5 * np.cos(np.float32(np.pi) * turns), 0)
    base = np.floor(grains.centre)
    place = turns * grains.half[:, None].astype(np.float32)
    place += (grains.centre - base)[:, None].astype(np.float32)
    below = np.floor(place)
    index = np.clip(below.astype(np.int64) + base[:, None].astype(np.int64), 0, len(bank) - 2)
    part = place - below
    sound = bank[index] * (1 - part) + bank[index + 1] * part
    sound *= window * grains.gain[:, None].astype(np.float32)
    first = int(whole.min()) - reach
    slots = (whole[:, None] - first) + steps
    summed = np.bincount(slots.ravel(), weights=sound.ravel())
    out[origin + first : origin + first + len(summed)] += summed
