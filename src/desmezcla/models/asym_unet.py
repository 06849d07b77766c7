"""A U-Net with spectral and temporal filters and attention on its skips masks the spectrum.

Reference:
    The RamDomMusicSeparate project's description (2025), first phase: a U-Net with filters 5x1 and
    1x5, skip connections and attention. The U-Net is that of Ronneberger, Fischer and Brox, "U-Net:
    Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; the attention that of
    Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.

Differences from the description:
    It trains one network per target, the drums first; here one network masks all `stems`, which
    with `stems=("drums",)` is the described one. It asks for the complex spectrogram of the target
    from the logarithmic magnitude of the mixture. Magnitudes do not tell how far a target's phase
    is from the mixture's, so the network gives a mask between 0 and 1, and the mixture the phase.
    The description leaves the widths open, and says neither what attends to what nor which
    normalisation it has. Here six levels of 16 to 512 features have batch normalisation in the
    encoder, gates weigh the skips, and time is halved twice only, because a frame of the coarsest
    level then has 256 ms. The audio of each segment is brought to a peak of 1, as in training
    there, but for the network's input only: the stems have the level of the mixture.
"""

from abc import abstractmethod
from typing import Annotated, Any, TypeVar

import torch
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude
from desmezcla.dsp.framing import Part as FramePart
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.dsp.median import odd
from desmezcla.dsp.stft import istft, stft
from desmezcla.models.base import (
    Core,
    ModelConfig,
    Part,
    SpectralModel,
    spectrogram_spec,
    stft_framing,
)
from desmezcla.nn.asymmetric import AsymmetricUNet

TINY: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": 128,
    "widths": (8, 12, 16),
    "time_levels": 1,
    "segment_s": 0.1,
    "context_s": 0.02,
}

# Magnitudes below -80 dB of a sine of full scale are taken for silence.
FLOOR = 1e-4
# A mixture whose peak is below -120 dB is left as quiet as it is.
LEAST_PEAK = 1e-6


class UNetConfig(ModelConfig):
    """What the models around this U-Net need to know; the defaults are those of the description.

    Attributes:
        sample_rate: Rate of the audio, Hz.
        n_fft: Length of the STFT with a Hann window, samples.
        hop_length: Hop of the STFT, samples.
        widths: Features of the levels of the U-Net, from the finest; every step halves the bins.
        time_levels: The first so many steps down halve the frames, too.
        taps: Length of the filters along frequency and along time, odd.
        segment_s: Seconds that the engine gives the model at once.
        context_s: Seconds at each edge of a segment that may be discarded.
    """

    sample_rate: int = 16000
    n_fft: int = Field(4096, ge=16, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    widths: tuple[PositiveInt, ...] = Field((16, 32, 64, 128, 256, 512), min_length=2)
    time_levels: int = Field(2, ge=0)
    taps: Annotated[int, AfterValidator(odd)] = 5
    segment_s: float = Field(4.0, gt=0)
    context_s: float = Field(0.5, ge=0)

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the STFT."""
        return self.n_fft // 2 + 1


UNetConfigT = TypeVar("UNetConfigT", bound=UNetConfig)


class MaskUNet(SpectralModel[UNetConfigT]):
    """The U-Net between an STFT and its inverse; a subclass says what is at its bottom."""

    window: Tensor

    def __init__(self, config: UNetConfigT) -> None:
        super().__init__(config)
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=round(config.context_s * config.sample_rate),
            grid_samples=config.hop_length,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.network = AsymmetricUNet(
            config.channels,
            len(config.stems) * config.channels,
            widths=config.widths,
            time_levels=config.time_levels,
            taps=config.taps,
            bottleneck=self.bottleneck(),
        )

    @abstractmethod
    def bottleneck(self) -> nn.Module | None:
        """Return what is at the bottom of the U-Net, untrained; None for nothing."""

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT; see `SpectralModel`."""
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT of the mixture; see `SpectralModel`."""
        spectrum = self.transform(mix)  # [B, C, F, N]
        return self._masked(spectrum, self.network(self._decades(mix, spectrum.abs())))

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self._signal(self.spectra(mix), mix.shape[-1])

    def core(self) -> Core:
        """Return what lies between the STFT and its inverse; see `Core`."""
        parts: tuple[FramePart, ...] = ("frames", "spectra")  # the former for the peak
        framing = stft_framing(self.window, self.config.hop_length, parts=parts)
        return Core(Part(self, self._masked_parts), FrontEnd(framing, gives=("spectra",)))

    def _masked_parts(self, frames: Tensor, parts: Tensor) -> Tensor:
        """Return the stems' spectra.

        Shape:
            frames: `[B, C, N, W]`; parts: `[B, C, N, F, 2]`; returns `[B, S, C, N, F, 2]`.
        """
        logits = self.network(self._decades(frames.flatten(2), magnitude(parts).transpose(-1, -2)))
        return self._masks(logits).transpose(-1, -2)[..., None] * parts[:, None]

    @torch.no_grad()
    def _decades(self, mix: Tensor, magnitudes: Tensor) -> Tensor:
        """Return the logarithmic magnitude: -1 for silence, 1 for a sine at the mixture's peak.

        Shape:
            mix: `[B, C, T]`; magnitudes: `[B, C, F, N]`; returns `[B, C, F, N]`.
        """
        peak = mix.abs().amax(dim=(1, 2)).clamp(min=LEAST_PEAK)[:, None, None, None]
        full_scale = peak * self.window.sum() / 2
        return 1 + 0.5 * torch.log10(magnitudes / full_scale + FLOOR)

    def _masked(self, spectrum: Tensor, logits: Tensor) -> Tensor:
        """Return the stems' STFTs. Shape: `[B, C, F, N]`, `[B, S·C, F, N]` -> `[B, S, C, F, N]`."""
        masks = self._masks(logits.to(spectrum.real.dtype))
        # A real mask times a complex bin, without making the mask complex first.
        return torch.view_as_complex(masks[..., None] * torch.view_as_real(spectrum)[:, None])

    def _masks(self, logits: Tensor) -> Tensor:
        """Return the stems' masks. Shape: `[B, S·C, F, N] -> [B, S, C, F, N]`."""
        places = (len(self.spec.stems), self.spec.channels)
        return torch.unflatten(torch.sigmoid(logits), 1, places)

    def _signal(self, spectra: Tensor, length: int) -> Tensor:
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)


class Config(UNetConfig):
    """Configuration; see `UNetConfig`."""


class AsymUNet(MaskUNet[Config]):
    """The asymmetric U-Net separator: `[B, C, T] -> [B, S, C, T]`."""

    def bottleneck(self) -> None:
        """Return nothing: the encoder's last features go straight to the decoder."""
