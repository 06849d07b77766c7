"""DeepConvSep on two channels at once, with a mask per stem and channel.

Reference:
    The description of PytorchConvSep, a Spanish degree project (2018), which brings the network of
    Chandna, Miron, Janer and Gómez ("Monoaural Audio Source Separation Using Deep Convolutional
    Neural Networks", LVA/ICA 2017) to PyTorch and stereo.

Differences from the description:
    It gives the transform, the 30 frames and the bottleneck of 128; the filters (50 vertical, 30
    horizontal of 15 frames), the overlap of half a window and the transposed convolutions of their
    own for each stem are those of its program. The magnitude is scaled as in `deepconvsep`, where
    the program scales each bin to the range that it has in the training set. What `deepconvsep`
    lists of overlapping windows, silent bins and the edges of the STFT holds here too.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from desmezcla.models import deepconvsep
from desmezcla.models.deepconvsep import DeepConvSep, MaskNetwork, initialise

TINY: dict[str, Any] = deepconvsep.TINY | {
    "spectral_filters": 24,
    "temporal_filters": 12,
    "hidden_size": 24,
}


class Config(deepconvsep.Config):
    """Configuration; the defaults are those of the description and of its program.

    The other fields are those of `deepconvsep`.

    Attributes:
        channels: Channels that the network sees together.
        hop_length: Hop of the STFT, samples; a quarter of the transform.
        window: Window of the STFT.
        overlap_frames: Frames that a window shares with the next.
        temporal_filters: Filters of the horizontal convolution.
    """

    channels: int = 2
    hop_length: int = Field(256, ge=1)
    window: Literal["hann", "blackmanharris"] = "hann"
    overlap_frames: int = Field(15, ge=0)
    temporal_filters: int = Field(30, ge=1)


class DeepConvSepStereo(DeepConvSep):
    """The stereo DeepConvSep separator: `[B, C, T] -> [B, S, C, T]`."""

    def mask_network(self) -> MaskNetwork:
        """Return the untrained network."""
        return StereoMaskNetwork(self.config)


class StereoMaskNetwork(MaskNetwork):
    """Sees all channels, and decodes each stem with transposed convolutions of its own."""

    def __init__(self, config: deepconvsep.Config) -> None:
        super().__init__(config, channels=config.channels)
        self.decoders = nn.ModuleList([_decoder(config) for _ in config.stems])
        self.decoders.apply(initialise)

    def decode(self, x: Tensor) -> Tensor:
        """Lead back to spectra; see `MaskNetwork`."""
        batch, _, windows = x.shape[:3]
        stems = zip(self.decoders, x.unbind(1), strict=True)
        spectra = [decoder(features.flatten(0, 1)) for decoder, features in stems]
        return torch.stack([s.unflatten(0, (batch, windows)) for s in spectra], dim=1)


def _decoder(config: deepconvsep.Config) -> nn.Sequential:
    """Return the two transposed convolutions of a stem, horizontal and vertical."""
    temporal, spectral = config.temporal_filters, config.spectral_filters
    return nn.Sequential(
        nn.ConvTranspose1d(temporal, spectral, config.temporal_frames),
        nn.ConvTranspose1d(spectral, config.channels * config.bins, 1),
    )
