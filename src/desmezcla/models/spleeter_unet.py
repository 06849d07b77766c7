"""Spleeter: one U-Net per stem on the magnitude spectrogram, and ratio masks over the stems.

Reference:
    Hennequin, Khlif, Voituret and Moussallam, "Spleeter: a fast and efficient music source
    separation tool with pre-trained models", Journal of Open Source Software 5(50), 2020; the
    U-Net is that of Prétet, Hennequin, Royo-Letelier and Vaglio, "Singing voice separation: a study
    on training data", ICASSP 2019.

Differences from the paper:
    It gives no sizes; those here are of the authors' program, and the activations those of its two
    stems. (The published four and five stems use ELU everywhere, and the five a softmax over the
    stems.) As in the program, the skips carry the convolutions as they are, without normalisation
    and activation. Its batch normalisation after the last convolution of the encoder, which leads
    nowhere, is left out. The program's inverse STFT is right for a hop of a quarter of the window;
    here it is for any. Its Wiener filter is computed for the whole track, here for each piece of
    `frames`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.frames import magnitude
from desmezcla.dsp.framing import Framing
from desmezcla.dsp.stft import Synthesis, stft
from desmezcla.dsp.wiener import wiener
from desmezcla.models.base import (
    Core,
    InnerCore,
    ModelConfig,
    SpectralModel,
    spectral_core,
    spectrogram_spec,
)
from desmezcla.spec import ValidLengths

TINY: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": 128,
    "frames": 16,
    "bins": 128,
    "widths": (4, 8),
    "dropout": 0.0,
    "norm_momentum": 0.1,
    "segment_pieces": 2,
}

Activation = Literal["leaky_relu", "relu", "elu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    "relu": F.relu,
    "elu": F.elu,
}

# Keeps the shares of the stems finite, and equal, where all of them are silent.
EPSILON = 1e-10
# The filter of the original adds the deviation that single precision rounds to.
FILTER_EPSILON = torch.finfo(torch.float32).eps
DECODERS_WITH_DROPOUT = 3


class Config(ModelConfig):
    """Configuration; the defaults are those of the authors' program.

    Attributes:
        n_fft: Length of the STFT, samples.
        hop_length: Hop of the STFT, samples.
        frames: Frames of a piece; the pieces of a spectrogram do not see each other.
        bins: The networks see that many bins from the lowest.
        widths: Filters of the encoder's convolutions, each of which halves frames and bins.
        encoder_activation: After the encoder's normalisations.
        decoder_activation: After the decoder's convolutions.
        dropout: In the first three layers of the decoder, in training.
        norm_momentum: Share of a batch in the running statistics of the normalisations.
        mask: Whether each network makes its mask alone, or all share by a softmax.
        separation_exponent: Of the estimates' magnitudes in the ratio masks; 2 for powers.
        mask_extension: What the masks are above `bins`: 0, or the mean over the bins below.
        wiener_iterations: EM iterations of the multichannel Wiener filter, 0 for ratio masks.
        segment_pieces: Pieces that the engine gives the model at once.
    """

    n_fft: int = Field(4096, ge=4, multiple_of=2)
    hop_length: int = Field(1024, ge=1)
    frames: int = Field(512, ge=1)
    bins: int = Field(1024, ge=1)
    widths: tuple[int, ...] = Field((16, 32, 64, 128, 256, 512), min_length=2, max_length=12)
    encoder_activation: Activation = "leaky_relu"
    decoder_activation: Activation = "relu"
    dropout: float = Field(0.5, ge=0, lt=1)
    norm_momentum: float = Field(0.01, gt=0, le=1)
    mask: Literal["sigmoid", "softmax"] = "sigmoid"
    separation_exponent: float = Field(2.0, ge=1)
    mask_extension: Literal["zeros", "average"] = "zeros"
    wiener_iterations: int = Field(0, ge=0)
    # The first piece of a segment lacks what came before it, and the last what comes after. The
    # engine discards up to a third of what segments share (by default a quarter of them), which is
    # a whole piece if they have twelve; then segments give what the whole track gives.
    segment_pieces: int = Field(12, ge=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        step = 2 ** len(self.widths)
        if self.frames % step or self.bins % step or self.bins > self.n_fft // 2 + 1:
            raise ValueError(
                f"frames={self.frames} and bins={self.bins} must be multiples of {step}, which "
                f"{len(self.widths)} halvings need, and bins at most {self.n_fft // 2 + 1}"
            )
        if self.hop_length > self.n_fft // 2 or self.frames * self.hop_length <= self.n_fft:
            raise ValueError(
                f"hop_length={self.hop_length} must be at most half of n_fft={self.n_fft}, and "
                f"frames={self.frames} must reach further than a window"
            )
        if len(self.stems) < 2:
            raise ValueError(f"stems={self.stems} must be two or more, to share the mixture")
        return self


class SpleeterUnet(SpectralModel[Config]):
    """The Spleeter separator: `[B, C, T] -> [B, S, C, T]`.

    Frame n ends with sample `n · hop_length`, so that the first sees nothing but the silence before
    the track. Inside, axes are `[..., N, F]`, and F' are the bins that the networks see.
    """

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        piece_samples = config.frames * config.hop_length
        # All frames that reach into a segment fill its pieces to the last.
        segment_samples = config.segment_pieces * piece_samples - config.n_fft
        self.spec = spectrogram_spec(
            config,
            segment_s=segment_samples / config.sample_rate,
            hop_length=config.hop_length,
            context_samples=piece_samples,
            grid_samples=piece_samples,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.networks = Masks(config)

    def transform(self, audio: Tensor) -> Tensor:
        """Return the STFT up to the bins that the networks see; see `SpectralModel`."""
        return self._spectrum(audio)[..., : self.config.bins].mT

    def spectra(self, mix: Tensor) -> Tensor:
        """Return the masked STFT up to the bins that the networks see; see `SpectralModel`."""
        spectrum = self._spectrum(mix)
        return (self._masks(spectrum) * spectrum[:, None, ..., : self.config.bins]).mT

    def waveforms(self, mix: Tensor) -> Tensor:
        """Separate without the Wiener filter, all pieces as one batch; see `SeparationModel`."""
        spectrum = self._spectrum(mix)
        return self._stems([self._masked(spectrum, self._masks(spectrum))], mix)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate piece by piece; see `SeparationModel.forward`."""
        parts = torch.split(self._spectrum(mix), self.config.frames, dim=-2)
        return self._stems((self._shared(part, self._masks(part)) for part in parts), mix)

    def core(self) -> Core | InnerCore:
        """Return what lies between the STFT and its inverse, or what comes before the filter."""
        if self.config.wiener_iterations == 0:
            lengths = ValidLengths.multiples(self.config.frames)
            return spectral_core(self, self._masked_parts, self._framing(), lengths=lengths)

        def enter(mix: Tensor) -> tuple[Tensor, ...]:
            pieces = self._pieces(self._spectrum(mix))
            # An exporter takes an axis of size 1 for one that stays so: add a silent piece.
            return (F.pad(pieces, (0, 0) * 3 + (0, 1)) if len(pieces) == 1 else pieces,)

        def leave(mix: Tensor, masks: Tensor) -> Tensor:
            parts = torch.split(self._spectrum(mix), self.config.frames, dim=-2)
            own = masks[: len(mix) * len(parts)]
            own = own.reshape(len(mix), len(parts), *own.shape[1:])  # [B, K, S, C, frames, F']
            pairs = zip(parts, own.unbind(1), strict=True)
            return self._stems((self._shared(x, m[..., : x.shape[-2], :]) for x, m in pairs), mix)

        outside = "STFT before; Wiener filter and inverse STFT after"
        return InnerCore(self.networks, enter, leave, (0,), outside, inputs=("magnitude",))

    def _framing(self) -> Framing:
        """Return where the frames lie: the first before the signal, and silence around it."""
        size, window = self.config.n_fft, self.window.cpu().numpy()
        return Framing(
            size,
            self.config.hop_length,
            size,
            before_samples=size,
            parts=("spectra",),
            analysis=window,
            synthesis=window,
            power=window**2,
        )

    def _masked_parts(self, parts: Tensor) -> Tensor:
        """Return the stems' spectra. Shape: `[1, C, N, F, 2] -> [1, S, C, N, F, 2]`.

        N is a multiple of the frames of a piece.
        """
        seen = magnitude(parts[..., : self.config.bins, :])[0]  # [C, N, F']
        pieces = torch.unflatten(seen, 1, (-1, self.config.frames)).transpose(
            0, 1
        )  # [K, C, frames, F']
        masks = self.networks(pieces).permute(1, 2, 0, 3, 4).flatten(2, 3)  # [S, C, N, F']
        return self._shares(seen[None], masks[None], parts.shape[3])[..., None] * parts[:, None]

    def _frames(self, audio: Tensor) -> int:
        """Return the number of frames that begin before the end of the audio."""
        return -(-(audio.shape[-1] + self.config.n_fft) // self.config.hop_length)

    def _spectrum(self, audio: Tensor) -> Tensor:
        """Return the STFT. Shape: `[..., T] -> [..., N, F]`."""
        n_fft, hop, frames = self.config.n_fft, self.config.hop_length, self._frames(audio)
        # Half a window of zeros makes frames that are centred on n·hop end there. Those behind the
        # audio keep it from being reflected into the last frame.
        padded = F.pad(audio, (n_fft // 2, frames * hop - audio.shape[-1]))
        return stft(padded, n_fft=n_fft, hop_length=hop, window=self.window)[..., :frames].mT

    def _stems(self, pieces: Iterable[Tensor], mix: Tensor) -> Tensor:
        """Return the stems from their spectra, which may come a piece at a time.

        Shape:
            pieces: `[B, S, C, n, F]` each; mix: `[B, C, T]`; returns `[B, S, C, T]`.
        """
        hop, before = self.config.hop_length, self.config.n_fft // 2
        axes = (mix.shape[0], len(self.config.stems), mix.shape[1])
        length, first = (self._frames(mix) - 1) * hop, 0
        synthesis = Synthesis(axes, hop_length=hop, window=self.window, length=length)
        for piece in pieces:
            synthesis.add(piece.mT, first)
            first += piece.shape[-2]
        return synthesis.finish()[..., before : before + mix.shape[-1]]

    def _magnitude(self, spectrum: Tensor) -> Tensor:
        """Return what the networks see. Shape: `[..., N, F] -> [..., N, F']`."""
        return spectrum[..., : self.config.bins].abs()

    def _pieces(self, spectrum: Tensor) -> Tensor:
        """Return the magnitudes in pieces, the last filled up with zeros.

        Shape:
            spectrum: `[B, C, N, F]`; returns `[B·K, C, frames, F']`, K the number of pieces.
        """
        batch, channels, count, _ = spectrum.shape
        frames, bins = self.config.frames, self.config.bins
        padded = F.pad(self._magnitude(spectrum), (0, 0, 0, -count % frames))
        pieces = padded.reshape(batch, channels, -1, frames, bins)  # [B, C, K, frames, F']
        return pieces.transpose(1, 2).flatten(0, 1)

    def _masks(self, spectrum: Tensor) -> Tensor:
        """Return the masks of the stems. Shape: `[B, C, N, F] -> [B, S, C, N, F']`."""
        masks: Tensor = self.networks(self._pieces(spectrum))
        masks = masks.reshape(len(spectrum), -1, *masks.shape[1:])  # [B, K, S, C, frames, F']
        return masks.permute(0, 2, 3, 1, 4, 5).flatten(3, 4)[..., : spectrum.shape[2], :]

    def _shared(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Share the mixture out as the configuration says. Shape: as `_masked`."""
        share = self._filtered if self.config.wiener_iterations else self._masked
        return share(spectrum, masks)

    def _masked(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Share the mixture out by the powers of the estimates.

        Shape:
            spectrum: `[B, C, N, F]`; masks: `[B, S, C, N, F']`; returns `[B, S, C, N, F]`.
        """
        seen = self._magnitude(spectrum)
        return self._shares(seen, masks, spectrum.shape[-1]) * spectrum[:, None]

    def _shares(self, seen: Tensor, masks: Tensor, bins: int) -> Tensor:
        """Return the stems' shares of each bin.

        Shape:
            seen: `[B, C, N, F']`; masks: `[B, S, C, N, F']`; returns `[B, S, C, N, F]`, F = `bins`.
        """
        config = self.config
        powers = (masks * seen[:, None]) ** config.separation_exponent
        share = EPSILON / masks.shape[1]
        shares = (powers + share) / (powers.sum(1, keepdim=True) + EPSILON)
        above = bins - config.bins
        if config.mask_extension == "average":
            mean = shares.mean(-1, keepdim=True)
            shares = torch.cat([shares, mean.expand(*mean.shape[:-1], above)], -1)
        else:
            shares = F.pad(shares, (0, above))
        return shares

    def _filtered(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Share the mixture out by a Wiener filter, 0 above F'. Shape: as `_masked`."""
        estimates = masks * self._magnitude(spectrum)[:, None]
        shares = estimates / (estimates.sum(1, keepdim=True) + FILTER_EPSILON)
        shares = F.pad(shares, (0, spectrum.shape[-1] - self.config.bins))
        filtered = partial(
            wiener,
            iterations=self.config.wiener_iterations,
            window_frames=None,
            eps=FILTER_EPSILON,
        )
        pairs = zip(spectrum.mT, shares.mT, strict=True)
        return torch.stack([filtered(x, m).mT for x, m in pairs])


class Masks(nn.ModuleDict):
    """The U-Nets of all stems. The prefix lets a stem be called "keys"."""

    def __init__(self, config: Config) -> None:
        super().__init__({f"stem_{stem}": UNet(config) for stem in config.stems})
        self.softmax = config.mask == "softmax"

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return the masks of the stems. Shape: `[M, C, N, F'] -> [M, S, C, N, F']`."""
        logits = torch.stack([network(magnitude) for network in self.values()], dim=1)
        logits = logits.to(magnitude.dtype)
        return logits.softmax(1) if self.softmax else logits.sigmoid()


class UNet(nn.Module):
    """Convolutions that halve frames and bins, and transposed ones that double them, with skips."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        momentum = config.norm_momentum
        encoded = list(pairwise((config.channels, *config.widths)))
        outputs = (*config.widths[-2::-1], 1)
        inputs = (config.widths[-1], *(2 * width for width in outputs[:-1]))
        self.encoder = nn.ModuleList([nn.Conv2d(a, b, 5, stride=2) for a, b in encoded])
        self.encoder_norms = nn.ModuleList([norm(b, momentum) for _, b in encoded[:-1]])
        self.encoder_activation = ACTIVATIONS[config.encoder_activation]
        decoded = zip(inputs, outputs, strict=True)
        self.decoder = nn.ModuleList(
            [nn.ConvTranspose2d(a, b, 5, stride=2, padding=1) for a, b in decoded]
        )
        self.decoder_norms = nn.ModuleList([norm(b, momentum) for b in outputs])
        self.decoder_activation = ACTIVATIONS[config.decoder_activation]
        self.dropout = nn.Dropout(config.dropout)
        self.exit = nn.Conv2d(1, config.channels, 4, dilation=2, padding=3)
        for layer in (*self.encoder, *self.decoder, self.exit):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a mask. Shape: `[M, C, N, F']`, as the magnitude."""
        skips: list[Tensor] = []
        for index, convolution in enumerate(self.encoder):
            if index:
                x = self.encoder_activation(self.encoder_norms[index - 1](x))
            # Three zeros for a kernel of five, the odd one behind, as TensorFlow pads.
            x = convolution(F.pad(x, (1, 2, 1, 2)))
            skips.append(x)
        skips.pop()
        for index, deconvolution in enumerate(self.decoder):
            x = self.decoder_activation(deconvolution(x)[..., :-1, :-1])
            x = self.decoder_norms[index](x)
            if index < DECODERS_WITH_DROPOUT:
                x = self.dropout(x)
            if skips:
                x = torch.cat([skips.pop(), x], dim=1)
        result: Tensor = self.exit(x)
        return result


def norm(features: int, momentum: float) -> nn.BatchNorm2d:
    """Return a batch normalisation with what TensorFlow adds to the variance."""
    return nn.BatchNorm2d(features, eps=1e-3, momentum=momentum)
