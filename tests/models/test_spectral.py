"""What holds for every model that estimates spectra."""

import importlib
from typing import Any

import pytest
import torch

from desmezcla.models import SpectralModel, build_model, config_class, list_models, model_class

KEYS = [key for key in list_models() if issubclass(model_class(key), SpectralModel)]


def tiny(key: str, **fields: Any) -> SpectralModel[Any]:
    torch.manual_seed(0)
    model = build_model(key, **importlib.import_module(f"desmezcla.models.{key}").TINY | fields)
    assert isinstance(model, SpectralModel)
    return model


@pytest.mark.parametrize("key", KEYS)
def test_spectra_are_those_of_the_waveforms_and_have_gradients(key: str) -> None:
    model = tiny(key).train()
    mix = torch.randn(2, 2, 3000, generator=torch.Generator().manual_seed(0)) * 0.1
    spectra = model.spectra(mix)
    assert spectra.shape[:3] == (2, len(model.config.stems), 2)
    assert spectra.shape[3:] == model.transform(mix).shape[2:]
    waveforms = model.waveforms(mix)
    assert waveforms.shape == (2, len(model.config.stems), 2, 3000)
    gradients = torch.autograd.grad(waveforms.square().mean(), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("key", KEYS)
def test_waveforms_are_the_separation_without_a_filter(key: str) -> None:
    filtered = "wiener_iterations" in config_class(key).model_fields
    model = tiny(key, **({"wiener_iterations": 0} if filtered else {}))
    mix = torch.randn(1, 2, 3000, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(model.waveforms(mix), model(mix), rtol=1e-4, atol=1e-5)
