"""RPCA: the accompaniment is of low rank, since it repeats; the voice is sparse.

References:
    Huang, Chen, Smaragdis and Hasegawa-Johnson, "Singing-voice separation from monaural recordings
    using robust principal component analysis", ICASSP 2012.
    Candès, Li, Ma and Wright, "Robust principal component analysis?", JACM 58(3), 2011.
    Lin, Chen and Ma, "The augmented Lagrange multiplier method for exact recovery of corrupted
    low-rank matrices", 2010.

Differences from the paper:
    Its recordings are mono at 16 kHz, with a transform of 1024 samples and a hop of 256. Here the
    transform of 2048 and the hop of 512 are nearly as long at 44.1 kHz, and all channels share one
    mask, made from their joint magnitude. The soft mask is the ratio of both parts. The iterations
    end at an error of 1e-4, where the masks have long been settled; the paper's program goes on to
    1e-7. The engine gives the model a segment at a time: only what repeats inside it counts.
"""

from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.dsp.low_rank import robust_pca
from desmezcla.dsp.masks import binary_mask, ratio_mask
from desmezcla.dsp.panning import joint_magnitude
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {"n_fft": 128, "hop_length": 64, "iterations": 20, "segment_s": 0.1}


class Config(ModelConfig):
    """Configuration; the defaults are those of the paper but for the transform.

    Attributes:
        stems: "vocals", the sparse part, and "accompaniment", the part of low rank.
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        sparsity: Weight of the sparse part, k in λ = k / sqrt(max(F, N)): the larger, the less is
            taken for the voice.
        tolerance: Relative error at which the iterations end.
        iterations: Most of them.
        mask: "binary" gives a bin to the larger part; "soft" shares it out by the magnitudes.
        gain: How many times larger than the accompaniment the voice must be.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[Literal["vocals"], Literal["accompaniment"]] = ("vocals", "accompaniment")
    n_fft: int = Field(2048, ge=4, multiple_of=2)
    hop_length: int = Field(512, ge=1)
    sparsity: float = Field(1.0, gt=0)
    tolerance: float = Field(1e-4, gt=0)
    iterations: int = Field(100, ge=1)
    mask: Literal["binary", "soft"] = "binary"
    gain: float = Field(1.0, gt=0)
    segment_s: float = Field(10.0, gt=0)


class Rpca(SeparationModel[Config]):
    """Robust principal component analysis: `[B, C, T] -> [B, S, C, T]`."""

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
        self.register_buffer("window", window("hann", config.n_fft), persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        masks = torch.stack([self._masks(item) for item in joint_magnitude(spectrum)])
        estimates = masks[:, :, None] * spectrum[:, None]  # [B, S, C, F, N]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])

    def _masks(self, magnitude: Tensor) -> Tensor:
        """Return one mask per stem: `[F, N] -> [S, F, N]`."""
        config = self.config
        low_rank, sparse = robust_pca(
            magnitude,
            sparsity=config.sparsity,
            tolerance=config.tolerance,
            iterations=config.iterations,
        )
        rule = binary_mask if config.mask == "binary" else partial(ratio_mask, power=1.0)
        return rule(torch.stack([sparse.abs(), config.gain * low_rank.abs()]), dim=0)
