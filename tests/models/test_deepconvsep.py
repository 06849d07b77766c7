"""DeepConvSep, mono and stereo: sizes, windows, and the network written again window by window."""

import importlib
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.losses import losses_from
from desmezcla.models import build_model
from desmezcla.models.deepconvsep import Config, DeepConvSep, overlapped
from desmezcla.training import read_recipe

KEYS = ["deepconvsep", "deepconvsep_stereo"]


def tiny(key: str, **fields: Any) -> DeepConvSep:
    torch.manual_seed(0)
    settings: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    model = build_model(key, **settings | fields)
    assert isinstance(model, DeepConvSep)
    return model


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_sizes_are_those_of_the_authors_program() -> None:
    vertical, horizontal = 513 * 50 + 50, 50 * 50 * 15 + 50
    bottleneck = 50 * 16 * 128 + 128
    dense = 128 * 50 * 16 + 50 * 16
    model = build_model("deepconvsep")
    assert sum(p.numel() for p in model.parameters()) == (
        vertical + horizontal + bottleneck + 4 * dense + 4
    )
    assert model.spec.channels == 1


def test_sizes_in_stereo_are_those_of_its_program() -> None:
    encoder = 2 * 513 * 50 + 50 + 50 * 30 * 15 + 30
    bottleneck = 30 * 16 * 128 + 128
    dense = 128 * 30 * 16 + 30 * 16
    decoder = 30 * 50 * 15 + 50 + 50 * 2 * 513 + 2 * 513
    model = build_model("deepconvsep_stereo")
    assert sum(p.numel() for p in model.parameters()) == encoder + bottleneck + 4 * (
        dense + decoder
    )
    assert model.spec.channels == 2


def masks_by_windows(model: DeepConvSep, magnitude: Tensor) -> Tensor:
    """Return the masks as the paper describes them, one window after the other.

    Shape:
        magnitude: `[C, F, N]` of one group of channels; returns `[S, C, F, N]`.
    """
    config, weights = model.config, dict(model.network.named_parameters())
    scaled = magnitude * config.input_scale / config.n_fft**0.5
    channels, bins, frames = magnitude.shape
    size, temporal = config.context_frames, config.temporal_filters
    vertical = weights["vertical.weight"].reshape(-1, channels, bins, 1)
    horizontal = weights["horizontal.weight"][:, :, None]  # [temporal, spectral, 1, frames]
    total = torch.zeros(len(config.stems), channels, bins, frames + size)
    count = torch.zeros(frames + size)
    start = 0
    while start == 0 or start + config.overlap_frames < frames:
        part = scaled[..., start : start + size]
        part = F.pad(part, (0, size - part.shape[-1]))[None]
        x = F.conv2d(part, vertical, weights["vertical.bias"])
        x = F.conv2d(x, horizontal, weights["horizontal.bias"])  # [1, temporal, 1, P]
        x = F.relu(
            weights["bottleneck.weight"].flatten(1) @ x.flatten() + weights["bottleneck.bias"]
        )
        spectra = []
        for stem in range(len(config.stems)):
            y = F.relu(weights[f"dense.{stem}.weight"] @ x + weights[f"dense.{stem}.bias"])
            y = y.reshape(1, temporal, 1, -1)
            if "bias" in weights:
                y = F.conv_transpose2d(F.conv_transpose2d(y, horizontal), vertical)
                y = y + weights["bias"][stem]
            else:
                names = [f"decoders.{stem}.{layer}." for layer in (0, 1)]
                along, up = (weights[name + "weight"][:, :, None] for name in names)
                y = F.conv_transpose2d(y, along, weights[names[0] + "bias"])
                y = F.conv_transpose2d(y, up, weights[names[1] + "bias"])
                y = y.reshape(1, channels, bins, size)
            spectra.append(F.relu(y[0]).clamp(min=1e-4))
        masks = torch.stack(spectra) / sum(spectra)
        total[..., start : start + size] += masks
        count[start : start + size] += 1
        start += size - config.overlap_frames
    return total[..., :frames] / count[:frames]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("samples", [100, 600, 1500, 4000])
@pytest.mark.parametrize("overlap_frames", [0, 2, 3, 5])
def test_masks_are_those_of_single_windows(key: str, samples: int, overlap_frames: int) -> None:
    model = tiny(key, overlap_frames=overlap_frames)
    mix = noise(1, 2, samples)
    with torch.no_grad():
        spectrum = model.transform(mix)
        masks = model.spectra(mix)[0] / spectrum
        magnitude = spectrum[0].abs()
        if key == "deepconvsep":
            by_channel = [masks_by_windows(model, channel[None]) for channel in magnitude]
            expected = torch.cat(by_channel, dim=1)
        else:
            expected = masks_by_windows(model, magnitude)
    torch.testing.assert_close(masks.real, expected, rtol=0, atol=1e-4)


def test_windows_are_added_where_they_stand() -> None:
    windows = torch.arange(1.0, 13.0).reshape(3, 4)
    expected = torch.zeros(10)
    for number, window in enumerate(windows):
        expected[3 * number : 3 * number + 4] += window
    torch.testing.assert_close(overlapped(windows, 3), expected)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("samples", [1, 500, 5000])
def test_the_stems_add_up_to_the_mixture(key: str, samples: int) -> None:
    mix = noise(2, 2, samples)
    torch.testing.assert_close(tiny(key)(mix).sum(1), mix, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [511, 513, 2047, 2049, 2300])
def test_the_end_is_no_louder_than_the_rest(samples: int) -> None:
    mix = noise(1, 1, samples)
    torch.manual_seed(0)
    ends = build_model("deepconvsep")(mix)[..., -400:]
    assert ends.abs().max() < 3 * mix.abs().max()


@pytest.mark.parametrize("key", KEYS)
def test_what_lies_beyond_the_context_does_not_matter(key: str) -> None:
    model = tiny(key)
    context, grid = model.spec.context_samples, model.spec.hop_samples
    mix = noise(1, 2, 60 * grid)
    start, end = 10 * grid, 33 * grid + 77
    with torch.no_grad():
        whole = model(mix)[..., start + context : end - context]
        part = model(mix[..., start:end])[..., context:-context]
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-5)


def test_the_mono_network_takes_each_channel_by_itself() -> None:
    both, one = tiny("deepconvsep"), tiny("deepconvsep", channels=1)
    one.load_state_dict(both.state_dict())
    mix = noise(1, 2, 3000)
    apart = torch.cat([one(mix[:, :1]), one(mix[:, 1:])], dim=2)
    torch.testing.assert_close(both(mix), apart, rtol=0, atol=1e-6)


def test_the_stereo_network_sees_both_channels() -> None:
    model, mix = tiny("deepconvsep_stereo"), noise(1, 2, 3000)
    other = torch.stack([mix[:, 0], noise(1, 3000, seed=1)], dim=1)
    assert not torch.allclose(model(mix)[:, :, 0], model(other)[:, :, 0], atol=1e-4)


@pytest.mark.parametrize("key", KEYS)
def test_its_loss_teaches_all_of_the_network(key: str) -> None:
    model, stems = tiny(key), noise(2, 4, 2, 3000)
    mix = stems.sum(1)
    loss = losses_from([{"kind": "deepconvsep"}], stems=model.config.stems)
    loss(model.spectra(mix), model.transform(stems), model.transform(mix))["total"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("field", ["overlap_frames", "temporal_frames"])
def test_windows_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(ParameterError, match=f"{field}=30 must be less than context_frames=30"):
        build_model("deepconvsep", **{field: 30})


@pytest.mark.parametrize("key", KEYS)
def test_an_example_of_the_recipe_is_one_window(key: str) -> None:
    recipe = read_recipe(key)
    config = cast(Config, recipe.config())
    model = build_model(key, **recipe.model.fields, stems=recipe.stems)
    assert isinstance(model, DeepConvSep)
    example = torch.zeros(1, config.channels, round(recipe.data.segment_s * config.sample_rate))
    assert model.transform(example).shape[-1] == config.context_frames == 30


def test_the_recipe_has_the_values_of_the_thesis() -> None:
    recipe = read_recipe("deepconvsep")
    config = cast(Config, recipe.config())
    assert (recipe.batch_size, recipe.epochs) == (32, 40)
    assert (config.hop_length, config.window) == (512, "blackmanharris")
    assert (config.context_frames, config.overlap_frames) == (30, 25)
