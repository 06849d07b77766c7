"""Correlations, convolution in blocks and least squares, against direct computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import lstsq, toeplitz
from torch import Tensor

from desmezcla.evaluation import correlations as correlations_module
from desmezcla.evaluation.correlations import Read, cross_correlations
from desmezcla.evaluation.filters import Equations, distortion_filters, gram
from desmezcla.evaluation.overlap_save import OverlapSave


def reader(audio: Tensor) -> Read:
    return lambda start, stop: audio[:, start:stop]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@given(
    samples=st.integers(1, 400),
    lags=st.integers(1, 20),
    start=st.integers(0, 100),
    batch=st.integers(1, 2000),
)
@settings(max_examples=60, deadline=None)
def test_correlations_are_the_sums_they_stand_for(
    samples: int, lags: int, start: int, batch: int
) -> None:
    audio = noise(3, start + samples + 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlations_module, "_BATCH_SAMPLES", batch)
        found = cross_correlations(reader(audio), (2, 1), start, start + samples, lags)
        between = cross_correlations(
            reader(audio), (2, 1), start, start + samples, lags, within=False
        )
    part = np.pad(audio[:, start : start + samples].numpy(), ((0, 0), (0, lags)))
    expected = np.array(
        [[[x[:samples] @ y[k : k + samples] for k in range(lags)] for y in part] for x in part[:2]]
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)
    np.testing.assert_allclose(between.numpy(), expected[:, 2:], atol=1e-11)


@given(taps=st.integers(1, 70), wanted=st.integers(1, 500), expected=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_filtering_in_blocks_is_convolution(taps: int, wanted: int, expected: int) -> None:
    filters, audio = noise(2, taps, 3), noise(2, taps - 1 + wanted, seed=1)
    found = OverlapSave(filters, expected).stretch(audio)
    direct = [
        sum(np.convolve(audio[i], filters[i, :, o], "valid") for i in range(2)) for o in range(3)
    ]
    np.testing.assert_allclose(found.numpy(), np.array(direct), atol=1e-11)


def delayed(audio: Tensor, taps: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return all channels at all delays as columns, `[samples + taps - 1, I·taps]`."""
    columns = [
        toeplitz(np.pad(channel, (0, taps - 1)), np.r_[channel[:1], np.zeros(taps - 1)])
        for channel in audio.numpy()
    ]
    return np.concatenate(columns, axis=1)


def test_the_gram_matrix_is_that_of_delayed_signals() -> None:
    audio, taps = noise(3, 50), 8
    matrix = gram(cross_correlations(reader(audio), (3, 0), 0, 50, taps))
    x = delayed(audio, taps)
    np.testing.assert_allclose(matrix.numpy(), x.T @ x, atol=1e-11)


@pytest.mark.parametrize("condition", ["well", "ill"])
def test_filters_are_the_least_squares_solution(condition: str) -> None:
    audio, taps = noise(3, 600), 12
    if condition == "ill":
        # Two channels nearly the same: the square of the condition is beyond double precision.
        audio[1] = audio[0] + 1e-6 * audio[1]
    read = reader(audio)
    correlations = cross_correlations(read, (2, 1), 0, 600, taps)
    filters = distortion_filters(read, correlations, 0, 600)
    x, y = delayed(audio[:2], taps), np.pad(audio[2].numpy(), (0, taps - 1))
    expected = lstsq(x, y)[0]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(filters.numpy().ravel(), expected, atol=1e-6 * scale)
    uncorrected, rounding = Equations(gram(correlations[:, :2])).solve(
        correlations[:, 2].reshape(-1, 1)
    )
    worse = np.abs(uncorrected.numpy().ravel() - expected).max() / scale
    assert (worse < 1e-10) == (condition == "well")
    assert (rounding < 1e-10) == (condition == "well")


def test_references_that_are_the_same_or_silent_have_a_projection() -> None:
    audio, taps = noise(4, 500), 6
    audio[1] = audio[0]
    audio[2] = 0
    read = reader(audio)
    filters = distortion_filters(read, cross_correlations(read, (3, 1), 0, 500, taps), 0, 500)
    x, y = delayed(audio[:3], taps), np.pad(audio[3].numpy(), (0, taps - 1))
    best = x @ lstsq(x, y, cond=1e-10)[0]
    np.testing.assert_allclose(x @ filters.numpy().ravel(), best, atol=1e-6)
    assert filters[2].abs().max() == 0
