"""Streams of every causal model: equal to the whole, in time, in bounds, and apart."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from desmezcla.errors import ParameterError
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.models import SeparationModel, build_model

Audio = NDArray[np.float32]

CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "deepsampler": ("deepsampler", {"causal": True, "synthesis_samples": 128, "past_s": 0.03}),
    "deepsampler, quarter hops": (
        "deepsampler",
        {"causal": True, "hop_length": 32, "synthesis_samples": 128, "past_s": 0.03},
    ),
    "open_unmix": ("open_unmix", {"unidirectional": True, "wiener_iterations": 0}),
    "open_unmix, residual": (
        "open_unmix",
        {"unidirectional": True, "wiener_iterations": 0, "residual": True},
    ),
    "hs_tasnet": ("hs_tasnet", {}),
    "hs_tasnet, small": ("hs_tasnet", {"summed": True, "hop_samples": 32}),
    "conv_tasnet": ("conv_tasnet", {"causal": True, "norm": "cumulative"}),
    "conv_tasnet, channel": ("conv_tasnet", {"causal": True, "norm": "channel", "skip": 0}),
}


def model_of(name: str, **fields: Any) -> SeparationModel[Any]:
    key, own = CAUSAL[name]
    tiny: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    torch.manual_seed(0)
    return build_model(key, **tiny | own | fields)


def noise(samples: int, channels: int = 2, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal((channels, samples))).astype(np.float32)


def offline(model: SeparationModel[Any], mix: Audio) -> Audio:
    with torch.no_grad():
        stems: Audio = model(torch.from_numpy(mix)[None])[0].numpy()
    return stems


def in_blocks(live: StreamSeparator, mix: Audio, sizes: list[int]) -> Audio:
    """Process a signal in blocks of these sizes, again and again."""
    parts, start, turn = [], 0, 0
    while start < mix.shape[1]:
        size = sizes[turn % len(sizes)]
        parts.append(live.process(mix[:, start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, live.flush()], -1)


@pytest.mark.parametrize("name", CAUSAL)
@given(
    samples=st.integers(1, 1500),
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=5).filter(any),
)
@settings(max_examples=25, deadline=None)
def test_any_cut_gives_what_the_whole_gives(name: str, samples: int, sizes: list[int]) -> None:
    model = model_of(name)
    mix = noise(samples)
    got = in_blocks(StreamSeparator(model), mix, sizes)
    np.testing.assert_allclose(got, offline(model, mix), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_sample_by_sample_gives_what_the_whole_gives(name: str) -> None:
    model = model_of(name)
    mix = noise(700)
    got = in_blocks(StreamSeparator(model), mix, [1])
    np.testing.assert_allclose(got, offline(model, mix), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_out_lags_by_the_latency_and_no_more(name: str) -> None:
    live = StreamSeparator(model_of(name))
    given, lags = 0, []
    for taken, sample in enumerate(noise(2000).T, 1):
        given += live.process(sample[:, None]).shape[2]
        lags.append(taken - given)
    assert max(lags) == live.latency_samples
    assert live.latency_samples == model_of(name).spec.latency_samples


@pytest.mark.parametrize("name", CAUSAL)
def test_an_impulse_moves_the_output_from_a_latency_before_it_on(name: str) -> None:
    model = model_of(name)
    live = StreamSeparator(model)
    mix, place = noise(2500), 1400
    with_impulse = mix.copy()
    with_impulse[:, place] += 1.0
    plain = in_blocks(live, mix, [100])
    moved = np.abs(in_blocks(live, with_impulse, [100]) - plain).max((0, 1))
    first = place - int(np.flatnonzero(moved > 1e-7)[0])
    # Frames lie a hop apart: the impulse is up to a hop before the end of the first that has it.
    hop = model.stream_core().framing.hop_samples  # type: ignore[union-attr]
    assert live.latency_samples - hop < first <= live.latency_samples


@pytest.mark.parametrize("name", CAUSAL)
def test_future_input_changes_no_output_that_is_out(name: str) -> None:
    live = StreamSeparator(model_of(name))
    mix, other = noise(1200), noise(1200, seed=1)
    before = live.process(mix)
    live.reset()
    again = live.process(mix)
    live.process(other)
    np.testing.assert_array_equal(before, again)
    assert before.shape[2] >= 1200 - live.latency_samples


@pytest.mark.parametrize("name", CAUSAL)
def test_streams_that_share_a_model_do_not_touch(name: str) -> None:
    model = model_of(name)
    first, second = StreamSeparator(model), StreamSeparator(model)
    mix, other = noise(900), noise(900, seed=1)
    parts = []
    for start in range(0, 900, 90):
        parts.append(first.process(mix[:, start : start + 90]))
        second.process(other[:, start : start + 90])
    parts.append(first.flush())
    np.testing.assert_allclose(np.concatenate(parts, -1), offline(model, mix), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_remembered_does_not_grow(name: str) -> None:
    core = model_of(name).stream_core()
    assert core is not None
    state: tuple[torch.Tensor, ...] = ()
    sizes = set()
    with torch.no_grad():
        for _ in range(40):
            inputs = [torch.randn(1, 2, 3, core.framing.frame_samples)]
            if "spectra" in core.framing.parts:
                parts = torch.view_as_real(torch.fft.rfft(inputs[0]))
                inputs = [parts] if len(core.framing.parts) == 1 else [inputs[0], parts]
            state = core.step(*inputs, *state)[len(inputs) :]
            sizes.add(tuple(tensor.shape for tensor in state))
    assert len(sizes) == 1


@pytest.mark.parametrize("name", ["deepsampler", "open_unmix"])
@pytest.mark.parametrize("rate", [48000, 22050])
def test_another_rate_lags_by_the_latency_and_no_more(name: str, rate: int) -> None:
    live = StreamSeparator(model_of(name), sample_rate=rate)
    given, lags = 0, []
    for taken, sample in enumerate(noise(3000).T, 1):
        given += live.process(sample[:, None]).shape[2]
        lags.append(taken - given)
    # It is the bound of all phases of the two filters and of the frames, not all of which meet.
    assert live.latency_samples - 2 <= max(lags) <= live.latency_samples
    assert given + live.flush().shape[2] == 3000


def test_another_rate_gives_nearly_what_the_whole_gives() -> None:
    model = model_of("deepsampler")
    time = np.arange(24000) / 48000
    mix = np.stack([np.sin(2 * np.pi * f * time) for f in (440, 3000)]).astype(np.float32)
    got = in_blocks(StreamSeparator(model, sample_rate=48000), mix, [480])
    from desmezcla.inference.offline import Separator

    expected = Separator(model, segment="track").separate(mix, 48000)
    inner = slice(2000, -2000)
    for own, stem in zip(got, expected, strict=True):
        assert np.abs(own - expected[stem])[:, inner].max() < 1e-3


@pytest.mark.parametrize("channels", [1, 6])
def test_other_channels_are_as_offline(channels: int) -> None:
    from desmezcla.inference.offline import Separator

    model = model_of("hs_tasnet")
    mix = noise(3000, channels)
    got = in_blocks(StreamSeparator(model, channels=channels), mix, [512])
    expected = Separator(model, segment="track").separate(mix, 44100)
    np.testing.assert_allclose(got, np.stack(list(expected.values())), rtol=0, atol=1e-5)


def test_torch_in_torch_out() -> None:
    live = StreamSeparator(model_of("hs_tasnet"))
    mix = noise(1000)
    expected = live.process(mix)
    live.reset()
    got = live.process(torch.from_numpy(mix))
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize(
    ("block", "rule"),
    [
        (np.zeros((1, 10), np.float32), r"must be \[C, n\] with C=2"),
        (np.zeros(10, np.float32), r"must be \[C, n\]"),
        (np.full((2, 10), np.nan, np.float32), "NaN or infinite"),
        (np.zeros((2, 10), np.int16), "convert it to float32"),
    ],
)
def test_a_bad_block_is_refused_and_nothing_of_it_is_taken(block: Any, rule: str) -> None:
    model = model_of("hs_tasnet")
    live = StreamSeparator(model)
    mix = noise(400)
    first = live.process(mix[:, :200])
    with pytest.raises(ParameterError, match=rule):
        live.process(block)
    got = np.concatenate([first, live.process(mix[:, 200:]), live.flush()], -1)
    np.testing.assert_allclose(got, offline(model, mix), rtol=0, atol=1e-5)


def test_a_model_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ParameterError, match="looks ahead and cannot run on a stream"):
        StreamSeparator(build_model("repet"))
    with pytest.raises(ParameterError, match="'baseline' looks ahead"):
        StreamSeparator("baseline")


@pytest.mark.parametrize("options", [{"channels": 9}, {"channels": 0}, {"sample_rate": 10}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be from"):
        StreamSeparator(model_of("hs_tasnet"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_too_quiet_to_be_sound_is_silence(name: str) -> None:
    """Processors can be many times slower with numbers that are so small."""
    model = model_of(name)
    mix = noise(900)
    mix[:, 300:] *= np.float32(1e-39)
    silent = mix.copy()
    silent[:, 300:] = 0
    expected = in_blocks(StreamSeparator(model), silent, [100])
    np.testing.assert_array_equal(in_blocks(StreamSeparator(model), mix, [100]), expected)


def test_no_input_gives_no_output() -> None:
    live = StreamSeparator(model_of("open_unmix"))
    assert live.flush().shape == (4, 2, 0)
    assert live.process(np.zeros((2, 0), np.float32)).shape == (4, 2, 0)
