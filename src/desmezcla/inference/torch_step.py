"""Steps of causal models on arrays, with PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from desmezcla.dsp.framing import Audio
from desmezcla.errors import ParameterError
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.device import choose_device
from desmezcla.models.base import SeparationModel, StreamStep
from desmezcla.nn.streaming import State
from desmezcla.releases.checkpoint import load_model


class TorchStep:
    """A model's step on arrays, with the state of one stream.

    Args:
        step: The step, of a model in evaluation mode.
        device: Where to compute; the model is moved there.
    """

    def __init__(self, step: StreamStep, device: torch.device) -> None:
        self._step = step.to(device)
        self._device = device
        self._state: State = ()

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        """Make the stems' frames of the mixture's; see `FrameStep`."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(part).to(self._device) for part in parts]
            results = self._step(*tensors, *self._state)
        self._state = results[len(parts) :]
        return tuple(result.cpu().numpy() for result in results[: len(parts)])

    def reset(self) -> None:
        """Forget what came before."""
        self._state = ()


def torch_stream(
    model: str | Path | SeparationModel[Any],
    device: str,
    *,
    refusal: Callable[[str], str],
    sample_rate: int | None,
    channels: int | None,
) -> BlockStream:
    """Return a model, ready to separate blocks; see `StreamSeparator`.

    Args:
        model: Name of a release or path of its folder, or a model.
        device: Where to compute.
        refusal: What to say of a model by that name that is not causal.
        sample_rate: Rate of the blocks, Hz; None for the model's own.
        channels: Channels of the blocks; None for the model's own.
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    core, spec = model.stream_core(), model.spec
    if core is None:
        raise ParameterError(refusal(type(model).__name__))
    return BlockStream(
        core.framing,
        TorchStep(core.step, choose_device(device)),
        stems=spec.stems,
        model_rate=spec.sample_rate,
        model_channels=spec.channels,
        sample_rate=sample_rate,
        channels=channels,
    )
