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
from numpy.typing import NDArray

from desmezcla.dsp.framing import Audio
from desmezcla.errors import DesmezclaError, ReleaseError

TOLERANCE = 1e-4
"""What a float32 file may differ from PyTorch, as a part of the largest value."""

LEAST_DB = 20.0
"""To which a lower precision must agree; what it adds lies far below what a model leaves wrong."""


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

    def check_low(self, origin: str, precision: str) -> "Agreement":
        """Return this if it is good enough for a lower precision.

        Errors:
            DesmezclaError: if it is not.
        """
        if self.level_db < LEAST_DB:
            raise DesmezclaError(
                f"{origin} was not written: with {precision} the stems would agree with PyTorch's "
                f"to {self.level_db:.1f} dB only, less than {LEAST_DB:.0f} dB; use float32"
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


def tones_and_noise(channels: int, sample_rate: int, samples: int) -> Audio:
    """Return tones that fade, noise, and at last silence.

    Shape:
        returns `[C, T]`.
    """
    time_s = np.arange(samples) / sample_rate
    chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (110.0, 277.2, 659.3, 1864.7))
    fading = np.exp(-8 * (time_s % 0.25))
    noise = np.random.default_rng(0).standard_normal((channels, samples))
    signal = 0.1 * fading * chord + 0.05 * (time_s % 0.5 > 0.25) * noise
    signal[:, samples - samples // 8 :] = 0
    return signal.astype(np.float32)
