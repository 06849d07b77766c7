"""`OnnxStream`: a stream file on a stream, with ONNX Runtime and without PyTorch."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.dsp.framing import Audio
from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.onnx_session import Node, first_line, node_text, nodes, open_session
from desmezcla.inference.stream_file import METADATA_KEY, STREAM_REMEDY, StreamFacts, read_facts

_AGAIN = STREAM_REMEDY

# Types that a step may remember.
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
}
# What a step may remember, some hundred times of what a large model does.
_MOST_STATE_BYTES = 1 << 28

State = list[NDArray[Any]]


class OnnxStream(BlockStream):
    """A stream file, ready to separate sound that comes in blocks of any size.

    It does what `StreamSeparator` does, for programs without PyTorch.

    Args:
        path: The file, as `desmezcla export RELEASE --stream` writes it.
        sample_rate: Rate of the blocks, Hz; None for the model's own.
        channels: Channels of the blocks, 1 to 8; None for the model's own.
        threads: Threads that compute; more than one rarely helps with a single frame.

    Attributes:
        facts: What the file says of itself.

    Errors:
        DesmezclaError: if ONNX Runtime is not installed.
        ReleaseError: if there is no such file, or it is no stream file or damaged.
        ParameterError: if an option is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        threads: int = 1,
    ) -> None:
        step = OnnxStep(Path(path), threads=threads)
        self.facts = step.facts
        super().__init__(
            step.facts.framing.framing,
            step,
            stems=step.facts.stems,
            model_rate=step.facts.sample_rate,
            model_channels=step.facts.channels,
            sample_rate=sample_rate,
            channels=channels,
        )


class OnnxStep:
    """The step of a stream file, with the state of one stream.

    Args:
        path: The file.
        threads: Threads that compute.

    Attributes:
        facts: What the file says of itself.

    Errors:
        As for `OnnxStream`.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        if threads < 1:
            raise ParameterError(f"threads={threads} must be 1 or more")
        self._session = open_session(path, threads=threads, remedy=_AGAIN)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.facts = read_facts(metadata.get(METADATA_KEY), str(path))
        self._inputs, self._outputs = _expected(self.facts)
        self._start = _start(self._session, self.facts, path)
        self.reset()
        self._try(path)

    def __call__(self, parts: tuple[Audio, ...]) -> tuple[Audio, ...]:
        """Make the stems' frames of the mixture's; see `FrameStep`."""
        groups, _, frames = parts[0].shape[:3]
        results = [
            np.empty((groups, *shape[1:3], frames, *shape[4:]), np.float32)
            for shape in self._outputs.values()
        ]
        for group in range(groups):
            for frame in range(frames):
                alone = [part[group : group + 1, :, frame : frame + 1] for part in parts]
                for result, made in zip(results, self._run(group, alone), strict=True):
                    result[group, :, :, frame : frame + 1] = made[0]
        return tuple(results)

    def reset(self) -> None:
        """Forget what came before."""
        self._states: dict[int, State] = {}

    def _run(self, group: int, parts: Sequence[Audio]) -> State:
        """Run one frame of a group and return its results; the group's state goes on."""
        state = self._states.get(group, self._start)
        tensors = [*map(np.ascontiguousarray, parts), *state]
        names = [*self._inputs, *(f"state_{index}" for index in range(len(state)))]
        results: State = self._session.run(None, dict(zip(names, tensors, strict=True)))
        self._states[group] = results[len(parts) :]
        return results[: len(parts)]

    def _try(self, path: Path) -> None:
        """Run a frame of silence: what is wrong shows itself, and memory is there in time."""
        silence = tuple(np.zeros(shape, np.float32) for shape in self._inputs.values())
        try:
            results = self(silence)
        except Exception as error:  # ONNX Runtime has no class that all its errors are of
            raise ReleaseError(f"{path} does not run ({first_line(error)}); {_AGAIN}") from error
        if not all(np.isfinite(result).all() for result in results):
            raise ReleaseError(f"{path} makes silence NaN or infinite; {_AGAIN}")
        self.reset()


def _expected(facts: StreamFacts) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the shapes of what a step takes and gives, but for what it remembers, by name."""
    framing, channels, stems = facts.framing, facts.channels, len(facts.stems)
    bins = framing.frame_samples // 2 + 1
    inputs = {"frames": [framing.frame_samples], "spectra": [bins, 2]}
    outputs = {"frames": [framing.synthesis_samples], "spectra": [bins, 2]}
    return (
        {part: [1, channels, 1, *inputs[part]] for part in framing.parts},
        {f"stems_{part}": [1, stems, channels, 1, *outputs[part]] for part in framing.parts},
    )


def _start(session: Any, facts: StreamFacts, path: Path) -> State:
    """Check what a session takes and gives, and return what it has to remember at the start."""
    taken, given = nodes(session.get_inputs()), nodes(session.get_outputs())
    inputs, outputs = (
        [(name, "tensor(float)", shape) for name, shape in shapes.items()]
        for shapes in _expected(facts)
    )
    # Results are told apart by their order.
    for index, (_, kind, shape) in enumerate(taken[len(inputs) :]):
        inputs.append((f"state_{index}", kind, shape))
        outputs.append((f"next_state_{index}", kind, shape))
    for kind, found, expected in (("takes", taken, inputs), ("gives", given, outputs)):
        for one, other in itertools.zip_longest(found, expected):
            if one != other:
                raise ReleaseError(
                    f"{path} {kind} {node_text(one)}, where after its metadata it {kind} "
                    f"{node_text(other)}; {_AGAIN}"
                )
    return _zeros(inputs[len(facts.framing.parts) :], path)


def _zeros(states: list[Node], path: Path) -> State:
    size = 0
    for _, kind, shape in states:
        if kind not in _TYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ReleaseError(f"{path} remembers {kind} of the shape {shape}; {_AGAIN}")
        size += math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
    if size > _MOST_STATE_BYTES:
        raise ReleaseError(
            f"{path} remembers {size} bytes, but at most {_MOST_STATE_BYTES} are allowed; {_AGAIN}"
        )
    return [np.zeros(shape, _TYPES[kind]) for _, kind, shape in states]
