"""Values of the losses against formulas written again, in numpy and double precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import signal
from torch import Tensor

from desmezcla.losses import losses_from

STEMS = ("vocals", "drums", "bass", "other")

Array = NDArray[Any]
Case = tuple[Tensor, Tensor, Tensor]


def value(case: Case, stems: tuple[str, ...] = STEMS, **config: Any) -> dict[str, float]:
    shares = losses_from([config], stems=stems)(*case)
    return {name: share.item() for name, share in shares.items()}


def doubles(case: Case) -> tuple[Array, Array, Array]:
    e, s, x = (v.to(torch.complex128 if v.is_complex() else torch.float64).numpy() for v in case)
    return e, s, x


def reference_stft(audio: Array, n_fft: int, hop: int, window_length: int) -> Array:
    """Return the spectra of frames centred on multiples of the hop, with reflected edges."""
    window = np.zeros(n_fft)
    left = (n_fft - window_length) // 2
    window[left : left + window_length] = signal.get_window("hann", window_length)
    padded = np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(n_fft // 2, n_fft // 2)], "reflect")
    starts = range(0, audio.shape[-1] + 1, hop)
    frames = [np.fft.rfft(padded[..., n : n + n_fft] * window) for n in starts]
    return np.stack(frames, axis=-1)


def test_l1_and_mse(case: Callable[[str], Case]) -> None:
    e, s, _ = doubles(case("waveform"))
    assert value(case("waveform"), kind="l1")["l1"] == pytest.approx(np.abs(e - s).mean())
    assert value(case("waveform"), kind="mse")["mse"] == pytest.approx(((e - s) ** 2).mean())


def test_l1_and_mse_of_spectra_are_of_real_and_imaginary_parts(case: Callable[[str], Case]) -> None:
    e, s, _ = doubles(case("spectrum"))
    d = e - s
    l1 = (np.abs(d.real) + np.abs(d.imag)).mean() / 2
    mse = (np.abs(d) ** 2).mean() / 2
    assert value(case("spectrum"), kind="l1", domain="spectrum")["l1"] == pytest.approx(l1)
    assert value(case("spectrum"), kind="mse", domain="spectrum")["mse"] == pytest.approx(mse)


def test_magnitudes(case: Callable[[str], Case]) -> None:
    e, s, _ = doubles(case("spectrum"))
    d = np.abs(e) - np.abs(s)
    found = value(case("spectrum"), kind="magnitude_mse")["total"]
    assert found == pytest.approx((d**2).mean())
    found = value(case("spectrum"), kind="magnitude_l1")["total"]
    assert found == pytest.approx(np.abs(d).mean())


def test_si_sdr(case: Callable[[str], Case]) -> None:
    e, s, _ = (v.reshape(*v.shape[:-2], -1) for v in doubles(case("waveform")))
    scale = (e * s).sum(-1, keepdims=True) / (s**2).sum(-1, keepdims=True)
    ratio = ((scale * s) ** 2).sum(-1) / ((scale * s - e) ** 2).sum(-1)
    found = value(case("waveform"), kind="si_sdr", limit_db=90)["total"]
    assert found == pytest.approx(-10 * np.log10(ratio).mean(), abs=1e-3)


def test_si_sdr_does_not_depend_on_the_level(case: Callable[[str], Case]) -> None:
    estimates, targets, mixture = case("waveform")
    plain = value((estimates, targets, mixture), kind="si_sdr")["total"]
    louder = value((7 * estimates, targets, mixture), kind="si_sdr")["total"]
    assert louder == pytest.approx(plain, abs=1e-4)


def test_si_sdr_of_a_silent_target_is_the_level_of_what_leaks(case: Callable[[str], Case]) -> None:
    _, targets, mixture = case("waveform")
    for gain_db in (0, -20, -40):
        leak = 10 ** (gain_db / 20) * mixture[:, None]
        found = value((leak, 0 * targets[:, :1], mixture), ("vocals",), kind="si_sdr")["total"]
        assert found == pytest.approx(gain_db, abs=0.05)


def test_multi_resolution_stft(case: Callable[[str], Case]) -> None:
    e, s, _ = doubles(case("waveform"))
    resolutions = [(256, 60, 200), (128, 32, 128)]
    convergence, logs = [], []
    for resolution in resolutions:
        es, ss = (np.abs(reference_stft(v, *resolution)) for v in (e, s))
        error, level = (np.sqrt((v**2).sum((-3, -2, -1))) for v in (ss - es, ss))
        convergence.append((error / level).mean())
        logs.append(np.abs(np.log(np.maximum(ss, 1e-3)) - np.log(np.maximum(es, 1e-3))).mean())
    found = value(case("waveform"), kind="multi_resolution_stft", resolutions=resolutions)
    assert found["multi_resolution_stft/convergence"] == pytest.approx(np.mean(convergence))
    assert found["multi_resolution_stft/log_magnitude"] == pytest.approx(np.mean(logs), rel=1e-5)


@pytest.mark.parametrize("against", ["estimates", "targets"])
def test_deepconvsep_stem_by_stem(against: str, case: Callable[[str], Case]) -> None:
    e, s, _ = (np.abs(v) for v in doubles(case("spectrum")))
    voice, drums, bass, _ = e.swapaxes(0, 1)
    rivals = e if against == "estimates" else s
    voice2, drums2, bass2, other2 = rivals.swapaxes(0, 1)

    def distance(a: Array, b: Array) -> float:
        return float(((a - b) ** 2).mean())

    error = sum(distance(e[:, i], s[:, i]) for i in range(3))
    pairs = [(voice, drums2), (voice, bass2), (drums, voice2), (drums, bass2)]
    pairs += [(bass, voice2), (bass, drums2)]
    alpha = -0.5 * sum(distance(a, b) for a, b in pairs)
    beta = -0.25 * (distance(drums, other2) + distance(bass, other2))
    beta_vocals = -0.125 * distance(voice, other2)
    weights: dict[str, Any] = {"alpha": 0.5, "beta": 0.25, "beta_vocals": 0.125}
    found = value(case("spectrum"), kind="deepconvsep", against=against, **weights)
    for name, expected in {
        "error": error,
        "alpha": alpha,
        "beta": beta,
        "beta_vocals": beta_vocals,
    }.items():
        assert found[f"deepconvsep/{name}"] == pytest.approx(expected / 4, rel=1e-5), name


def test_deepconvsep_without_other_compares_all_stems() -> None:
    e = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1).to(torch.complex64)
    s = torch.tensor([2.0, 2.0]).reshape(1, 2, 1, 1, 1).to(torch.complex64)
    found = value((e, s, s.sum(1)), ("vocals", "drums"), kind="deepconvsep", alpha=0.1)
    assert found["deepconvsep/error"] == pytest.approx(1.0)
    assert found["deepconvsep/alpha"] == pytest.approx(-0.4)
    assert found["deepconvsep/beta"] == found["deepconvsep/beta_vocals"] == 0


def reference_combined(e: Array, s: Array, x: Array, difference: Array) -> dict[str, float]:
    x = x[:, None]
    d = np.stack([difference.real, difference.imag]) if np.iscomplexobj(difference) else difference
    own, rest = np.abs(s) ** 2, np.abs(x - s) ** 2
    excess = np.maximum(np.abs(e) - np.abs(s), 0)
    separation = np.abs(np.abs(e) - np.abs(s)) + (1 - own / (own + rest)) * excess
    heard = np.maximum(np.abs(x), 0.01 * np.abs(x).mean((1, 2, 3, 4), keepdims=True))
    mask = np.minimum(np.abs(e) / heard, 2) - np.minimum(np.abs(s) / heard, 2)
    left, right = (d[..., c, :, :] if np.iscomplexobj(difference) else d[..., c, :] for c in (0, 1))
    return {
        "combined/base": 0.7 * (np.abs(d).mean() + (d**2).mean()),
        "combined/separation": 0.2 * separation.mean(),
        "combined/mask": 0.1 * np.abs(mask).mean(),
        "combined/stereo": 0.05 * np.abs(left - right).mean(),
    }


def test_combined_loss_of_spectra(case: Callable[[str], Case]) -> None:
    e, s, x = doubles(case("spectrum"))
    found = value(case("spectrum"), kind="combined", domain="spectrum")
    for name, expected in reference_combined(e, s, x, e - s).items():
        assert found[name] == pytest.approx(expected, rel=1e-5), name


def test_combined_loss_of_waveforms(case: Callable[[str], Case]) -> None:
    e, s, x = doubles(case("waveform"))
    window = signal.get_window("hann", 256)
    unit = np.sqrt((window**2).sum())
    es, ss, xs = (reference_stft(v, 256, 64, 256) / unit for v in (e, s, x))
    found = value(case("waveform"), kind="combined", n_fft=256, hop_length=64)
    for name, expected in reference_combined(es, ss, xs, e - s).items():
        assert found[name] == pytest.approx(expected, rel=1e-4), name


def test_stereo_difference_hears_only_the_sides(case: Callable[[str], Case]) -> None:
    _, targets, mixture = case("waveform")
    middle = 0.1 * torch.ones_like(targets)
    sides = middle * torch.tensor([1.0, -1.0])[:, None]
    for added, expected in ((middle, 0.0), (sides, 0.05 * 0.2)):
        found = value((targets + added, targets, mixture), kind="combined")
        assert found["combined/stereo"] == pytest.approx(expected, abs=1e-7)


def test_cross_talk_costs_more_than_an_error_in_the_own_sound() -> None:
    own = torch.zeros(1, 2, 1, 1, 4, dtype=torch.complex64)
    own[:, 0, ..., 0] = 1.0  # the first stem sounds in the first bin, the other in the last
    own[:, 1, ..., 3] = 1.0
    louder, crossed = own.clone(), own.clone()
    louder[:, 0, ..., 0] += 0.1
    crossed[:, 0, ..., 3] += 0.1
    found = [
        value((e, own, own.sum(1)), ("a", "b"), kind="combined", domain="spectrum")
        for e in (louder, crossed)
    ]
    assert found[1]["combined/separation"] == pytest.approx(2 * found[0]["combined/separation"])
