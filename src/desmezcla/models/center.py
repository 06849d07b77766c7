"""Centre extraction: the voice stands in the middle of the stereo image, instruments beside it.

References:
    Avendano, "Frequency-domain source identification and manipulation in stereo mixes for
    enhancement, suppression and re-panning applications", WASPAA 2003 (the similarity of the
    channels and the Gaussian window around a position).
    Avendano and Jot, "A frequency-domain approach to multichannel upmix", JAES 52(7/8), 2004.

Differences from the papers:
    The similarity keeps the sign of the correlation, so that opposite channels are far from the
    centre, and is averaged over a few frames on both sides instead of a recursive mean over the
    past. Only a band counts as voice: bass and kick drum are in the middle as well. The other
    stem is what remains, so that both add up to the mixture. A mono mixture is all centre: of it
    the model returns the voice band and the rest.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from desmezcla.dsp.masks import band_mask
from desmezcla.dsp.median import odd
from desmezcla.dsp.panning import centre_similarity
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

TINY: dict[str, Any] = {"n_fft": 128, "hop_length": 32, "segment_s": 0.05}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: "vocals", what is in the middle, and "accompaniment", the rest (karaoke).
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        similarity_frames: Frames over which channels are compared, odd.
        width: Standard deviation of the Gaussian window over 1 - similarity; the larger, the
            further from the middle a source may be. With 0.1, 85 % of a source pass that is 3 dB
            louder on one side, and 13 % of one that is 6 dB louder.
        low_hz: Lower edge of the voice band.
        high_hz: Upper edge of the voice band.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[Literal["vocals"], Literal["accompaniment"]] = ("vocals", "accompaniment")
    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    similarity_frames: Annotated[int, AfterValidator(odd)] = 5
    width: float = Field(0.1, gt=0)
    low_hz: float = Field(200.0, ge=0)
    high_hz: float = Field(12000.0, gt=0)
    segment_s: float = Field(10.0, gt=0)


class Center(SeparationModel[Config]):
    """Extraction of the voice band's centre: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor
    band: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        context = config.n_fft + config.similarity_frames // 2 * config.hop_length
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=context,
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", window("hann", config.n_fft), persistent=False)
        frequencies_hz = torch.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
        band = band_mask(frequencies_hz, low_hz=config.low_hz, high_hz=config.high_hz)
        self.register_buffer("band", band[:, None], persistent=False)  # [F, 1]

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        hop, n_fft = self.config.hop_length, self.config.n_fft
        spectrum = stft(mix, n_fft=n_fft, hop_length=hop, window=self.window)  # [B, C, F, N]
        # The first and the last channel: one and the same in mono, whose similarity is 1.
        similarity = centre_similarity(
            spectrum[:, 0], spectrum[:, -1], frames=self.config.similarity_frames
        )
        centre = self.band * torch.exp(-0.5 * ((1 - similarity) / self.config.width).square())
        masks = torch.stack([centre, 1 - centre], dim=1)[:, :, None]  # [B, S, 1, F, N]
        estimates = masks * spectrum[:, None]
        return istft(estimates, hop_length=hop, window=self.window, length=mix.shape[-1])
