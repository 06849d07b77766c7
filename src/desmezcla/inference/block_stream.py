"""A stream of blocks at any rate and with any channels through the frames of a causal model.

Nothing here needs PyTorch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.container import DEFAULT_LAYOUTS
from desmezcla.audio.live_resample import LiveResampler, round_trip_latency_samples
from desmezcla.dsp.framing import Audio, FrameStep, FrameStream, Framing
from desmezcla.errors import ParameterError
from desmezcla.inference.groups import channel_groups

# -360 dB. What is quieter is no sound, but ends in numbers that many processors are slow with.
_SILENCE = np.float32(1e-18)


class BlockStream:
    """Stems of a signal that comes in blocks of any size.

    Args:
        framing: Where the model's frames lie.
        step: Makes the stems' frames `[G, S, C, N, …]` of the mixture's `[G, C, N, …]`; G are the
            groups of channels that go through the model together.
        stems: Names of the stems.
        model_rate: The model's sample rate, Hz.
        model_channels: The model's channels, 1 or 2.
        sample_rate: Rate of the blocks, Hz; None for the model's.
        channels: Channels of the blocks; None for the model's.

    Attributes:
        stems: Names of the stems, in order.
        sample_rate: Rate of the blocks, Hz.
        channels: Channels of the blocks.
        latency_samples: After n samples in, at least `n - latency_samples` are out.

    Errors:
        ParameterError: if the rate or the number of channels is out of range.
    """

    def __init__(
        self,
        framing: Framing,
        step: FrameStep,
        *,
        stems: tuple[str, ...],
        model_rate: int,
        model_channels: int,
        sample_rate: int | None = None,
        channels: int | None = None,
    ) -> None:
        self.stems = stems
        self.sample_rate = model_rate if sample_rate is None else sample_rate
        self.channels = model_channels if channels is None else channels
        if self.channels not in DEFAULT_LAYOUTS:
            raise ParameterError(f"channels={channels} must be from 1 to {len(DEFAULT_LAYOUTS)}")
        if not 1000 <= self.sample_rate <= 768_000:
            raise ParameterError(f"sample_rate={sample_rate} Hz must be from 1000 to 768000")
        groups = channel_groups(DEFAULT_LAYOUTS[self.channels], model_channels)
        # A channel alone goes to both inputs of a stereo model, and gets the mean of its outputs.
        self._sources = np.array([np.resize(group, model_channels) for group in groups])
        self._groups = groups
        self._frames = FrameStream(
            framing,
            step,
            axes=self._sources.shape,
            result_axes=(len(groups), len(stems), model_channels),
        )
        self._in = LiveResampler(self.sample_rate, model_rate, self.channels)
        self._out = LiveResampler(model_rate, self.sample_rate, len(stems) * self.channels)
        self.latency_samples = round_trip_latency_samples(
            self.sample_rate, model_rate, framing.latency_samples
        )
        self._taken = 0

    def process(self, block: Audio) -> Audio:
        """Take a block and return what is complete of the stems.

        Shape:
            block: `[C, n]`, n from 0; returns `[S, C, m]`, m from 0.

        Errors:
            ParameterError: if the shape is another or a sample is not finite. Nothing has been
                taken then, and the stream can go on.
        """
        block = self._checked(block)
        self._taken += block.shape[1]
        return self._by_stem(self._out.process(self._separated(self._in.process(block))))

    def flush(self) -> Audio:
        """Return what is still inside, so that as much has come out as went in, and start anew.

        Shape:
            returns `[S, C, m]`.
        """
        rest = [self._separated(self._in.flush()), self._mixed(self._frames.flush())]
        pieces = [self._out.process(np.concatenate(rest, -1)), self._out.flush(self._taken)]
        self.reset()
        return self._by_stem(np.concatenate(pieces, -1))

    def reset(self) -> None:
        """Forget the sound so far, as if nothing had come in."""
        self._taken = 0
        self._in.reset()
        self._frames.reset()
        self._out.reset()

    def _separated(self, block: Audio) -> Audio:
        """Run the model. Shape: `[C, n] -> [S·C, m]`, at the model's rate."""
        return self._mixed(self._frames.process(block[self._sources]))

    def _mixed(self, stems: Audio) -> Audio:
        """Put groups back in their channels. Shape: `[G, S, C', m] -> [S·C, m]`."""
        placed = np.empty((stems.shape[1], self.channels, stems.shape[-1]), np.float32)
        for own, group in zip(stems, self._groups, strict=True):
            alone = own.shape[1] > len(group)
            placed[:, list(group)] = own.mean(1, keepdims=True) if alone else own
        return placed.reshape(len(self.stems) * self.channels, placed.shape[-1])

    def _by_stem(self, audio: Audio) -> Audio:
        return audio.reshape(len(self.stems), self.channels, audio.shape[-1])

    def _checked(self, block: NDArray[Any]) -> Audio:
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ParameterError(
                f"block has shape {block.shape}, but must be [C, n] with C={self.channels}; "
                "transpose it, or say channels= when the stream is made"
            )
        if not np.issubdtype(block.dtype, np.floating):
            raise ParameterError(f"block has type {block.dtype}; convert it to float32 in [-1, 1]")
        if not np.isfinite(block).all():
            raise ParameterError("block holds NaN or infinite values; replace them by zeros")
        block = block.astype(np.float32, copy=False)
        return np.where(np.abs(block) < _SILENCE, np.float32(0), block)
