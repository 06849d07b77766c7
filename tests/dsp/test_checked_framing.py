"""A framing that a file says, and that passes the check, cannot break a stream."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.dsp.framing import Audio, FrameStream, Framing, checked_framing
from desmezcla.errors import ParameterError


class Fading:
    """A step that halves its frames."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        return tuple(
            0.5 * (part[..., -self.samples :] if part.ndim == 3 else part) for part in parts
        )

    def reset(self) -> None: ...


@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 4),
    edges=st.sampled_from(["reflected", "silent", "covered"]),
    parts=st.sampled_from([("frames",), ("spectra",), ("spectra", "frames")]),
    weighed=st.booleans(),
    samples=st.integers(0, 200),
    block=st.integers(1, 90),
)
@settings(max_examples=300, deadline=None)
def test_as_much_comes_out_as_went_in(
    sizes: tuple[int, int, int, int],
    edges: Any,
    parts: Any,
    weighed: bool,
    samples: int,
    block: int,
) -> None:
    before, (hop, given_samples, size) = sizes[0], sorted(sizes[1:])
    ones = np.ones(size, np.float32)
    framing = Framing(
        size,
        hop,
        given_samples,
        before_samples=before - 1,
        edges=edges,
        parts=parts,
        analysis=ones,
        synthesis=ones[:given_samples],
        power=ones[:given_samples] if weighed else None,
    )
    try:
        checked_framing(framing)
    except ParameterError:
        assert not size - given_samples <= before - 1 <= size
        return
    stream = FrameStream(framing, Fading(given_samples), (2,), (2,))
    mix = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    parts = [stream.process(mix[:, start : start + block]) for start in range(0, samples, block)]
    given_out = sum(part.shape[-1] for part in parts)
    assert given_out >= samples - framing.latency_samples or edges == "reflected"
    assert given_out + stream.flush().shape[-1] == samples
