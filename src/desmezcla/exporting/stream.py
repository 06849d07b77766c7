"""One step of a causal model as an ONNX file, which `OnnxStream` and programs in C run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from desmezcla.dsp.framing import Audio
from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.exporting.checked import Agreement, need_exporters, new_file, without_traces
from desmezcla.exporting.onnx import quiet
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.inference.stream_file import (
    METADATA_KEY,
    STREAM_FILES,
    FramingFacts,
    StreamFacts,
    StreamPrecision,
)
from desmezcla.models import SeparationModel, StreamCore
from desmezcla.releases.release import Release
from desmezcla.version import VERSION

_OPSET = 20
# Frames that are compared: more than the models of the recipes look back.
_FRAMES = 192
# To which int8 must agree: what it adds then lies far below what a separation leaves wrong.
_LEAST_DB = 20.0


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
    key = type(model).__module__.rpartition(".")[2]
    core = model.stream_core()
    if core is None:
        raise ParameterError(
            f"model={release.name if release else key!r} looks ahead and cannot run on a stream; "
            "choose a causal one, or leave out --stream"
        )
    if precision not in STREAM_FILES:
        raise ParameterError(f"precision={precision!r} must be one of {', '.join(STREAM_FILES)}")
    need_exporters()
    import onnx

    expected = StreamSeparator(model)
    facts = StreamFacts(
        desmezcla=VERSION,
        name=release.name if release else key,
        weights_sha256=release.sha256 if release else None,
        license=release.info.license if release else "unknown",
        precision=precision,
        stems=model.spec.stems,
        sample_rate=model.spec.sample_rate,
        channels=model.spec.channels,
        latency_samples=core.framing.latency_samples,
        framing=FramingFacts.of(core.framing),
    )
    with new_file(path) as work:
        content = without_traces(_traced(core, model.spec.channels))
        if precision == "int8":
            content = _in_whole_numbers(content, work)
        onnx.helper.set_model_props(content, {METADATA_KEY: facts.model_dump_json()})
        work.write_bytes(content.SerializeToString())
        agreement = _agreement(expected, OnnxStream(work), core)
        if precision == "float32":
            return agreement.check(str(path))
        if agreement.level_db < _LEAST_DB:
            raise DesmezclaError(
                f"{path} was not written: with int8 the stems would agree with PyTorch's to "
                f"{agreement.level_db:.1f} dB only, less than {_LEAST_DB:.0f} dB; use float32"
            )
        return agreement


def _agreement(expected: StreamSeparator, got: BlockStream, core: StreamCore) -> Agreement:
    """Compare the stems of two streams, on tones, noise and silence."""
    mix = _tones_and_noise(core, expected.channels, expected.sample_rate)
    stems = [np.concatenate([s.process(mix), s.flush()], -1) for s in (expected, got)]
    return Agreement.of(*stems)


def _tones_and_noise(core: StreamCore, channels: int, sample_rate: int) -> Audio:
    """Return a signal of some frames: tones that fade, noise, and at last silence.

    Shape:
        returns `[C, T]`.
    """
    samples = core.framing.frame_samples + _FRAMES * core.framing.hop_samples
    time_s = np.arange(samples) / sample_rate
    chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (110.0, 277.2, 659.3, 1864.7))
    fading = np.exp(-8 * (time_s % 0.25))
    noise = np.random.default_rng(0).standard_normal((channels, samples))
    signal = 0.1 * fading * chord + 0.05 * (time_s % 0.5 > 0.25) * noise
    signal[:, samples - samples // 8 :] = 0
    return signal.astype(np.float32)


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


def _in_whole_numbers(content: Any, work: Path) -> Any:
    """Return a file's content with the weights of matrix products as whole numbers.

    Convolutions stay as they are: in whole numbers they are slower. Weights are unsigned, because
    older processors saturate where a signed number meets an unsigned one.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The runtime's own simplification, which makes constants of weights that are transposed.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(work)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        content.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    content = onnx.load(work)
    del content.graph.value_info[:]  # shapes that are not adapted where weights are transposed
    # It asks for a preparation that has been done, unless it is told so.
    onnx.helper.set_model_props(content, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_dynamic(
        content,
        work,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QUInt8,
    )
    content = onnx.load(work)
    if not any(node.op_type == "MatMulInteger" for node in content.graph.node):
        raise ParameterError(
            "precision='int8' is for matrix products, of which this model has none; use float32"
        )
    return content
