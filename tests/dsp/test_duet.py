import math

import pytest
import torch
from torch import Tensor

from desmezcla.dsp.duet import PlaceMap, find_places, nearest_place
from desmezcla.errors import ParameterError

F, N = 129, 40
FREQUENCIES = torch.linspace(0, math.pi, F)


def image(angle: float, delay: float, source: Tensor) -> Tensor:
    """Return a source as both channels have it."""
    turned = source * torch.polar(torch.ones(F), -FREQUENCIES * delay)[:, None]
    return torch.stack([math.cos(angle) * source, math.sin(angle) * turned])


def disjoint(places: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Return a mixture of sources that share no bin, and the number of the source of each bin."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(len(places), (F, N), generator=generator)
    source = torch.randn(F, N, dtype=torch.complex64, generator=generator)
    mixture = torch.stack([image(*place, source * (owner == k)) for k, place in enumerate(places)])
    return mixture.sum(0), owner


@pytest.mark.parametrize(
    "places",
    [
        [(0.4, 0.0), (0.8, 0.0), (1.3, 0.0)],
        [(0.3, -2.0), (0.8, 1.0), (0.8, -1.5), (1.2, 2.5)],
        [(0.0, 0.0), (math.pi / 2, 0.0)],
    ],
)
def test_sources_are_found_where_they_are(places: list[tuple[float, float]]) -> None:
    mixture, owner = disjoint(places)
    found = find_places(mixture, FREQUENCIES, sources=len(places) + 2, place_map=PlaceMap())
    assert len(found) == len(places)
    expected = torch.tensor(sorted(places))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.08)
    nearest = nearest_place(mixture, FREQUENCIES, torch.tensor(places))
    # At both ends of the spectrum the channels are in phase or not, whatever the delay.
    assert (nearest == owner)[2:-2].float().mean() > 0.99


def test_only_the_highest_peaks_are_returned() -> None:
    generator = torch.Generator().manual_seed(0)
    mixture = torch.zeros(2, F, N, dtype=torch.complex64)
    for number, (angle, level) in enumerate([(0.3, 1.0), (0.8, 0.2), (1.3, 0.5)]):
        source = torch.randn(F, N, dtype=torch.complex64, generator=generator)
        source[torch.arange(F) % 3 != number] = 0
        mixture = mixture + image(angle, 0.0, level * source)
    found = find_places(mixture, FREQUENCIES, sources=2, place_map=PlaceMap())
    torch.testing.assert_close(found[:, 0], torch.tensor([0.3, 1.3]), rtol=0, atol=0.02)


def test_silence_has_no_places() -> None:
    silence = torch.zeros(2, F, N, dtype=torch.complex64)
    assert find_places(silence, FREQUENCIES, sources=3, place_map=PlaceMap()).shape == (0, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"angles": 1}, "angles=1"),
        ({"delays": 4}, "delays=4"),
        ({"max_delay_samples": -1.0}, "max_delay_samples=-1.0"),
        ({"separation_cells": -1}, "separation_cells=-1"),
    ],
)
def test_a_map_that_cannot_be_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        PlaceMap(**fields)
