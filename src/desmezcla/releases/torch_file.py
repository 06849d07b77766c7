"""Checkpoints written by `torch.save`, read without running anything of the file.

Such a file is a pickle, which may call any function when it is read. PyTorch's restricted reader
knows tensors and plain containers only. What it lets through and could still do harm, a tensor
that claims more memory than the file has bytes, is refused here.
"""

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from desmezcla.errors import ReleaseError


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` file, read by a reader that runs no code of the file.

    Errors:
        ReleaseError: if the file is no checkpoint, is damaged, or holds anything else.
    """
    with _reading(path):
        size_bytes = path.stat().st_size
        unpacked_bytes = _unpacked_bytes(path)
    if unpacked_bytes > size_bytes:
        raise ReleaseError(
            f"{path} is compressed, which PyTorch's files are not; it is refused, so save it again"
        )
    with _reading(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in state.items()
    ):
        raise ReleaseError(
            f"{path} is no state dict: it must map names to plain tensors of numbers; save "
            "model.state_dict() alone"
        )
    # A few bytes may declare a tensor of any shape; copying it would fill the memory.
    claimed_bytes = sum(value.numel() * value.element_size() for value in state.values())
    if claimed_bytes > size_bytes:
        raise ReleaseError(
            f"{path} has {size_bytes} bytes, but claims tensors of {claimed_bytes}; it is refused"
        )
    return state


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_complex() or value.is_quantized)
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ReleaseError(
            f"{path} was refused: it is not a plain file of tensors, and reading it might run "
            f"code ({_first_line(error)}); save its state dict alone"
        ) from error
    except Exception as error:  # a damaged archive or pickle may fail with nearly any type
        raise ReleaseError(
            f"{path} cannot be read as a PyTorch checkpoint ({type(error).__name__}: "
            f"{_first_line(error)}); it is damaged or of another kind"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _unpacked_bytes(path: Path) -> int:
    """Return the size of the content of an archive, 0 for another file."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(item.file_size for item in archive.infolist())
