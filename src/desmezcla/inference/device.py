"""Where and how exactly models compute: device, precision, and the process's memory allocator."""

import contextlib
import ctypes
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Literal

from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # this file serves where PyTorch is not installed, too
    import torch

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

_wanted_threads = 0

# Parameters of glibc's mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def choose_device(name: str) -> "torch.device":
    """Return a device by name; "auto" is the first of cuda, mps and cpu that is there.

    Errors:
        ParameterError: if the name is unknown or the device is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device: torch.device | None = None
    with contextlib.suppress(RuntimeError):  # one message for all that is refused
        device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device is None or device.type not in there:
        raise ParameterError(f"device={name!r} must be auto, cpu, cuda (or cuda:1, …) or mps")
    if not there[device.type] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ParameterError(
            f"device={name!r} is not available on this machine; use auto or cpu, "
            "or install a PyTorch build for it"
        )
    return device


def choose_dtype(precision: Precision, device: "torch.device") -> "torch.dtype":
    """Return the type that matrix products are computed in; "auto" is float32.

    Errors:
        ParameterError: if the name is unknown, or the processor has no bfloat16.
    """
    import torch

    if precision in ("auto", "float32"):
        return torch.float32
    if precision != "bfloat16":
        raise ParameterError(
            f"precision={precision!r} must be auto, float32 or bfloat16 with PyTorch; float16 and "
            "int8 are for engine='onnx'"
        )
    if device.type == "cuda":
        there = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        there = device.type == "mps" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not there:
        raise ParameterError(
            f"precision='bfloat16' is not supported by this {device.type}; use float32"
        )
    return torch.bfloat16


def set_threads(threads: int) -> None:
    """Let this process compute with so many threads, whichever engine does."""
    global _wanted_threads
    _wanted_threads = threads
    if importlib.util.find_spec("torch") is not None:
        set_torch_threads("torch", threads)


def wanted_threads() -> int:
    """Return how many threads this process is to compute with; 0 for as many as there are cores.

    PyTorch and NumPy read `OMP_NUM_THREADS` themselves; this is for what does not.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return _wanted_threads or (int(wanted) if wanted.isdigit() else 0)


def set_torch_threads(engine: str, threads: int) -> None:
    """Let PyTorch compute with so many threads, if it is the engine of a stream."""
    if engine == "torch":
        import torch

        torch.set_num_threads(threads)


def keep_freed_buffers() -> bool:
    """Let the C library keep freed buffers for the next tensor instead of unmapping them.

    glibc returns large buffers to the system at once; the pages of the next tensor must then be
    zeroed again, which costs up to half of a model's time on the CPU. The setting holds for the
    whole process. `DESMEZCLA_KEEP_BUFFERS=0` in the environment leaves everything as it is.

    Returns:
        Whether it was done: on Linux with glibc, unless switched off.
    """
    if sys.platform != "linux" or os.environ.get("DESMEZCLA_KEEP_BUFFERS", "1") == "0":
        return False
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
    return False  # another C library
