"""What `rpca`, `duet` and `ica` do to signals whose parts are known."""

import importlib
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.models import build_model
from desmezcla.models.base import SeparationModel

KEYS = ["duet", "ica", "rpca"]
RATE = 44100


def tiny(key: str, **fields: Any) -> SeparationModel[Any]:
    settings: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    return build_model(key, **settings | fields)


def separated(model: SeparationModel[Any], mix: Tensor) -> Tensor:
    with torch.inference_mode():
        stems: Tensor = model(mix[None])[0]
    return stems


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def tone(frequency_hz: float, duration_s: float) -> Tensor:
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    return 0.2 * torch.sin(2 * math.pi * frequency_hz * time_s)


def chord(root_hz: float, duration_s: float) -> Tensor:
    return sum((tone(root_hz * ratio, duration_s) / 3 for ratio in (1, 1.25, 1.5)), torch.tensor(0))


def voice(duration_s: float, pitch_hz: float = 330.0) -> Tensor:
    """Sing a tone with eight harmonics and the vibrato of a singer."""
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    phase = 2 * math.pi * (pitch_hz * time_s - 0.24 * torch.cos(2 * math.pi * 5.5 * time_s))
    return sum((0.1 / n * torch.sin(n * phase) for n in range(1, 9)), torch.tensor(0.0))


def tunes(count: int, duration_s: float) -> list[Tensor]:
    """Play notes of harmonics with bursts of loudness, another rhythm for each tune."""
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    return [
        voice(duration_s, 197.0 * 1.37**k) * torch.sin((2.3 + 0.7 * k) * time_s + k).clamp(min=0)
        for k in range(count)
    ]


def centred(x: Tensor) -> Tensor:
    return torch.stack([x, x])


def sdr_db(reference: Tensor, estimate: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


def best_sdr_db(references: Tensor, estimates: Tensor) -> float:
    """Return the lowest of the stems' ratios, for the best order of the estimates."""
    orders = itertools.permutations(estimates)
    return max(min(map(sdr_db, references, order)) for order in orders)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 7, 500, 5000])
def test_the_stems_add_up_to_the_mixture(key: str, channels: int, samples: int) -> None:
    mix = noise(3, channels, samples)
    stems = tiny(key, channels=channels)(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("level", [1e-15, 1e-4, 1e4])
def test_the_level_of_the_mixture_is_that_of_the_stems(key: str, level: float) -> None:
    model = tiny(key)
    mix = noise(1, 2, 5000)
    torch.testing.assert_close(model(mix * level) / level, model(mix), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("samples", [1, 5000])
def test_silence_gives_silence(key: str, samples: int) -> None:
    assert (tiny(key)(torch.zeros(2, 2, samples)) == 0).all()


@pytest.mark.parametrize("key", KEYS)
def test_a_silent_half_and_a_silent_channel_do_no_harm(key: str) -> None:
    mix = noise(2, 2, 5000)
    mix[0, :, 2500:] = 0
    mix[1, 1] = 0
    stems = tiny(key)(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-5)
    assert stems[1, :, 1].abs().max() < 1e-6


@pytest.mark.parametrize("key", KEYS)
def test_the_global_random_numbers_are_neither_used_nor_moved(key: str) -> None:
    mix = noise(1, 2, 3000)
    torch.manual_seed(1)
    first = tiny(key)(mix)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = tiny(key)(mix)
    assert torch.equal(first, again)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("key", KEYS)
def test_low_precision_changes_next_to_nothing(key: str) -> None:
    model, mix = tiny(key), noise(1, 2, 5000)
    expected = model(mix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(mix)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("mask", ["binary", "soft"])
def test_rpca_parts_a_gliding_voice_from_the_chords_behind_it(mask: str) -> None:
    music = torch.cat([chord(root_hz, 0.4) for root_hz in (220, 294, 330, 262)]).repeat(3)
    time_s = torch.arange(len(music)) / RATE
    octaves = 0.8 * torch.sin(1.7 * time_s) + 0.1 * torch.sin(2 * math.pi * 5.5 * time_s)
    phase = 2 * math.pi * torch.cumsum(500 * 2 ** octaves.double(), 0) / RATE
    sung = sum((0.1 / n * torch.sin(n * phase) for n in range(1, 9)), torch.tensor(0.0)).float()
    sung = sung * (time_s > 1)
    # Chords of pure tones fill few bins, and so are sparse as well: more must count as sparse.
    model = build_model("rpca", mask=mask, sparsity=1.5)
    vocals, accompaniment = separated(model, centred(music + sung))
    assert sdr_db(centred(sung), vocals) > 5
    assert sdr_db(centred(music), accompaniment) > 5


def test_rpca_takes_less_for_the_voice_the_more_sparse_it_must_be() -> None:
    mix = noise(2, 5000)
    power = [
        float(separated(tiny("rpca", sparsity=sparsity), mix)[0].square().sum())
        for sparsity in (0.5, 1.0, 2.0)
    ]
    assert power == sorted(power, reverse=True)
    assert power[2] < 0.5 * power[0]


def test_duet_parts_three_tunes_by_their_levels() -> None:
    gains = torch.tensor([[1.0, 0.1], [0.7, 0.7], [0.2, 1.0]])
    images = gains[..., None] * torch.stack(tunes(3, 4.0))[:, None]
    stems = separated(build_model("duet"), images.sum(0))
    # They come out from left to right.
    for image, stem in zip(images, stems, strict=True):
        assert sdr_db(image, stem) > 12


def test_duet_parts_two_tunes_by_their_delays() -> None:
    first, second = tunes(2, 4.0)
    images = torch.stack(
        [torch.stack([first, first.roll(3)]), torch.stack([second.roll(2), second])]
    )
    stems = separated(build_model("duet", stems=("a", "b")), images.sum(0))
    assert best_sdr_db(images, stems) > 12
    by_level = build_model("duet", stems=("a", "b"), max_delay_samples=0.0)
    assert best_sdr_db(images, separated(by_level, images.sum(0))) < 6


def test_duet_hears_sources_on_one_side_only() -> None:
    left, right = tunes(2, 3.0)
    silent = torch.zeros_like(left)
    images = torch.stack([torch.stack([left, silent]), torch.stack([silent, right])])
    stems = separated(build_model("duet", stems=("a", "b")), images.sum(0))
    assert sdr_db(images[0], stems[0]) > 20
    assert sdr_db(images[1], stems[1]) > 20


@pytest.mark.parametrize("key", ["duet", "ica"])
def test_where_nothing_can_be_told_apart_all_is_the_first_source(key: str) -> None:
    mono = noise(1, 5000)
    for channels in (1, 2):
        mix = mono.expand(channels, -1)
        stems = separated(tiny(key, channels=channels), mix)
        torch.testing.assert_close(stems[0], mix, rtol=0, atol=1e-6)
        assert stems[1:].abs().max() < 1e-6


@pytest.mark.parametrize(
    "mixing",
    [
        [[1.0, 0.6], [0.3, 1.0]],
        [[1.0, 1.0], [1.0, -1.0]],  # uncorrelated channels, so that whitening finds nothing
        [[1.0, 0.95], [0.9, 1.0]],
        [[0.001, 1.0], [1.0, 0.0]],
    ],
)
def test_ica_finds_two_sources_and_what_they_put_into_the_channels(
    mixing: list[list[float]],
) -> None:
    matrix, sources = torch.tensor(mixing), torch.stack(tunes(2, 4.0))
    images = matrix.T[..., None] * sources[:, None]  # [S, C, T]
    stems = separated(build_model("ica"), images.sum(0))
    assert best_sdr_db(images, stems) > 20


def test_ica_finds_sources_of_any_shape() -> None:
    # Flatter than a normal distribution, and more peaked than one.
    flat = torch.rand(RATE, generator=torch.Generator().manual_seed(1)) - 0.5
    peaked = noise(RATE, seed=2) * noise(RATE, seed=3).abs() * 10
    images = (
        torch.tensor([[1.0, 0.5], [0.4, 1.0]])[..., None] * torch.stack([flat, peaked])[:, None]
    )
    stems = separated(build_model("ica"), images.sum(0) + 0.1)
    assert best_sdr_db(images, stems - stems.mean(-1, keepdim=True)) > 20


def test_ica_orders_its_components_from_left_to_right() -> None:
    left, right = tunes(2, 3.0)
    stems = separated(build_model("ica"), torch.stack([left + 0.3 * right, right + 0.2 * left]))
    assert sdr_db(torch.stack([left, 0.2 * left]), stems[0]) > 20
    swapped = separated(build_model("ica"), torch.stack([right + 0.2 * left, left + 0.3 * right]))
    torch.testing.assert_close(swapped.flip(0, 1), stems, rtol=0, atol=1e-3)


def test_an_even_number_of_delays_is_refused() -> None:
    with pytest.raises(ParameterError, match="delays=4 must be odd"):
        build_model("duet", delays=4)
