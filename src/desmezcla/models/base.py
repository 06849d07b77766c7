"""What all architectures share: a frozen configuration, a specification, one shape contract."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from desmezcla.dsp.framing import Framing
from desmezcla.dsp.framing import Part as FramePart
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.dsp.vector_math import settle_vector_math
from desmezcla.errors import ParameterError
from desmezcla.nn.streaming import Memory
from desmezcla.spec import ModelSpec, ValidLengths


class ModelConfig(BaseModel):
    """Base of every architecture's `Config`: frozen, and an unknown key is an error.

    The defaults of a subclass are those of its paper. The configuration is written as YAML beside
    the weights, and the model is built from it again.

    Attributes:
        stems: Names of the stems that the model gives out, in order.
        sample_rate: Rate of its audio, Hz.
        channels: Channels of its audio, 1 or 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stems: tuple[str, ...] = ("vocals", "drums", "bass", "other")
    sample_rate: int = 44100
    channels: int = 2


def spectrogram_spec(
    config: ModelConfig,
    *,
    segment_s: float,
    hop_length: int,
    context_samples: int,
    grid_samples: int,
    stems: tuple[str, ...] | None = None,
    latency_samples: int | None = None,
) -> ModelSpec:
    """Return the specification of a model that works on frames.

    Args:
        config: Says stems, rate and channels.
        segment_s: Seconds that the model is given at once; one hop at least.
        hop_length: Samples from one frame to the next.
        context_samples: Samples at each edge that may be discarded, as far as a segment has them.
        grid_samples: Segments start on multiples of this.
        stems: Stems that the model gives out; None for those of the configuration.
        latency_samples: What a causal model looks ahead; None for one that is not causal.
    """
    segment_samples = max(hop_length, round(segment_s * config.sample_rate))
    return ModelSpec(
        stems=stems or config.stems,
        sample_rate=config.sample_rate,
        channels=config.channels,
        segment_samples=segment_samples,
        context_samples=min(context_samples, segment_samples - 1),
        hop_samples=grid_samples,
        causal=latency_samples is not None,
        latency_samples=latency_samples or 0,
    )


@dataclass(frozen=True)
class Core:
    """A model as a network and what its front end does, so that other programs can run it whole.

    `front_end.after(network(*front_end.before(mix)), mix)` is what the model's `separate` gives,
    for one mixture. Tensors are real: spectra have real and imaginary part on their last axis.

    Attributes:
        network: Takes `front_end.inputs`, each `[1, C, N, …]` or `[1, C, T]`, and gives
            `front_end.outputs`, each `[1, S, C, N, …]` or `[1, S, C, T]`.
        front_end: What comes before and after it.
    """

    network: nn.Module
    front_end: FrontEnd


@dataclass(frozen=True)
class InnerCore:
    """The network inside a model that a `Core` cannot describe: more is done outside of it.

    What comes before and after it is signal processing that another program has to bring, so that
    `leave(mix, network(*enter(mix)))` is what the model's `separate` gives.

    Attributes:
        network: Takes the tensors that `enter` makes, and returns one tensor.
        enter: From a mixture `[B, C, T]` to the tensors that the network takes.
        leave: From the mixture and the network's tensor to the stems `[B, S, C, T]`.
        length_axes: For each input, the axis whose size follows the length of the mixture.
        outside: What `enter` and `leave` do, for people who have to write it.
        inputs: For each input, what it is called in an exported file.
    """

    network: nn.Module
    enter: Callable[[Tensor], tuple[Tensor, ...]]
    leave: Callable[[Tensor, Tensor], Tensor]
    length_axes: tuple[int, ...]
    outside: str
    inputs: tuple[str, ...]


class Part(nn.Module):
    """One method of a model as a module of its own, for `Core.network`."""

    def __init__(self, owner: nn.Module, method: Callable[..., Any]) -> None:
        super().__init__()
        self.owner = owner  # so that its parameters are the module's
        self.method = method
        self.train(owner.training)  # an exporter restores this mode, for the owner as well

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        """Call the method with one tensor or two."""
        return self.method(x) if y is None else self.method(x, y)


def stft_framing(
    window: Tensor, hop_length: int, *, parts: tuple[FramePart, ...] = ("spectra",)
) -> Framing:
    """Return the frames of `dsp.stft`: centred, with reflected edges, and exactly inverted.

    Args:
        window: Of the transform and of its inverse.
        hop_length: Samples from one frame to the next.
        parts: What a network is given of them.
    """
    size, values = len(window), window.cpu().numpy()
    return Framing(
        size,
        hop_length,
        size,
        before_samples=size // 2,
        edges="reflected",
        parts=parts,
        analysis=values,
        synthesis=values,
        power=values**2,
    )


def spectral_core(
    owner: nn.Module,
    method: Callable[[Tensor], Tensor],
    framing: Framing,
    *,
    lengths: ValidLengths | None = None,
) -> Core:
    """Return the core of a model that makes the stems' spectra of the mixture's.

    Args:
        owner: The model.
        method: From `[1, C, N, F, 2]` to `[1, S, C, N, F, 2]`.
        framing: Where the frames lie.
        lengths: How many frames it takes; None for any number.
    """
    front = FrontEnd(framing, gives=("spectra",), lengths=lengths or ValidLengths())
    return Core(Part(owner, method), front)


def parts_of(spectrum: Tensor) -> Tensor:
    """Return a complex spectrogram as real tensors. Shape: `[*, F, N] -> [*, N, F, 2]`."""
    return torch.view_as_real(spectrum.mT)


def complex_of(parts: Tensor) -> Tensor:
    """Undo `parts_of`. Shape: `[*, N, F, 2] -> [*, F, N]`."""
    return torch.view_as_complex(parts.contiguous()).mT


class StreamStep(nn.Module):
    """One step of a causal model as a function of frames and of what the last step left.

    Tensors are real: spectra have real and imaginary part on their last axis, `[B, C, N, F, 2]`.

    Args:
        owner: The model, whose parameters the step has.
        run: Makes of the mixture's frames, spectra or both those of the stems, which have the axis
            S behind B.
        inputs: How many tensors `run` takes, and gives, besides the memory.
    """

    def __init__(
        self, owner: nn.Module, run: Callable[..., tuple[Tensor, ...]], *, inputs: int = 1
    ) -> None:
        super().__init__()
        self.owner = owner
        self.run = run
        self.inputs = inputs
        self.train(owner.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the stems, then what the next step has to be given.

        Args:
            tensors: Those of the mixture, then what the last step left: nothing, or zeros, at the
                beginning of a signal.
        """
        memory = Memory(tensors[self.inputs :])
        return *self.run(*tensors[: self.inputs], memory), *memory.state


@dataclass(frozen=True)
class StreamCore:
    """How a causal model runs on a signal that comes in blocks.

    Attributes:
        framing: Where its frames lie, and what a step is given of them.
        step: What makes the stems' frames.
    """

    framing: Framing
    step: StreamStep


ConfigT = TypeVar("ConfigT", bound=ModelConfig)


class SeparationModel(nn.Module, ABC, Generic[ConfigT]):
    """A model that separates a mixture into stems.

    A subclass names its `Config`, sets `spec` in its constructor and writes `separate`. `forward`
    checks the shape of what comes in, so that no model has to.
    """

    spec: ModelSpec

    def __init__(self, config: ConfigT) -> None:
        super().__init__()
        settle_vector_math()
        self.config = config

    @abstractmethod
    def separate(self, mix: Tensor) -> Tensor:
        """Separate a mixture whose shape has been checked.

        Shape:
            mix: `[B, C, T]`; returns `[B, S, C, T]`.
        """

    def waveforms(self, mix: Tensor) -> Tensor:
        """Return what a loss on waveforms compares with the true stems; it has gradients.

        This is `separate`, but for models whose last step is no part of what is trained.

        Shape:
            mix: `[B, C, T]`; returns `[B, S, C, T]`.
        """
        return self.separate(mix)

    def training_waveforms(self, mix: Tensor, stems: Tensor) -> Tensor:
        """Return what a loss on waveforms compares with the true stems, which are given here.

        Only a model that learns to repair its targets (diffusion) looks at them; for every other
        this is `waveforms`.

        Shape:
            mix: `[B, C, T]`; stems: `[B, S, C, T]`; returns `[B, S, C, T]`.
        """
        return self.waveforms(mix)

    def weights_from(self, source: "SeparationModel[ConfigT]") -> dict[str, Tensor]:
        """Return the weights to start with, from those of another model of this architecture.

        They need not fit: whoever loads them checks the shapes.
        """
        return source.state_dict()

    def core(self) -> Core | InnerCore | None:
        """Return the network that can be exported to ONNX, None where it cannot be."""
        return None

    def stream_core(self) -> StreamCore | None:
        """Return how the model runs on a stream; None for a model that is not causal.

        On the frames of a whole signal the step gives what `separate` gives.
        """
        return None

    def forward(self, mix: Tensor) -> Tensor:
        """Separate a mixture into stems.

        Shape:
            mix: `[B, C, T]`, C as in `spec.channels`, any T from 1; returns `[B, S, C, T]`.

        Errors:
            ParameterError: if the shape or the type of `mix` is another.
        """
        if mix.ndim != 3 or mix.shape[1] != self.spec.channels or mix.shape[2] == 0:
            raise ParameterError(
                f"mix has shape {tuple(mix.shape)}, but the model takes [B, C, T] "
                f"with C={self.spec.channels} and T at least 1; add or move axes"
            )
        if not torch.is_floating_point(mix):
            raise ParameterError(f"mix has type {mix.dtype}; convert it to float32 in [-1, 1]")
        return self.separate(mix)


class SpectralModel(SeparationModel[ConfigT]):
    """A model that estimates spectra, and can be trained on them."""

    @abstractmethod
    def transform(self, audio: Tensor) -> Tensor:
        """Return the complex spectrogram in which the model works.

        Shape:
            audio: `[..., T]`; returns `[..., F, N]`.
        """

    @abstractmethod
    def spectra(self, mix: Tensor) -> Tensor:
        """Return the complex spectrograms of the stems as the network estimates them.

        No filter that comes after the network in `separate` has been applied.

        Shape:
            mix: `[B, C, T]`; returns `[B, S, C, F, N]`.
        """

    def frame_energies(self, mix: Tensor, stems: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the energies of the errors, of the true stems and of the mixture, by frames.

        A residual that the model gives out after its stems is left out.

        Shape:
            mix: `[B, C, T]`; stems: `[B, S, C, T]`; returns `[B, S, C, N]` twice and `[B, C, N]`.
        """
        wanted = self.transform(stems)
        errors = self.spectra(mix)[:, : stems.shape[1]] - wanted
        return _energy(errors), _energy(wanted), _energy(self.transform(mix))


def _energy(spectra: Tensor) -> Tensor:
    """Return the energy of each frame. Shape: `[..., F, N] -> [..., N]`."""
    return torch.view_as_real(spectra).square().sum((-3, -1))


def bin_statistics(magnitudes: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each frequency bin, over channels, frames and mixtures.

    The deviation of a bin is taken to be at least 1e-4 of the largest one.

    Shape:
        magnitudes: `[B, C, F, N]` each; returns `[F]` twice.
    """
    frames, total, squares = 0, torch.zeros(()), torch.zeros(())
    for magnitude in magnitudes:
        mono = magnitude.mean(dim=1).double()  # [B, F, N]
        frames += mono.shape[0] * mono.shape[2]
        total = total + mono.sum(dim=(0, 2))
        squares = squares + mono.square().sum(dim=(0, 2))
    mean = total / frames
    deviation = (squares / frames - mean.square()).clamp(min=0).sqrt()
    return mean, deviation.clamp(min=1e-4 * float(deviation.max()) or 1.0)
