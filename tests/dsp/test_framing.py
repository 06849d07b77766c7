"""Signals through frames and back, in blocks and whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.dsp.frames import overlap_add, trailing_frames
from desmezcla.dsp.framing import Audio, FrameStream, Framing, checked_framing
from desmezcla.dsp.windows import asymmetric_windows
from desmezcla.errors import ParameterError


class Same:
    """A step whose result are the ends of its frames, or its spectra."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.resets = 0

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        (part,) = parts
        return (part[..., -self.samples :] if part.ndim == 3 else part,)

    def reset(self) -> None:
        self.resets += 1


def noise(*shape: int) -> Audio:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def stream(framing: Framing) -> FrameStream:
    return FrameStream(framing, Same(framing.synthesis_samples), (2,), (2,))


def asymmetric(size: int, given_samples: int, hop: int) -> Framing:
    analysis, synthesis = asymmetric_windows(size, given_samples, hop)
    return Framing(
        size,
        hop,
        given_samples,
        before_samples=size - hop,
        parts=("spectra",),
        analysis=analysis.numpy(),
        synthesis=synthesis.numpy(),
    )


def centred(size: int, hop: int) -> Framing:
    window = torch.hann_window(size).numpy()
    return Framing(
        size,
        hop,
        size,
        before_samples=size // 2,
        edges="reflected",
        parts=("spectra",),
        analysis=window,
        synthesis=window,
        power=window**2,
    )


FRAMINGS = [asymmetric(64, 16, 8), asymmetric(64, 32, 4), asymmetric(32, 32, 16), centred(32, 8)]


@pytest.mark.parametrize("framing", FRAMINGS)
@given(
    samples=st.integers(1, 300),
    sizes=st.lists(st.integers(0, 90), min_size=1, max_size=4).filter(any),
)
@settings(max_examples=60, deadline=None)
def test_spectra_left_alone_give_the_signal(
    framing: Framing, samples: int, sizes: list[int]
) -> None:
    mix = noise(2, samples)
    through = stream(framing)
    parts, start, turn = [], 0, 0
    while start < samples:
        parts.append(through.process(mix[:, start : (start := start + sizes[turn % len(sizes)])]))
        turn += 1
    out = np.concatenate(parts, -1)
    assert out.shape[1] >= samples - framing.latency_samples
    whole = np.concatenate([out, through.flush()], -1)
    np.testing.assert_allclose(whole, mix, rtol=0, atol=2e-6)


def test_many_frames_at_once_are_as_one_by_one() -> None:
    framing, mix = FRAMINGS[0], noise(2, 5000)  # more frames than are computed together
    once, singly = stream(framing), stream(framing)
    whole = np.concatenate([once.process(mix), once.flush()], -1)
    parts = [singly.process(mix[:, t : t + 1]) for t in range(5000)]
    np.testing.assert_allclose(np.concatenate([*parts, singly.flush()], -1), whole, atol=1e-6)


def test_a_stream_begins_anew_after_its_end() -> None:
    through, mix = stream(FRAMINGS[3]), noise(2, 100)
    first = np.concatenate([through.process(mix), through.flush()], -1)
    again = np.concatenate([through.process(mix), through.flush()], -1)
    np.testing.assert_array_equal(first, again)
    assert through.flush().shape == (2, 0)


def test_frames_end_with_the_newest_samples() -> None:
    frames = trailing_frames(torch.arange(1.0, 8.0), 4, 2, given=4)
    assert frames.tolist() == [
        [0, 0, 1, 2],
        [1, 2, 3, 4],
        [3, 4, 5, 6],
        [5, 6, 7, 0],
        [7, 0, 0, 0],
    ]


@pytest.mark.parametrize(("size", "given_samples", "hop"), [(64, 16, 8), (64, 64, 16), (8, 8, 2)])
def test_windowed_frames_add_up_to_the_signal(size: int, given_samples: int, hop: int) -> None:
    analysis, synthesis = asymmetric_windows(size, given_samples, hop)
    audio = torch.from_numpy(noise(3, 101))
    frames = trailing_frames(audio, size, hop, given=given_samples) * analysis
    again = overlap_add(frames[..., -given_samples:] * synthesis, hop)[:, :101]
    torch.testing.assert_close(again, audio, rtol=0, atol=2e-6)


def test_the_long_window_is_long_and_the_short_one_bounded() -> None:
    analysis, synthesis = asymmetric_windows(2048, 256, 128)
    assert int((analysis > 0.5).sum()) > 1000
    assert float(synthesis.max()) <= 1.01


@pytest.mark.parametrize(("size", "given_samples", "hop"), [(64, 24, 8), (16, 32, 8), (64, 16, 0)])
def test_windows_that_do_not_add_up_are_refused(size: int, given_samples: int, hop: int) -> None:
    with pytest.raises(ParameterError, match="2, 4, … times hop"):
        asymmetric_windows(size, given_samples, hop)


@pytest.mark.parametrize("sizes", [(64, 0, 16), (64, 32, 16), (16, 8, 64)])
def test_a_framing_out_of_order_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ParameterError, match="must be in this order"):
        checked_framing(Framing(*sizes, before_samples=0))
