"""ONNX files that appear when they are complete and have been compared with PyTorch."""

import contextlib
import importlib.util
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from desmezcla.errors import DesmezclaError, ReleaseError
from desmezcla.exporting.onnx import export_core
from desmezcla.models import Core, SeparationModel

TOLERANCE = 1e-4
"""What a float32 file may differ from PyTorch, as a part of the largest value."""

_LENGTHS_S = (1.0, 1.7)


@dataclass(frozen=True)
class Agreement:
    """How far two results agree.

    Attributes:
        difference: The largest difference, as a part of the largest value.
        level_db: Power of the values relative to that of the differences.
    """

    difference: float
    level_db: float

    @classmethod
    def of(cls, expected: NDArray[Any], got: NDArray[Any]) -> "Agreement":
        """Compare two arrays of one shape; values that are not finite never agree."""
        wanted, off = expected.astype(np.float64), expected.astype(np.float64) - got
        peak, power, noise = np.abs(wanted).max(), np.square(wanted).sum(), np.square(off).sum()
        if not np.isfinite(noise):
            return cls(math.inf, -math.inf)
        if noise == 0:
            return cls(0.0, math.inf)
        if power == 0:
            return cls(math.inf, -math.inf)
        return cls(float(np.abs(off).max() / peak), float(10 * np.log10(power / noise)))

    def check(self, origin: str) -> "Agreement":
        """Return this if it is within the tolerance of float32.

        Errors:
            DesmezclaError: if it is not.
        """
        if self.difference > TOLERANCE:
            off = f"{self.difference:.1e} of the largest value, more than {TOLERANCE:.0e}"
            raise DesmezclaError(
                f"{origin} was not written: its results would differ from PyTorch's by "
                f"{off if self.difference < math.inf else 'what is NaN or infinite'}; try other "
                "versions of torch and onnxruntime, or run the model with PyTorch"
            )
        return self


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file that becomes `path` when the block ends without an error.

    Errors:
        ReleaseError: if it cannot be written.
    """
    if path.is_dir():
        raise ReleaseError(f"{path} is a folder and cannot be written; name a file with -o")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be written ({error.strerror or error}); choose another file with -o"
        ) from error


def need_exporters() -> None:
    """Check that the packages are there that write ONNX files and compare them.

    Errors:
        DesmezclaError: if one is not.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise DesmezclaError(
                f"export needs {package}, which is not installed; install it with: "
                "pip install 'desmezcla[export]'"
            )


def without_traces(content: Any) -> Any:
    """Take from the content of an ONNX file what the exporter notes of the code, with its paths."""
    graph = content.graph
    kinds = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for owner in (content, graph, *content.functions, *itertools.chain(*kinds)):
        del owner.metadata_props[:]
    for function in content.functions:
        for node in function.node:
            del node.metadata_props[:]
    return content


def export_checked_core(model: SeparationModel[Any], path: Path) -> Agreement:
    """Write the core of a model to an ONNX file that gives the same for two lengths.

    Args:
        model: The model, in evaluation mode, on the CPU.
        path: Where to; a file that is there is replaced.

    Returns:
        The worse of how far the network's results agree with PyTorch's.

    Errors:
        DesmezclaError: if a package is missing or the results differ.
        ParameterError: if the model declares no core.
        ReleaseError: if the file cannot be written.
    """
    need_exporters()
    import onnx
    import onnxruntime

    lengths = [round(seconds * model.spec.sample_rate) for seconds in _LENGTHS_S]
    with new_file(path) as work:
        core = export_core(model, work, _noise(model, lengths[0]))
        onnx.save(without_traces(onnx.load(work)), work)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal; the results are compared
        session = onnxruntime.InferenceSession(work, options, providers=["CPUExecutionProvider"])
        found = [_core_agreement(core, session, _noise(model, length)) for length in lengths]
        worst = min(found, key=lambda agreement: agreement.level_db)
        return worst.check(str(path))


def _core_agreement(core: Core, session: Any, mix: torch.Tensor) -> Agreement:
    inputs = core.enter(mix)
    with torch.no_grad():
        expected = core.network(*inputs).numpy()
    feed = {name: x.numpy() for name, x in zip(core.inputs, inputs, strict=True)}
    (got,) = session.run(None, feed)
    return Agreement.of(expected, got)


def _noise(model: SeparationModel[Any], samples: int) -> torch.Tensor:
    """Return noise after some silence. Shape: returns `[1, C, T]`."""
    generator = torch.Generator().manual_seed(samples)
    noise = 0.1 * torch.randn(1, model.spec.channels, samples, generator=generator)
    noise[..., : samples // 4] = 0
    return noise
