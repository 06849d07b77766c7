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

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from desmezcla.errors import ParameterError

# Frames that are filtered together: of four stereo stems they then stay in a core's cache, and the
# many passes over them cost a third of what passes over whole spectrograms cost.
_FRAMES_AT_ONCE = 8

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

    def refine(start: int) -> None:
        window = slice(start, start + length)
        for first, stems in _refined(mix[:, window], masks[:, :, window], iterations, eps):
            for channel, stem in enumerate(stems):
                refined[:, channel, start + first : start + first + stem.shape[1]] = stem

    _on_all_cores(refine, range(0, frames, length), mix.device)
    return refined.mT


def _refined(
    x: Tensor, masks: Tensor, iterations: int, eps: float
) -> Iterator[tuple[int, list[Tensor]]]:
    """Do all iterations on one window; yield the result a few frames at a time, and where they are.

    Shape:
        x: `[C, N, F]`; masks: `[S, C, N, F]`; yields for each channel `[S, n, F]`.
    """
    gain = _gain_stereo if x.shape[0] == 2 else _gain
    firsts = range(0, x.shape[1], _FRAMES_AT_ONCE)
    mixes = [x[:, first : first + _FRAMES_AT_ONCE] for first in firsts]
    moments, peaks = [], []
    for first, mix in zip(firsts, mixes, strict=True):
        products = _products(mix)
        peaks += [products[c, c].real.amax() for c in range(x.shape[0])]
        moments.append(_moments_of_masks(products, masks[:, :, first : first + _FRAMES_AT_ONCE]))
    # Scaling the noise is the same as scaling the mixture down, and up again at the end.
    scale = (torch.stack(peaks).amax().double() / _LARGEST_MAGNITUDE**2).clamp(min=1.0)
    noise = scale * eps**0.5
    for _ in range(iterations - 1):
        spatial = _spatial([sums for _, sums in moments], scale * eps)
        moments = [
            _moments(torch.stack(gain(mix, power, spatial, noise), dim=1))
            for mix, (power, _) in zip(mixes, moments, strict=True)
        ]
    spatial = _spatial([sums for _, sums in moments], scale * eps)
    for first, mix, (power, _) in zip(firsts, mixes, moments, strict=True):
        yield first, gain(mix, power, spatial, noise)


def _spatial(sums: list[Tensor], eps: Tensor) -> Tensor:
    """Return the spatial covariances R. Shape: sums `[C, C, S, F]` each; returns the same."""
    total = torch.stack(sums).sum(dim=0)
    # The sum of the powers is the mean of the diagonal.
    weight = torch.stack([total[c, c].real for c in range(total.shape[0])]).mean(dim=0)
    return total / (weight + eps)


def _products(x: Tensor) -> dict[tuple[int, int], Tensor]:
    """Return x_a times the conjugate of x_b for all pairs of channels a ≤ b.

    Each is rounded once, so that channels that are equal have products that are equal.

    Shape:
        x: `[C, N, F]`; returns `[N, F]` each.
    """
    wide = x.to(torch.complex128)
    pairs = combinations_with_replacement(range(x.shape[0]), 2)
    return {(a, b): (wide[a] * wide[b].conj()).to(x.dtype) for a, b in pairs}


def _moments_of_masks(
    products: dict[tuple[int, int], Tensor], masks: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `_moments` of masks times the mixture, without making that product.

    Shape:
        products: those of the mixture; masks: `[S, C, N, F]`; returns as `_moments`.
    """
    channels = range(masks.shape[1])
    power = torch.zeros((), dtype=masks.dtype, device=masks.device)
    sums: dict[tuple[int, int], Tensor] = {}
    for (a, b), product in products.items():
        both = masks[:, a] * masks[:, b]  # [S, N, F]
        real = both * product.real
        if a == b:
            power = power + real / len(channels)
            sums[a, a] = _sum_of_frames(real).to(torch.complex128)
        else:
            sums[a, b] = torch.complex(_sum_of_frames(real), _sum_of_frames(both * product.imag))
            sums[b, a] = sums[a, b].conj()
    return power, torch.stack([torch.stack([sums[a, b] for b in channels]) for a in channels])


def _sum_of_frames(x: Tensor) -> Tensor:
    """Sum in double precision. Shape: `[S, N, F]`; returns `[S, F]`."""
    return x.sum(dim=-2, dtype=torch.float64)


def _moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power v of stems, and the sum over frames of their covariances y yᴴ.

    The sum is in double precision; see `_gain_stereo`.

    Shape:
        y: `[S, C, N, F]`; returns `[S, N, F]` and `[C, C, S, F]`.
    """
    power = (y.real.square() + y.imag.square()).mean(dim=1)
    wide = y.to(torch.complex128)
    return power, torch.einsum("sanf,sbnf->absf", wide, wide.conj())


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
        total = torch.addcmul(total, p, w)
    return total


def _on_all_cores(
    function: Callable[[int], None], arguments: Iterable[int], device: torch.device
) -> None:
    """Call a function for each of the arguments.

    On the CPU the passes over a few frames are too short to be shared, so that each core takes
    windows of its own. Gradients need the calls in order, in one thread.
    """
    arguments = list(arguments)
    threads = min(torch.get_num_threads(), len(arguments))
    if threads == 1 or device.type != "cpu" or torch.is_grad_enabled():
        for each in arguments:
            function(each)
        return
    inference = torch.is_inference_mode_enabled()  # a thread starts without its parent's modes

    def call(each: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            function(each)

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(call, arguments))
