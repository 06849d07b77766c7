import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.dsp.bands import band_weights, warped_centres
from desmezcla.errors import ParameterError

sizes = st.integers(4, 300).flatmap(
    lambda bands: st.tuples(st.integers(bands, 10 * bands), st.just(bands))
)


@given(sizes)
def test_centres_rise_from_the_first_bin_to_the_last(size: tuple[int, int]) -> None:
    bins, bands = size
    centres = warped_centres(bins, bands)
    assert len(centres) == bands
    assert centres[0] == 0
    assert centres[-1] == bins - 1
    assert (np.diff(centres) > 0).all()


def test_every_low_bin_is_a_band_and_steps_never_jump() -> None:
    steps = np.diff(warped_centres(2049, 256))
    np.testing.assert_array_equal(steps[:50], 1)
    assert (steps[1:] / steps[:-1]).max() < 1.1


@given(sizes)
def test_interpolation_keeps_constants_and_ramps(size: tuple[int, int]) -> None:
    bins, bands = size
    centres = warped_centres(bins, bands)
    weights = band_weights(centres, bins)
    assert weights.min() >= -1e-12
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights @ centres, np.arange(bins), atol=1e-6)


@given(sizes)
def test_every_band_sees_a_bin(size: tuple[int, int]) -> None:
    bins, bands = size
    assert (band_weights(warped_centres(bins, bands), bins).sum(0) > 0).all()


@pytest.mark.parametrize("bands", [3, 66])
def test_too_few_or_too_many_bands_are_refused(bands: int) -> None:
    with pytest.raises(ParameterError, match=f"bands={bands}"):
        warped_centres(65, bands)
