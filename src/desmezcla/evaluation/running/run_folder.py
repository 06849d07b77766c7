"""The folder that an evaluation writes: made so that it can be killed, and goes on where it was.

`evaluation.json` comes first and says what is being done; the scores of a track come last of all
that is written of it, so that a track with scores is complete. Every file appears under its name
only when it is complete.
"""

import contextlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from desmezcla.audio.files import write_file
from desmezcla.datasets.track import Track
from desmezcla.errors import EvaluationError
from desmezcla.evaluation.results import ABOUT_FILE, EXCERPTS_FOLDER, SPLITS, read_about
from desmezcla.evaluation.running.result_tables import TABLE_FILES

# The temporary names of `PendingFile`, with the id of the process.
_UNFINISHED = re.compile(r"\..*\.(\d+)-[0-9a-f]{8}\.part")


def prepare_folder(out: Path, about: dict[str, Any], *, overwrite: bool = False) -> None:
    """Make the folder of an evaluation, or go on with one that was interrupted.

    Args:
        out: The folder.
        about: What `evaluation.json` shall say.
        overwrite: Remove the results of an earlier evaluation.

    Errors:
        EvaluationError: if the folder holds results of something else.
    """
    about = json.loads(json.dumps(about))
    before = read_about(out)
    if not before and any(_score_files(out)):
        raise EvaluationError(
            f"{str(out)!r} holds scores of another program, which are not to be mixed with new "
            "ones; choose another --out"
        )
    if before and overwrite:
        _remove_results(out)
    elif before and before != about:
        raise EvaluationError(
            f"{str(out)!r} holds results of another evaluation ({_difference(before, about)}); "
            "choose another --out, or replace them with --overwrite"
        )
    remove_unfinished(out)
    write_text(out / ABOUT_FILE, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def scores_file(out: Path, track: Track) -> Path:
    """Return the file for the scores of a track.

    Errors:
        EvaluationError: if the track's name cannot be that of a file.
    """
    if not track.name.strip(".") or {"/", "\\", "\0"} & set(track.name):
        raise EvaluationError(
            f"track={track.name!r} cannot be the name of a file; rename it without / and \\"
        )
    return out / track.split / f"{track.name}.json"


def excerpts_folder(out: Path, track: Track) -> Path:
    """Return the folder for the excerpts of a track."""
    return out / EXCERPTS_FOLDER / track.name


def write_text(path: Path, text: str) -> None:
    """Write a file that appears only when it is complete.

    Errors:
        AudioFileError: if it cannot be written.
    """
    write_file(path, text.encode("utf-8"))


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left behind, below a folder."""
    for path in folder.rglob(".*.part"):
        found = _UNFINISHED.fullmatch(path.name)
        if found and not is_running(int(found[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def is_running(process: int) -> bool:
    """Whether a process of this machine is still there, and has not ended."""
    if sys.platform == "win32":
        return False  # a file that is open cannot be removed there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's, or no process at all: not to be judged here
    # A process that has ended keeps its number until its parent asks for it, which can take seconds
    # after the parent died, too. Linux says so; its name may hold anything, the state follows it.
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in (b"Z", b"X")


def _score_files(out: Path) -> list[Path]:
    files = [path for split in SPLITS for path in (out / split).glob("*.json")]
    return files + [path for path in out.glob("*.json") if path.name != ABOUT_FILE]


def _remove_results(out: Path) -> None:
    for path in [*_score_files(out), *(out / name for name in TABLE_FILES)]:
        path.unlink(missing_ok=True)
    shutil.rmtree(out / EXCERPTS_FOLDER, ignore_errors=True)


def _difference(before: Any, now: Any, name: str = "") -> str:
    """Name the first setting that is not the same."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                inside = f"{name}.{key}" if name else str(key)
                return _difference(before.get(key), now.get(key), inside)
    return f"{name} is {json.dumps(before)} there, and {json.dumps(now)} now"
