import numpy as np
import pytest

from desmezcla.live.statistics import LoadMeter


def test_percentiles_of_the_load_are_within_a_percent() -> None:
    values = np.random.default_rng(0).lognormal(-1.5, 0.8, 20_000)
    meter = LoadMeter()
    for value in values:
        meter.add(float(value))
    for percent in (50, 90, 99.9):
        exact = np.percentile(values, percent, method="inverted_cdf")
        assert exact * 0.999 <= meter.percentile(percent) <= exact * 1.0101
    assert meter.percentile(100) == meter.maximum == values.max()
    assert meter.mean == pytest.approx(values.mean())


def test_loads_beyond_the_scale_are_counted_at_its_ends() -> None:
    meter = LoadMeter()
    assert (meter.mean, meter.percentile(99.9), meter.maximum) == (0, 0, 0)
    meter.add(0.0)
    assert meter.percentile(99.9) == 0
    meter.add(1e9)
    assert meter.maximum == 1e9
    assert 900 < meter.percentile(99.9) <= 1e9
