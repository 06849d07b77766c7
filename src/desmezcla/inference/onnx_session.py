"""Sessions of ONNX Runtime, and what their networks take and give."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from desmezcla.errors import DesmezclaError, ReleaseError

Node = tuple[str, str, list[Any]]
"""Name, type and shape of what a network takes or gives."""


def open_session(path: Path, *, threads: int, remedy: str) -> Any:
    """Return a session of ONNX Runtime on the processor.

    Args:
        path: The file.
        threads: Threads that compute; 0 for as many as there are cores.
        remedy: How to come by a good file.

    Errors:
        DesmezclaError: if ONNX Runtime is not installed.
        ReleaseError: if there is no such file, or it cannot be read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DesmezclaError(
            "ONNX files need ONNX Runtime, which is not installed; install it with: "
            "pip install onnxruntime"
        ) from error
    if not path.is_file():
        raise ReleaseError(f"{path} is no file; {remedy}")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what is fatal; errors are raised besides
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no class that all its errors are of
        raise ReleaseError(
            f"{path} cannot be read as ONNX ({first_line(error)}); {remedy}"
        ) from error


def nodes(found: Iterable[Any]) -> list[Node]:
    """Return name, type and shape of a session's inputs or outputs."""
    return [(node.name, node.type, node.shape) for node in found]


def node_text(node: Node | None) -> str:
    """Return a node as a few words."""
    return "nothing" if node is None else " ".join(map(str, node))


def first_line(error: Exception) -> str:
    """Return the beginning of an error's text."""
    return str(error).partition("\n")[0][:200]
