"""A second U-Net that denoises another model's estimates in a few steps of diffusion.

Reference:
    The RamDomMusicSeparate project's description (2025), second phase, which names Kong et al.,
    "DiffWave: A Versatile Diffusion Model for Audio Synthesis", ICLR 2021. That diffusion leads
    from an estimate, and not from nothing, to the truth, in spectra with compressed magnitudes, is
    from Lemercier et al., "StoRM: A Diffusion-based Stochastic Regeneration Model for Speech
    Enhancement and Dereverberation", IEEE/ACM TASLP 2023; the steps are those of Song, Meng and
    Ermon, "Denoising Diffusion Implicit Models", ICLR 2021.

Differences from the description:
    It gives neither a schedule nor sizes. Here the spectra are divided by the root mean square of
    the mixture's and compressed. What is diffused is the correction c, the true stems less the
    estimates: at time t, c_t = √a(t)·c + start·√(1 - a(t))·ε, with complex Gaussian noise ε of
    variance 1. At time 0 the correction is clean, and at time 1 the estimates plus c_t are noisy
    estimates, in training as in use; a network that is trained on noisy stems instead, but used on
    noisy estimates, takes the errors of the estimates for true. The U-Net sees c_t, the estimates,
    the mixture and t, and gives c, where DiffWave's gives ε. All stems are denoised at once. The
    noise is the same for every item and every call, drawn with `seed`, so that results repeat.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from desmezcla.dsp.median import odd
from desmezcla.dsp.stft import istft, stft
from desmezcla.errors import ParameterError
from desmezcla.models import config_class, list_models, model_class
from desmezcla.models.asym_unet import TINY as UNET_TINY
from desmezcla.models.base import ModelConfig, SeparationModel
from desmezcla.nn.asymmetric import AsymmetricUNet
from desmezcla.nn.positions import sinusoids

TINY: dict[str, Any] = {
    "base_config": UNET_TINY,
    "n_fft": 256,
    "hop_length": 128,
    "widths": (8, 12, 16),
    "time_levels": 1,
    "embedding": 8,
    "steps": 2,
}

Schedule = Literal["cosine", "linear"]

# What the base is given by the refiner.
SHARED = ("stems", "sample_rate", "channels")
# A mixture whose root mean square is below -120 dB is left as quiet as it is.
LEAST_LEVEL = 1e-6
# -80 dB of the mixture's root mean square.
FLOOR = 1e-4


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: What is separated; this, the rate and the channels are the base's own by default.
        sample_rate: Rate of the audio, Hz.
        channels: 1 or 2.
        base: Architecture whose estimates are refined.
        base_config: Fields of its `Config`, but for the three above.
        train_base: Train the base, too; if not, it stays as it is.
        steps: Steps from noisy estimates to clean ones.
        start: Root mean square of the noise that is first added to the estimates; that of the
            mixture, before its magnitudes are compressed, is 1.
        schedule: How a(t) falls: "cosine" as in Nichol and Dhariwal, "Improved Denoising Diffusion
            Probabilistic Models", ICML 2021; "linear" for rates of noise that grow linearly, as in
            Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.
        seed: Of the noise.
        n_fft: Length of the STFT with a Hann window, samples.
        hop_length: Hop of the STFT, samples.
        exponent: Of the compressed magnitudes.
        widths: Features of the levels of the U-Net, from the finest; every step halves the bins.
        time_levels: The first so many steps down halve the frames, too.
        taps: Length of the filters along frequency and along time, odd.
        embedding: Size of the vector that stands for t, even.
    """

    sample_rate: int = 16000
    base: str = "asym_unet"
    base_config: dict[str, Any] = Field(default={}, validate_default=True)
    train_base: bool = False
    steps: int = Field(4, ge=1, le=1000)
    start: float = Field(0.5, gt=0, le=10)
    schedule: Schedule = "cosine"
    seed: int = Field(0, ge=0)
    n_fft: int = Field(1024, ge=16, multiple_of=2)
    hop_length: int = Field(256, ge=1)
    exponent: float = Field(0.5, gt=0, le=1)
    widths: tuple[PositiveInt, ...] = Field((24, 48, 96, 192, 384), min_length=2)
    time_levels: int = Field(4, ge=0)
    taps: Annotated[int, AfterValidator(odd)] = 5
    embedding: int = Field(128, ge=4, multiple_of=2)

    @model_validator(mode="before")
    @classmethod
    def _shared_with_the_base(cls, fields: dict[str, Any]) -> dict[str, Any]:
        base = fields.get("base", cls.model_fields["base"].default)
        if base not in list_models():
            return fields
        usual = config_class(base).model_fields
        return {name: usual[name].default for name in SHARED} | fields

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        config_class(base)
        return base

    @field_validator("base_config")
    @classmethod
    def _complete(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Check the base's fields, and add those left out, as they are to be saved."""
        if "base" not in info.data:
            return fields
        if shared := sorted(fields.keys() & set(SHARED)):
            raise ValueError(f"{', '.join(shared)} must not be in it; give them beside base")
        try:
            config = base_model_config(info.data, fields)
        except ValidationError as error:
            raise ValueError(
                "; ".join(
                    f"{'.'.join(map(str, e['loc']))}={e['input']!r}: {e['msg']}"
                    for e in error.errors()
                )
            ) from error
        return config.model_dump(mode="json", exclude=set(SHARED))


def base_model_config(refiner: dict[str, Any], fields: dict[str, Any]) -> ModelConfig:
    """Return the base's `Config`, from fields of the refiner's and fields of its own."""
    shared = {name: refiner[name] for name in SHARED if name in refiner}
    return config_class(refiner["base"])(**shared, **fields)


@dataclass(frozen=True)
class Scene:
    """What the denoiser knows beside the noisy correction, as compressed spectra.

    Attributes:
        mixture: `[B, 1, C, F, N]`.
        estimates: What the base makes of it, `[B, S, C, F, N]`.
        level: Root mean square of the mixture's STFT, `[B, 1, 1, 1, 1]`.
    """

    mixture: Tensor
    estimates: Tensor
    level: Tensor


class DiffusionRefiner(SeparationModel[Config]):
    """Any separator, and the diffusion that refines its stems: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.base = model_class(config.base)(base_model_config(dict(config), config.base_config))
        if self.base.spec.stems != config.stems:
            raise ParameterError(
                f"base={config.base!r} gives the stems {self.base.spec.stems}, but stems="
                f"{config.stems}; both must be the same, so change base_config"
            )
        self.spec = replace(self.base.spec, causal=False, latency_samples=0)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        signals, parts = len(config.stems), 2 * config.channels
        self.embed = nn.Sequential(
            nn.Linear(config.embedding, config.embedding),
            nn.ReLU(),
            nn.Linear(config.embedding, config.embedding),
        )
        self.denoiser = AsymmetricUNet(
            (2 * signals + 1) * parts,
            signals * parts,
            widths=config.widths,
            time_levels=config.time_levels,
            taps=config.taps,
            condition=config.embedding,
        )

    def train(self, mode: bool = True) -> "DiffusionRefiner":
        """Change to training or evaluation; a base that is not trained stays in the latter."""
        super().train(mode)
        self.base.train(mode and self.config.train_base)
        return self

    def separate(self, mix: Tensor) -> Tensor:
        """Let the base separate, then refine; see `SeparationModel.forward`."""
        config = self.config
        scene = self._scene(mix, self.base.separate(mix))
        times = torch.linspace(1, 0, config.steps + 1, device=mix.device)
        shares = signal_share(times.to(self.window.dtype), config.schedule)
        shape, kind = scene.estimates.shape, scene.estimates.dtype
        generator = torch.Generator().manual_seed(config.seed)
        noise = torch.randn(shape[1:], dtype=kind, generator=generator)
        x = config.start * noise.to(mix.device).expand(shape)
        for time, (now, later) in zip(times[:-1], pairwise(shares), strict=True):
            correction = self._denoised(x, time.expand(len(mix)), scene)
            # DDIM: the noise that this denoising found, less of it.
            noise = (x - now.sqrt() * correction) / (1 - now).sqrt()
            x = noised(correction, noise, later)
        return self._signals(scene.estimates + x, scene, mix.shape[-1])

    def training_waveforms(self, mix: Tensor, stems: Tensor) -> Tensor:
        """Return the estimates with a correction that was denoised; see `SeparationModel`.

        In evaluation, what is random is the same each time.
        """
        config = self.config
        generator = None if self.training else torch.Generator().manual_seed(config.seed)
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.train_base):
            estimates = self.base.separate(mix)
        scene = self._scene(mix, estimates)
        correction = self._compressed(stems, scene.level) - scene.estimates
        noise = torch.randn(correction.shape, dtype=correction.dtype, generator=generator)
        # `rand` may be 0, where nothing is left to learn, but not 1.
        times = (1 - torch.rand(len(mix), generator=generator)).to(mix.device)
        shares = signal_share(times.to(self.window.dtype), config.schedule)
        noise = config.start * noise.to(mix.device)
        x = noised(correction, noise, shares[:, None, None, None, None])
        denoised = self._denoised(x, times, scene)
        return self._signals(scene.estimates + denoised, scene, mix.shape[-1])

    def _scene(self, mix: Tensor, estimates: Tensor) -> Scene:
        """Return the compressed spectra. Shape: `[B, C, T]`, `[B, S, C, T]`."""
        spectrum = self._transform(mix[:, None])  # [B, 1, C, F, N]
        mean_square = torch.view_as_real(spectrum).square().sum(-1).mean((1, 2, 3, 4), keepdim=True)
        least = LEAST_LEVEL**2 * self.window.square().sum()
        level = mean_square.maximum(least).sqrt()
        mixture = powered(spectrum / level, self.config.exponent)
        return Scene(mixture, self._compressed(estimates, level), level)

    def _denoised(self, x: Tensor, times: Tensor, scene: Scene) -> Tensor:
        """Return what noisy corrections are without the noise.

        Shape:
            x: `[B, S, C, F, N]`; times: `[B]`; returns as x.
        """
        seen = torch.view_as_real(torch.cat([x, scene.estimates, scene.mixture], dim=1))
        seen = seen.permute(0, 1, 2, 5, 3, 4).flatten(1, 3)  # [B, (2S + 1)·C·2, F, N]
        # Times up to 1 as numbers of a thousand steps, which the frequencies are made for.
        condition = self.embed(sinusoids(1000 * times.to(seen.dtype), self.config.embedding))
        correction = self.denoiser(seen, condition).to(seen.dtype)
        correction = correction.unflatten(1, (*x.shape[1:3], 2)).permute(0, 1, 2, 4, 5, 3)
        return torch.view_as_complex(correction.contiguous())

    def _transform(self, audio: Tensor) -> Tensor:
        config = self.config
        return stft(audio, n_fft=config.n_fft, hop_length=config.hop_length, window=self.window)

    def _compressed(self, audio: Tensor, level: Tensor) -> Tensor:
        return powered(self._transform(audio) / level, self.config.exponent)

    def _signals(self, spectra: Tensor, scene: Scene, length: int) -> Tensor:
        spectra = scene.level * powered(spectra, 1 / self.config.exponent)
        return istft(spectra, hop_length=self.config.hop_length, window=self.window, length=length)


def signal_share(times: Tensor, schedule: Schedule) -> Tensor:
    """Return a(t): 1 at time 0, next to nothing at time 1."""
    if schedule == "linear":
        # The product of 1 - β over a thousand steps with β from 0.0001 to 0.02, as an integral.
        return torch.exp(-0.1 * times - (20 - 0.1) / 2 * times.square())
    # The offset keeps the first rates of noise from being too small.
    offset = 0.008
    angles = (times + offset) / (1 + offset) * math.pi / 2
    return (angles.cos() / math.cos(offset / (1 + offset) * math.pi / 2)).square()


def noised(correction: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """Return a correction with noise, for its share a of the power."""
    return share.sqrt() * correction + (1 - share).sqrt() * noise


def powered(spectra: Tensor, exponent: float) -> Tensor:
    """Return complex numbers with their magnitudes raised to a power.

    Those below the floor are nearly scaled instead, since the slope of roots at 0 is infinite.
    """
    power = torch.view_as_real(spectra).square().sum(-1)
    return spectra * (power + FLOOR**2) ** ((exponent - 1) / 2)
