"""What only DeepSampler has: energies without spectra, kernels that are turned to the past."""

from typing import Any

import pytest
import torch
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.models import SpectralModel, build_model
from desmezcla.models.deepsampler import TINY, DeepSampler

CAUSAL = {"causal": True, "hop_length": 32, "synthesis_samples": 64}


def build(**fields: Any) -> DeepSampler:
    torch.manual_seed(0)
    model = build_model("deepsampler", **TINY | fields)
    assert isinstance(model, DeepSampler)
    torch.nn.init.normal_(model.exit.weight, 0, 0.5)  # masks that differ from place to place
    return model.eval()


def song() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    levels = torch.tensor([0.1, 0.05, 0.2, 0.01])[:, None, None]
    stems = levels * torch.randn(2, 4, 2, 3000, generator=generator)
    return stems.sum(1), stems


@pytest.mark.parametrize("fields", [{}, CAUSAL])
def test_energies_are_those_of_the_spectra(fields: dict[str, Any]) -> None:
    model = build(**fields)
    found = model.frame_energies(*song())
    wanted = SpectralModel.frame_energies(model, *song())
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-5)


def test_energies_have_the_gradient_of_the_spectra() -> None:
    gradients = []
    for energies in (DeepSampler.frame_energies, SpectralModel.frame_energies):
        model = build()
        torch.autograd.backward(energies(model, *song())[0].log().sum())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_energies_are_in_full_precision_in_a_training_in_half() -> None:
    model = build()
    exact = model.frame_energies(*song())
    with torch.autocast("cpu", torch.bfloat16):
        error, level, heard = model.frame_energies(*song())
    assert error.dtype == torch.float32
    torch.testing.assert_close((level, heard), exact[1:])
    torch.testing.assert_close(error, exact[0], rtol=0.1, atol=0.01)


def test_the_last_stem_is_what_the_others_leave() -> None:
    model, (mix, _) = build(), song()
    with torch.no_grad():
        stems = model(mix)
        spectra = model.spectra(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-6)
    wanted = model.transform(stems)[..., 2:-2]
    assert (wanted - spectra[..., 2:-2]).abs().mean() < 0.3 * wanted.abs().mean()


@pytest.mark.parametrize("strides", [(2,), (2, 3), (2, 0), (8, 8)])
def test_strides_that_do_not_fit_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="strides="):
        build(strides=strides)


def test_a_causal_model_takes_kernels_that_look_back() -> None:
    source, model = build(), build(**CAUSAL)
    weights, old = model.weights_from(source), source.state_dict()
    before = old["encoder.0.time.weight"]  # taps at -2, …, 2 hops of twice the length
    after = weights["encoder.0.time.weight"]
    assert torch.equal(after[:, :, 0], before[:, :, 0])
    assert torch.equal(after[:, :, 2], before[:, :, 1])
    torch.testing.assert_close(after[:, :, 4], before[:, :, 2:].sum(2))
    assert not after[:, :, 1::2].any()
    assert torch.equal(weights["encoder.0.bands.weight"], old["encoder.0.bands.weight"])
    model.load_state_dict(weights)
    again = build(**CAUSAL).weights_from(model)
    assert all(torch.equal(again[key], value) for key, value in weights.items())
