"""What a bank of subband filters promises: the signal back, and every frequency in its band."""

import math

import pytest
import torch

from desmezcla.dsp.subbands import join_bands, split_bands, subband_filters
from desmezcla.errors import ParameterError


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bands", [2, 3, 4, 8, 16])
def test_the_signal_comes_back_in_its_place(bands: int) -> None:
    filters = subband_filters(bands)
    for length in (1, 15, 16, 4001, 4002, 4003, 4004):
        audio = noise(2, 3, length)
        split = split_bands(audio, filters)
        assert split.shape == (2, 3, bands, math.ceil(length / bands) + 15)
        error = audio - join_bands(split, filters, length)
        ratio_db = 10 * torch.log10(audio.square().sum() / error.square().sum())
        assert ratio_db > 65, length


@pytest.mark.parametrize("bands", [2, 4, 8])
def test_no_frequency_is_changed_by_more_than_a_thousandth(bands: int) -> None:
    response = torch.fft.rfft(subband_filters(bands).double(), 16384)
    gain = response.abs().square().sum(0) / bands
    assert (gain - 1).abs().max() < 1.05e-3


@pytest.mark.parametrize("bands", [4, 8])
def test_a_band_holds_its_own_frequencies(bands: int) -> None:
    filters = subband_filters(bands)
    n = torch.arange(4000, dtype=torch.float64)
    for band in range(bands):
        tone = torch.sin(math.pi * (band + 0.5) / bands * n).float()
        inner = split_bands(tone, filters)[:, 20:-20].square().mean(-1)
        level_db = 10 * torch.log10(inner / inner[band])
        far = [other for other in range(bands) if abs(other - band) > 1]
        assert level_db[far].max() < -90
        # In its middle a band is louder by what the lower rate leaves out.
        assert inner[band] == pytest.approx(bands / 2, rel=0.01)


def test_an_impulse_is_not_delayed() -> None:
    filters = subband_filters(4)
    impulse = torch.zeros(1001)
    impulse[500] = 1.0
    assert join_bands(split_bands(impulse, filters), filters, 1001).argmax() == 500


def test_signals_keep_their_precision_beside_a_network_in_half_of_it() -> None:
    filters, audio = subband_filters(4), noise(1000)
    with torch.autocast("cpu", torch.bfloat16):
        split = split_bands(audio, filters)
        joined = join_bands(split, filters, 1000)
    torch.testing.assert_close(split, split_bands(audio, filters), rtol=0, atol=0)
    torch.testing.assert_close(joined, join_bands(split, filters, 1000), rtol=0, atol=0)


def test_joining_is_the_transpose_of_splitting() -> None:
    filters = subband_filters(4)
    audio, split = noise(101), noise(4, 26 + 15)
    torch.testing.assert_close(
        (split_bands(audio, filters) * split).sum(),
        (audio * join_bands(split, filters, 101)).sum(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_one_band_is_refused() -> None:
    with pytest.raises(ParameterError, match="bands=1 must be 2 or more"):
        subband_filters(1)
