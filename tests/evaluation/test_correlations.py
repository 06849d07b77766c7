"""Correlations, convolution in blocks and least squares, against direct computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import lstsq, toeplitz
from torch import Tensor

from desmezcla.evaluation.metrics import correlations as module
from desmezcla.evaluation.metrics.correlations import (
    Channels,
    across,
    by_frequency,
    cut,
    span_correlations,
)
from desmezcla.evaluation.metrics.filters import Equations, distortion_filters, gram
from desmezcla.evaluation.metrics.overlap_save import OverlapSave

Array = NDArray[np.float64]


def channels(audio: Tensor, references: int) -> Channels:
    return Channels(
        lambda start, stop: audio[:, start:stop],
        references,
        len(audio) - references,
        torch.device("cpu"),
    )


def correlated(audio: Tensor, references: int, lags: int) -> Tensor:
    return next(span_correlations(channels(audio, references), [(0, audio.shape[1])], lags))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def direct(part: Array, lags: int) -> Array:
    """Return the correlations of the first two channels with all, as sums."""
    samples = part.shape[1]
    padded = np.pad(part, ((0, 0), (0, lags)))
    return np.array(
        [[[x @ y[k : k + samples] for k in range(lags)] for y in padded] for x in part[:2]]
    )


@given(
    samples=st.integers(1, 400),
    lags=st.integers(1, 20),
    start=st.integers(0, 100),
    batch=st.integers(1, 2000),
    longest=st.integers(20, 500),
)
@settings(max_examples=60, deadline=None)
def test_correlations_are_the_sums_they_stand_for(
    samples: int, lags: int, start: int, batch: int, longest: int
) -> None:
    audio = noise(3, start + samples + 7)
    spans = [(start, start + samples), (start, start + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_SAMPLES", batch)
        patch.setattr(module, "_SPAN_SAMPLES", longest)
        found = list(span_correlations(channels(audio, 2), spans, lags))
    for (first, last), correlations in zip(spans, found, strict=True):
        expected = direct(audio[:, first:last].numpy(), lags)
        np.testing.assert_allclose(correlations.numpy(), expected, atol=1e-11)


def test_parts_and_what_correlates_across_their_edges_make_a_whole() -> None:
    audio, lags = noise(3, 100), 9
    spans = cut(0, 100, 12)
    given_channels = channels(audio, 2)
    parts = sum(span_correlations(given_channels, spans, lags))
    edges = [edge for edge, _ in spans[1:]]
    whole = parts + across(given_channels, edges, (0, 100), lags)
    np.testing.assert_allclose(whole.numpy(), direct(audio.numpy(), lags), atol=1e-11)


@given(taps=st.integers(1, 70), rows=st.integers(1, 5), expected=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_filtering_in_blocks_is_convolution(taps: int, rows: int, expected: int) -> None:
    filters = noise(2, taps, 3)
    bank = OverlapSave(filters, expected)
    blocks = noise(2, rows, bank.size, seed=1)
    found = bank.apply(by_frequency(blocks))
    for row in range(rows):
        for output in range(3):
            kept = sum(
                np.convolve(blocks[i, row], filters[i, :, output], "valid") for i in range(2)
            )
            np.testing.assert_allclose(found[output, row].numpy(), kept, atol=1e-11)


def delayed(audio: Tensor, taps: int) -> Array:
    """Return all channels at all delays as columns, `[samples + taps - 1, I·taps]`."""
    columns = [
        toeplitz(np.pad(channel, (0, taps - 1)), np.r_[channel[:1], np.zeros(taps - 1)])
        for channel in audio.numpy()
    ]
    return np.concatenate(columns, axis=1)


def test_the_gram_matrix_is_that_of_delayed_signals() -> None:
    audio, taps = noise(3, 50), 8
    x = delayed(audio, taps)
    np.testing.assert_allclose(gram(correlated(audio, 3, taps)).numpy(), x.T @ x, atol=1e-11)


@pytest.mark.parametrize("condition", ["well", "ill"])
def test_filters_are_the_least_squares_solution(condition: str) -> None:
    audio, taps = noise(3, 600), 12
    if condition == "ill":
        # Two channels nearly the same: the square of the condition is near double precision's end.
        audio[1] = audio[0] + 1e-5 * audio[1]
    correlations = correlated(audio, 2, taps)
    filters = distortion_filters(channels(audio, 2), correlations, (0, 600))
    x, y = delayed(audio[:2], taps), np.pad(audio[2].numpy(), (0, taps - 1))
    expected = lstsq(x, y)[0]
    scale = np.abs(expected).max()
    right = correlations[:, 2].reshape(-1, 1)
    uncorrected, rounding = Equations(correlations[:, :2], right).solve(right)
    errors = [
        np.abs(found.numpy().ravel() - expected).max() / scale for found in (uncorrected, filters)
    ]
    if condition == "well":
        assert max(rounding, *errors) < 1e-12
    else:
        assert rounding > 1e-6
        assert errors[0] > 1e-6
        assert errors[1] < errors[0] / 100


def test_references_that_are_the_same_or_silent_have_a_projection() -> None:
    audio, taps = noise(4, 500), 6
    audio[1] = audio[0]
    audio[2] = 0
    filters = distortion_filters(channels(audio, 3), correlated(audio, 3, taps), (0, 500))
    x, y = delayed(audio[:3], taps), np.pad(audio[3].numpy(), (0, taps - 1))
    best = x @ lstsq(x, y, cond=1e-10)[0]
    np.testing.assert_allclose(x @ filters.numpy().ravel(), best, atol=1e-6)
    assert filters[2].abs().max() == 0
