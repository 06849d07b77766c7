"""What an engine may know of a model: its specification, and nothing else."""

import math
from dataclasses import dataclass
from typing import Literal

from desmezcla.errors import ParameterError


@dataclass(frozen=True)
class ValidLengths:
    """Lengths that a model takes as they are, without adding silence.

    Attributes:
        minimum: The smallest, samples.
        depth: Strided convolutions one after the other, none of which may leave a remainder.
        kernel: Taps of each.
        stride: Samples from one output of each to the next.
        oversampling: Factor by which the model raises the sample rate before them.
    """

    minimum: int = 1
    depth: int = 0
    kernel: int = 1
    stride: int = 1
    oversampling: int = 1

    @classmethod
    def multiples(cls, unit: int) -> "ValidLengths":
        """Return the lengths that are multiples of a unit."""
        return cls(minimum=unit, depth=1, kernel=unit, stride=unit)

    def above(self, samples: int) -> int:
        """Return the next valid length from a length on."""
        length = max(samples, self.minimum) * self.oversampling
        for _ in range(self.depth):
            length = max(1, math.ceil((length - self.kernel) / self.stride) + 1)
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel
        return math.ceil(length / self.oversampling)


@dataclass(frozen=True)
class ModelSpec:
    """How a model wants its audio, and what it gives back.

    Attributes:
        stems: Names of the separated sources, in the order of the model's output axis S.
        sample_rate: Rate of the model's audio, in Hz.
        channels: Channels that the model takes and returns, 1 or 2.
        segment_samples: Samples that the model is given at once, by default.
        context_samples: Samples at each inner edge of a segment that are not good enough to keep,
            because the model has not seen what lies beyond. The engine discards up to that many,
            as far as the overlap allows.
        hop_samples: Segments start on multiples of this, so that the frames of a spectrogram
            model fall on the same samples in every segment.
        causal: Whether output up to a sample depends on input up to that sample only
            (plus a fixed latency).
        latency_samples: For a causal model, the samples that it looks ahead: output sample t
            depends on no input after t + latency_samples.
        normalise: "track" for models that expect audio standardised by the mean and the deviation
            of the whole track; the engine then reads the track once before it separates.
        window: Weight of a segment in the overlap: "crossfade" between the kept parts, or
            "triangle" over the whole segment (Demucs), which keeps the context.
        valid_lengths: Lengths that a model with triangular weights takes; the engine fills a
            segment up to the next one with what is around it in the track.

    Errors:
        ParameterError: if a field is out of range.
    """

    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    segment_samples: int
    context_samples: int = 0
    hop_samples: int = 1
    causal: bool = False
    latency_samples: int = 0
    normalise: Literal["none", "track"] = "none"
    window: Literal["crossfade", "triangle"] = "crossfade"
    valid_lengths: ValidLengths | None = None

    def __post_init__(self) -> None:
        if not self.stems or len(set(self.stems)) != len(self.stems):
            raise ParameterError(
                f"stems={self.stems!r} must be one or more different names; rename or remove one"
            )
        if self.channels not in (1, 2):
            raise ParameterError(f"channels={self.channels} must be 1 or 2")
        if self.sample_rate <= 0:
            raise ParameterError(f"sample_rate={self.sample_rate} Hz must be positive")
        if self.segment_samples <= 0 or self.hop_samples <= 0:
            raise ParameterError(
                f"segment_samples={self.segment_samples} and hop_samples={self.hop_samples} "
                "must be positive"
            )
        if self.latency_samples < 0:
            raise ParameterError(f"latency_samples={self.latency_samples} must be 0 or more")
        if self.valid_lengths and self.window != "triangle":
            raise ParameterError(
                f"valid_lengths={self.valid_lengths} need window='triangle', not {self.window!r}"
            )
        if not 0 <= self.context_samples < self.segment_samples:
            raise ParameterError(
                f"context_samples={self.context_samples} must be at least 0 and less than "
                f"segment_samples={self.segment_samples}"
            )
