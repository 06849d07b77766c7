from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine
from desmezcla.spec import ValidLengths

RATE = 44100

# Fixtures here are factories without state, so hypothesis may use one for all its examples.
many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def run(
    model: Any,
    audio: NDArray[np.float32],
    *,
    block: int = 1 << 16,
    rate: int = RATE,
    **options: Any,
) -> NDArray[np.float32]:
    engine = torch_engine(model, EngineOptions(**options))
    blocks = list(engine.stream(ArraySource(audio, rate, block)))
    return np.concatenate(blocks, axis=-1)


def noise(channels: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((channels, samples)).astype(np.float32)


@many
@given(
    length=st.integers(1, 3000),
    segment=st.integers(1, 700),
    context=st.integers(0, 300),
    grid=st.integers(1, 64),
    overlap=st.floats(0, 0.95),
    batch=st.integers(1, 5),
    block=st.integers(1, 900),
    window=st.sampled_from(["crossfade", "triangle", "filled"]),
    channels=st.sampled_from([1, 2, 6]),
)
def test_an_identity_model_gives_back_the_input(
    scaled: Any,
    length: int,
    segment: int,
    context: int,
    grid: int,
    overlap: float,
    batch: int,
    block: int,
    window: str,
    channels: int,
) -> None:
    model = scaled(
        (1.0, -2.0),
        segment_samples=segment,
        context_samples=min(context, segment - 1),
        hop_samples=grid,
        window="crossfade" if window == "crossfade" else "triangle",
        valid_lengths=ValidLengths(300, 2, 6, 3, 2) if window == "filled" else None,
    )
    audio = noise(channels, length)
    # A short segment with a large overlap would take thousands of tiny steps.
    overlap = min(overlap, max(0.0, 1 - 20 / segment))
    stems = run(model, audio, block=block, overlap=overlap, batch_size=batch)
    assert stems.shape == (2, channels, length)
    np.testing.assert_allclose(stems[0], audio, atol=1e-6)
    np.testing.assert_allclose(stems[1], -2 * audio, atol=2e-6)


@many
@given(
    length=st.integers(1, 2500),
    block=st.integers(1, 900),
    batch=st.integers(1, 4),
    overlap=st.floats(0, 0.6),
)
def test_the_result_depends_neither_on_blocks_nor_on_batches(
    scaled: Any, length: int, block: int, batch: int, overlap: float
) -> None:
    def position_dependent(mix: Tensor) -> Tensor:
        ramp = torch.arange(mix.shape[-1], dtype=mix.dtype)
        return (mix * ramp)[:, None]

    audio = noise(2, length)
    model = scaled(segment_samples=400, context_samples=50)
    model.separate = position_dependent
    expected = run(model, audio, overlap=overlap)
    got = run(model, audio, overlap=overlap, block=block, batch_size=batch)
    np.testing.assert_array_equal(got, expected)


def test_context_at_inner_edges_is_discarded(scaled: Any) -> None:
    def wrong_at_the_edges(mix: Tensor) -> Tensor:
        stems = mix.clone()
        stems[..., :100] = 1e6
        stems[..., -100:] = 1e6
        return stems[:, None]

    model = scaled(segment_samples=1000, context_samples=100)
    model.separate = wrong_at_the_edges
    audio = noise(2, 5000)
    stems = run(model, audio, overlap=0.4)[0]
    # Only the edges of the song itself, where there is no context to be had, stay wrong.
    np.testing.assert_allclose(stems[:, 100:-100], audio[:, 100:-100], atol=1e-6)
    assert (stems[:, :100] == 1e6).all()


def test_the_last_segment_is_moved_back_onto_real_audio(scaled: Any) -> None:
    model = scaled(segment_samples=1000)
    audio = noise(2, 1010)
    run(model, audio)
    assert [seen.shape[-1] for seen in model.seen] == [1000, 1000]
    np.testing.assert_array_equal(model.seen[-1][0].numpy(), audio[:, -1000:])


def test_segments_start_on_the_grid_of_the_model(scaled: Any) -> None:
    model = scaled(segment_samples=1000, hop_samples=64)
    audio = np.arange(4000, dtype=np.float32)[None].repeat(2, axis=0)
    run(model, audio, overlap=0.3)
    starts = [int(seen[0, 0, 0]) for seen in model.seen]
    assert all(start % 64 == 0 for start in starts)
    assert len(starts) > 4
    # The last one is longer, so that it too can start there and still end with the song.
    assert [seen.shape[-1] for seen in model.seen[:-1]] == [1000] * (len(starts) - 1)
    assert starts[-1] + model.seen[-1].shape[-1] == 4000
    assert 1000 <= model.seen[-1].shape[-1] < 1064


def test_segment_track_gives_the_model_everything_at_once(scaled: Any) -> None:
    model = scaled(segment_samples=100)
    audio = noise(2, 5000)
    np.testing.assert_array_equal(run(model, audio, segment="track")[0], audio)
    assert [tuple(seen.shape) for seen in model.seen] == [(1, 2, 5000)]


def test_segment_in_seconds_is_taken_at_the_rate_of_the_model(scaled: Any) -> None:
    model = scaled(sample_rate=8000)
    run(model, noise(2, 8000), rate=8000, segment=0.25)
    assert {seen.shape[-1] for seen in model.seen} == {2000}


def test_triangular_weights_favour_the_middle_of_a_segment(scaled: Any) -> None:
    model = scaled(segment_samples=4, window="triangle")
    ramp = torch.arange(4.0)
    model.separate = lambda mix: (mix * 0 + ramp[: mix.shape[-1]])[:, None]
    stems = run(model, noise(2, 8), overlap=0.5)
    # Segments at 0, 2, 4 and, with two samples, at 6; weights 1 2 2 1.
    # Sample 2: (2·2 + 1·0) / 3; sample 3: (1·3 + 2·1) / 3; and so on.
    expected = [0, 1, 4 / 3, 5 / 3, 4 / 3, 5 / 3, 4 / 3, 5 / 3]
    np.testing.assert_allclose(stems[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_segment_is_filled_up_evenly_with_what_is_around_it(scaled: Any, block: int) -> None:
    model = scaled(segment_samples=100, window="triangle", valid_lengths=ValidLengths(minimum=120))
    audio = np.arange(1, 251, dtype=np.float32)[None].repeat(2, axis=0)
    stems = run(model, audio, overlap=0.25, block=block)
    np.testing.assert_allclose(stems[0], audio, rtol=1e-6)
    # Segments at 0, 75, 150 and 225 have 100, 100, 100 and 25 samples.
    spans = [(-10, 110), (65, 185), (140, 260), (225 - 47, 225 - 47 + 120)]
    assert len(model.seen) == len(spans)
    silence = np.zeros(100, np.float32)
    padded = np.concatenate([silence, audio[0], silence])
    for seen, (start, stop) in zip(model.seen, spans, strict=True):
        np.testing.assert_array_equal(seen[0, 0].numpy(), padded[100 + start : 100 + stop])


def test_a_track_shorter_than_a_valid_length_stands_in_the_middle_of_it(scaled: Any) -> None:
    model = scaled(segment_samples=90, window="triangle", valid_lengths=ValidLengths(minimum=90))
    audio = noise(2, 30)
    np.testing.assert_array_equal(run(model, audio)[0], audio)
    assert [tuple(seen.shape) for seen in model.seen] == [(1, 2, 90)]
    np.testing.assert_array_equal(model.seen[0][0, :, 30:60].numpy(), audio)
    # Asked for shorter segments, it gets those.
    run(model, audio, segment=10 / RATE)
    assert {seen.shape[-1] for seen in model.seen[1:]} == {10}


def test_valid_lengths_leave_no_remainder_in_strided_convolutions() -> None:
    lengths = ValidLengths(depth=3, kernel=8, stride=4, oversampling=2)
    for samples in (1, 100, 1777):
        valid = lengths.above(samples)
        assert samples <= valid == lengths.above(valid)
        inner = 2 * valid
        for _ in range(3):
            # Raising the rate by two rounds the length up, by one sample at most.
            assert (inner - 8) % 4 <= 1
            inner = (inner - 8) // 4 + 1


def test_track_normalisation_is_of_the_whole_track_and_is_undone(scaled: Any) -> None:
    model = scaled(segment_samples=500, normalise="track")
    audio = noise(2, 2000) * 0.1 + 0.3
    stems = run(model, audio, block=300)
    middle = audio.mean(axis=0)
    expected = (audio[:, :500] - middle.mean()) / middle.std(ddof=1)
    np.testing.assert_allclose(model.seen[0][0].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(stems[0], audio, atol=1e-6)


def test_silence_survives_track_normalisation(scaled: Any) -> None:
    silence = np.zeros((2, 700), np.float32)
    stems = run(scaled(normalise="track"), silence)
    np.testing.assert_array_equal(stems[0], silence)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("length", [1, 2, 999, 30001])
def test_any_rate_comes_back_in_exact_length_and_without_delay(
    scaled: Any, rate: int, length: int
) -> None:
    time_s = np.arange(length) / rate
    tone = np.stack([np.sin(2 * np.pi * 440 * time_s), np.cos(2 * np.pi * 330 * time_s)])
    audio = tone.astype(np.float32)
    stems = run(scaled(segment_samples=5000), audio, rate=rate)
    assert stems.shape == (1, 2, length)
    edge = min(length // 4, 2000)  # the filters ring where the tone begins and ends
    inner = slice(edge, length - edge)
    if length > 999:
        np.testing.assert_allclose(stems[0][:, inner], audio[:, inner], atol=1e-3)


def test_stems_at_another_rate_have_the_rounded_length(scaled: Any) -> None:
    engine = torch_engine(scaled(sample_rate=44100), EngineOptions())
    source = ArraySource(noise(2, 48000), 48000)
    at_model = np.concatenate(list(engine.stream(source, 44100)), axis=-1)
    at_other = np.concatenate(list(engine.stream(source, 22050)), axis=-1)
    assert at_model.shape[-1] == 44100
    assert at_other.shape[-1] == 22050


def test_mono_stays_mono_and_the_model_gets_it_on_both_channels(scaled: Any) -> None:
    model = scaled()
    audio = noise(1, 500)
    stems = run(model, audio)
    assert stems.shape == (1, 1, 500)
    np.testing.assert_array_equal(model.seen[0][0, 0], model.seen[0][0, 1])
    np.testing.assert_allclose(stems[0], audio, atol=1e-7)


def test_a_mono_model_keeps_the_channels_of_stereo_apart(scaled: Any) -> None:
    model = scaled(channels=1)
    audio = noise(2, 500)
    np.testing.assert_array_equal(run(model, audio)[0], audio)
    assert [tuple(seen.shape) for seen in model.seen] == [(1, 1, 500)] * 2


def test_surround_goes_pair_by_pair(scaled: Any) -> None:
    model = scaled(segment_samples=10_000)
    audio = noise(6, 300)  # FL FR FC LFE BL BR
    np.testing.assert_allclose(run(model, audio, batch_size=4)[0], audio, atol=1e-7)
    (pairs,) = model.seen
    for item, channels in zip(pairs, [(0, 1), (2, 2), (3, 3), (4, 5)], strict=True):
        np.testing.assert_array_equal(item.numpy(), audio[list(channels)])


def test_shifts_are_seeded_and_average_to_the_same_for_an_identity(scaled: Any) -> None:
    offsets = [EngineOptions(shifts=3, seed=seed).offsets_s() for seed in (7, 7, 8)]
    assert offsets[0] == offsets[1] != offsets[2]
    assert all(0 <= offset <= 0.5 for offset in offsets[0])
    engine = torch_engine(scaled(), EngineOptions())
    audio = noise(2, 3000)
    for offset_s in (0.001, 0.01, 0.4):
        blocks = list(engine.stream(ArraySource(audio, RATE, 700), offset_s=offset_s))
        np.testing.assert_allclose(np.concatenate(blocks, axis=-1)[0], audio, atol=1e-6)


def test_nothing_in_gives_nothing_out(scaled: Any) -> None:
    engine = torch_engine(scaled(), EngineOptions())
    blocks = engine.stream(ArraySource(np.zeros((2, 0), np.float32), RATE))
    assert sum(block.shape[-1] for block in blocks) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1.0}, r"overlap=1\.0"),
        ({"overlap": -0.1}, r"overlap=-0\.1"),
        ({"segment": 0.0}, r"segment=0\.0"),
        ({"segment": "whole"}, "segment='whole'"),
        ({"segment": float("nan")}, "segment=nan"),
        ({"shifts": -1}, "shifts=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"device": "gpu"}, "device='gpu'"),
        ({"precision": "float8"}, "precision='float8'"),
    ],
)
def test_options_out_of_range_are_refused(scaled: Any, options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        torch_engine(scaled(), EngineOptions(**options))
