import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.models import build_model
from desmezcla.models.band_split_rnn import TINY, BandSplitRNN, Config, StemNetwork

PAPER = Config.model_validate({})


@pytest.mark.parametrize(
    ("stem", "bands"), [("vocals", 41), ("bass", 30), ("drums", 55), ("other", 41), ("guitar", 41)]
)
def test_the_bands_are_as_many_as_in_the_paper(stem: str, bands: int) -> None:
    widths = PAPER.band_widths(stem)
    assert len(widths) == bands
    assert sum(widths) == 1025
    assert min(widths) > 0


def test_a_band_has_the_bins_that_lie_in_it() -> None:
    # Bins of 21.5 Hz: 0 to 4 are below 100 Hz, 5 to 9 below 200 Hz, 10 to 13 below 300 Hz.
    assert PAPER.band_widths("vocals")[:3] == [5, 5, 4]
    # Bins of 31.25 Hz: the edges at 250, 500 and 1000 Hz are bins, and belong to the band above.
    config = Config.model_validate(
        {"sample_rate": 8000, "n_fft": 256, "bands_hz": ((500.0, 250.0), (1000.0, 500.0))}
    )
    assert config.band_widths("bass") == [8, 8, 16, 97]


@pytest.mark.parametrize(("n_fft", "sample_rate"), [(64, 44100), (256, 8000), (4096, 48000)])
def test_bands_are_cut_to_the_spectrum(n_fft: int, sample_rate: int) -> None:
    config = Config.model_validate({"n_fft": n_fft, "sample_rate": sample_rate})
    for stem in config.stems:
        widths = config.band_widths(stem)
        assert sum(widths) == n_fft // 2 + 1
        assert min(widths) > 0


@pytest.mark.parametrize(
    "bands_hz", [((500.0, 100.0), (500.0, 100.0)), ((0.0, 100.0),), ((500.0, 0.0),)]
)
def test_bands_that_do_not_rise_are_refused(bands_hz: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ParameterError, match="rising frequencies and positive widths"):
        build_model("band_split_rnn", **TINY | {"bands_hz": bands_hz})


def test_a_network_has_24_lstms_of_256_in_each_direction() -> None:
    # By hand: an LSTM of 128 inputs and 256 outputs in each of two directions has 790 528 weights,
    # the dense layer after it 65 664, the norm 256.
    with torch.device("meta"):
        network = StemNetwork(PAPER, "vocals")
    assert sum(x.numel() for x in network.layers.parameters()) == 24 * (790528 + 65664 + 256)
    bins, bands = 1025, 41
    split = 2 * (2 * bins) + 128 * 2 * bins + 128 * bands
    mask = bands * (256 + 128 * 512 + 512) + 513 * 4 * bins
    assert sum(x.numel() for x in network.split.parameters()) == split
    assert sum(x.numel() for x in network.mask.parameters()) == mask


def test_channels_and_stems_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = build_model("band_split_rnn", **TINY)
    assert isinstance(model, BandSplitRNN)
    mix = torch.randn(1, 2, 3000)
    swapped = model(mix.flip(1)).flip(2)
    torch.testing.assert_close(model(mix), swapped, rtol=1e-4, atol=1e-5)
    loss = model(mix)[:, 1].square().sum()
    loss.backward()
    for stem in model.spec.stems:
        gradients = [x.grad for x in model.network_of(stem).parameters()]
        assert all((x is not None and bool(x.any())) == (stem == "drums") for x in gradients)
