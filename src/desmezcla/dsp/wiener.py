r"""Multichannel Wiener filtering by expectation-maximisation.

Each stem j is modelled, in every bin of the STFT, as a Gaussian vector over the channels with
covariance `v_j(f, n) R_j(f)`: a power that varies in time and a spatial covariance that does not.
Given first estimates `y_j`, one iteration is

    v_j(f, n) = mean over channels of |y_j(f, n)|²
    R_j(f)    = Σ_n y_j y_jᴴ / (eps + Σ_n v_j)
    C(f, n)   = √eps I + Σ_j v_j R_j
    y_j       ← v_j R_j C⁻¹ x

References:
    Nugraha, Liutkus and Vincent, "Multichannel audio source separation with deep neural
    networks", IEEE/ACM TASLP 24(9), 2016. Liutkus, Badeau and Richard, "Kernel additive models
    for source separation", IEEE TSP 62(16), 2014.

Differences from the papers:
    As in Open-Unmix, R is the average of `y yᴴ` weighted by the power; the exact posterior
    covariance is left out, because that is more robust for music.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from desmezcla.dsp.threads import on_all_cores
from desmezcla.errors import ParameterError

# Frames that are filtered together: of four stereo stems they then stay in a core's cache, and the
# many passes over them cost a third of what passes over whole spectrograms cost.
_FRAMES_AT_ONCE = 32

# √eps is meant for a mixture scaled to at most this magnitude.
_LARGEST_MAGNITUDE = 10.0


def wiener(
    mix: Tensor,
    masks: Tensor,
    *,
    iterations: int = 1,
    window_frames: int | None = 300,
    eps: float = 1e-10,
) -> Tensor:
    """Return the stems' STFTs, refined so that they fit the mixture in level and in space.

    The filter is computed anew for every `window_frames` frames: stems may move from one window
    to the next, and memory does not grow with the spectrogram.

    Args:
        mix: STFT of the mixture.
        masks: First estimates of the stems, as real factors of the mixture.
        iterations: Number of EM iterations; 0 returns the masks times the mixture.
        window_frames: Frames over which a stem is taken to stay where it is; None for all.
        eps: Power of the noise that the model adds to the stems, for a mixture whose largest
            magnitude in a window is 10; it is scaled for a louder one.

    Shape:
        mix: `[C, F, N]` complex; masks: `[S, C, F, N]`; returns `[S, C, F, N]` complex.

    Errors:
        ParameterError: if the shapes do not fit, or an option is out of range.
    """
    if mix.ndim != 3 or masks.shape[1:] != mix.shape:
        raise ParameterError(
            f"masks have shape {tuple(masks.shape)}, but a mix of shape "
            f"{tuple(mix.shape)} needs [S, C, F, N] and [C, F, N]; add or move axes"
        )
    if iterations < 0 or (window_frames is not None and window_frames < 1):
        raise ParameterError(
            f"iterations={iterations} must be 0 or more and window_frames={window_frames} "
            "1 or more, or None for one window over everything"
        )
    if mix.device.type == "mps":  # it has no double precision
        cpu = wiener(
            mix.cpu(), masks.cpu(), iterations=iterations, window_frames=window_frames, eps=eps
        )
        return cpu.to(mix.device)
    # Both an STFT and a network's output lie in memory frame after frame, and so does the result.
    mix, masks = mix.mT, masks.mT  # [C, N, F], [S, C, N, F]
    if iterations == 0:
        return (masks * mix).mT
    frames = mix.shape[1]
    length = window_frames or frames
    refined = torch.empty(masks.shape, dtype=mix.dtype, device=mix.device)
    for start in range(0, frames, length):
        window = slice(start, start + length)
        _refine(mix[:, window], masks[:, :, window], refined[:, :, window], iterations, eps)
    return refined.mT


def _refine(x: Tensor, masks: Tensor, refined: Tensor, iterations: int, eps: float) -> None:
    """Do all iterations on one window.

    Shape:
        x: `[C, N, F]`; masks: `[S, C, N, F]`; refined: `[S, C, N, F]`, which is filled.
    """
    gain = _gain_stereo if x.shape[0] == 2 else _gain
    parts = [slice(i, i + _FRAMES_AT_ONCE) for i in range(0, x.shape[1], _FRAMES_AT_ONCE)]

    def first_moments(part: slice) -> Moments:
        return _moments_of_masks(_products(x[:, part]), masks[:, :, part])

    moments = on_all_cores(first_moments, parts, x.device)
    # Scaling the noise is the same as scaling the mixture down, and up again at the end.
    loudest = torch.stack([m.loudest for m in moments]).amax().double()
    scale = (loudest / _LARGEST_MAGNITUDE**2).clamp(min=1.0)

    def gained(index: int) -> list[Tensor]:
        return gain(x[:, parts[index]], moments[index].power, spatial, scale * eps**0.5)

    def next_moments(index: int) -> Moments:
        return _moments(torch.stack(gained(index), dim=1))

    def store(index: int) -> None:
        for channel, stems in enumerate(gained(index)):
            refined[:, channel, parts[index]] = stems

    spatial = _spatial(moments, scale * eps)
    for _ in range(iterations - 1):
        moments = on_all_cores(next_moments, range(len(parts)), x.device)
        spatial = _spatial(moments, scale * eps)
    on_all_cores(store, range(len(parts)), x.device)


class Moments(NamedTuple):
    """What an iteration needs to know of the stems in some frames.

    Attributes:
        power: v, `[S, N, F]`.
        sums: Sum over the frames of y yᴴ, as double precision, `[C, C, S, F]`.
        loudest: Largest power of a channel of the mixture.
    """

    power: Tensor
    sums: Tensor
    loudest: Tensor


def _spatial(moments: list[Moments], eps: Tensor) -> Tensor:
    """Return the spatial covariances R. Shape: `[C, C, S, F]`."""
    total = torch.stack([m.sums for m in moments]).sum(dim=0)
    # The sum of the powers is the mean of the diagonal.
    weight = torch.stack([total[c, c].real for c in range(total.shape[0])]).mean(dim=0)
    return total / (weight + eps)


def _products(x: Tensor) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """Return x_a times the conjugate of x_b for all pairs of channels a ≤ b.

    Each is rounded once, so that channels that are equal have products that are equal.

    Shape:
        x: `[C, N, F]`; returns real and imaginary parts, `[N, F]` each.
    """
    wide = x.to(torch.complex128)
    pairs = combinations_with_replacement(range(x.shape[0]), 2)
    products = {(a, b): wide[a] * wide[b].conj() for a, b in pairs}
    kind = x.real.dtype
    return {pair: (p.real.to(kind), p.imag.to(kind)) for pair, p in products.items()}


def _moments_of_masks(
    products: dict[tuple[int, int], tuple[Tensor, Tensor]], masks: Tensor
) -> Moments:
    """Return the moments of masks times the mixture, without making that product.

    Shape:
        products: those of the mixture; masks: `[S, C, N, F]`.
    """
    channels = range(masks.shape[1])
    powers = [masks[:, c].square() * products[c, c][0] for c in channels]  # [S, N, F] each
    sums: dict[tuple[int, int], Tensor] = {}
    for (a, b), (real, imag) in products.items():
        both = masks[:, a] * masks[:, b]
        sums[a, b] = torch.complex(
            (powers[a] if a == b else both * real).sum(dim=-2).double(),
            (both * imag).sum(dim=-2).double(),
        )
        sums[b, a] = sums[a, b].conj()
    return Moments(
        sum(powers[1:], powers[0]) / len(channels),
        torch.stack([torch.stack([sums[a, b] for b in channels]) for a in channels]),
        torch.stack([products[c, c][0].amax() for c in channels]).amax(),
    )


def _moments(y: Tensor) -> Moments:
    """Return the moments of stems; the loudness of the mixture is not asked for again.

    Shape:
        y: `[S, C, N, F]`.
    """
    power = (y.real.square() + y.imag.square()).mean(dim=1)
    wide = y.to(torch.complex128)
    sums = torch.einsum("sanf,sbnf->absf", wide, wide.conj())
    return Moments(power, sums, power.new_zeros(()))


def _gain(x: Tensor, power: Tensor, spatial: Tensor, noise: Tensor) -> list[Tensor]:
    """Return v R C⁻¹ x for any number of channels.

    Shape:
        x: `[C, N, F]`; power: `[S, N, F]`; spatial: `[C, C, S, F]`; returns for each channel
        `[S, N, F]`.
    """
    covariance = torch.einsum("snf,absf->nfab", power.to(spatial.dtype), spatial)
    covariance = covariance + noise * torch.eye(x.shape[0], device=x.device)
    columns = x.to(spatial.dtype).permute(1, 2, 0)[..., None]  # [N, F, C, 1]
    whitened = torch.linalg.solve(covariance, columns)[..., 0].to(x.dtype)  # [N, F, C]
    return list(power * torch.einsum("absf,nfb->asnf", spatial.to(x.dtype), whitened))


def _gain_stereo(x: Tensor, power: Tensor, spatial: Tensor, noise: Tensor) -> list[Tensor]:
    """Return v R C⁻¹ x for two channels, by the closed form of the inverse.

    A stem that sits in the centre has R near [[1, 1], [1, 1]]. The determinant of C is then the
    small difference of two large products, and so is C⁻¹ x: what they are made of is computed in
    double precision, since single precision would lose √eps, all that keeps the inverse finite.

    Shape:
        As `_gain`.
    """
    wide = power.double()
    left = _weighted_sum(wide, spatial[0, 0].real) + noise  # [N, F]
    right = _weighted_sum(wide, spatial[1, 1].real) + noise
    beside_re = _weighted_sum(wide, spatial[0, 1].real)
    beside_im = _weighted_sum(wide, spatial[0, 1].imag)
    determinant = left * right - beside_re.square() - beside_im.square()
    x_left, x_right = x.to(torch.complex128) * determinant.reciprocal()
    beside = torch.complex(beside_re, beside_im)
    z_left = (right * x_left - beside * x_right).to(x.dtype)  # C⁻¹ x
    z_right = (left * x_right - beside.conj() * x_left).to(x.dtype)

    r = spatial.to(x.dtype)[..., None, :]  # [2, 2, S, 1, F]
    return [
        power * torch.addcmul(r[0, 1] * z_right, r[0, 0], z_left),
        power * torch.addcmul(r[1, 0] * z_left, r[1, 1], z_right),
    ]


def _weighted_sum(power: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_s power_s weights_s. Shape: power `[S, N, F]`; weights `[S, F]`; `[N, F]`."""
    total = power[0] * weights[0]
    for p, w in zip(power[1:], weights[1:], strict=True):
        total.addcmul_(p, w)
    return total
