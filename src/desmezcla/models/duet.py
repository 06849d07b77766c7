"""DUET: sources that stand in different places of a stereo image, told apart bin by bin.

References:
    Yilmaz and Rickard, "Blind separation of speech mixtures via time-frequency masking", IEEE
    Transactions on Signal Processing 52(7), 2004.

Differences from the paper:
    Levels are told by the angle atan(|R| / |L|), which is finite for a source on one side only,
    and bins are weighted by the power of both channels, of which such a source has some: the
    paper's a - 1/a has no limit there, and its weight |L·R| is zero. The delay is read only where
    it is less than half a period, and taken for 0 where one channel is 20 dB below the other. Each
    stem is its part of both channels, so that all add up to the mixture; the paper aligns and adds
    the channels to one. With one channel, or two that are the same, nothing can be told apart:
    everything is in the first stem. The engine gives the model a segment at a time, and each
    finds its own places.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from desmezcla.dsp.duet import PlaceMap, find_places, nearest_place
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {"n_fft": 128, "hop_length": 32, "segment_s": 0.1}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: Any names, for the sources from left to right; the last ones are silent where fewer
            are found.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        angles: Cells of the histogram from left to right.
        delays: Cells of the histogram along the delay, odd.
        max_delay_samples: Longest delay between the channels; 0 for mixtures by level only.
        spread_cells: Standard deviation of the Gaussian that smooths the histogram.
        separation_cells: Sources are further apart than this, in one of the directions.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[str, ...] = ("source1", "source2", "source3")
    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    angles: int = Field(91, ge=2)
    delays: int = Field(65, ge=1)
    max_delay_samples: float = Field(4.0, ge=0)
    spread_cells: float = Field(1.0, ge=0)
    separation_cells: int = Field(5, ge=0)
    segment_s: float = Field(60.0, gt=0)

    @model_validator(mode="after")
    def _delays_have_a_middle(self) -> "Config":
        if self.delays % 2 == 0:
            raise ValueError(f"delays={self.delays} must be odd")
        return self

    @property
    def place_map(self) -> PlaceMap:
        """How the histogram is divided."""
        return PlaceMap(
            angles=self.angles,
            delays=self.delays,
            max_delay_samples=self.max_delay_samples,
            spread_cells=self.spread_cells,
            separation_cells=self.separation_cells,
        )


class Duet(SeparationModel[Config]):
    """Degenerate unmixing: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor
    frequencies: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=config.n_fft,
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", window("hann", config.n_fft), persistent=False)
        frequencies = torch.fft.rfftfreq(config.n_fft) * (2 * math.pi)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        masks = torch.stack([self._masks(item) for item in spectrum])
        estimates = masks[:, :, None] * spectrum[:, None]  # [B, S, C, F, N]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])

    def _masks(self, spectrum: Tensor) -> Tensor:
        """Return one mask per stem: `[C, F, N] -> [S, F, N]`."""
        config = self.config
        pair = spectrum.expand(2, -1, -1)  # a mono mixture is the same on both sides
        places = find_places(
            pair, self.frequencies, sources=len(config.stems), place_map=config.place_map
        )
        if len(places) == 0:
            number = torch.zeros_like(pair[0], dtype=torch.long)
        else:
            number = nearest_place(pair, self.frequencies, places)
        return F.one_hot(number, len(config.stems)).movedim(-1, 0).to(self.window.dtype)
