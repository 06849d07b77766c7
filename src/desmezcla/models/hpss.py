"""Harmonic/percussive separation: sustained tones against clicks, by two median filters.

References:
    Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010.
    Driedger, Müller and Disch, "Extending harmonic-percussive separation of audio signals",
    ISMIR 2014 (the margin and the residual).

Differences from the paper:
    The paper's signals are mono. Here the channels share one mask, made from their joint
    magnitude, so that the stereo image does not move.
"""

from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from desmezcla.dsp.masks import binary_mask, ratio_mask
from desmezcla.dsp.median import harmonic_percussive, odd
from desmezcla.dsp.panning import joint_magnitude
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 32,
    "harmonic_frames": 5,
    "percussive_bins": 5,
    "segment_s": 0.05,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of Fitzgerald's paper.

    Attributes:
        stems: "harmonic", "percussive", and "residual" if the margin is above 1.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        harmonic_frames: Length of the median along time, odd.
        percussive_bins: Length of the median along frequency, odd.
        mask: "soft" shares each bin out by the power of both; "binary" gives it to one.
        power: Exponent of the soft mask.
        margin: How many times larger than the other one a component must be; above 1, what is
            neither goes to the residual.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[str, ...] = ("harmonic", "percussive")
    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    harmonic_frames: Annotated[int, AfterValidator(odd)] = 17
    percussive_bins: Annotated[int, AfterValidator(odd)] = 17
    mask: Literal["soft", "binary"] = "soft"
    power: float = Field(2.0, gt=0)
    margin: float = Field(1.0, ge=1)
    segment_s: float = Field(20.0, gt=0)

    @model_validator(mode="after")
    def _stems_fit_the_margin(self) -> "Config":
        stems = ("harmonic", "percussive") + (("residual",) if self.margin > 1 else ())
        if self.stems != stems:
            raise ValueError(f"with margin={self.margin} stems must be {stems}")
        return self


class Hpss(SeparationModel[Config]):
    """Median-filtering harmonic/percussive separation: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # A frame of the mask depends on half a median of frames, each half a window wide.
        context = config.n_fft + config.harmonic_frames // 2 * config.hop_length
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=context,
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", window("hann", config.n_fft), persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        masks = self._masks(joint_magnitude(spectrum))[:, :, None]  # [B, S, 1, F, N]
        estimates = masks * spectrum[:, None]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])

    def _masks(self, magnitude: Tensor) -> Tensor:
        """Return one mask per stem.

        Shape:
            magnitude: `[B, F, N]`; returns `[B, S, F, N]`.
        """
        config = self.config
        harmonic, percussive = harmonic_percussive(
            magnitude,
            harmonic_frames=config.harmonic_frames,
            percussive_bins=config.percussive_bins,
        )
        rule = binary_mask if config.mask == "binary" else partial(ratio_mask, power=config.power)
        against_percussive = torch.stack([harmonic, config.margin * percussive], dim=1)
        against_harmonic = torch.stack([config.margin * harmonic, percussive], dim=1)
        masks = [rule(against_percussive, dim=1)[:, 0], rule(against_harmonic, dim=1)[:, 1]]
        if config.margin > 1:
            masks.append(1 - masks[0] - masks[1])
        return torch.stack(masks, dim=1)
