import pytest
import torch
from torch import Tensor

from desmezcla.dsp import wiener as module
from desmezcla.dsp.wiener import wiener
from desmezcla.errors import ParameterError


def random_mix(channels: int, bins: int, frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, bins, frames, dtype=torch.complex128, generator=generator) * 20


def random_masks(stems: int, mix: Tensor, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(stems, *mix.shape, dtype=torch.float64, generator=generator)


def by_the_book(mix: Tensor, masks: Tensor, iterations: int, eps: float) -> Tensor:
    """Compute the equations of the module's docstring, bin by bin and frame by frame."""
    scale = max(1.0, float(mix.abs().max()) / 10)
    x = mix / scale
    y = masks * x
    stems, channels, bins, frames = y.shape
    for _ in range(iterations):
        old, y = y, torch.zeros_like(y)
        for f in range(bins):
            v = old[:, :, f].abs().square().mean(dim=1)  # [S, N]
            spatial = [old[j, :, f] @ old[j, :, f].mH / (eps + v[j].sum()) for j in range(stems)]
            for n in range(frames):
                covariance = eps**0.5 * torch.eye(channels, dtype=x.dtype)
                for j in range(stems):
                    covariance = covariance + v[j, n] * spatial[j]
                z = torch.linalg.inv(covariance) @ x[:, f, n]
                for j in range(stems):
                    y[j, :, f, n] = v[j, n] * spatial[j] @ z
    return y * scale


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("stems", [2, 5])
@pytest.mark.parametrize("iterations", [1, 3])
def test_it_computes_the_equations(channels: int, stems: int, iterations: int) -> None:
    mix = random_mix(channels, 4, 6)
    masks = random_masks(stems, mix)
    ours = wiener(mix, masks, iterations=iterations, window_frames=None)
    torch.testing.assert_close(
        ours, by_the_book(mix, masks, iterations, 1e-10), rtol=1e-7, atol=1e-7
    )


def test_windows_are_filtered_independently() -> None:
    mix = random_mix(2, 5, 50)
    masks = random_masks(3, mix)
    whole = wiener(mix, masks, window_frames=20)
    parts = [
        wiener(mix[..., start : start + 20], masks[..., start : start + 20], window_frames=None)
        for start in (0, 20, 40)
    ]
    torch.testing.assert_close(whole, torch.cat(parts, dim=-1))


def test_blocks_of_frames_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = random_mix(2, 70, 30)
    masks = random_masks(4, mix)
    expected = wiener(mix, masks)
    monkeypatch.setattr(module, "_FRAMES_AT_ONCE", 7)
    torch.testing.assert_close(wiener(mix, masks), expected)


def test_stems_add_up_to_the_mixture() -> None:
    mix = random_mix(2, 6, 40)
    torch.testing.assert_close(
        wiener(mix, random_masks(4, mix)).sum(dim=0), mix, rtol=1e-4, atol=1e-4
    )


def test_single_precision_holds_for_a_centred_mixture() -> None:
    # Left equals right: every covariance is nearly singular.
    mono = random_mix(1, 8, 60)
    mix = torch.cat([mono, mono])
    masks = random_masks(1, mono).expand(1, 2, -1, -1)
    masks = torch.cat([masks, 1 - masks])
    exact = wiener(mix, masks)
    single = wiener(mix.to(torch.complex64), masks.float())
    assert single.isfinite().all()
    torch.testing.assert_close(single.to(exact.dtype), exact, rtol=1e-3, atol=1e-3)


def test_silence_gives_silence() -> None:
    mix = torch.zeros(2, 4, 10, dtype=torch.complex64)
    stems = wiener(mix, torch.rand(3, 2, 4, 10), iterations=2)
    assert (stems == 0).all()


def test_silent_bins_stay_silent_beside_loud_ones() -> None:
    mix = random_mix(2, 4, 30)
    mix[:, 1] = 0
    masks = random_masks(3, mix)
    masks[:, :, 2] = 0
    stems = wiener(mix, masks, iterations=2)
    assert stems.isfinite().all()
    assert (stems[:, :, 1:3] == 0).all()


def test_no_iteration_applies_the_masks() -> None:
    mix = random_mix(2, 4, 5)
    masks = random_masks(2, mix)
    torch.testing.assert_close(wiener(mix, masks, iterations=0), masks * mix)


def test_gradients_reach_the_masks() -> None:
    mix = random_mix(2, 3, 5)
    masks = random_masks(2, mix).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: torch.view_as_real(wiener(mix, m)), (masks,))


def test_inputs_are_left_alone() -> None:
    mix = random_mix(2, 4, 5)
    masks = random_masks(2, mix)
    before = mix.clone(), masks.clone()
    wiener(mix, masks, iterations=2)
    torch.testing.assert_close((mix, masks), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"iterations": -1}, "iterations=-1"), ({"window_frames": 0}, "window_frames=0")],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    mix = random_mix(2, 4, 5)
    with pytest.raises(ParameterError, match=message):
        wiener(mix, random_masks(2, mix), **options)


def test_shapes_that_do_not_fit_are_refused() -> None:
    mix = random_mix(2, 4, 5)
    with pytest.raises(ParameterError, match=r"\[S, C, F, N\]"):
        wiener(mix, random_masks(2, mix)[0])
