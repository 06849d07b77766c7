"""NMF: the spectrogram as a sum of few notes and hits, which are then sorted into stems.

References:
    Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2001.
    Févotte, Bertin and Durrieu, "Nonnegative matrix factorization with the Itakura-Saito
    divergence", Neural Computation 21(3), 2009.
    Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010 (the medians
    that tell hits from notes).

Differences from the papers:
    The papers factor one mono spectrogram and leave it to the reader which component is what.
    Here the channels are factored as one, and each component goes to one stem by two features:

    percussiveness  The part of its activation that a median along time removes, and the part of
                    its spectrum that a median along frequency keeps, on average: 1 for a burst of
                    noise, 0 for a steady tone. Percussive components are drums.
    centroid        The mean frequency of its spectrum, weighted by power. What is low and not
                    percussive is bass, all else is other.

    The two thresholds were set on rendered songs. The engine gives the model a segment at a time,
    and each segment finds its own components.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from desmezcla.dsp.masks import ratio_mask
from desmezcla.dsp.median import median_filter, odd
from desmezcla.dsp.nmf import nmf
from desmezcla.dsp.panning import joint_magnitude
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 32,
    "rank": 4,
    "iterations": 3,
    "median_size": 5,
    "segment_s": 0.1,
}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: "drums", "bass" and "other".
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        rank: Number of components.
        beta: Order of the divergence: 1 for Kullback-Leibler, 0 for Itakura-Saito.
        exponent: Power of the magnitude that is factored: 1 goes with beta 1, 2 with beta 0.
        iterations: Updates of the factors.
        seed: Seed of their start.
        median_size: Frames and bins of the medians that measure percussiveness, odd.
        drums_above: Percussiveness above which a component belongs to the drums.
        bass_below_hz: Centroid below which any other component belongs to the bass.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[Literal["drums"], Literal["bass"], Literal["other"]] = ("drums", "bass", "other")
    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    rank: int = Field(32, ge=1)
    beta: float = 1.0
    exponent: float = Field(1.0, gt=0)
    iterations: int = Field(60, ge=0)
    seed: int = 0
    median_size: Annotated[int, AfterValidator(odd)] = 17
    drums_above: float = Field(0.45, ge=0, le=1)
    bass_below_hz: float = Field(300.0, ge=0)
    segment_s: float = Field(20.0, gt=0)


class Nmf(SeparationModel[Config]):
    """Factorisation with sorted components: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor
    frequencies_hz: Tensor

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
        frequencies_hz = torch.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
        self.register_buffer("frequencies_hz", frequencies_hz, persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        # The products of the factors are taken in full precision, whatever autocast says.
        with torch.autocast(mix.device.type, enabled=False):
            masks = torch.stack([self._masks(item) for item in joint_magnitude(spectrum)])
        estimates = masks[:, :, None] * spectrum[:, None]  # [B, S, C, F, N]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])

    def _masks(self, magnitude: Tensor) -> Tensor:
        """Return one mask per stem: `[F, N] -> [S, F, N]`."""
        config = self.config
        spectra, activations = nmf(
            magnitude.pow(config.exponent),
            config.rank,
            beta=config.beta,
            iterations=config.iterations,
            generator=torch.Generator().manual_seed(config.seed),
        )
        stem_of = self._sorted(spectra, activations)
        estimates = [
            (spectra * (stem_of == stem)) @ activations for stem in range(len(config.stems))
        ]
        return ratio_mask(torch.stack(estimates), dim=0)

    def _sorted(self, spectra: Tensor, activations: Tensor) -> Tensor:
        """Return the stem of each component, as its number in `stems`.

        Shape:
            spectra: `[F, K]`; activations: `[K, N]`; returns `[K]`.
        """
        size = self.config.median_size
        steady = _kept(activations.T, size)
        broad = _kept(spectra, size)
        percussiveness = (1 - steady + broad) / 2
        power = spectra.pow(2 / self.config.exponent)
        centroid_hz = (self.frequencies_hz @ power) / power.sum(0).clamp(min=1e-30)
        pitched = torch.where(centroid_hz < self.config.bass_below_hz, 1, 2)
        return torch.where(percussiveness > self.config.drums_above, 0, pitched)


def _kept(x: Tensor, size: int) -> Tensor:
    """Return which part of each column a median along it keeps, 0 to 1: `[M, K] -> [K]`."""
    lower = torch.minimum(median_filter(x, size=size, dim=0), x)
    return lower.sum(0) / x.sum(0).clamp(min=1e-30)
