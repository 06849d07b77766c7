"""DeepConvSep: a convolutional autoencoder that masks short windows of a mono spectrogram.

Reference:
    Chandna, Miron, Janer and Gómez, "Monoaural Audio Source Separation Using Deep Convolutional
    Neural Networks", LVA/ICA 2017; with the settings that a Spanish thesis (2023) found best.

Differences from the paper:
    Sizes are those of the authors' later program, which the thesis trained: 50 filters in both
    convolutions, windows of 30 frames, kernels of 15 frames, and transposed convolutions that use
    the kernels of the encoder. "other" has a dense layer of its own (in the program it shares that
    of the bass by a slip). Where windows overlap, all masks of a frame count alike;
    the program fades from window to window, so that the latest ones count most. Before the shares
    are taken every stem has 1e-4 at least, where the program adds random numbers below 1e-8, which
    let the shares of quiet bins jump. Edges are reflected in the STFT.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import (
    Core,
    ModelConfig,
    Part,
    SpectralModel,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.spec import ValidLengths

TINY: dict[str, Any] = {
    "channels": 2,
    "n_fft": 256,
    "hop_length": 128,
    "context_frames": 6,
    "overlap_frames": 2,
    "spectral_filters": 32,
    "temporal_filters": 16,
    "temporal_frames": 3,
    "hidden_size": 32,
    "segment_s": 0.3,
}

# What every stem has at least before the shares are taken, where a tone at -85 dB is.
_FLOOR = 1e-4


class Config(ModelConfig):
    """Configuration; the defaults are those of the thesis and of the authors' program.

    Attributes:
        channels: The network is mono: with 2, each channel goes through it by itself.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        window: Window of the STFT.
        context_frames: Frames of a window, which is all that the network sees at once.
        overlap_frames: Frames that a window shares with the next.
        spectral_filters: Filters of the vertical convolution, as high as the spectrum.
        temporal_filters: Filters of the horizontal convolution.
        temporal_frames: Length of a horizontal filter, frames.
        hidden_size: Width of the bottleneck.
        input_scale: Factor of the magnitude, besides 1 / sqrt(n_fft), before the network.
        segment_s: Seconds that the engine gives the model at once.
    """

    channels: int = 1
    n_fft: int = Field(1024, ge=4, multiple_of=2)
    hop_length: int = Field(512, ge=1)
    window: Literal["hann", "blackmanharris"] = "blackmanharris"
    context_frames: int = Field(30, ge=1)
    overlap_frames: int = Field(25, ge=0)
    spectral_filters: int = Field(50, ge=1)
    temporal_filters: int = Field(50, ge=1)
    temporal_frames: int = Field(15, ge=1)
    hidden_size: int = Field(128, ge=1)
    input_scale: float = Field(0.3, gt=0)
    segment_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _frames_fit(self) -> "Config":
        for name in ("overlap_frames", "temporal_frames"):
            if getattr(self, name) >= self.context_frames:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be less than "
                    f"context_frames={self.context_frames}"
                )
        return self

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1

    @property
    def step_frames(self) -> int:
        """Frames from the start of a window to the start of the next."""
        return self.context_frames - self.overlap_frames

    @property
    def places(self) -> int:
        """Places P where a horizontal filter fits in a window."""
        return self.context_frames - self.temporal_frames + 1


class DeepConvSep(SpectralModel[Config]):
    """The DeepConvSep separator: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            # A sample lies in frames half a transform away at most, these in windows whose frames
            # are less than context_frames away, and those see half a transform further.
            context_samples=config.context_frames * config.hop_length + config.n_fft,
            grid_samples=config.step_frames * config.hop_length,
        )
        self.register_buffer("window", window(config.window, config.n_fft), persistent=False)
        self.network = self.mask_network()

    def mask_network(self) -> "MaskNetwork":
        """Return the untrained network."""
        return TiedMaskNetwork(self.config)

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`.

        The audio is continued with silence up to the middle of the last frame. Behind it there is
        only the end of one window, and the inverse, which divides by its square, would blow up what
        the masks leave there.
        """
        config = self.config
        audio = F.pad(audio, (0, -audio.shape[-1] % config.hop_length))
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return self._masked(spectrum, self.network(self._whole_windows(spectrum)))

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._synthesis(self.spectra(mix), mix)

    def core(self) -> Core:
        """Return what lies between the STFT and its inverse; see `Core`."""
        hop, size, step = (
            self.config.hop_length,
            self.config.context_frames,
            self.config.step_frames,
        )
        front = FrontEnd(
            stft_framing(self.window, hop),
            gives=("spectra",),
            lengths=ValidLengths(minimum=size, depth=1, kernel=size, stride=step),
            multiple_samples=hop,
        )
        return Core(Part(self, self._masked_parts), front)

    def _masked_parts(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra. Shape: `[B, C, N, F, 2] -> [B, S, C, N, F, 2]`."""
        masks: Tensor = self.network(magnitude(parts).transpose(-1, -2))  # [B, S, C, F, N]
        return masks.transpose(-1, -2)[..., None] * parts[:, None]

    def _whole_windows(self, spectrum: Tensor) -> Tensor:
        """Return magnitudes, continued with silence so that windows end where they do.

        Shape:
            spectrum: `[B, C, F, N]`; returns `[B, C, F, N']`.
        """
        config, frames = self.config, spectrum.shape[-1]
        short = config.context_frames - frames
        missing = short if short > 0 else short % config.step_frames
        return F.pad(spectrum.abs(), (0, missing))

    def _masked(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Return the stems. Shape: `[B, C, F, N]`, `[B, S, C, F, N']`; `[B, S, C, F, N]`."""
        return masks[..., : spectrum.shape[-1]].to(self.window.dtype) * spectrum[:, None]

    def _synthesis(self, stems: Tensor, mix: Tensor) -> Tensor:
        """Return waveforms. Shape: `[B, S, C, F, N]`, `[B, C, T]`; `[B, S, C, T]`."""
        hop, length = self.config.hop_length, mix.shape[-1]
        whole = length + -length % hop
        return istft(stems, hop_length=hop, window=self.window, length=whole)[..., :length]


class MaskNetwork(nn.Module, ABC):
    """Encoder, bottleneck and a dense layer per stem; a subclass says how stems are decoded.

    Dense layers over a window are written as convolutions with the stride of the windows, so that
    what windows share is computed once.

    Args:
        config: Sizes.
        channels: Channels that it sees together, 1 or all of them.
    """

    def __init__(self, config: Config, *, channels: int = 1) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.scale = config.input_scale / config.n_fft**0.5
        self.vertical = nn.Conv1d(channels * config.bins, config.spectral_filters, 1)
        self.horizontal = nn.Conv1d(
            config.spectral_filters, config.temporal_filters, config.temporal_frames
        )
        self.bottleneck = nn.Conv1d(
            config.temporal_filters, config.hidden_size, config.places, stride=config.step_frames
        )
        per_stem = config.temporal_filters * config.places
        self.dense = nn.ModuleList([nn.Linear(config.hidden_size, per_stem) for _ in config.stems])
        self.apply(initialise)

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Lead back from features of windows to their spectra.

        Shape:
            x: `[B, S, W, H, P]`, H temporal filters; returns `[B, S, W, C·F, M]`, M frames.
        """

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return the masks of all stems, which add up to one.

        Shape:
            magnitude: `[B, C, F, N]`, N frames of whole windows; returns `[B, S, C, F, N]`.
        """
        config = self.config
        batch, channels, bins, frames = magnitude.shape
        groups = channels // self.channels
        x = magnitude.reshape(batch * groups, self.channels * bins, frames) * self.scale
        x = self.horizontal(self.vertical(x))
        x = F.relu(self.bottleneck(x)).mT  # [B, W, K]
        x = torch.stack([F.relu(dense(x)) for dense in self.dense], dim=1)  # [B, S, W, H·P]
        x = self.decode(x.reshape(*x.shape[:3], config.temporal_filters, config.places))
        x = x.clamp(min=_FLOOR)  # a ReLU, but that the sum below is never zero
        masks = (x / x.sum(1, keepdim=True)).transpose(2, 3)  # [B, S, C·F, W, M]
        count = overlapped(masks.new_ones(masks.shape[-2:]), config.step_frames)  # [N]
        masks = overlapped(masks, config.step_frames) / count  # [B, S, C·F, N]
        masks = masks.reshape(batch, groups, len(config.stems), self.channels, bins, frames)
        return masks.transpose(1, 2).reshape(batch, len(config.stems), channels, bins, frames)


class TiedMaskNetwork(MaskNetwork):
    """Decodes with the kernels of the encoder, transposed, and one bias per stem."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(len(config.stems)))

    def decode(self, x: Tensor) -> Tensor:
        """Lead back to spectra; see `MaskNetwork`."""
        batch, stems, windows = x.shape[:3]
        x = F.conv_transpose1d(x.flatten(0, 2), self.horizontal.weight)
        x = F.conv_transpose1d(x, self.vertical.weight)  # [B·S·W, F, M]
        x = x.reshape(batch, stems, windows, *x.shape[1:])
        return x + self.bias[:, None, None, None]


def overlapped(windows: Tensor, step: int) -> Tensor:
    """Add up windows, each of them `step` frames after the one before.

    Shape:
        windows: `[*, W, M]`; returns `[*, (W - 1)·step + M]`.
    """
    frames = windows.shape[-1]
    parts = -(-frames // step)  # of a window, as long as a step; the last one may be shorter
    blocks = F.pad(windows, (0, parts * step - frames)).reshape(*windows.shape[:-1], parts, step)
    shifted = [F.pad(blocks[..., part, :], (0, 0, part, parts - 1 - part)) for part in range(parts)]
    total = torch.stack(shifted).sum(0).flatten(-2)  # [*, (W + parts - 1)·step]
    return total[..., : (windows.shape[-2] - 1) * step + frames]


def initialise(module: nn.Module) -> None:
    """Draw the weights of a layer as Glorot and Bengio (2010) do, and set its bias to zero."""
    if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
