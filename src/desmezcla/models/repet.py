"""REPET-SIM: the accompaniment is what repeats, the voice is what does not.

References:
    Rafii and Pardo, "Music/voice separation using the similarity matrix", ISMIR 2012.

Differences from the paper:
    Neighbours are local maxima of a frame's similarities over the minimum distance on both sides,
    the frame itself always among them. Of an even number of them the lower middle value is the
    median, instead of the mean of both. Stereo channels share the neighbours, not the medians.
    The engine gives the model a segment at a time: only what repeats inside it counts.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.dsp.panning import joint_magnitude
from desmezcla.dsp.repetition import repeating_background, similar_frames
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {
    "n_fft": 128,
    "hop_length": 64,
    "min_distance_s": 0.01,
    "max_frames": 5,
    "segment_s": 0.1,
}


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper.

    Attributes:
        stems: "vocals", what does not repeat, and "accompaniment", what does.
        n_fft: Length of the STFT, samples; the window is a Hamming window.
        hop_length: Hop of the STFT, samples.
        min_similarity: Cosine above which frames count as similar.
        min_distance_s: Seconds between two frames that are similar to the same one.
        max_frames: Similar frames of one frame at most.
        high_pass_hz: Below this frequency everything is accompaniment.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[Literal["vocals"], Literal["accompaniment"]] = ("vocals", "accompaniment")
    n_fft: int = Field(2048, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    min_similarity: float = Field(0.0, ge=0, le=1)
    min_distance_s: float = Field(1.0, ge=0)
    max_frames: int = Field(100, ge=1)
    high_pass_hz: float = Field(100.0, ge=0)
    segment_s: float = Field(30.0, gt=0)


class Repet(SeparationModel[Config]):
    """REPET-SIM: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=config.n_fft,
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", window("hamming", config.n_fft), persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        repeating = torch.stack([self._repeating_mask(item) for item in spectrum])
        masks = torch.stack([1 - repeating, repeating], dim=1)  # [B, S, C, F, N]
        estimates = masks * spectrum[:, None]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])

    def _repeating_mask(self, spectrum: Tensor) -> Tensor:
        """Return how much of each bin repeats.

        Shape:
            spectrum: `[C, F, N]`; returns `[C, F, N]`.
        """
        config = self.config
        distance = round(config.min_distance_s * config.sample_rate / config.hop_length)
        neighbours = similar_frames(
            joint_magnitude(spectrum),
            min_similarity=config.min_similarity,
            min_distance_frames=max(1, distance),
            max_frames=config.max_frames,
        )
        magnitude = spectrum.abs()
        background = repeating_background(magnitude.flatten(0, 1), neighbours)
        mask = background.reshape(magnitude.shape) / magnitude
        mask = torch.where(magnitude > 0, mask, 1.0)
        cutoff_bin = int(config.high_pass_hz * config.n_fft / config.sample_rate)
        everything = torch.ones_like(mask[:, : cutoff_bin + 1])
        return torch.cat([everything, mask[:, cutoff_bin + 1 :]], dim=1)
