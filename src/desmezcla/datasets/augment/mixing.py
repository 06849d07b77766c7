"""New songs from the stems of a batch."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from desmezcla.datasets.augment.base import Audio, BatchAugmentation
from desmezcla.dsp.stft import istft, stft


def _orders(rng: np.random.Generator, stems: int, examples: int) -> NDArray[np.int64]:
    """Return a random order of the examples for each stem. Shape: `[S, B]`."""
    return np.stack([rng.permutation(examples) for _ in range(stems)])


def _reordered(stems: Audio, orders: NDArray[np.int64]) -> Audio:
    """Return a batch whose stem s of example b was that of example orders[s, b]."""
    return np.stack([stems[order, s] for s, order in enumerate(orders)], axis=1)


class BatchMixing(BatchAugmentation):
    """Exchange stems between the songs of a batch, as Demucs does.

    The batch is cut into groups, in each of which every stem is put into a random order, and the
    mixtures become the sums. `p` is the probability for each group.

    Reference:
        Défossez, Usunier, Bottou and Bach, "Music Source Separation in the Waveform Domain", 2019.

    Attributes:
        group_size: Examples in a group; None for the whole batch. The last group may be smaller.
    """

    kind: Literal["batch_mixing"] = "batch_mixing"
    group_size: int | None = Field(default=None, ge=2)

    def __call__(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        """Return mixtures `[B, C, T]` and stems `[B, S, C, T]`."""
        mixture, stems = mixture.copy(), stems.copy()
        size = self.group_size or len(stems)
        for start in range(0, len(stems), size):
            group = stems[start : start + size]
            if rng.random() < self.p:
                group[:] = _reordered(group, _orders(rng, stems.shape[1], len(group)))
                mixture[start : start + size] = group.sum(axis=1)
        return mixture, stems


class StftMixing(BatchAugmentation):
    """Mix the magnitude spectra of stems from random songs of the batch.

    The mixture M of stems S_i, which come from random examples, has the sum of their magnitudes
    and the phase of their sum:

        STFT(M) = Σ_i |STFT(S_i)| · exp(j·arg Σ_i STFT(S_i))

    It is what separation by ratio masks of magnitudes supposes, and what no sum of waveforms
    fulfils. `p` is the probability for each example. As overlapping frames must agree, the
    mixture's own STFT is near to this, not equal.

    Reference:
        PytorchConvSep mixes magnitudes drawn from random songs for one file in five.

    Attributes:
        n_fft: Length of the STFT, samples, with a Hann window.
        hop_length: Samples from one frame to the next.
    """

    kind: Literal["stft_mixing"] = "stft_mixing"
    p: float = Field(default=0.2, ge=0, le=1)
    n_fft: int = Field(default=1024, ge=4, multiple_of=4)
    hop_length: int = Field(default=256, ge=1)

    def __call__(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        """Return mixtures `[B, C, T]` and stems `[B, S, C, T]`."""
        chosen = np.flatnonzero(rng.random(len(stems)) < self.p)
        orders = _orders(rng, stems.shape[1], len(stems))
        mixture, others = mixture.copy(), stems.copy()
        if len(chosen):
            others[chosen] = _reordered(stems, orders)[chosen]
            mixture[chosen] = self.mix(others[chosen])
        return mixture, others

    def mix(self, stems: Audio) -> Audio:
        """Return mixtures `[B, C, T]` of stems `[B, S, C, T]`."""
        window = torch.hann_window(self.n_fft)
        spectra = stft(
            torch.from_numpy(stems), n_fft=self.n_fft, hop_length=self.hop_length, window=window
        )
        mixed = torch.polar(spectra.abs().sum(dim=1), spectra.sum(dim=1).angle())
        mixture: Audio = istft(
            mixed, hop_length=self.hop_length, window=window, length=stems.shape[-1]
        ).numpy()
        return mixture
