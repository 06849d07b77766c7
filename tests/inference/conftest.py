from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from desmezcla.models.base import ModelConfig, SeparationModel
from desmezcla.spec import ModelSpec, ValidLengths


class Scaled(SeparationModel[ModelConfig]):
    """Gives back the mixture, scaled by a known factor for each stem."""

    def __init__(self, spec: ModelSpec, factors: tuple[float, ...]) -> None:
        super().__init__(ModelConfig(stems=spec.stems))
        self.spec = spec
        self.factors = factors
        self.seen: list[Tensor] = []

    def separate(self, mix: Tensor) -> Tensor:
        self.seen.append(mix.clone())
        return torch.stack([mix * factor for factor in self.factors], dim=1)


MakeScaled = Callable[..., Scaled]


@pytest.fixture
def scaled() -> MakeScaled:
    def make(
        factors: tuple[float, ...] = (1.0,),
        *,
        segment_samples: int = 1000,
        context_samples: int = 0,
        hop_samples: int = 1,
        channels: int = 2,
        sample_rate: int = 44100,
        window: Literal["crossfade", "triangle"] = "crossfade",
        normalise: Literal["none", "track"] = "none",
        valid_lengths: ValidLengths | None = None,
        stems: tuple[str, ...] | None = None,
        **_: Any,
    ) -> Scaled:
        spec = ModelSpec(
            stems=stems or tuple(f"stem{index}" for index in range(len(factors))),
            sample_rate=sample_rate,
            channels=channels,
            segment_samples=segment_samples,
            context_samples=context_samples,
            hop_samples=hop_samples,
            window=window,
            normalise=normalise,
            valid_lengths=valid_lengths,
        )
        return Scaled(spec, factors)

    return make
