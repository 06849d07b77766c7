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

import torch
from torch import Tensor

from desmezcla.errors import ParameterError

# Bins that are filtered together: two stereo blocks of four stems then stay in a core's cache, and
# the many passes over them cost a third of what passes over whole spectrograms cost.
_BINS_AT_ONCE = 64

# The mixture is scaled to at most this magnitude, so that √eps means the same at any level.
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
        masks: First estimates of the stems, as real or complex factors of the mixture.
        iterations: Number of EM iterations; 0 returns the masks times the mixture.
        window_frames: Frames over which a stem is taken to stay where it is; None for all.
        eps: Power of the noise that the model adds to the stems, relative to a mixture whose
            largest magnitude is at most 10.

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
    if iterations == 0:
        return masks * mix
    if mix.device.type == "mps":  # it has no double precision
        options = {"iterations": iterations, "window_frames": window_frames, "eps": eps}
        return wiener(mix.cpu(), masks.cpu(), **options).to(mix.device)  # type: ignore[arg-type]
    frames = mix.shape[-1]
    iterate = _iterate_stereo if mix.shape[0] == 2 else _iterate
    refined = torch.empty(masks.shape, dtype=mix.dtype, device=mix.device)
    for start in range(0, frames, window_frames or frames):
        window = slice(start, start + (window_frames or frames))
        part = mix[..., window]
        largest = (part.real.square() + part.imag.square()).amax().sqrt()
        scale = (largest / _LARGEST_MAGNITUDE).clamp(min=1.0)
        for first in range(0, mix.shape[1], _BINS_AT_ONCE):
            bins = slice(first, first + _BINS_AT_ONCE)
            x = mix[:, bins, window] * scale.reciprocal()
            y = masks[:, :, bins, window] * x
            for _ in range(iterations):
                y = iterate(x, y, eps)
            refined[:, :, bins, window] = y * scale
    return refined


def _iterate(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Do one iteration on one window, for any number of channels.

    Shape:
        x: `[C, F, N]`; y: `[S, C, F, N]`; returns `[S, C, F, N]`.
    """
    power = (y.real.square() + y.imag.square()).mean(dim=1)  # [S, F, N]
    weight = power.sum(dim=-1) + eps  # [S, F]
    bins_first = y.permute(0, 2, 1, 3)  # [S, F, C, N]
    spatial = bins_first @ bins_first.mH / weight[..., None, None]  # [S, F, C, C]
    covariance = torch.einsum("sfn,sfcd->fncd", power.to(y.dtype), spatial).to(torch.complex128)
    covariance = covariance + eps**0.5 * torch.eye(x.shape[0], device=x.device)
    columns = x.to(torch.complex128).permute(1, 2, 0)[..., None]  # [F, N, C, 1]
    whitened = torch.linalg.solve(covariance, columns)[..., 0].to(x.dtype)  # [F, N, C]
    refined: Tensor = power[:, None] * (spatial @ whitened.mT).permute(0, 2, 1, 3)
    return refined


def _iterate_stereo(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Do one iteration on one window of two channels, by the closed form of the inverse.

    A stem that sits in the centre has R near [[1, 1], [1, 1]]. The determinant of C is then the
    small difference of two large products, and so is C⁻¹ x: what they are made of is computed in
    double precision, since single precision would lose √eps, all that keeps the inverse finite.

    Shape:
        As `_iterate`.
    """
    power = (y.real.square() + y.imag.square()).mean(dim=1)  # [S, F, N]
    # R is Hermitian: two real entries on the diagonal, and one complex entry beside it.
    left, right = y.to(torch.complex128).unbind(dim=1)  # [S, F, N]
    left_left = torch.linalg.vecdot(left, left).real  # [S, F]
    right_right = torch.linalg.vecdot(right, right).real
    left_right = torch.linalg.vecdot(right, left)
    weight = (left_left + right_right) / 2 + eps
    entries = torch.stack([left_left, right_right, left_right.real, left_right.imag]) / weight
    spatial = entries.to(power.dtype)[..., None]  # [4, S, F, 1]

    sums = entries.permute(2, 0, 1) @ power.double().permute(1, 0, 2)  # [F, 4, N]
    c_left, c_right = sums[:, 0] + eps**0.5, sums[:, 1] + eps**0.5  # [F, N]
    determinant = c_left * c_right - sums[:, 2].square() - sums[:, 3].square()
    x_left, x_right = x.to(torch.complex128) / determinant
    c_beside = torch.complex(sums[:, 2], sums[:, 3])
    z_left = (c_right * x_left - c_beside * x_right).to(x.dtype)  # C⁻¹ x
    z_right = (c_left * x_right - c_beside.conj() * x_left).to(x.dtype)

    beside = torch.complex(spatial[2], spatial[3])
    gained_left = torch.addcmul(beside * z_right, spatial[0].to(x.dtype), z_left)  # R C⁻¹ x
    gained_right = torch.addcmul(beside.conj() * z_left, spatial[1].to(x.dtype), z_right)
    return torch.stack([power * gained_left, power * gained_right], dim=1)
