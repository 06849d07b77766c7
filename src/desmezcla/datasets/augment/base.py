"""What every augmentation is: a frozen configuration that can be called on audio."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from desmezcla.errors import ParameterError

Audio = NDArray[np.float32]


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]} exceeds the upper bound {bounds[1]}")
    return bounds


def _positive(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError(f"the lower bound {bounds[0]} must be above 0")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[Range, AfterValidator(_positive)]


def rms(audio: Audio) -> NDArray[np.float64]:
    """Return the root mean square of each signal. Shape: `[N, C, T]` -> `[N, 1, 1]`."""
    power = np.square(audio, dtype=np.float64)
    return np.asarray(np.sqrt(power.mean(axis=(1, 2), keepdims=True)))


class Augmentation(BaseModel, ABC):
    """A change of the training data at random.

    Attributes:
        kind: Name of the class in a recipe.
        p: Probability that the change is made; each class says of what.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    p: float = Field(default=1.0, ge=0, le=1)

    def check(self, *, stem_names: Sequence[str], sample_rate: int) -> None:
        """Refuse what cannot be done with these stems at this rate.

        Errors:
            ParameterError: if it cannot.
        """


class SignalAugmentation(Augmentation):
    """A change that is made to one signal, whatever the others are.

    `p` is the probability for each signal, or for all of them if they go `together`.

    Attributes:
        on: "stems" changes stems before they are summed, and so the targets too; "mixture" changes
            what the model hears, and leaves the targets.
        stems: The stems that may be changed; None for all.
        together: Make the same draw for all of these stems.
    """

    on: Literal["stems", "mixture"] = "stems"
    stems: tuple[str, ...] | None = None
    together: bool = False

    @model_validator(mode="after")
    def _stems_only_where_there_are_stems(self) -> "SignalAugmentation":
        if self.on == "mixture" and self.stems is not None:
            raise ValueError("stems cannot be chosen with on='mixture'; remove one of the two")
        return self

    def check(self, *, stem_names: Sequence[str], sample_rate: int) -> None:
        """Refuse names that are no stems."""
        unknown = [name for name in self.stems or () if name not in stem_names]
        if unknown:
            raise ParameterError(
                f"augmentation {self.kind!r} names stems={unknown}, but the model has "
                f"{list(stem_names)}; choose among these"
            )

    @abstractmethod
    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return signals that have been changed by one draw of the random numbers.

        Shape:
            audio: `[N, C, T]`; returns the same.
        """

    def __call__(
        self,
        audio: Audio,
        rng: np.random.Generator,
        *,
        sample_rate: int,
        stem_names: Sequence[str] = (),
    ) -> Audio:
        """Return signals of which some have been changed.

        Args:
            audio: Signals, which stay as they are.
            rng: Where every draw comes from.
            sample_rate: Rate of the audio, in Hz.
            stem_names: Names of the signals, needed where `stems` chooses among them.

        Shape:
            audio: `[N, C, T]`; returns the same.
        """
        chosen = [i for i in range(len(audio)) if self.stems is None or stem_names[i] in self.stems]
        groups = [chosen] if self.together and chosen else [[i] for i in chosen]
        changed: Audio = audio.copy()
        for group in groups:
            if rng.random() < self.p:
                changed[group] = self.change(audio[group], rng, sample_rate)
        return changed


class StemAugmentation(SignalAugmentation):
    """A change that makes sense only where the targets change with the mixture."""

    on: Literal["stems"] = "stems"


class ExampleAugmentation(Augmentation):
    """A change of the mixture and its stems at once; `p` is its probability for each example."""

    @abstractmethod
    def __call__(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        """Return a changed example.

        Shape:
            mixture: `[C, T]`.
            stems: `[S, C, T]`.
        """


class BatchAugmentation(Augmentation):
    """A change that needs several examples; each class says what `p` is the probability of."""

    @abstractmethod
    def __call__(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        """Return a changed batch.

        Shape:
            mixture: `[B, C, T]`.
            stems: `[B, S, C, T]`.
        """
