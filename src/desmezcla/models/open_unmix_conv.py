"""Open-Unmix with a convolutional network in the place of its LSTM.

One filter bank spans all frequencies (vertical), one spans time (horizontal), two dense layers
form the latent space, and transposed convolutions lead back, as in DeepConvSep (Chandna, Miron,
Janer and Gómez, "Monoaural Audio Source Separation Using Deep Convolutional Neural Networks",
LVA/ICA 2017), but with one network per stem, inside the pipeline of Open-Unmix (Stöter et al.,
JOSS 2019). The design and its results on MUSDB18-HQ are those of a Spanish thesis (2023).

Differences from the thesis:
    Its listing has no ReLU after the convolutions, no return value, and names layers that are not
    defined; built is what its text describes: a ReLU after every layer. The magnitude is
    standardised per bin as in Open-Unmix; the listing prepares that and leaves it out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from desmezcla.models.open_unmix import MaskNetwork, PipelineConfig, SpectrogramPipeline

TINY: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 32,
    "hidden_size": 8,
    "spectral_filters": 6,
    "temporal_filters": 4,
    "segment_s": 0.05,
}


class Config(PipelineConfig):
    """Configuration; the defaults are those of the thesis.

    Attributes:
        spectral_filters: Filters as high as the spectrum and one frame wide.
        temporal_filters: Filters along time on the outputs of the spectral ones.
        temporal_frames: Length of a temporal filter, frames.
    """

    spectral_filters: int = Field(50, ge=1)
    temporal_filters: int = Field(30, ge=1)
    temporal_frames: int = Field(15, ge=1)
    # The network sees 2·14 frames around a frame, less than a second.
    context_s: float = Field(1.0, ge=0)


class OpenUnmixConv(SpectrogramPipeline[Config]):
    """The convolutional Open-Unmix separator: `[B, C, T] -> [B, S, C, T]`."""

    def network(self) -> MaskNetwork:
        """Return one stem's untrained network."""
        return ConvMask(self.config)


class ConvMask(MaskNetwork):
    """Vertical and horizontal convolutions, two dense layers, and the way back."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels, bins, frames = config.channels, config.bins, config.temporal_frames
        spectral, temporal = config.spectral_filters, config.temporal_filters
        self.frames = frames
        self.input_mean = nn.Parameter(torch.zeros(bins))
        self.input_scale = nn.Parameter(torch.ones(bins))
        self.spectral = nn.Conv2d(channels, spectral, (bins, 1))
        self.temporal = nn.Conv2d(spectral, temporal, (1, frames))
        self.latent = nn.Sequential(
            nn.Linear(temporal, config.hidden_size),
            nn.ReLU(),
            nn.Linear(config.hidden_size, temporal),
            nn.ReLU(),
        )
        self.temporal_back = nn.ConvTranspose2d(temporal, spectral, (1, frames))
        self.spectral_back = nn.ConvTranspose2d(spectral, channels, (bins, 1))

    def hidden(self, magnitude: Tensor) -> Tensor:
        """Return the outputs that the last layer makes the mask from; see `MaskNetwork`."""
        frames = magnitude.shape[-1]
        x = F.pad(magnitude, (0, max(0, self.frames - frames)))  # a temporal filter must fit
        x = (x + self.input_mean[:, None]) * self.input_scale[:, None]
        x = F.relu(self.spectral(x))  # [B, spectral, 1, N]
        x = F.relu(self.temporal(x))  # [B, temporal, 1, N - frames + 1]
        x = self.latent(x.transpose(1, 3)).transpose(1, 3)
        x = F.relu(self.temporal_back(x))[..., :frames]  # [B, spectral, 1, N]
        return x[:, :, 0].permute(2, 0, 1)

    def mask(self, hidden: Tensor) -> Tensor:
        """Return the mask; see `MaskNetwork`."""
        return F.relu(self.spectral_back(hidden.permute(1, 2, 0)[:, :, None]))
