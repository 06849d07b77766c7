"""`StreamSeparator`: a causal release that separates while the sound comes in."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.dsp.framing import Audio
from desmezcla.errors import ParameterError
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.device import choose_device, keep_freed_buffers
from desmezcla.models.base import SeparationModel, StreamStep
from desmezcla.nn.streaming import State
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.release import Release
from desmezcla.releases.store import find_release, list_releases

Block = TypeVar("Block", NDArray[np.float32], Tensor)


class StreamSeparator:
    """A causal release, ready to separate sound that comes in blocks of any size.

    What comes out does not depend on the blocks, and is what the model gives offline. Several
    streams run side by side with a separator each, and can share a model that is given as such.

    Args:
        model: Name of a release or path of its folder, or a model.
        sample_rate: Rate of the blocks, Hz; None for the model's own. At any other rate blocks are
            resampled there and back, which adds to the latency.
        channels: Channels of the blocks, 1 to 8; None for the model's own. A mono signal goes to
            both channels of a stereo model, and more than two go through it in pairs.
        device: "cpu", "cuda" or "mps", or "auto" for the first of the others that is there.

    Errors:
        ReleaseError: if the release is unknown or damaged.
        ParameterError: if the model is not causal, or an option is out of range.

    >>> import numpy as np
    >>> from desmezcla.models import build_model
    >>> model = build_model("hs_tasnet", filters=48, units=24, layers=1)
    >>> live = StreamSeparator(model)
    >>> live.latency_samples
    1023
    >>> live.process(np.zeros((2, 3000), np.float32)).shape
    (4, 2, 2048)
    >>> live.flush().shape
    (4, 2, 952)
    """

    def __init__(
        self,
        model: str | Path | SeparationModel[Any] = "realtime",
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        device: str = "cpu",
    ) -> None:
        keep_freed_buffers()
        self.release: Release | None = None
        if not isinstance(model, SeparationModel):
            self.release = find_release(model)
            model = load_model(model)
        core = model.stream_core()
        if core is None:
            name = self.release.name if self.release else type(model).__name__
            raise ParameterError(_refusal(name))
        spec = model.spec
        self._stream = BlockStream(
            core.framing,
            TorchStep(core.step, choose_device(device)),
            stems=spec.stems,
            model_rate=spec.sample_rate,
            model_channels=spec.channels,
            sample_rate=sample_rate,
            channels=channels,
        )

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in order."""
        return self._stream.stems

    @property
    def sample_rate(self) -> int:
        """Rate of the blocks, Hz."""
        return self._stream.sample_rate

    @property
    def channels(self) -> int:
        """Channels of the blocks."""
        return self._stream.channels

    @property
    def latency_samples(self) -> int:
        """After n samples in, at least n less this many are out."""
        return self._stream.latency_samples

    def process(self, block: Block) -> Block:
        """Take a block and return what is complete of the stems.

        Shape:
            block: `[C, n]`, n from 0, numpy or torch; returns the same kind, `[S, C, m]`, m from 0.

        Errors:
            ParameterError: if the shape is another or a sample is not finite. Nothing has been
                taken then, and the stream can go on.
        """
        if isinstance(block, Tensor):
            stems = self._stream.process(block.detach().cpu().numpy())
            return torch.from_numpy(stems).to(block.device)
        return self._stream.process(block)

    def flush(self) -> Audio:
        """Return what is still inside, so that as much has come out as went in, and start anew.

        Shape:
            returns `[S, C, m]`, numpy.
        """
        return self._stream.flush()

    def reset(self) -> None:
        """Forget the sound so far, as if nothing had come in."""
        self._stream.reset()


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


def _refusal(name: str) -> str:
    causal = [info.name for info in list_releases() if info.causal]
    choices = f", such as {', '.join(causal)}" if causal else ""
    return (
        f"model={name!r} looks ahead and cannot run on a stream; choose a causal one{choices}, or "
        "separate the whole song with Separator"
    )
