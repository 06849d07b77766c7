"""Checkpoints that a kill or a full disk cannot spoil.

A checkpoint is written under another name, forced onto the disk and then renamed, so that a file
with a checkpoint's name is always whole. The newest two are kept, and the older one goes only when
the newer one is there.
"""

import contextlib
import io
import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from desmezcla.errors import DesmezclaError

logger = logging.getLogger(__name__)

_KEPT = 2


class CheckpointError(DesmezclaError):
    """A checkpoint could not be written or read."""


def write_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state of a training after a step, and remove all but the newest two.

    Args:
        folder: Where checkpoints are; it is made if it is not there.
        step: Steps done.
        state: Tensors, numbers and text in dicts and lists.

    Errors:
        CheckpointError: if it cannot be written; those that are there stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"step-{step:08d}.ckpt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, buffer.getbuffer())
    except OSError as error:
        last = _newest_first(folder)
        there = f"the last good one is {last[0]}" if last else "there is no earlier one"
        raise CheckpointError(
            f"checkpoint {path} cannot be written ({error.strerror or error}); {there}; "
            "free some space, then go on with --resume"
        ) from error
    for old in _newest_first(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder, None if there is none."""
    return next(iter(_newest_first(folder)), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint; nothing in the file is run.

    Where the file is damaged, the one before it is taken, with a warning.

    Errors:
        CheckpointError: if none can be read.
    """
    candidates = [p for p in _newest_first(path.parent) if p.name <= path.name]
    for candidate in candidates:
        try:
            state: dict[str, Any] = torch.load(candidate, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            logger.warning("checkpoint %s cannot be read (%s); taking an earlier one", path, reason)
        else:
            return state
    raise CheckpointError(
        f"checkpoint {path} cannot be read, nor one before it; train again into another folder"
    )


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Write a file that appears only when it is whole and on the disk.

    Errors:
        OSError: as the system has it; an older file of the name then stays as it was.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder onto the disk, where the system can open folders."""
    with contextlib.suppress(PermissionError):  # Windows
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _newest_first(folder: Path) -> list[Path]:
    found = folder.glob("step-*.ckpt")
    return sorted((p for p in found if re.fullmatch(r"step-\d{8}\.ckpt", p.name)), reverse=True)
