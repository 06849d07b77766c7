"""Room on a disk, asked for before anything is written."""

import shutil
from pathlib import Path

from desmezcla.errors import DatasetError

# Left free for other programs.
_RESERVE_BYTES = 64 << 20


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise if a folder, which need not exist, has no room for so many bytes.

    Errors:
        DatasetError: if it has not.
    """
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes + _RESERVE_BYTES:
        raise DatasetError(
            f"{str(folder)!r} needs {(needed_bytes + _RESERVE_BYTES) / 1e9:.2f} GB, but its disk "
            f"has only {free / 1e9:.2f} GB free; free some space or choose another folder"
        )
