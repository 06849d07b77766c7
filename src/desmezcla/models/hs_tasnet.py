"""HS-TasNet: masks on a spectrogram and on a learned transform at once, in 23 ms of latency.

Reference:
    Venkatesh, Benilov, Coleman and Roskam, "Real-time Low-latency Music Source Separation using
    Hybrid Spectrogram-TasNet", ICASSP 2024.

Differences from the paper:
    The parts and the paths between them are those of the paper's figure 1; window, hop, filters,
    units and layers are those that public readings of it agree on. What these leave open is chosen
    so: the filters are followed by a ReLU (TasNet has a gate besides) and have taps on both
    channels, masks are bounded by a sigmoid, the spectrogram branch masks the magnitude of each
    channel and keeps the phase, and a skip path is added to what it joins. This gives 44.5 million
    parameters where the paper counts 42. `layers=1, summed=True` is HS-TasNet-Small, with 22.5
    million where the paper counts 16.
"""

from dataclasses import replace
from typing import Any, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude, overlap_add, trailing_frames
from desmezcla.dsp.framing import Framing
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.models.base import (
    Core,
    ModelConfig,
    Part,
    SeparationModel,
    StreamCore,
    StreamStep,
    spectrogram_spec,
)
from desmezcla.nn.streaming import Memory, recurrent

TINY: dict[str, Any] = {
    "window_samples": 128,
    "hop_samples": 64,
    "filters": 48,
    "units": 24,
    "layers": 1,
    "segment_s": 0.1,
    "context_s": 0.02,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper.

    Attributes:
        window_samples: Length of a frame, of the filters and of the latency.
        hop_samples: Samples from one frame to the next; the window is a multiple of it.
        filters: Filters of the learned transform.
        units: Width of the LSTMs of a branch; the one in between has twice as many.
        layers: Layers of each LSTM.
        summed: The LSTM in between takes the sum of the branches, and is no wider than they.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    window_samples: int = Field(1024, ge=4, multiple_of=2)
    hop_samples: int = Field(512, ge=1)
    filters: int = Field(1500, ge=1)
    units: int = Field(500, ge=1)
    layers: int = Field(2, ge=1)
    summed: bool = False
    segment_s: float = Field(12.0, gt=0)
    context_s: float = Field(2.0, ge=0)

    @model_validator(mode="after")
    def _frames_overlap(self) -> "Config":
        if self.window_samples % self.hop_samples or self.window_samples == self.hop_samples:
            raise ValueError(
                f"window_samples={self.window_samples} must be two or more times "
                f"hop_samples={self.hop_samples}"
            )
        return self

    @property
    def bins(self) -> int:
        """Number of frequency bins F of a frame."""
        return self.window_samples // 2 + 1


class HSTasNet(SeparationModel[Config]):
    """The HS-TasNet separator: `[B, C, T] -> [B, S, C, T]`.

    Frame n ends with the samples from n·hop to (n + 1)·hop, and begins a window before their end:
    the first frames reach into silence before the track.
    """

    synthesis: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_samples,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_samples,
        )
        # Sample t is in no frame that begins after it, and a frame ends a window after it begins.
        self.spec = replace(spec, causal=True, latency_samples=config.window_samples - 1)
        self.network = Network(config)
        window = self.network.window
        # The squared windows of all the frames that a sample is in add up to this.
        power = window.square().reshape(-1, config.hop_samples).sum(0)
        synthesis = window / power.repeat(config.window_samples // config.hop_samples)
        self.register_buffer("synthesis", synthesis, persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        frames = self.frames(mix)
        spectrum = self.spectrum(frames)
        output = self.network(frames, spectrum.abs())
        return self._signal(self.stem_frames(spectrum, output), mix.shape[-1])

    def stream_core(self) -> StreamCore:
        """Return the steps; see `SeparationModel.stream_core`."""
        window, hop = self.config.window_samples, self.config.hop_samples
        scale = window**0.5  # of the orthonormal transform
        framing = Framing(
            window,
            hop,
            window,
            before_samples=window - hop,
            parts=("frames", "spectra"),
            analysis=self.network.window.cpu().numpy() / scale,
            synthesis=self.synthesis.cpu().numpy() * scale,
        )
        return StreamCore(framing, StreamStep(self, self._step, inputs=2))

    def _step(self, frames: Tensor, parts: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return waves and masked spectra of the stems.

        Shape:
            frames: `[B, C, N, W]`; parts: `[B, C, N, F, 2]`; returns `[B, S, C, N, W]` and
            `[B, S, C, N, F, 2]`.
        """
        output = self.network(frames, magnitude(parts), memory)
        masks, waves = output[..., : self.config.bins], output[..., self.config.bins :]
        return waves, masks[..., None] * parts[:, None]

    def core(self) -> Core:
        """Return what lies between the frames; see `Core`."""
        framing = self.stream_core().framing
        network = Part(self, lambda frames, parts: self._step(frames, parts, Memory()))
        return Core(network, FrontEnd(framing, gives=framing.parts))

    def frames(self, mix: Tensor) -> Tensor:
        """Return all frames that have a sample of the mixture. Shape: `[B, C, T] -> [B, C, N, W]`.

        W is the window.
        """
        window = self.config.window_samples
        return trailing_frames(mix, window, self.config.hop_samples, given=window)

    def spectrum(self, frames: Tensor) -> Tensor:
        """Return the complex spectra of frames. Shape: `[B, C, N, W] -> [B, C, N, F]`."""
        spectrum: Tensor = torch.fft.rfft(frames * self.network.window, norm="ortho")
        return spectrum

    def stem_frames(self, spectrum: Tensor, output: Tensor) -> Tensor:
        """Return the frames of the stems, ready to be added where they overlap.

        Shape:
            spectrum: `[B, C, N, F]`; output: `[B, S, C, N, F + W]`, of the network; returns
            `[B, S, C, N, W]`.
        """
        mask, waves = output[..., : self.config.bins], output[..., self.config.bins :]
        masked: Tensor = torch.fft.irfft(mask * spectrum[:, None], norm="ortho")
        return masked * self.synthesis + waves

    def _signal(self, frames: Tensor, length: int) -> Tensor:
        """Return the signal whose frames these are. Shape: `[*, N, W] -> [*, T]`."""
        return overlap_add(frames, self.config.hop_samples)[..., :length]


class Network(nn.Module):
    """From frames and their magnitudes to masks and waves, one frame after another."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        units, stems, channels = config.units, len(config.stems), config.channels
        self.encoder = nn.Linear(channels * config.window_samples, config.filters, bias=False)
        self.decoder = nn.Linear(config.filters, channels * config.window_samples, bias=False)
        window = torch.hann_window(config.window_samples)
        self.register_buffer("window", window, persistent=False)
        self.spectrum_in = nn.Linear(channels * config.bins, units)
        self.waves_in = nn.Linear(config.filters, units)
        both = units if config.summed else 2 * units
        self.memories = nn.ModuleDict(
            {
                name: nn.LSTM(width, width, config.layers, batch_first=True)
                for name, width in (
                    ("spectrum_before", units),
                    ("waves_before", units),
                    ("together", both),
                    ("spectrum_after", units),
                    ("waves_after", units),
                )
            }
        )
        self.spectrum_out = nn.Linear(units, stems * channels * config.bins)
        self.waves_out = nn.Linear(units, stems * config.filters)

    def forward(self, frames: Tensor, magnitude: Tensor, memory: Memory | None = None) -> Tensor:
        """Return masks and waves of some frames.

        The last axis of the result has the mask of the F bins, then the W samples of the wave.

        Args:
            frames: The frames.
            magnitude: Their magnitude spectra.
            memory: Of the frames before; None at the beginning of a signal.

        Shape:
            frames: `[B, C, N, W]`; magnitude: `[B, C, N, F]`; returns `[B, S, C, N, F + W]`.
        """
        memory = memory or Memory()
        config = self.config
        basis = self.encoder(by_frame(frames)).relu()  # [B, N, K] of K filters
        spectrum, waves = self.spectrum_in(by_frame(magnitude)), self.waves_in(basis)
        first = self._recalled("spectrum_before", spectrum, memory)
        second = self._recalled("waves_before", waves, memory)
        if config.summed:
            first = second = self._recalled("together", first + second, memory)
        else:
            both = self._recalled("together", torch.cat([first, second], -1), memory)
            first, second = both.chunk(2, -1)
        spectrum = self._recalled("spectrum_after", first + spectrum, memory)
        waves = self._recalled("waves_after", second + waves, memory)
        places = (len(config.stems), config.channels)
        masks = self.spectrum_out(spectrum).sigmoid().unflatten(-1, (*places, config.bins))
        basis_masks = self.waves_out(waves).sigmoid().unflatten(-1, (places[0], config.filters))
        decoded = self.decoder(basis_masks * basis[:, :, None])  # [B, N, S, C·W]
        decoded = decoded.unflatten(-1, (config.channels, config.window_samples)) * self.window
        output = torch.cat([masks, decoded], -1)  # [B, N, S, C, F + W]
        return output.permute(0, 2, 3, 1, 4)

    def _recalled(self, name: str, x: Tensor, memory: Memory) -> Tensor:
        return recurrent(cast(nn.LSTM, self.memories[name]), x, memory)


def by_frame(x: Tensor) -> Tensor:
    """Return one vector per frame. Shape: `[B, C, N, W] -> [B, N, C·W]`."""
    return x.transpose(1, 2).flatten(2)
