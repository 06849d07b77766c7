"""What holds for every architecture; the files of the folder `models` are the list."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.inference.engine import Engine, EngineOptions
from desmezcla.inference.sources import ArraySource
from desmezcla.models import build_model, config_class, list_models, model_class
from desmezcla.models.base import SeparationModel
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

KEYS = list_models()


def tiny(key: str, **fields: Any) -> SeparationModel[Any]:
    torch.manual_seed(0)
    settings: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    return build_model(key, **settings | fields)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 33, 1000, 5001])
def test_stems_have_the_shape_of_the_mixture(key: str, channels: int, samples: int) -> None:
    model = tiny(key, channels=channels)
    stems = model(noise(2, channels, samples))
    assert stems.shape == (2, len(model.spec.stems), channels, samples)
    assert stems.dtype == torch.float32
    assert stems.isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_silence_gives_finite_stems(key: str) -> None:
    assert tiny(key)(torch.zeros(1, 2, 3000)).isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_items_of_a_batch_do_not_see_each_other(key: str) -> None:
    model = tiny(key)
    mix = noise(3, 2, 4000)
    together = model(mix)
    alone = torch.cat([model(item[None]) for item in mix])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", KEYS)
def test_the_mixture_is_left_alone_and_the_result_repeats(key: str) -> None:
    model = tiny(key)
    mix = noise(1, 2, 3000)
    before = mix.clone()
    first = model(mix)
    torch.testing.assert_close(mix, before, rtol=0, atol=0)
    torch.testing.assert_close(model(mix), first, rtol=0, atol=0)


@pytest.mark.parametrize("key", KEYS)
def test_a_release_gives_back_the_model(key: str, tmp_path: Path) -> None:
    model = tiny(key)
    release = save_release(model, tmp_path / "release", About(name="again", license="MIT"))
    again = load_model(release)
    assert again.config == model.config
    assert again.spec == model.spec
    mix = noise(1, 2, 3000)
    torch.testing.assert_close(again(mix), model(mix), rtol=0, atol=0)


@pytest.mark.parametrize("key", KEYS)
def test_gradients_are_finite_and_reach_every_parameter(key: str) -> None:
    model = tiny(key)
    parameters = dict(model.named_parameters())
    if not parameters:
        return  # nothing to train
    model(noise(2, 2, 3000)).square().sum().backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("key", KEYS)
def test_the_engine_gives_stems_of_exact_length(key: str) -> None:
    engine = Engine(tiny(key), EngineOptions())
    length = 2 * engine.spec.segment_samples + 123
    audio = noise(2, length).numpy()
    blocks = list(engine.stream(ArraySource(audio, engine.spec.sample_rate)))
    assert np.concatenate(blocks, axis=-1).shape == (len(engine.spec.stems), 2, length)


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_shape_or_type_is_refused(key: str) -> None:
    model = tiny(key)
    for mix in (noise(2, 1000), noise(1, 3, 1000), noise(1, 2, 0)):
        with pytest.raises(ParameterError, match=r"\[B, C, T\]"):
            model(mix)
    with pytest.raises(ParameterError, match="float32"):
        model(torch.zeros(1, 2, 100, dtype=torch.int16))


@pytest.mark.parametrize("key", KEYS)
def test_every_architecture_says_where_it_comes_from(key: str) -> None:
    text = importlib.import_module(f"desmezcla.models.{key}").__doc__ or ""
    assert "Differences from" in text
    assert model_class(key).__doc__
    assert config_class(key).__doc__


@pytest.mark.parametrize("key", KEYS)
def test_an_unknown_field_is_refused(key: str) -> None:
    with pytest.raises(ParameterError, match="hiden_size=3"):
        build_model(key, hiden_size=3)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ParameterError, match="model='open_unmux'"):
        build_model("open_unmux")
