"""Open-Unmix: three LSTM layers per stem on the magnitude spectrogram, then a Wiener filter.

Reference:
    Stöter, Uhlich, Liutkus and Mitsufuji, "Open-Unmix - A Reference Implementation for Music
    Source Separation", Journal of Open Source Software 4(41), 2019.

Differences from the paper:
    None in the network: parameters have the names and shapes of the authors' PyTorch version, so
    that their weights fit. With `unidirectional=True` the network is causal; the centred STFT then
    still looks `n_fft / 2` samples ahead, and the Wiener filter looks over its window, so a
    causal release sets `wiener_iterations=0`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude
from desmezcla.dsp.stft import Synthesis, istft, stft
from desmezcla.dsp.threads import on_all_cores
from desmezcla.dsp.wiener import wiener
from desmezcla.models.base import (
    Core,
    InnerCore,
    ModelConfig,
    Part,
    SpectralModel,
    StreamCore,
    StreamStep,
    bin_statistics,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.streaming import Memory, recurrent
from desmezcla.spec import ModelSpec

TINY: dict[str, Any] = {"n_fft": 128, "hop_length": 32, "hidden_size": 8, "segment_s": 0.05}


class PipelineConfig(ModelConfig):
    """What the Open-Unmix pipeline needs to know, whatever network makes the masks.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        hidden_size: Width of the dense layers.
        wiener_iterations: EM iterations of the multichannel Wiener filter; 0 leaves it out.
        wiener_window_frames: Frames that one filter is computed from; None for all.
        residual: Add a stem "residual", the mixture less the other stems, before the filter.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    hidden_size: int = Field(512, ge=2, multiple_of=2)
    wiener_iterations: int = Field(1, ge=0)
    wiener_window_frames: int | None = Field(300, ge=1)
    residual: bool = False
    # Four windows of the filter, of which neighbouring segments share one.
    segment_s: float = Field(28.0, gt=0)
    context_s: float = Field(5.0, ge=0)

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1

    def model_spec(self) -> ModelSpec:
        """Return the specification of a model with this configuration."""
        # Segments that start where a window of the filter starts have the same windows as the
        # whole track has, and so nearly the same filters.
        grid_frames = self.wiener_window_frames or 1 if self.wiener_iterations else 1
        return spectrogram_spec(
            self,
            segment_s=self.segment_s,
            hop_length=self.hop_length,
            context_samples=round(self.context_s * self.sample_rate),
            grid_samples=self.hop_length * grid_frames,
            stems=(*self.stems, "residual") if self.residual else None,
            latency_samples=self.n_fft - 1 if self.looks_back_only else None,
        )

    @property
    def looks_back_only(self) -> bool:
        """Whether the model is causal: no frame of the mask depends on a later one."""
        return False


class Config(PipelineConfig):
    """Configuration; the defaults are those of the paper.

    Attributes:
        bandwidth_hz: The network sees the bins up to this frequency; it masks all of them.
        layers: LSTM layers.
        unidirectional: LSTM that sees the past only, with twice the width in that direction.
        dropout: Between LSTM layers, in training.
    """

    bandwidth_hz: float = Field(16000.0, gt=0)
    layers: int = Field(3, ge=1)
    unidirectional: bool = False
    dropout: float = Field(0.4, ge=0, lt=1)

    @property
    def looks_back_only(self) -> bool:
        """Whether the model is causal; the Wiener filter looks over its whole window."""
        return self.unidirectional and self.wiener_iterations == 0

    @property
    def input_bins(self) -> int:
        """Number of bins up to `bandwidth_hz`, that one included."""
        return min(self.bins, int(self.bandwidth_hz * self.n_fft / self.sample_rate) + 1)


class MaskNetwork(nn.Module, ABC):
    """From the magnitude spectrogram of the mixture to the mask of one stem, in two steps.

    The first looks along time, and its result is small. The second makes each frame of the mask
    from one frame of that.

    Attributes:
        input_mean: What is added to each bin of the magnitude, `[F']`.
        input_scale: What it is multiplied by then, `[F']`.
    """

    input_mean: nn.Parameter
    input_scale: nn.Parameter

    @abstractmethod
    def hidden(self, magnitude: Tensor) -> Tensor:
        """Return what the network knows of each frame.

        Shape:
            magnitude: `[B, C, F, N]`; returns `[N, B, H]`.
        """

    @abstractmethod
    def mask(self, hidden: Tensor) -> Tensor:
        """Return the mask of some frames, 0 or more.

        Shape:
            hidden: `[n, B, H]`; returns `[B, C, F, n]`.
        """

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return the mask. Shape: `[B, C, F, N]`, as the magnitude."""
        return self.mask(self.hidden(magnitude))


PipelineConfigT = TypeVar("PipelineConfigT", bound=PipelineConfig)


class SpectrogramPipeline(SpectralModel[PipelineConfigT]):
    """STFT, one network per stem that makes a mask from the magnitude, Wiener filter, iSTFT.

    A subclass says by `network` what makes the mask.
    """

    window: Tensor

    def __init__(self, config: PipelineConfigT) -> None:
        super().__init__(config)
        self.spec = config.model_spec()
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        # The prefix lets a stem be called "keys", which a dictionary of modules reserves.
        self.networks = nn.ModuleDict({f"stem_{stem}": self.network() for stem in config.stems})

    @abstractmethod
    def network(self) -> "MaskNetwork":
        """Return one stem's untrained network."""

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return self._all_masks(spectrum.abs()) * spectrum[:, None]

    def waveforms(self, mix: Tensor) -> Tensor:
        """Return the masked mixture without the Wiener filter; see `SeparationModel`."""
        hop, length = self.config.hop_length, mix.shape[-1]
        return istft(self.spectra(mix), hop_length=hop, window=self.window, length=length)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`.

        What the networks know of the whole song is small; the masks and the spectrograms of the
        stems are large, and are made for one window of the filter at a time.
        """
        spectrum = self.transform(mix)  # [B, C, F, N]
        seen = spectrum.abs()
        # A recurrent layer goes step by step, each too short for two cores: a network for each.
        hidden = on_all_cores(lambda n: n.hidden(seen), self._in_order(), mix.device)
        return self._stems(
            spectrum, lambda part: self._masks([h[part] for h in hidden]), mix.shape[-1]
        )

    def core(self) -> Core | InnerCore:
        """Return what lies between the STFT and its inverse, or what comes before the filter."""
        if self._iterations(len(self.spec.stems)) == 0:
            framing = stft_framing(self.window, self.config.hop_length)
            return spectral_core(self, self._masked_parts, framing)

        def enter(mix: Tensor) -> tuple[Tensor, ...]:
            return (self.transform(mix).abs(),)

        def leave(mix: Tensor, masks: Tensor) -> Tensor:
            return self._stems(self.transform(mix), lambda part: masks[..., part], mix.shape[-1])

        part = Part(self, self._all_masks)
        outside = "STFT before; Wiener filter and inverse STFT after"
        return InnerCore(part, enter, leave, (3,), outside, inputs=("magnitude",))

    def _all_masks(self, magnitude: Tensor) -> Tensor:
        """Return the masks of all frames. Shape: `[B, C, F, N] -> [B, S, C, F, N]`."""
        return self._masks([network.hidden(magnitude) for network in self._in_order()])

    def _masked_parts(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra. Shape: `[B, C, N, F, 2] -> [B, S, C, N, F, 2]`."""
        masks = self._all_masks(magnitude(parts).transpose(-1, -2))
        return masks.transpose(-1, -2)[..., None] * parts[:, None]

    def _iterations(self, stems: int) -> int:
        """Return the iterations of the Wiener filter.

        With one stem the filter has nothing to weigh it against: its covariance is the mixture's.
        """
        return self.config.wiener_iterations if stems > 1 else 0

    def _stems(self, spectrum: Tensor, masks_of: Callable[[slice], Tensor], length: int) -> Tensor:
        """Mask, filter and transform back one window of the filter at a time.

        Shape:
            spectrum: `[B, C, F, N]`; masks_of(n frames): `[B, S, C, F, n]`; returns
            `[B, S, C, T]`.
        """
        config = self.config
        axes = (spectrum.shape[0], len(self.spec.stems), config.channels)
        hop, window, frames = config.hop_length, self.window, spectrum.shape[-1]
        synthesis = Synthesis(axes, hop_length=hop, window=window, length=length)
        at_once = config.wiener_window_frames or frames
        for first in range(0, frames, at_once):
            part = slice(first, first + at_once)
            synthesis.add(self._filtered(spectrum[..., part], masks_of(part)), first)
        return synthesis.finish()

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem; no other stem depends on it."""
        return self.networks[f"stem_{stem}"]

    @torch.no_grad()
    def fit_statistics(self, mixtures: Iterable[Tensor]) -> None:
        """Let all networks standardise each bin of the magnitude as it is in some mixtures.

        As in the paper, the scale of a bin is the inverse of its deviation, which is taken to be
        at least 1e-4 of the largest one.

        Shape:
            mixtures: `[B, C, T]` each.
        """
        mean, deviation = bin_statistics(self.transform(mix).abs() for mix in mixtures)
        for network in self._in_order():
            bins = network.input_mean.numel()
            network.input_mean.copy_(-mean[:bins])
            network.input_scale.copy_(1 / deviation[:bins])

    def _in_order(self) -> list[MaskNetwork]:
        return [cast(MaskNetwork, network) for network in self.networks.values()]

    def _masks(self, hidden: list[Tensor]) -> Tensor:
        """Return the masks of some frames. Shape: hidden `[n, B, H]` each; `[B, S, C, F, n]`."""
        networks = zip(self._in_order(), hidden, strict=True)
        # In memory frame after frame, as the networks and the filter have it.
        frames_first = [network.mask(h).transpose(-1, -2) for network, h in networks]
        masks = torch.stack(frames_first, dim=1).transpose(-1, -2)
        if self.config.residual:
            masks = torch.cat([masks, 1 - masks.sum(dim=1, keepdim=True)], dim=1)
        return masks.to(self.window.dtype)

    def _filtered(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Return the stems' STFTs. Shape: `[B, C, F, n]`, `[B, S, C, F, n]`; as the masks."""
        iterations = self._iterations(masks.shape[1])
        stems = [
            wiener(x, m, iterations=iterations, window_frames=None)
            for x, m in zip(spectrum, masks, strict=True)
        ]
        # A batch of one is the rule, and needs no copy.
        return stems[0][None] if len(stems) == 1 else torch.stack(stems)


class OpenUnmix(SpectrogramPipeline[Config]):
    """The Open-Unmix separator: `[B, C, T] -> [B, S, C, T]`."""

    def network(self) -> MaskNetwork:
        """Return one stem's untrained network."""
        return LstmMask(self.config)

    def stream_core(self) -> StreamCore | None:
        """Return the steps; see `SeparationModel.stream_core`."""
        if not self.config.looks_back_only:
            return None
        framing = stft_framing(self.window, self.config.hop_length)
        return StreamCore(framing, StreamStep(self, self._step))

    def _step(self, parts: Tensor, memory: Memory) -> tuple[Tensor]:
        """Return the masked spectra. Shape: `[B, C, N, F, 2] -> [B, S, C, N, F, 2]`."""
        magnitudes = magnitude(parts).mT  # [B, C, F, N]
        networks = [cast(LstmMask, network) for network in self._in_order()]
        masks = self._masks([network.hidden(magnitudes, memory) for network in networks])
        return (masks.mT[..., None] * parts[:, None],)


class LstmMask(MaskNetwork):
    """A dense layer, LSTM layers with a skip connection around them, and two dense layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, channels = config.hidden_size, config.channels
        self.channels = channels
        self.input_bins = config.input_bins
        self.input_mean = nn.Parameter(torch.zeros(config.input_bins))
        self.input_scale = nn.Parameter(torch.ones(config.input_bins))
        self.fc1 = nn.Linear(config.input_bins * channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            input_size=hidden,
            hidden_size=hidden if config.unidirectional else hidden // 2,
            num_layers=config.layers,
            bidirectional=not config.unidirectional,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, config.bins * channels, bias=False)
        self.bn3 = nn.BatchNorm1d(config.bins * channels)
        self.output_scale = nn.Parameter(torch.ones(config.bins))
        self.output_mean = nn.Parameter(torch.ones(config.bins))

    def hidden(self, magnitude: Tensor, memory: Memory | None = None) -> Tensor:
        """Return the LSTM's input and output; see `MaskNetwork`. The memory is that of a stream."""
        batch, _, _, frames = magnitude.shape
        x = magnitude[:, :, : self.input_bins].permute(3, 0, 1, 2)  # [N, B, C, F']
        x = (x + self.input_mean) * self.input_scale
        x = self.fc1(x.reshape(frames * batch, -1))  # [N·B, H]
        x = torch.tanh(self.bn1(x)).reshape(frames, batch, -1)
        y = self.lstm(x)[0] if memory is None else recurrent(self.lstm, x, memory)
        return torch.cat([x, y], dim=-1)  # [N, B, 2H]

    def mask(self, hidden: Tensor) -> Tensor:
        """Return the mask; see `MaskNetwork`."""
        frames, batch, _ = hidden.shape
        x = F.relu(self.bn2(self.fc2(hidden.reshape(frames * batch, -1))))
        x = self.bn3(self.fc3(x)).reshape(frames, batch, self.channels, -1)  # [n, B, C, F]
        x = torch.addcmul(self.output_mean, x, self.output_scale)
        return x.relu_().permute(1, 2, 3, 0)
