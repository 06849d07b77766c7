"""What a model is and costs, found from the model itself: size, operations, reach, speed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils.flop_counter import FlopCounterMode

from desmezcla.dsp.threads import with_threads
from desmezcla.models import SeparationModel


@dataclass(frozen=True)
class Reach:
    """How far around a sample of its output a model looks for it.

    Attributes:
        past_samples: From the earliest input sample that the output depends on.
        future_samples: To the latest one.
        whole_segment: Whether both ends of the segment were reached, so that it may be more.
    """

    past_samples: int
    future_samples: int
    whole_segment: bool


def parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(p.numel() for p in model.parameters())


def operations_per_s(model: SeparationModel[Any]) -> float | None:
    """Return the operations that a second of audio costs, or None where there are none to count.

    Counted are the multiplications and additions of matrix products, convolutions, attention and
    LSTMs on one segment, divided by its length; transforms and what goes sample by sample are not.
    Nothing is computed: the tensors have shapes only. An algorithm whose course depends on the
    data cannot run so; none of those here has a network.
    """
    spec = model.spec
    shapes_only = FakeTensorMode(allow_non_fake_inputs=True)
    counting = FlopCounterMode(display=False)
    # Of what a model shares out to other threads nothing is counted.
    with with_threads(1), shapes_only, counting as counter, _counted_lstms() as lstms:
        mix = torch.empty(1, spec.channels, spec.segment_samples)
        try:
            with torch.no_grad():
                model(mix)
        except (DataDependentOutputException, DynamicOutputShapeException):
            return None
    total = counter.get_total_flops() + sum(lstms)
    return total * spec.sample_rate / spec.segment_samples or None


@contextlib.contextmanager
def _counted_lstms() -> Iterator[list[int]]:
    """Let LSTMs count their operations instead of doing them step by step."""
    counts: list[int] = []
    original = nn.LSTM.forward

    def forward(lstm: nn.LSTM, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        directions = 2 if lstm.bidirectional else 1
        outputs = lstm.proj_size or lstm.hidden_size
        steps = x.numel() // x.shape[-1]
        for layer in range(lstm.num_layers):
            inputs = lstm.input_size if layer == 0 else directions * outputs
            counts.append(2 * steps * directions * 4 * lstm.hidden_size * (inputs + outputs))
        y = x.new_zeros(*x.shape[:-1], directions * outputs)
        batch = x.shape[0 if lstm.batch_first else 1]
        state = x.new_zeros(lstm.num_layers * directions, batch, lstm.hidden_size)
        return y, (state[..., :outputs], state)

    nn.LSTM.forward = cast(Any, forward)  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        nn.LSTM.forward = original  # type: ignore[method-assign]


def reach(model: SeparationModel[Any], *, resolution: float = 0.01) -> Reach:
    """Return how far a model looks: what of its input may change and leave its output the same.

    The output is the sample in the middle of a segment of noise; "the same" is within a millionth
    of its level. Gradients would not tell: some models look at a level without giving it one.

    Args:
        model: The model, with weights; random ones will do.
        resolution: Share of a segment that the figures are exact to.
    """
    length = model.spec.segment_samples
    middle, step = length // 2, max(1, int(resolution * length))
    mix, other = (_noise(model, seed) for seed in (0, 1))
    with torch.inference_mode():
        expected = model(mix)[..., middle]

        def changes(start: int, stop: int) -> bool:
            changed = mix.clone()
            changed[..., start:stop] = other[..., start:stop]
            difference = (model(changed)[..., middle] - expected).abs().max()
            return bool(difference > 1e-6 * expected.abs().max())

        # A model of frames may not look at the few samples that its last frame does not reach.
        edge = max(1, length // 50)
        if changes(0, edge) and changes(length - edge, length):
            return Reach(middle, length - 1 - middle, whole_segment=True)
        past = _farthest(lambda n: changes(0, middle - n), middle, step)
        future = _farthest(lambda n: changes(middle + 1 + n, length), length - 1 - middle, step)
    return Reach(past, future, whole_segment=False)


def _farthest(seen: Callable[[int], bool], limit: int, step: int) -> int:
    """Return a distance, to `step`, beyond which nothing is seen any more."""
    near, far = 0, limit
    if not seen(0):
        return 0
    while far - near > step:
        between = (near + far) // 2
        near, far = (between, far) if seen(between) else (near, between)
    return far


def _noise(model: SeparationModel[Any], seed: int) -> Tensor:
    """Return a segment of noise. Shape: `[1, C, T]`."""
    spec = model.spec
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, spec.channels, spec.segment_samples, generator=generator) * 0.1


def times_real_time(model: SeparationModel[Any], *, repeats: int = 3) -> float:
    """Return how many seconds of audio a model separates in a second, segment by segment.

    The fastest of some runs on one segment of noise after one that only warms up; a model that
    takes longer than ten seconds is run once more and no oftener.
    """
    spec, mix = model.spec, _noise(model, 0)
    fastest = float("inf")
    with torch.inference_mode():
        start = time.perf_counter()
        model(mix)
        if time.perf_counter() - start > 10:
            repeats = 1
        for _ in range(repeats):
            start = time.perf_counter()
            model(mix)
            fastest = min(fastest, time.perf_counter() - start)
    return spec.segment_samples / spec.sample_rate / fastest
