"""All frames at once are those of a stream and of the STFT; a front end undoes what it does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.dsp.framed import framed, unframed
from desmezcla.dsp.framing import Audio, FrameStream, Framing
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.dsp.stft import istft, stft
from desmezcla.dsp.windows import asymmetric_windows
from desmezcla.models.base import stft_framing
from desmezcla.spec import ValidLengths


class Recorder:
    """A step that scales what it is given, and keeps it."""

    def __init__(self, given_samples: int) -> None:
        self.given_samples = given_samples
        self.seen: list[tuple[Audio, ...]] = []

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        self.seen.append(parts)
        return tuple(0.5 * changed(part, self.given_samples) for part in parts)

    def reset(self) -> None:
        """Keep what was seen."""


def changed(part: Audio, given_samples: int) -> Audio:
    """Return frames cut to their last samples; spectra as they are."""
    return part[..., -given_samples:] if part.ndim == 3 else part


def noise(*shape: int) -> Audio:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def asymmetric(size: int, given_samples: int, hop: int, before: int) -> Framing:
    analysis, synthesis = asymmetric_windows(size, given_samples, hop)
    return Framing(
        size,
        hop,
        given_samples,
        before_samples=before,
        parts=("frames", "spectra"),
        analysis=analysis.numpy(),
        synthesis=synthesis.numpy(),
    )


FRAMINGS = [
    asymmetric(64, 16, 8, 56),
    asymmetric(32, 32, 16, 16),
    stft_framing(torch.hann_window(32), 8),
    stft_framing(torch.hann_window(32), 11, parts=("frames", "spectra")),
    stft_framing(torch.hann_window(16), 16),
    Framing(20, 10, 20, before_samples=0, edges="covered"),
]


@pytest.mark.parametrize("framing", FRAMINGS)
@given(samples=st.integers(1, 200), more=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_all_at_once_is_what_a_stream_gives(framing: Framing, samples: int, more: int) -> None:
    mix, step = noise(2, samples), Recorder(framing.synthesis_samples)
    through = FrameStream(framing, step, (2,), (2,))
    expected = np.concatenate([through.process(mix), through.flush()], -1)
    count = framing.frames(samples)
    parts = framed(framing, mix, frames=count + more)
    for index, part in enumerate(parts):
        streamed = np.concatenate([seen[index] for seen in step.seen], 1)
        assert part.shape[1] == count + more
        np.testing.assert_allclose(part[:, :count], streamed[:, :count], rtol=0, atol=1e-5)
        assert not part[:, count:].any()
    results = tuple(0.5 * changed(part, framing.synthesis_samples) for part in parts)
    got = unframed(framing, framing.parts, results, samples)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@given(samples=st.integers(1, 300), hop=st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_it_is_the_stft_and_its_inverse(samples: int, hop: int) -> None:
    mix, window = noise(3, samples), torch.hann_window(32)
    framing = stft_framing(window, hop)
    (parts,) = framed(framing, mix)
    spectrum = stft(torch.from_numpy(mix), n_fft=32, hop_length=hop, window=window)
    np.testing.assert_allclose(parts, torch.view_as_real(spectrum.mT).numpy(), rtol=0, atol=1e-5)
    masks = np.random.default_rng(1).uniform(0, 1, (*parts.shape[:-1], 1)).astype(np.float32)
    masked = torch.view_as_complex(torch.from_numpy(masks * parts)).mT
    expected = istft(masked, hop_length=hop, window=window, length=samples)
    got = unframed(framing, ("spectra",), (masks * parts,), samples)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)


FRONT_ENDS = [
    FrontEnd(),
    FrontEnd(lengths=ValidLengths.multiples(64)),
    FrontEnd(lengths=ValidLengths(20, depth=3, kernel=8, stride=4), centred=True, level_floor=1e-9),
    FrontEnd(stft_framing(torch.hann_window(32), 8), ("spectra",), ValidLengths.multiples(7)),
    FrontEnd(stft_framing(torch.hann_window(32), 8), ("spectra",), multiple_samples=50),
]


@pytest.mark.parametrize("front", FRONT_ENDS)
@pytest.mark.parametrize("samples", [1, 2, 33, 500])
def test_a_network_that_changes_nothing_gives_the_mixture(front: FrontEnd, samples: int) -> None:
    if samples == 1 and front.level_floor is not None:
        pytest.skip("a single sample has no deviation to be divided by")
    mix = noise(1, 2, samples)
    inputs = front.before(mix)
    assert len(inputs) == len(front.inputs) == len(front.outputs)
    assert all(front.lengths.above(one.shape[2]) == one.shape[2] for one in inputs)
    stems = front.after(tuple(np.stack([one, 0.5 * one], 1) for one in inputs), mix)
    assert stems.shape == (1, 2, 2, samples)
    np.testing.assert_allclose(stems[:, 0], mix, rtol=0, atol=1e-5)


def test_a_level_is_taken_away_and_brought_back() -> None:
    mix = 3 + 0.1 * noise(1, 2, 500)
    front = FrontEnd(level_floor=1e-5)
    (given_to_network,) = front.before(mix)
    mono = given_to_network.mean(1)
    assert abs(mono.mean()) < 1e-4
    assert mono.std(ddof=1) == pytest.approx(1, abs=1e-3)
    stems = front.after((np.zeros((1, 1, 2, 500), np.float32),), mix)
    np.testing.assert_allclose(stems, mix.mean(), rtol=1e-5)
