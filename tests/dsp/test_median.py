import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.dsp.median import harmonic_percussive, median_filter, median_of
from desmezcla.errors import ParameterError


@settings(deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    size=st.sampled_from([1, 3, 5, 9, 17, 31]),
    dim=st.sampled_from([-2, -1]),
)
def test_the_filter_is_the_median_of_mirrored_windows(
    rows: int, columns: int, size: int, dim: int
) -> None:
    x = np.random.default_rng(rows * columns).standard_normal((2, rows, columns))
    margins = [(0, 0)] * 3
    margins[dim] = (size // 2, size // 2)
    padded = np.pad(x, margins, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=dim)
    found = median_filter(torch.from_numpy(x), size=size, dim=dim)
    np.testing.assert_array_equal(found.numpy(), np.median(windows, axis=-1))


def test_a_filter_longer_than_one_slice_is_seamless() -> None:
    x = torch.rand(300, 700, generator=torch.Generator().manual_seed(0))
    whole = median_filter(x, size=5, dim=0)
    torch.testing.assert_close(whole[:, 400:410], median_filter(x[:, 400:410], size=5, dim=0))


@pytest.mark.parametrize("count", range(1, 40, 2))
def test_the_median_of_tensors_is_that_of_numpy(count: int) -> None:
    x = np.random.default_rng(count).standard_normal((count, 50))
    found = median_of(list(torch.from_numpy(x)))
    np.testing.assert_array_equal(found.numpy(), np.median(x, axis=0))


def test_lines_along_time_are_harmonic_and_lines_along_frequency_percussive() -> None:
    spectrogram = torch.zeros(40, 50)
    spectrogram[10] = 1
    spectrogram[:, 30] = 1
    harmonic, percussive = harmonic_percussive(spectrogram, harmonic_frames=9, percussive_bins=7)
    assert harmonic[10].eq(1).all()
    assert harmonic.sum() == 50
    assert percussive[:, 30].eq(1).all()
    assert percussive.sum() == 40


def test_an_even_size_is_refused() -> None:
    with pytest.raises(ParameterError, match="size=4 must be odd"):
        median_filter(torch.ones(3, 3), size=4, dim=0)
    with pytest.raises(ParameterError, match="number of values=2 must be odd"):
        median_of([torch.ones(1), torch.ones(1)])
