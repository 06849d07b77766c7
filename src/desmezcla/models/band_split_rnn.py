"""Band-Split RNN (BSRNN): LSTMs along time and across bands in turn, and complex masks.

Reference:
    Luo and Yu, "Music Source Separation with Band-split RNN", IEEE/ACM Transactions on Audio,
    Speech, and Language Processing 31, 2023.

Differences from the paper:
    None in the network: each stem has one of its own, which cuts the spectrum as is best for the
    stem (its scheme V7 for vocals and other, and one for bass and one for drums; a stem with
    another name has V7), and sees one channel at a time, as if left and right were two songs.
    (The program that its authors published later has one dense layer more in each mask.) A band is
    the bins whose frequency lies in it; bands that would have no bin are left out.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.stft import istft, stft
from desmezcla.models.base import (
    Core,
    ModelConfig,
    SpectralModel,
    spectral_core,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.band_split import (
    BandSplit,
    MaskEstimator,
    masked,
    masked_parts,
    spectral_values,
)

TINY: dict[str, Any] = {
    "n_fft": 1024,
    "hop_length": 512,
    "bands_hz": ((500.0, 500.0), (1500.0, 1000.0)),
    "features": 8,
    "hidden_size": 8,
    "mask_size": 16,
    "layers": 1,
    "segment_s": 0.1,
    "context_s": 0.02,
}

EPSILON = 1e-7
# Up to a frequency, bands of a width; what is above the last is one band.
BandsHz = tuple[tuple[float, float], ...]
V7: BandsHz = ((1e3, 100.0), (4e3, 250.0), (8e3, 500.0), (16e3, 1e3), (20e3, 2e3))
BASS: BandsHz = ((500.0, 50.0), (1e3, 100.0), (4e3, 500.0), (8e3, 1e3), (16e3, 2e3))
DRUMS: BandsHz = ((1e3, 50.0), (2e3, 100.0), (4e3, 250.0), (8e3, 500.0), (16e3, 1e3))


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        bands_hz: Pairs of a frequency and the width of the bands up to it, both Hz, for all stems;
            what is above the last is one band. None for the paper's schemes.
        features: Features of a band.
        hidden_size: Width of an LSTM in each of its two directions.
        layers: Pairs of an LSTM along time and one across bands.
        mask_size: Width of the layer inside a mask.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    n_fft: int = Field(2048, ge=4, multiple_of=2)
    hop_length: int = Field(512, ge=1)
    bands_hz: BandsHz | None = Field(None, min_length=1)
    features: int = Field(128, ge=1)
    hidden_size: int = Field(256, ge=1)
    layers: int = Field(12, ge=1)
    mask_size: int = Field(512, ge=1)
    segment_s: float = Field(3.0, gt=0)
    context_s: float = Field(0.5, ge=0)

    @model_validator(mode="after")
    def _bands_rise(self) -> "Config":
        below_hz = 0.0
        for up_to_hz, width_hz in self.bands_hz or ():
            if not (up_to_hz > below_hz and width_hz > 0):
                raise ValueError(
                    f"bands_hz={self.bands_hz} must have rising frequencies and positive widths"
                )
            below_hz = up_to_hz
        return self

    def band_widths(self, stem: str) -> list[int]:
        """Return the number of bins in each band of a stem, from the lowest band."""
        schemes = {"bass": BASS, "drums": DRUMS}
        edges_hz, below_hz = [0.0], 0.0
        for up_to_hz, width_hz in self.bands_hz or schemes.get(stem, V7):
            count = max(1, round((up_to_hz - below_hz) / width_hz))
            edges_hz += [below_hz + (up_to_hz - below_hz) * i / count for i in range(1, count + 1)]
            below_hz = up_to_hz
        bins = self.n_fft // 2 + 1
        # The first bin that is not below the edge; rounding must not push it one further.
        first = {math.ceil(edge * self.n_fft / self.sample_rate - 1e-9) for edge in edges_hz}
        edges = [*sorted(edge for edge in first if edge < bins), bins]
        return [upper - lower for lower, upper in pairwise(edges)]


class BandSplitRNN(SpectralModel[Config]):
    """The BSRNN separator: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        # The prefix lets a stem be called "keys", which a dictionary of modules reserves.
        self.networks = nn.ModuleDict(
            {f"stem_{stem}": StemNetwork(config, stem) for stem in config.stems}
        )

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return self._masked(spectrum, self._masks(self._values(spectrum)))

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._waveforms(self.spectra(mix), mix.shape[-1])

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem; no other stem depends on it."""
        return self.networks[f"stem_{stem}"]

    def core(self) -> Core:
        """Return what lies between the STFT and its inverse; see `Core`."""
        return spectral_core(
            self, self._masked_parts, stft_framing(self.window, self.config.hop_length)
        )

    def _masked_parts(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra. Shape: `[1, C, N, F, 2] -> [1, S, C, N, F, 2]`."""
        # The networks see each channel by itself, as an item of a batch.
        alone = masked_parts(parts.transpose(0, 1), self._masks)  # [C, S, 1, N, F, 2]
        return alone.permute(2, 1, 0, 3, 4, 5)

    def _values(self, spectrum: Tensor) -> Tensor:
        """Return what the networks see of each channel. Shape: `[B, C, F, N] -> [B·C, N, F·2]`."""
        return spectral_values(spectrum.flatten(0, 1)[:, None])

    def _masks(self, values: Tensor) -> Tensor:
        """Return the stems' masks. Shape: `[B·C, N, F·2]`; returns `[B·C, S, N, F·2]`."""
        return torch.stack([network(values) for network in self.networks.values()], 1)

    def _masked(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Return the stems' STFTs. Shape: `[B, C, F, N]`, `[B·C, S, N, F·2]`; `[B, S, C, F, N]`."""
        stems = masked(spectrum.flatten(0, 1)[:, None], masks)[:, :, 0]  # [B·C, S, F, N]
        stems = stems.reshape(*spectrum.shape[:2], *stems.shape[1:])  # [B, C, S, F, N]
        return stems.transpose(1, 2)

    def _waveforms(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)


class StemNetwork(nn.Module):
    """From the spectrum of one channel to the mask of one stem."""

    def __init__(self, config: Config, stem: str) -> None:
        super().__init__()
        widths = [2 * bins for bins in config.band_widths(stem)]
        self.split = BandSplit(widths, config.features, norm=SequenceNorm)
        self.layers = nn.ModuleList()
        for _ in range(config.layers):
            self.layers.append(ResidualLSTM(config.features, config.hidden_size))  # along time
            self.layers.append(ResidualLSTM(config.features, config.hidden_size))  # across bands
        self.mask = MaskEstimator(
            widths, config.features, hidden=config.mask_size, depth=2, norm=SequenceNorm
        )

    def forward(self, values: Tensor) -> Tensor:
        """Shape: `[M, N, F·2]`, as the input."""
        x = self.split(values)  # [M, N, K, H]
        for layer in self.layers:
            # Along the other axis each time, which after two layers is where it was.
            x = layer(x.transpose(1, 2))
        mask: Tensor = self.mask(x)
        return mask


class SequenceNorm(nn.GroupNorm):
    """Normalises all features of a sequence together, and scales each feature."""

    def __init__(self, features: int) -> None:
        super().__init__(1, features, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[M, L, H]`, as the input."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ResidualLSTM(nn.Module):
    """A bidirectional LSTM, a dense layer, and around both the input, which is added."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.norm = SequenceNorm(features)
        self.lstm = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * hidden_size, features)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[M, A, L, H]`, as the input; L is the axis that is looked along."""
        sequences = x.flatten(0, 1)  # [M·A, L, H]
        seen, _ = self.lstm(self.norm(sequences))
        change: Tensor = self.dense(seen)
        return x + change.reshape(x.shape)
