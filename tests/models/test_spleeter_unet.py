import numpy as np
import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine
from desmezcla.models import build_model
from desmezcla.models.spleeter_unet import TINY, SpleeterUnet


def trained(**fields: object) -> SpleeterUnet:
    """Return a tiny model whose statistics are not those of the start."""
    torch.manual_seed(0)
    model = build_model("spleeter_unet", **{**TINY, **fields})
    assert isinstance(model, SpleeterUnet)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return model


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stems", [("vocals", "accompaniment"), ("a", "b", "c", "d", "e")])
def test_the_networks_have_as_many_parameters_as_those_of_the_program(
    stems: tuple[str, ...],
) -> None:
    with torch.device("meta"):
        model = build_model("spleeter_unet", stems=stems)
    # TensorFlow counts 9,823,749 for a stem; 1,024 of them lead nowhere.
    expected = len(stems) * 9_822_725
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("wiener_iterations", [0, 1])
def test_segments_give_what_the_whole_track_gives(wiener_iterations: int) -> None:
    model = trained(segment_pieces=12, wiener_iterations=wiener_iterations)
    assert model.config.segment_pieces == type(model.config).model_fields["segment_pieces"].default
    source = ArraySource(noise(round(3.3 * model.spec.segment_samples))[0].numpy(), 44100)
    whole, pieces = (
        np.concatenate(list(torch_engine(model, EngineOptions(segment=segment)).stream(source)), -1)
        for segment in ("track", None)
    )
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=2e-6)
    assert np.abs(whole).mean() > 1e-3


def test_a_piece_does_not_see_the_others() -> None:
    model = trained()
    piece_samples = model.config.frames * model.config.hop_length
    mix = noise(5 * piece_samples)
    changed = mix.clone()
    # The frames of the third piece end before this sample.
    changed[..., 3 * piece_samples :] = 0
    kept = 3 * piece_samples - model.config.n_fft
    torch.testing.assert_close(
        model(changed)[..., :kept], model(mix)[..., :kept], rtol=0, atol=1e-6
    )


def test_masks_share_the_mixture_out() -> None:
    mix = noise(5000)
    stems = trained(mask_extension="average")(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-5)
    # What the networks do not see is left out otherwise.
    stems = trained(bins=64)(mix)
    spectrum = torch.fft.rfft(stems.sum(1)).abs()
    edge = 64 * spectrum.shape[-1] // 129
    assert spectrum[..., : edge - 100].mean() > 1
    assert spectrum[..., edge + 100 :].mean() < 0.05


@pytest.mark.parametrize("hop_length", [32, 50, 128])
def test_any_hop_gives_the_mixture_back(hop_length: int) -> None:
    model = trained(mask_extension="average", hop_length=hop_length, wiener_iterations=0)
    mix = noise(4321)
    torch.testing.assert_close(model(mix).sum(1), mix, rtol=0, atol=1e-5)


def test_a_softmax_makes_masks_that_add_up_to_one() -> None:
    model = trained(mask="softmax")
    masks = model._masks(model._spectrum(noise(3000)))
    torch.testing.assert_close(masks.sum(1), torch.ones_like(masks[:, 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 500}, "frames=500 and bins=1024 must be multiples of 64"),
        ({"bins": 1000}, "multiples of 64"),
        ({"bins": 2112}, "at most 2049"),
        ({"hop_length": 3000}, "at most half of n_fft=4096"),
        ({"frames": 64, "hop_length": 64}, "further than a window"),
        ({"stems": ("vocals",)}, "two or more"),
        ({"mask": "hard"}, "mask"),
        ({"separation_exponent": 0.5}, "separation_exponent"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_model("spleeter_unet", **fields)
