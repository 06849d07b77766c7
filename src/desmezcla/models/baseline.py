"""Baseline: four stems by signal processing alone, the bottom line for every trained model.

Every bin of the spectrogram is judged by three questions, and every stem by its answers:

    smooth    Is it free of clicks, seen through a short window? Voices are, drums are not.
    moving    Does it change, seen through a long window? Drums and voices do.
    centred   Is it in the middle of the stereo image? Voices and bass are, drums often.

The weight of a stem is its usual level at that frequency times the answers, raised to the stem's
exponents; the masks are the shares of these weights. Then a factorisation of low rank replaces
each stem's masked magnitude: it keeps notes and hits that come back and drops what leaked in by
chance. The shares are taken once more.

References:
    Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010.
    Tachibana, Ono and Sagayama, "Singing voice enhancement in monaural music signals based on
    two-stage harmonic/percussive sound separation on multiple resolutions", IEEE/ACM TASLP
    22(1), 2014 (a voice is percussive through a long window, harmonic through a short one).
    Avendano and Jot, "A frequency-domain approach to multichannel upmix", JAES 52(7/8), 2004.
    Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2001.

Differences from the papers:
    The combination is this project's own. The exponents and levels below are not from a paper
    either: they were fitted to songs rendered from single notes, drum hits and sung syllables,
    and then rounded by hand. No recording of music was used.
"""

import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from desmezcla.dsp.masks import ratio_mask
from desmezcla.dsp.median import harmonic_percussive, odd
from desmezcla.dsp.nmf import nmf
from desmezcla.dsp.panning import centre_similarity, joint_magnitude
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import window
from desmezcla.models.base import ModelConfig, SeparationModel, spectrogram_spec

# Exponents of the answers, one row per stem: vocals, drums, bass, other.
_EXPONENTS = (
    # smooth, moving, centred
    (4.0, 0.5, 5.0),
    (0.0, 1.5, 2.0),
    (0.0, 0.0, 5.0),
    (1.0, 0.0, 0.0),
)
# Usual level of each stem at octaves of 40 Hz, relative to the loudest, if all answers are yes.
_LOWEST_HZ = 40.0
_LEVELS_DB = (
    (-30.0, -21.0, -15.0, 0.0, 0.0, 0.0, 0.0, -9.0, -21.0),
    (0.0, 0.0, 0.0, -9.0, -21.0, -18.0, -3.0, 0.0, 0.0),
    (-21.0, -6.0, -12.0, -27.0, -33.0, -27.0, -15.0, -21.0, -27.0),
    (-33.0, -33.0, -21.0, -15.0, -18.0, -15.0, -3.0, -18.0, -24.0),
)
# An answer counts as at least this, so that one no does not rule a stem out.
_DOUBT = 0.1
# The third question is dropped by and by where less than this part of the energy is in the side
# channel, or where one channel has less than this part of the other's: panning says little there.
_LEAST_SIDE = 0.005
_LEAST_BALANCE = 0.1

OddCount = Annotated[int, AfterValidator(odd)]

TINY: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": 64,
    "rank": 2,
    "iterations": 3,
    "segment_s": 0.1,
}


class Config(ModelConfig):
    """Configuration.

    Attributes:
        stems: The four usual ones.
        n_fft: Length of the STFT that is masked, samples.
        hop_length: Hop of that STFT, samples.
        resolution: How many times shorter and longer the two other windows are.
        short_frames: Median along time through the short window, odd.
        short_bins: Median along frequency through the short window, odd.
        long_frames: Median along time through the long window, odd.
        long_bins: Median along frequency through the long window, odd.
        similarity_frames: Frames over which channels are compared, odd.
        rank: Components of each stem in the factorisation.
        iterations: Updates of the factorisation; 0 leaves it out.
        factorise_below_hz: Bins above are not factorised; they hold little energy and cost much.
        mask_power: Exponent of the final ratio mask.
        seed: Seed of the factorisation's start.
        segment_s: Seconds that the engine gives the model at once.
    """

    stems: tuple[Literal["vocals"], Literal["drums"], Literal["bass"], Literal["other"]] = (
        "vocals",
        "drums",
        "bass",
        "other",
    )
    n_fft: int = Field(4096, ge=16, multiple_of=16)
    hop_length: int = Field(1024, ge=4, multiple_of=4)
    resolution: Literal[2, 4] = 4
    short_frames: OddCount = 25
    short_bins: OddCount = 17
    long_frames: OddCount = 9
    long_bins: OddCount = 31
    similarity_frames: OddCount = 5
    rank: int = Field(12, ge=1)
    iterations: int = Field(20, ge=0)
    factorise_below_hz: float = Field(6000.0, ge=0)
    mask_power: float = Field(1.5, gt=0)
    seed: int = 0
    segment_s: float = Field(30.0, gt=0)


class Baseline(SeparationModel[Config]):
    """Four stems without training: `[B, C, T] -> [B, S, C, T]`."""

    window: Tensor
    short_window: Tensor
    long_window: Tensor
    exponents: Tensor
    levels: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # What the answers depend on; what the factorisation learns has no such bound.
        long_context = config.n_fft + config.long_frames // 2 * config.hop_length
        self.spec = spectrogram_spec(
            config,
            segment_s=config.segment_s,
            hop_length=config.hop_length,
            context_samples=config.resolution * long_context,
            grid_samples=config.resolution * config.hop_length,
        )
        frequencies_hz = torch.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
        for name, buffer in (
            ("window", window("hann", config.n_fft)),
            ("short_window", window("hann", config.n_fft // config.resolution)),
            ("long_window", window("hann", config.n_fft * config.resolution)),
            ("exponents", torch.tensor(_EXPONENTS)),  # [S, 3]
            ("levels", _levels(frequencies_hz)),  # [S, F]
        ):
            self.register_buffer(name, buffer, persistent=False)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        # All three transforms have frames on the same grid where none has to continue the signal.
        missing = self.long_window.shape[0] // 2 + 1 - mix.shape[-1]
        padded = F.pad(mix, (0, max(0, missing)))
        # The products of the masks are taken in full precision, whatever autocast says.
        with torch.autocast(mix.device.type, enabled=False):
            stems = torch.stack([self._separate_item(item) for item in padded])
        return stems[..., : mix.shape[-1]]

    def _separate_item(self, audio: Tensor) -> Tensor:
        """Separate one item of the batch: `[C, T] -> [S, C, T]`."""
        hop, samples = self.config.hop_length, audio.shape[-1]
        spectrum = stft(audio, n_fft=self.config.n_fft, hop_length=hop, window=self.window)
        masks = self._factorised(joint_magnitude(spectrum), self._judged(audio, spectrum))
        # One stem at a time: the inverse needs several times the memory of what it returns.
        estimates = (mask * spectrum for mask in masks)
        return torch.stack(
            [istft(x, hop_length=hop, window=self.window, length=samples) for x in estimates]
        )

    def _judged(self, audio: Tensor, spectrum: Tensor) -> Tensor:
        """Return masks from the three answers and the usual levels.

        Shape:
            audio: `[C, T]`; spectrum: `[C, F, N]`; returns `[S, F, N]`.
        """
        similarity = centre_similarity(
            spectrum[0], spectrum[-1], frames=self.config.similarity_frames
        )
        answers = torch.stack([self._smooth(audio), self._moving(audio), similarity.clamp(min=0)])
        exponents = self.exponents.clone()
        exponents[:, 2] *= _trust_in_panning(audio)
        evidence = torch.einsum("sa,afn->sfn", exponents, torch.log(answers + _DOUBT))
        return torch.softmax(evidence + self.levels[..., None], dim=0)

    def _smooth(self, audio: Tensor) -> Tensor:
        """Answer how much of each bin is no click, through the short window: `[F, N]`."""
        config = self.config
        harmonic, energy = _harmonic_energy(
            audio,
            window=self.short_window,
            hop_length=config.hop_length // config.resolution,
            harmonic_frames=config.short_frames,
            percussive_bins=config.short_bins,
        )  # [F / r, N·r]
        share = _pooled_share(harmonic, energy, factor=config.resolution)  # [F / r, N]
        bins = config.n_fft // 2 + 1
        return _interpolated(share.T, factor=config.resolution, size=bins).T

    def _moving(self, audio: Tensor) -> Tensor:
        """Answer how much of each bin is no steady tone, through the long window: `[F, N]`."""
        config = self.config
        harmonic, energy = _harmonic_energy(
            audio,
            window=self.long_window,
            hop_length=config.hop_length * config.resolution,
            harmonic_frames=config.long_frames,
            percussive_bins=config.long_bins,
        )  # [F·r, N / r]
        share = _pooled_share(harmonic.T, energy.T, factor=config.resolution).T  # [F, N / r]
        frames = 1 + audio.shape[-1] // config.hop_length
        return 1 - _interpolated(share, factor=config.resolution, size=frames)

    def _factorised(self, magnitude: Tensor, masks: Tensor) -> Tensor:
        """Return masks from factorisations of the masked magnitudes, below a frequency.

        Shape:
            magnitude: `[F, N]`; masks: `[S, F, N]`; returns `[S, F, N]`.
        """
        config = self.config
        bins = int(config.factorise_below_hz * config.n_fft / config.sample_rate)
        if config.iterations == 0 or bins == 0:
            return masks
        generator = torch.Generator().manual_seed(config.seed)
        estimates = []
        for mask in masks[:, :bins]:
            spectra, activations = nmf(
                magnitude[:bins] * mask,
                config.rank,
                beta=1.0,
                iterations=config.iterations,
                generator=generator,
            )
            estimates.append(spectra @ activations)
        below = ratio_mask(torch.stack(estimates), dim=0, power=config.mask_power)
        return torch.cat([below, masks[:, bins:]], dim=1)


def _levels(frequencies_hz: Tensor) -> Tensor:
    """Interpolate the usual levels between octaves, in nepers: `[F] -> [S, F]`."""
    table = torch.tensor(_LEVELS_DB) * (math.log(10) / 20)
    octave = torch.log2(frequencies_hz / _LOWEST_HZ).clamp(0, table.shape[1] - 1)
    lower = octave.floor().long().clamp(max=table.shape[1] - 2)
    return torch.lerp(table[:, lower], table[:, lower + 1], octave - lower)


def _trust_in_panning(audio: Tensor) -> Tensor:
    """Return how much the panning says: 1 for common stereo, 0 for mono: `[C, T] -> []`."""
    left, right = audio[0], audio[-1]
    energy = torch.stack([left.square().sum(), right.square().sum()])
    if energy.amax() == 0:
        return torch.zeros_like(energy[0])
    side = (left - right).square().sum() / (2 * energy.sum())
    balance = energy.amin() / energy.amax()
    return torch.minimum(side / _LEAST_SIDE, balance / _LEAST_BALANCE).clamp(max=1)


def _harmonic_energy(
    audio: Tensor, *, window: Tensor, hop_length: int, harmonic_frames: int, percussive_bins: int
) -> tuple[Tensor, Tensor]:
    """Return the energy of the harmonic part and of everything in each bin.

    Shape:
        audio: `[C, T]`; returns two of `[F, N]`.
    """
    spectrum = stft(audio, n_fft=window.shape[0], hop_length=hop_length, window=window)
    magnitude = joint_magnitude(spectrum)
    parts = harmonic_percussive(
        magnitude, harmonic_frames=harmonic_frames, percussive_bins=percussive_bins
    )
    energy = magnitude.square()
    return energy * ratio_mask(torch.stack(parts), dim=0, power=2.0)[0], energy


def _pooled_share(part: Tensor, whole: Tensor, *, factor: int) -> Tensor:
    """Return which share of the whole the part has, on every factor-th column.

    Shape:
        part, whole: `[M, K]`; returns `[M, 1 + (K - 1) // factor]`.
    """

    def pooled(x: Tensor) -> Tensor:
        return F.avg_pool1d(x[None], 2 * factor + 1, stride=factor, padding=factor)[0]

    total = pooled(whole)
    return torch.where(total > 0, pooled(part) / total, 0.5)


def _interpolated(x: Tensor, *, factor: int, size: int) -> Tensor:
    """Put `factor - 1` columns between neighbours, and repeat the last one up to a size.

    Shape:
        x: `[M, K]`; returns `[M, size]`.
    """
    between = factor * (x.shape[1] - 1) + 1
    finer = F.interpolate(x[None], size=between, mode="linear", align_corners=True)
    return F.pad(finer, (0, size - between), mode="replicate")[0]
