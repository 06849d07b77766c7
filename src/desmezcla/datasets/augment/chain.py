"""The augmentations of a recipe, one after another."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from desmezcla.datasets.augment.base import (
    Audio,
    Augmentation,
    BatchAugmentation,
    ExampleAugmentation,
    SignalAugmentation,
)
from desmezcla.datasets.augment.channels import ChannelMute, ChannelSwap, StereoWidth
from desmezcla.datasets.augment.codec import Codec
from desmezcla.datasets.augment.colour import Eq, GaussianNoise, LowPass, Reverb, SoftClip
from desmezcla.datasets.augment.levels import Gain, GainDb, Normalise, Polarity, Silence
from desmezcla.datasets.augment.mixing import BatchMixing, StftMixing
from desmezcla.datasets.augment.pitch_time import PitchShift, TempoStretch
from desmezcla.errors import ParameterError
from desmezcla.releases.release import explain

AnyAugmentation = Annotated[
    Gain
    | GainDb
    | Polarity
    | Silence
    | ChannelSwap
    | StereoWidth
    | ChannelMute
    | PitchShift
    | TempoStretch
    | Eq
    | LowPass
    | SoftClip
    | Reverb
    | GaussianNoise
    | Codec
    | BatchMixing
    | StftMixing
    | Normalise,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[tuple[Augmentation, ...]] = TypeAdapter(tuple[AnyAugmentation, ...])


class Augment:
    """What is done to the examples of a training run.

    The order is fixed by what each needs: changes of stems first, in the order of the recipe; then
    the sum; then changes that need a batch; then, in the order of the recipe, changes of the
    mixture and of whole examples. Until a change of the mixture is made, the mixture is the sum of
    the stems.

    Args:
        augmentations: The changes.
        stems: Names of the stems, in the order of the axis S.
        sample_rate: Rate of the audio, in Hz.

    Errors:
        ParameterError: if a change cannot be made with these stems at this rate.
    """

    def __init__(
        self, augmentations: Sequence[Augmentation], *, stems: Sequence[str], sample_rate: int
    ) -> None:
        for augmentation in augmentations:
            augmentation.check(stem_names=stems, sample_rate=sample_rate)
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self._first: list[SignalAugmentation] = []
        self._batch: list[BatchAugmentation] = []
        self._last: list[SignalAugmentation | ExampleAugmentation] = []
        for augmentation in augmentations:
            if isinstance(augmentation, BatchAugmentation):
                self._batch.append(augmentation)
            elif isinstance(augmentation, SignalAugmentation) and augmentation.on == "stems":
                self._first.append(augmentation)
            else:
                assert isinstance(augmentation, SignalAugmentation | ExampleAugmentation)
                self._last.append(augmentation)

    @property
    def needs_batch(self) -> bool:
        """Whether `batch` does anything. The last changes then wait for it, since it mixes anew."""
        return bool(self._batch)

    def example(self, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        """Return the mixture and the stems of an example.

        Args:
            stems: The stems as they are in the dataset; they are left as they are.
            rng: Where every draw comes from: the same state gives the same example.

        Shape:
            stems: `[S, C, T]`; returns `[C, T]` and `[S, C, T]`.
        """
        self._check(stems, ndim=3)
        for augmentation in self._first:
            stems = augmentation(stems, rng, sample_rate=self.sample_rate, stem_names=self.stems)
        mixture = stems.sum(axis=0)
        return (mixture, stems) if self._batch else self._finished(mixture, stems, rng)

    def batch(self, mixture: Audio, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        """Return a batch of the examples that `example` gave.

        Shape:
            mixture: `[B, C, T]`.
            stems: `[B, S, C, T]`; returns the same two.
        """
        if not self._batch:
            return mixture, stems
        self._check(stems, ndim=4)
        for augmentation in self._batch:
            mixture, stems = augmentation(mixture, stems, rng)
        finished = [self._finished(m, s, rng) for m, s in zip(mixture, stems, strict=True)]
        mixtures, targets = zip(*finished, strict=True)
        return np.stack(mixtures), np.stack(targets)

    def _finished(
        self, mixture: Audio, stems: Audio, rng: np.random.Generator
    ) -> tuple[Audio, Audio]:
        for augmentation in self._last:
            if isinstance(augmentation, ExampleAugmentation):
                mixture, stems = augmentation(mixture, stems, rng)
            else:
                mixture = augmentation(mixture[None], rng, sample_rate=self.sample_rate)[0]
        return mixture, stems

    def _check(self, stems: Audio, *, ndim: int) -> None:
        if stems.ndim != ndim or stems.shape[-3] != len(self.stems) or stems.dtype != np.float32:
            axes = "[S, C, T]" if ndim == 3 else "[B, S, C, T]"
            raise ParameterError(
                f"stems have shape {stems.shape} and type {stems.dtype}, but must be float32 "
                f"{axes} with S={len(self.stems)} for {', '.join(self.stems)}"
            )


def augment_from(
    data: Sequence[Mapping[str, Any]], *, stems: Sequence[str], sample_rate: int
) -> Augment:
    """Return the augmentations that a recipe lists.

    Args:
        data: One mapping for each, with its `kind` and the fields of that class.
        stems: Names of the stems, in the order of the axis S.
        sample_rate: Rate of the audio, in Hz.

    Errors:
        ParameterError: if a kind or a key is unknown, or a value is not allowed.
    """
    try:
        augmentations = _ADAPTER.validate_python(list(data))
    except ValidationError as error:
        raise ParameterError(
            f"augmentations={list(data)!r} are not allowed ({explain(error)}); "
            "docs/augmentation.md lists the kinds and their fields"
        ) from error
    return Augment(augmentations, stems=stems, sample_rate=sample_rate)
