"""Frames of a signal that comes in blocks, and the signal again from frames that overlap.

NumPy only, so that it serves programs without PyTorch as well.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import ParameterError

Audio = NDArray[np.float32]

Part: TypeAlias = Literal["frames", "spectra"]

# Frames that are computed together when a block brings many: quicker than one by one, and bounded.
AT_ONCE = 32


@dataclass(frozen=True)
class Framing:
    """Where the frames of a model lie, and how their results become a signal.

    Attributes:
        frame_samples: Samples W of a frame.
        hop_samples: From the beginning of a frame to that of the next.
        synthesis_samples: A frame gives its last V samples to the result.
        before_samples: The first frame begins so long before the first sample.
        edges: What lies beyond the signal, and which frames there are. "reflected": the signal
            reflected, frames as the centred STFT has them. "silent": zeros, all frames of which
            the last V samples have one of the signal. "covered": zeros, frames until one has the
            last sample of the signal.
        parts: What a step takes and gives: "frames" of samples, "spectra", or both, whose results
            are added.
        analysis: Window of W samples before the transform of a frame; None for none.
        synthesis: Window of V samples after the inverse transform; None for none.
        power: What the result of each frame weighs at each of its V samples; the sum over frames is
            divided by the sum of these. None where the frames add up as they are.
    """

    frame_samples: int
    hop_samples: int
    synthesis_samples: int
    before_samples: int
    edges: Literal["reflected", "silent", "covered"] = "silent"
    parts: tuple[Part, ...] = ("frames",)
    analysis: Audio | None = field(default=None, compare=False)
    synthesis: Audio | None = field(default=None, compare=False)
    power: Audio | None = field(default=None, compare=False)

    @property
    def latency_samples(self) -> int:
        """Samples that the result looks ahead: a frame that begins to give at t ends V later."""
        return self.synthesis_samples - 1

    def frames(self, length: int) -> int:
        """Return how many frames a signal of that length has, 1 sample or more."""
        if self.edges == "reflected":
            return 1 + max(length, self.before_samples + 1) // self.hop_samples
        if self.edges == "silent":
            unheard = self.frame_samples - self.synthesis_samples - self.before_samples
            return 1 + (length - 1 - unheard) // self.hop_samples
        return 1 + -(-max(0, length - self.frame_samples) // self.hop_samples)


class FrameStep(Protocol):
    """What makes the stems' frames of the mixture's, and remembers what came before."""

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        """Take what `Framing.parts` says and return the same of the stems.

        Shape:
            frames: `[*, N, W]`, returned as `[*', N, V]`; spectra: `[*, N, F, 2]`, the last axis
            real and imaginary part, returned as `[*', N, F, 2]`; leading axes of its own.
        """

    def reset(self) -> None:
        """Forget what came before."""


class FrameStream:
    """A signal in blocks of any size through a step that works on frames.

    The result does not depend on how the signal is cut, but for the rounding of steps that compute
    several frames at once.

    Args:
        framing: Where the frames lie.
        step: Makes the frames of the result.
        axes: Leading axes of the signal.
        result_axes: Leading axes of the result.
    """

    def __init__(
        self,
        framing: Framing,
        step: FrameStep,
        axes: tuple[int, ...],
        result_axes: tuple[int, ...],
    ) -> None:
        self.framing = framing
        self._step = step
        self._axes = axes
        self._result_axes = result_axes
        self.reset()

    def reset(self) -> None:
        """Forget the signal so far."""
        framing = self.framing
        self._step.reset()
        self._taken = self._given = self._frames = 0
        before = 0 if framing.edges == "reflected" else framing.before_samples
        self._waiting = np.zeros((*self._axes, before), np.float32)
        self._recent = np.zeros((*self._axes, 0), np.float32)
        tail = framing.synthesis_samples - framing.hop_samples
        self._tail = np.zeros((*self._result_axes, tail), np.float32)
        self._weight = np.zeros(tail, np.float32)
        # The first frames reach back before the signal.
        self._skip = framing.before_samples - framing.frame_samples + framing.synthesis_samples

    def process(self, block: Audio) -> Audio:
        """Take a block and return what is complete. Shape: `[*, n]`; returns `[*', m]`."""
        self._taken += block.shape[-1]
        self._append(block)
        return self._run()

    def flush(self) -> Audio:
        """Return the rest, so that as much has come out as went in, and start anew."""
        framing, length, rest = self.framing, self._taken, self._taken - self._given
        if framing.edges == "reflected" and length:
            self._append(self._silence(framing.before_samples + 1 - length))
            self._waiting = np.concatenate([self._waiting, self._recent[..., -2::-1]], -1)
        elif length:
            frames = framing.frames(length) - self._frames
            wanted = (frames - 1) * framing.hop_samples + framing.frame_samples
            self._append(self._silence(wanted - self._waiting.shape[-1]))
        result = [self._run(), self._complete(self._tail, self._weight)]
        # Where no frame reaches (with a hop as long as the frame), there is silence.
        result.append(np.zeros((*self._result_axes, rest), np.float32))
        self.reset()
        return np.concatenate(result, -1)[..., :rest]

    def _silence(self, samples: int) -> Audio:
        return np.zeros((*self._axes, max(0, samples)), np.float32)

    def _append(self, block: Audio) -> None:
        """Put samples behind those that wait; a reflected edge waits for what it is made of."""
        self._waiting = np.concatenate([self._waiting, block], -1)
        if self.framing.edges != "reflected":
            return
        before = self.framing.before_samples
        started = self._recent.shape[-1] > before
        self._recent = np.concatenate([self._recent, block[..., -before - 1 :]], -1)
        if not started and self._recent.shape[-1] > before:
            reflected = self._waiting[..., before:0:-1]
            self._waiting = np.concatenate([reflected, self._waiting], -1)
        self._recent = self._recent[..., -before - 1 :]

    def _run(self) -> Audio:
        """Run the step on all frames that are there. Shape: returns `[*', m]`."""
        size, hop = self.framing.frame_samples, self.framing.hop_samples
        reflected = self.framing.edges == "reflected"
        if reflected and self._recent.shape[-1] <= self.framing.before_samples:
            return np.zeros((*self._result_axes, 0), np.float32)
        pieces = [np.zeros((*self._result_axes, 0), np.float32)]
        while self._waiting.shape[-1] >= size:
            count = min(AT_ONCE, 1 + (self._waiting.shape[-1] - size) // hop)
            starts = range(0, count * hop, hop)
            frames = np.stack([self._waiting[..., t : t + size] for t in starts], -2)
            pieces.append(self._added(self._stepped(frames)))
            self._waiting = self._waiting[..., count * hop :]
            self._frames += count
        if len(pieces) > 1:
            self._waiting = self._waiting.copy()  # a view would hold what came before
        return np.concatenate(pieces, -1)

    def _stepped(self, frames: Audio) -> Audio:
        """Return the stems' frames. Shape: `[*, N, W] -> [*', N, V]`."""
        parts = self.framing.parts
        return from_parts(self.framing, parts, self._step(to_parts(self.framing, frames)))

    def _added(self, frames: Audio) -> Audio:
        """Add frames to the result and return what no later frame reaches."""
        hop, size = self.framing.hop_samples, self.framing.synthesis_samples
        count = frames.shape[-2]
        total = np.zeros((*self._result_axes, (count - 1) * hop + size), np.float32)
        weight = np.zeros(total.shape[-1], np.float32)
        total[..., : size - hop] = self._tail
        weight[: size - hop] = self._weight
        for index in range(count):
            place = slice(index * hop, index * hop + size)
            total[..., place] += frames[..., index, :]
            if self.framing.power is not None:
                weight[place] += self.framing.power
        done = count * hop
        self._tail, self._weight = total[..., done:].copy(), weight[done:].copy()
        skipped = min(self._skip, done)
        self._skip -= skipped
        ready = self._complete(total[..., skipped:done], weight[skipped:done])
        self._given += ready.shape[-1]
        return ready

    def _complete(self, total: Audio, weight: Audio) -> Audio:
        if self.framing.power is None:
            return total
        result: Audio = total / np.maximum(weight, np.finfo(np.float32).tiny)
        return result


def to_parts(framing: Framing, frames: Audio) -> tuple[Audio, ...]:
    """Return what a step takes of some frames, as `Framing.parts` says.

    Shape:
        frames: `[*, N, W]`; returns frames as they are, spectra `[*, N, F, 2]`.
    """
    parts = []
    for part in framing.parts:
        if part == "frames":
            parts.append(frames)
        else:
            windowed = frames if framing.analysis is None else frames * framing.analysis
            spectra = np.fft.rfft(windowed).astype(np.complex64, copy=False)
            parts.append(spectra.view(np.float32).reshape(*spectra.shape, 2))
    return tuple(parts)


def from_parts(framing: Framing, names: tuple[Part, ...], parts: tuple[Audio, ...]) -> Audio:
    """Return the frames that a step's results stand for, ready to be added where they overlap.

    Args:
        framing: Where the frames lie.
        names: What each of the results is.
        parts: The results, which are added.

    Shape:
        parts: frames `[*, N, V]`, spectra `[*, N, F, 2]`; returns `[*, N, V]`.
    """
    results = []
    for name, part in zip(names, parts, strict=True):
        if name == "frames":
            results.append(part)
            continue
        spectra = np.ascontiguousarray(part).view(np.complex64)[..., 0]
        waves = np.fft.irfft(spectra, framing.frame_samples).astype(np.float32, copy=False)
        waves = waves[..., -framing.synthesis_samples :]
        results.append(waves if framing.synthesis is None else waves * framing.synthesis)
    return results[0] if len(results) == 1 else results[0] + results[1]


def checked_framing(framing: Framing) -> Framing:
    """Return a framing whose numbers fit together.

    Errors:
        ParameterError: if they do not.
    """
    size, hop, given = framing.frame_samples, framing.hop_samples, framing.synthesis_samples
    remedy = "check the file they come from"
    if not 1 <= hop <= given <= size:
        raise ParameterError(
            f"hop_samples={hop}, synthesis_samples={given} and frame_samples={size} must be in "
            f"this order, and positive; {remedy}"
        )
    if not size - given <= framing.before_samples <= size:
        raise ParameterError(
            f"before_samples={framing.before_samples} must be from {size - given}, so that the "
            f"first frame gives the first sample, to {size}; {remedy}"
        )
    if not framing.parts or len(set(framing.parts)) < len(framing.parts):
        raise ParameterError(f"parts={framing.parts} must be frames, spectra or both; {remedy}")
    shapes = {"analysis": (size,), "synthesis": (given,), "power": (given,)}
    needed = {"analysis", "synthesis"} if "spectra" in framing.parts else set()
    for name, shape in shapes.items():
        window = getattr(framing, name)
        if window is None and name not in needed:
            continue
        if window is None or window.shape != shape or not np.isfinite(window).all():
            raise ParameterError(f"{name} must be {shape[0]} finite numbers; {remedy}")
    return framing
