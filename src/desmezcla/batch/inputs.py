"""From what a user names (files, folders, patterns) to tasks, one for each track."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from desmezcla.inference.outputs import track_name

# Files that are taken from folders; a file that is named itself may have any ending.
AUDIO_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        "aac ac3 aif aifc aiff ape au caf flac m4a mka mp2 mp3 oga ogg opus",
        "rf64 w64 wav wave wma wv",
        "avi m4v mkv mov mp4 mpeg mpg webm",  # the sound of a video
    )
    for name in names.split()
)


@dataclass(frozen=True)
class Task:
    """One track to separate.

    Attributes:
        path: The input: a local path, or the address of a file elsewhere.
        track: Name of the track in the names of its outputs; for a file found in a folder, with
            the folders between.
    """

    path: str
    track: str


@dataclass(frozen=True)
class Refusal:
    """An input that cannot become a task, and why."""

    path: str
    reason: str


def collect_inputs(named: Iterable[str], *, leave_out: Path) -> Iterator[Task | Refusal]:
    """Find the tracks that a user means.

    A file is a track; a folder stands for all audio files in it and in the folders below (links
    are followed, but no folder is entered twice); anything else is tried as a pattern with `*`,
    `?`, `[…]` and `**`. The order is that of the names, and sorted within.

    Args:
        named: Paths and patterns.
        leave_out: Folder whose files are no inputs: the one that stems are written to.
    """
    for name in named:
        path = Path(name)
        if path.is_dir():
            yield from _in_folder(path, leave_out)
        elif os.path.lexists(name) or not glob.has_magic(name):
            # What is wrong with a file, its reader will say.
            yield Task(os.fspath(path), track_name(path))
        else:
            found = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207
            if not found:
                yield Refusal(name, f"no file fits the pattern {name!r}; check the path")
            for match in found:
                if match.is_dir():
                    yield from _in_folder(match, leave_out)
                else:
                    yield Task(os.fspath(match), track_name(match))


def _in_folder(folder: Path, leave_out: Path) -> Iterator[Task | Refusal]:
    refused: list[Refusal] = []

    def refuse(error: OSError) -> None:
        where = os.fspath(error.filename or folder)
        refused.append(Refusal(where, f"{where!r} cannot be read: {error.strerror}"))

    found = False
    entered: set[tuple[int, int]] = set()
    for here, below, files in os.walk(folder, onerror=refuse, followlinks=True):
        place = Path(here)
        below[:] = [b for b in sorted(below) if _is_new(place / b, entered, leave_out)]
        for file in sorted(files):
            path = place / file
            if path.suffix.lower() in AUDIO_SUFFIXES and not file.startswith("."):
                found = True
                track = (path.parent.relative_to(folder) / track_name(path)).as_posix()
                yield Task(os.fspath(path), track)
    yield from refused
    if not found and not refused:
        yield Refusal(
            os.fspath(folder), f"folder {str(folder)!r} holds no audio files; check the path"
        )


def _is_new(folder: Path, entered: set[tuple[int, int]], leave_out: Path) -> bool:
    """Whether a folder is still to be entered: not seen (links can form loops), not left out."""
    try:
        status = folder.stat()
        own = leave_out.exists() and folder.samefile(leave_out)
    except OSError:
        return True  # os.walk reports what is wrong with it
    identity = (status.st_dev, status.st_ino)
    if own or identity in entered:
        return False
    entered.add(identity)
    return True
