"""What is done with a mixture before a network, and with what the network gives; NumPy only."""

from dataclasses import dataclass, field

import numpy as np

from desmezcla.dsp.framed import framed, unframed
from desmezcla.dsp.framing import Audio, Framing, Part
from desmezcla.spec import ValidLengths


@dataclass(frozen=True)
class FrontEnd:
    """From a mixture to what a network takes, and from what it gives to the stems.

    Attributes:
        framing: Where the frames of a spectral network lie, and which parts of them it takes; None
            for a network that takes samples.
        gives: Which parts of the stems' frames a spectral network gives; their results are added.
        lengths: How many frames, or samples, the network takes. Zeros are put after what there is.
        multiple_samples: For frames: before they are cut, the mixture is continued with zeros up to
            a multiple of this.
        centred: For samples: the zeros are put on both sides, the odd one after.
        level_floor: For samples: before the zeros, the mean of the channels' mean is taken away,
            and what is left divided by the deviation of that mean plus this; the stems are brought
            back to that level. None if not.
    """

    framing: Framing | None = None
    gives: tuple[Part, ...] = ()
    lengths: ValidLengths = field(default_factory=ValidLengths)
    multiple_samples: int = 1
    centred: bool = False
    level_floor: float | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the network takes."""
        return self.framing.parts if self.framing else ("mix",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the network gives."""
        return tuple(f"stems_{part}" for part in self.gives) if self.framing else ("stems",)

    def before(self, mix: Audio) -> tuple[Audio, ...]:
        """Return what the network is given.

        Shape:
            mix: `[B, C, T]`; returns frames `[B, C, N, W]`, spectra `[B, C, N, F, 2]` or both, or
            `[B, C, T']`.
        """
        if self.framing:
            mix = np.pad(mix, [(0, 0), (0, 0), (0, -mix.shape[-1] % self.multiple_samples)])
            count = self.lengths.above(self.framing.frames(mix.shape[-1]))
            parts = framed(self.framing, mix, frames=count)
            return tuple(np.require(part, requirements=["C", "W"]) for part in parts)
        level, scale = self._level(mix)
        before, after = self._added(mix.shape[-1])
        if self.level_floor is not None:
            mix = (mix - level) / (scale + np.float32(self.level_floor))
        return (np.pad(mix, [(0, 0), (0, 0), (before, after)]),)

    def after(self, outputs: tuple[Audio, ...], mix: Audio) -> Audio:
        """Return the stems.

        Args:
            outputs: What the network gave.
            mix: The mixture that this is of.

        Shape:
            outputs: frames `[B, S, C, N, V]`, spectra `[B, S, C, N, F, 2]` or both, or
            `[B, S, C, T']`; mix: `[B, C, T]`; returns `[B, S, C, T]`.
        """
        length = mix.shape[-1]
        if self.framing:
            whole = length + -length % self.multiple_samples
            return unframed(self.framing, self.gives, outputs, whole)[..., :length]
        before, _ = self._added(length)
        stems = outputs[0][..., before : before + length]
        if self.level_floor is None:
            return stems
        level, scale = self._level(mix)
        return stems * scale[:, None] + level[:, None]

    def _added(self, length: int) -> tuple[int, int]:
        """Return how many zeros are put before and after so many samples."""
        more = self.lengths.above(length) - length
        before = more // 2 if self.centred else 0
        return before, more - before

    def _level(self, mix: Audio) -> tuple[Audio, Audio]:
        """Return mean and deviation of the channels' mean. Shape: `[B, 1, 1]` each."""
        mono = mix.mean(1, keepdims=True)
        single = mix.shape[-1] == 1
        return mono.mean(2, keepdims=True), mono.std(2, keepdims=True, ddof=0 if single else 1)
