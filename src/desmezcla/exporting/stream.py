"""One step of a causal model as an ONNX file, which `OnnxStream` and programs in C run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from desmezcla.errors import ParameterError
from desmezcla.exporting.checked import (
    Agreement,
    need_exporters,
    new_file,
    tones_and_noise,
    without_traces,
)
from desmezcla.exporting.onnx import origin_of, quiet
from desmezcla.exporting.precision import in_whole_numbers
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.file_facts import FramingFacts
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.inference.stream_file import (
    METADATA_KEY,
    STREAM_FILES,
    StreamFacts,
    StreamPrecision,
)
from desmezcla.models import SeparationModel, StreamCore
from desmezcla.releases.release import Release

_OPSET = 20
# Frames that are compared: more than the models of the recipes look back.
_FRAMES = 192


def export_stream(
    model: SeparationModel[Any],
    path: Path,
    *,
    precision: StreamPrecision = "float32",
    release: Release | None = None,
) -> Agreement:
    """Write one step of a causal model to an ONNX file.

    The file takes "frames" `[1, C, 1, W]`, "spectra" `[1, C, 1, F, 2]` or both, and "state_0", … as
    the step before left them, at first zeros; it gives "stems_frames" `[1, S, C, 1, V]`,
    "stems_spectra" `[1, S, C, 1, F, 2]` or both, and "next_state_0", …. Its metadata has a
    `StreamFacts`. It is run beside the model before it gets its name.

    Args:
        model: The model, in evaluation mode, on the CPU.
        path: Where to; a file that is there is replaced.
        precision: "int8" for weights of matrix products in whole numbers: a smaller file, which is
            quicker on some processors, and further from the model.
        release: The release that the model is from, for the metadata.

    Returns:
        How far the stems agree with those of PyTorch, on noise and tones.

    Errors:
        DesmezclaError: if a package is missing, or the file would differ too much from the model.
        ParameterError: if the model is not causal, or the precision is unknown.
        ReleaseError: if the file cannot be written.
    """
    core = model.stream_core()
    if core is None:
        raise ParameterError(
            f"model={origin_of(model, release)['name']!r} looks ahead and cannot run on a stream; "
            "choose a causal one, or leave out --stream"
        )
    if precision not in STREAM_FILES:
        raise ParameterError(f"precision={precision!r} must be one of {', '.join(STREAM_FILES)}")
    need_exporters()
    import onnx

    expected = StreamSeparator(model)
    facts = StreamFacts(
        **origin_of(model, release),
        precision=precision,
        latency_samples=core.framing.latency_samples,
        framing=FramingFacts.of(core.framing),
    )
    with new_file(path) as work:
        content = without_traces(_traced(core, model.spec.channels))
        if precision == "int8":
            content = in_whole_numbers(content, work)
        onnx.helper.set_model_props(content, {METADATA_KEY: facts.model_dump_json()})
        work.write_bytes(content.SerializeToString())
        agreement = _agreement(expected, OnnxStream(work), core)
        if precision == "float32":
            return agreement.check(str(path))
        return agreement.check_low(str(path), precision)


def _agreement(expected: StreamSeparator, got: BlockStream, core: StreamCore) -> Agreement:
    """Compare the stems of two streams, on tones, noise and silence."""
    samples = core.framing.frame_samples + _FRAMES * core.framing.hop_samples
    mix = tones_and_noise(expected.channels, expected.sample_rate, samples)
    stems = [np.concatenate([s.process(mix), s.flush()], -1) for s in (expected, got)]
    return Agreement.of(*stems)


def _traced(core: StreamCore, channels: int) -> Any:
    """Return the step of one frame as the content of an ONNX file."""
    size, parts = core.framing.frame_samples, core.framing.parts
    shapes = {"frames": (size,), "spectra": (size // 2 + 1, 2)}
    frame = [torch.zeros(1, channels, 1, *shapes[part]) for part in parts]
    with torch.no_grad(), quiet():
        start = [torch.zeros_like(tensor) for tensor in core.step(*frame)[len(parts) :]]
        states = [f"state_{index}" for index in range(len(start))]
        program = torch.onnx.export(
            core.step,
            (*frame, *start),
            dynamo=True,
            external_data=False,
            opset_version=_OPSET,
            # The exporter's own simplification leaves out the addition of 1e-8.
            optimize=False,
            input_names=[*parts, *states],
            output_names=[*(f"stems_{part}" for part in parts), *(f"next_{s}" for s in states)],
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    return program.model_proto
