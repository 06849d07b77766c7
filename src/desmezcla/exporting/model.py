"""The network of a model as an ONNX file, which `Separator(engine="onnx")` and browsers run."""

from dataclasses import fields
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
from desmezcla.exporting.onnx import export_core, origin_of
from desmezcla.exporting.precision import in_whole_numbers, with_half_weights
from desmezcla.inference.model_file import (
    CORE_METADATA_KEY,
    METADATA_KEY,
    MODEL_FILES,
    CoreFacts,
    FilePrecision,
    FrontEndFacts,
    LengthFacts,
    ModelFacts,
)
from desmezcla.inference.onnx_runner import OnnxRunner
from desmezcla.inference.onnx_session import open_session
from desmezcla.models import Core, InnerCore, SeparationModel
from desmezcla.releases.release import Release
from desmezcla.spec import ModelSpec

# What the network is traced with, and lengths at which its results are compared.
_EXAMPLE_S = 1.0
_LENGTHS_S = (1.0, 1.7)


def export_model(
    model: SeparationModel[Any],
    path: Path,
    *,
    precision: FilePrecision = "float32",
    release: Release | None = None,
) -> Agreement:
    """Write the network of a model to an ONNX file, and compare what it gives with PyTorch.

    Of a `Core`, the stems are compared, and the metadata has a `ModelFacts`, with which the file is
    all that a program needs. Of an `InnerCore`, what the network gives is compared, and the
    metadata has a `CoreFacts`, which says what is missing.

    Args:
        model: The model, in evaluation mode, on the CPU.
        path: Where to; a file that is there is replaced.
        precision: "float16" for weights that are stored so, half as large; "int8" for weights of
            matrix products in whole numbers.
        release: The release that the model is from, for the metadata.

    Returns:
        The worse of how far two lengths of tones, noise and silence agree.

    Errors:
        DesmezclaError: if a package is missing, or the file would differ too much from the model.
        ParameterError: if the model declares no network, or the precision is unknown or changes
            nothing in it.
        ReleaseError: if the file cannot be written.
    """
    if precision not in MODEL_FILES:
        raise ParameterError(f"precision={precision!r} must be one of {', '.join(MODEL_FILES)}")
    need_exporters()
    import onnx

    spec = model.spec
    mixtures = [
        tones_and_noise(spec.channels, spec.sample_rate, round(seconds * spec.sample_rate))[None]
        for seconds in (_EXAMPLE_S, *_LENGTHS_S)
    ]
    with new_file(path) as work:
        core = export_core(model, work, torch.from_numpy(mixtures[0]))
        content = without_traces(onnx.load(work))
        if precision == "float16":
            content = with_half_weights(content)
        elif precision == "int8":
            tables = {name for name, _ in core.network.named_buffers()}
            content = in_whole_numbers(content, work, tables=tables)
        onnx.helper.set_model_props(content, _record(model, core, precision, release))
        work.write_bytes(content.SerializeToString())
        found = _agreements(model, core, work, mixtures[1:])
        worst = min(found, key=lambda agreement: agreement.level_db)
        if precision == "float32":
            return worst.check(str(path))
        return worst.check_low(str(path), precision)


def _record(
    model: SeparationModel[Any],
    core: Core | InnerCore,
    precision: FilePrecision,
    release: Release | None,
) -> dict[str, str]:
    """Return what the metadata of a file have."""
    origin = origin_of(model, release)
    if isinstance(core, InnerCore):
        facts = CoreFacts(**origin, precision=precision, outside=core.outside)
        return {CORE_METADATA_KEY: facts.model_dump_json()}
    values = {field.name: getattr(model.spec, field.name) for field in fields(ModelSpec)}
    valid = model.spec.valid_lengths
    whole = ModelFacts(
        **values | origin | {"valid_lengths": LengthFacts.of(valid) if valid else None},
        precision=precision,
        front_end=FrontEndFacts.of(core.front_end),
    )
    return {METADATA_KEY: whole.model_dump_json()}


def _agreements(
    model: SeparationModel[Any],
    core: Core | InnerCore,
    path: Path,
    mixtures: list[np.ndarray[Any, np.dtype[np.float32]]],
) -> list[Agreement]:
    """Compare what a file gives with what the model, or its network, gives."""
    found = []
    if isinstance(core, Core):
        runner = OnnxRunner(path)
        for mix in mixtures:
            with torch.no_grad():
                expected = model(torch.from_numpy(mix)).numpy()
            found.append(Agreement.of(expected, runner.run(mix)))
        return found
    session = open_session(path, threads=0, remedy="export it again")
    for mix in mixtures:
        with torch.no_grad():
            inputs = core.enter(torch.from_numpy(mix))
            expected = core.network(*inputs).numpy()
        feed = {name: x.numpy() for name, x in zip(core.inputs, inputs, strict=True)}
        (got,) = session.run(None, feed)
        found.append(Agreement.of(expected, got))
    return found
