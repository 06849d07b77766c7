"""Folders for files on their way; those of killed processes are removed by the next one."""

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path

from desmezcla.audio.files import write_error
from desmezcla.evaluation.running.run_folder import is_running

# The name of the machine: processes of several can share a folder, but not their numbers.
_PREFIX = f"desmezcla-batch-{re.sub(r'[^A-Za-z0-9.-]', '_', socket.gethostname())}-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder below the system's for temporary files (TMPDIR); at the end it is removed.

    Errors:
        AudioFileError: if it cannot be made.
    """
    place = Path(tempfile.gettempdir())
    try:
        made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{getpid()}-", dir=place))
    except OSError as error:
        raise write_error(place, error) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the folders of processes of this machine that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not is_running(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
