"""Ratios of whole tracks, against the formulas and torchmetrics."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from desmezcla.evaluation.metrics import sdr as sdr_module
from desmezcla.evaluation.metrics.sdr import track_ratios
from desmezcla.evaluation.signals import ArraySignals

Audio = NDArray[np.float64]
Signals = Callable[[Audio], ArraySignals]
Pair = Callable[..., tuple[Audio, Audio]]


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_ratios_are_those_of_their_formulas(
    signals: Signals, pair: Pair, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdr_module, "_PART_SAMPLES", 700)
    s, y = pair(3, channels, 5000)
    ratios = track_ratios(signals(s), signals(y))
    power = np.square(s).sum((1, 2)), np.square(s - y).sum((1, 2))
    expected = 10 * np.log10((power[0] + 1e-7) / (power[1] + 1e-7))
    np.testing.assert_allclose(ratios.global_sdr, expected, atol=1e-9)
    flat = torch.from_numpy(y).flatten(1), torch.from_numpy(s).flatten(1)
    theirs = scale_invariant_signal_distortion_ratio(*flat)
    np.testing.assert_allclose(ratios.si_sdr, theirs.numpy(), atol=1e-6)


@given(gain=st.floats(-4, 4).filter(lambda g: abs(g) > 1e-3))
@settings(deadline=None)
def test_si_sdr_does_not_mind_the_level_of_an_estimate(gain: float) -> None:
    rng = np.random.default_rng(0)
    s = rng.standard_normal((2, 300))
    y = s + 0.1 * rng.standard_normal((2, 300))
    one = track_ratios(ArraySignals(("a",), (s,)), ArraySignals(("a",), (y,)))
    other = track_ratios(ArraySignals(("a",), (s,)), ArraySignals(("a",), (gain * y,)))
    assert other.si_sdr[0] == pytest.approx(one.si_sdr[0], abs=1e-5)


def test_perfect_halved_and_silent_estimates_have_defined_ratios(signals: Signals) -> None:
    rng = np.random.default_rng(0)
    s = rng.standard_normal((1, 2, 3000))
    silence = np.zeros_like(s)
    energy = float(np.square(s).sum())
    perfect = track_ratios(signals(s), signals(s))
    assert perfect.si_sdr[0] == math.inf
    assert perfect.global_sdr[0] == pytest.approx(10 * math.log10(energy / 1e-7 + 1))
    halved = track_ratios(signals(s), signals(0.5 * s))
    assert halved.global_sdr[0] == pytest.approx(20 * math.log10(2))
    assert halved.si_sdr[0] > 140  # but for rounding, infinite
    nothing = track_ratios(signals(s), signals(silence))
    assert nothing.global_sdr[0] == pytest.approx(0)
    assert math.isnan(nothing.si_sdr[0])
    assert nothing.silent_estimates[0]
    assert not nothing.silent_references[0]
    of_nothing = track_ratios(signals(silence), signals(s))
    assert of_nothing.global_sdr[0] == pytest.approx(10 * math.log10(1e-7 / energy))
    assert math.isnan(of_nothing.si_sdr[0])
    assert of_nothing.silent_references[0]
    both = track_ratios(signals(silence), signals(silence))
    assert both.global_sdr[0] == 0
