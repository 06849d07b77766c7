"""The diffusion refiner: what the contract of all models does not cover."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.models import asym_unet, build_model, config_class
from desmezcla.models.diffusion_refiner import (
    TINY,
    DiffusionRefiner,
    Scene,
    noised,
    powered,
    signal_share,
)

HPSS: dict[str, Any] = {
    "base": "hpss",
    "base_config": {"n_fft": 512, "hop_length": 128, "harmonic_frames": 9, "percussive_bins": 9},
}


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tiny(**fields: Any) -> DiffusionRefiner:
    torch.manual_seed(0)
    model = build_model("diffusion_refiner", **TINY | fields)
    assert isinstance(model, DiffusionRefiner)
    return model


def sdr_db(estimates: torch.Tensor, stems: torch.Tensor) -> torch.Tensor:
    """Shape: `[B, S, C, T]`, the same; `[B, S]`."""
    energy, error = stems.square().sum((-1, -2)), (estimates - stems).square().sum((-1, -2))
    return 10 * torch.log10(energy / error)


def tones_and_clicks(seconds: float) -> torch.Tensor:
    """Return two stereo stems at 8 kHz. Shape: `[1, 2, 2, T]`."""
    t = torch.arange(round(8000 * seconds)) / 8000
    tones = 0.1 * (torch.sin(2 * torch.pi * 500 * t) + torch.sin(2 * torch.pi * 810 * t))
    clicks = 2 * noise(len(t)) * torch.exp(-40 * (t % 0.2))
    return torch.stack([tones, clicks])[None, :, None] * torch.tensor([[1.0], [0.8]])


def test_refined_stems_are_better_than_those_of_a_base_without_training() -> None:
    model = tiny(**HPSS, sample_rate=8000)
    assert model.spec.stems == ("harmonic", "percussive")
    stems = tones_and_clicks(0.5)
    mix = stems.sum(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss = -sdr_db(model.train().training_waveforms(mix, stems), stems).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        before, after = sdr_db(model.base(mix), stems), sdr_db(model.eval()(mix), stems)
    assert (after > before + 3).all(), (before, after)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_steps_lead_to_what_a_perfect_denoiser_finds(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(schedule=schedule, steps=5)
    stems = noise(2, 4, 2, 3000)
    mix = stems.sum(1)
    seen: list[torch.Tensor] = []

    def truth(scene: Scene) -> torch.Tensor:
        return model._compressed(stems, scene.level) - scene.estimates

    def perfect(x: torch.Tensor, times: torch.Tensor, scene: Scene) -> torch.Tensor:
        assert times.shape == (2,)
        share = signal_share(times[:1], model.config.schedule)
        seen.append((x - share.sqrt() * truth(scene)) / (1 - share).sqrt())
        return truth(scene)

    monkeypatch.setattr(model, "_denoised", perfect)
    with torch.no_grad():
        torch.testing.assert_close(model(mix), stems, rtol=0, atol=1e-4)
    # It is the same noise all the way, less and less of it.
    assert len(seen) == 5
    for first, later in pairwise(seen):
        torch.testing.assert_close(later, first, rtol=0, atol=0.02)
    deviation = seen[0].abs().square().mean().sqrt()
    assert deviation == pytest.approx(model.config.start, rel=0.05)


def test_results_depend_on_the_seed_and_on_no_other_random_numbers() -> None:
    model, mix, stems = tiny(), noise(1, 2, 3000), noise(1, 4, 2, 3000)
    with torch.no_grad():
        first, in_training = model(mix), model.training_waveforms(mix, stems)
        torch.manual_seed(99)
        state = torch.get_rng_state()
        torch.testing.assert_close(model(mix), first, rtol=0, atol=0)
        torch.testing.assert_close(model.training_waveforms(mix, stems), in_training)
        assert torch.equal(torch.get_rng_state(), state)
        assert (tiny(seed=1)(mix) - first).abs().max() > 1e-4


def test_training_draws_other_noise_each_time() -> None:
    model, mix, stems = tiny().train(), noise(2, 2, 3000), noise(2, 4, 2, 3000)
    drawn = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        drawn.append(model.training_waveforms(mix, stems))
    torch.testing.assert_close(drawn[2], drawn[0], rtol=0, atol=0)
    assert (drawn[1] - drawn[0]).abs().max() > 1e-4


@pytest.mark.parametrize("train_base", [False, True])
def test_the_base_is_trained_only_if_asked(train_base: bool) -> None:
    model, mix, stems = tiny(train_base=train_base).train(), noise(2, 2, 3000), noise(2, 4, 2, 3000)
    before = {name: value.clone() for name, value in model.base.state_dict().items()}
    torch.autograd.backward(model.training_waveforms(mix, stems).square().sum())
    changed = [n for n, value in model.base.state_dict().items() if not value.equal(before[n])]
    assert bool(changed) == train_base  # the statistics of its normalisation
    assert all((p.grad is not None) == train_base for p in model.base.parameters())
    assert all(p.grad is not None for p in model.denoiser.parameters())


def test_the_weights_of_a_trained_base_fit() -> None:
    model, mix = tiny(), noise(1, 2, 3000)
    base = build_model("asym_unet", **asym_unet.TINY)
    assert {f"base.{n}" for n in base.state_dict()} == {
        name for name in model.state_dict() if name.startswith("base.")
    }
    model.base.load_state_dict(base.state_dict())
    torch.testing.assert_close(model.base(mix), base(mix))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_signal_fades_from_all_to_nothing(schedule: Any) -> None:
    shares = signal_share(torch.linspace(0, 1, 1001), schedule)
    assert shares[0] == pytest.approx(1)
    assert 0 <= shares[-1] < 1e-4
    assert (shares.diff() < 0).all()


def test_the_schedules_are_those_of_the_papers() -> None:
    # Ho et al.: β from 0.0001 to 0.02 in 1000 steps; Nichol and Dhariwal: equation 17.
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    times = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(signal_share(times, "linear"), products, rtol=0.01, atol=1e-3)
    half = (torch.tensor(0.508 / 1.008 * torch.pi / 2).cos() ** 2) / (
        torch.tensor(0.008 / 1.008 * torch.pi / 2).cos() ** 2
    )
    torch.testing.assert_close(signal_share(torch.tensor(0.5), "cosine"), half)


def test_noise_keeps_the_power() -> None:
    clean, random = (torch.randn(10000, dtype=torch.complex64) for _ in range(2))
    power = noised(clean, random, torch.tensor(0.3)).abs().square().mean()
    assert power == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_compression_is_undone(exponent: float) -> None:
    spectra = torch.randn(1000, dtype=torch.complex64)
    again = powered(powered(spectra, exponent), 1 / exponent)
    torch.testing.assert_close(again, spectra, rtol=1e-3, atol=1e-4)
    silence = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    torch.autograd.backward(powered(silence, exponent).abs().sum())
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def test_what_is_not_given_is_as_the_base_has_it() -> None:
    cls = config_class("diffusion_refiner")
    for base in ("open_unmix", "center", "asym_unet"):
        config, usual = cls.model_validate({"base": base}), config_class(base)()
        assert (config.stems, config.sample_rate) == (usual.stems, usual.sample_rate)


def test_the_fields_of_the_base_are_completed_and_kept() -> None:
    cls = config_class("diffusion_refiner")
    config = cls.model_validate({"base_config": {"widths": (4, 8)}, "stems": ("drums",)})
    fields = config.model_dump(mode="json")
    assert fields["base_config"]["widths"] == [4, 8]
    assert fields["base_config"]["n_fft"] == 4096
    assert cls.model_validate(fields) == config
    model = tiny(stems=("drums",), sample_rate=8000, channels=1)
    assert model.base.spec == model.spec
    assert model.base.config.stems == ("drums",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "asym_unit"}, "model='asym_unit' is not an architecture"),
        ({"base_config": {"hiden_size": 3}}, "hiden_size=3: Extra inputs"),
        ({"base_config": {"taps": 4}}, "taps=4: .* odd"),
        ({"base_config": {"stems": ("a",)}}, "stems must not be in it; give them beside base"),
        ({"base": "hpss", "stems": ("vocals",)}, "stems must be"),
        ({"base": "open_unmix", "base_config": {"residual": True}}, "change base_config"),
        ({"steps": 0}, "steps=0"),
        ({"taps": 2}, "taps=2: .* odd"),
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_model("diffusion_refiner", **fields)
