"""Where uploads and results lie. Names from outside are labels, and never parts of a path."""

import contextlib
import shutil
import time
from pathlib import Path

from desmezcla.studio.tables import Job

LONGEST_NAME = 150

# Endings that an upload may keep: a very short MP3 file is known by its ending alone.
_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("aac", "aif", "aiff", "alac", "caf", "flac", "m4a", "mka", "mkv", "mov", "mp3", "mp4"),
        *("oga", "ogg", "opus", "wav", "webm", "wma", "wv"),
    )
)


def label_of(name: str) -> str:
    """Return what a client's name for a file is shown as: one line without a path.

    >>> label_of("../../etc/passwd"), label_of("C:\\\\Music\\\\A\\nB.wav"), label_of("..")
    ('passwd', 'AB.wav', 'audio')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in last if c.isprintable()).strip(" .")
    if len(printable) > LONGEST_NAME:
        head, dot, ending = printable.rpartition(".")
        keep = f".{ending}" if dot and len(ending) <= 8 else ""
        printable = (head if keep else printable)[: LONGEST_NAME - len(keep)] + keep
    return printable or "audio"


def suffix_of(name: str) -> str:
    """Return the ending that an upload of this name is stored with, or nothing."""
    suffix = Path(label_of(name)).suffix.lower()
    return suffix if suffix in _SUFFIXES else ""


class Folders:
    """The folders of a server.

    Args:
        data: Folder of everything.
    """

    def __init__(self, data: Path) -> None:
        self.uploads = data / "uploads"
        self.results = data / "results"
        for folder in (self.uploads, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    def incoming(self, job_id: str) -> Path:
        """Return the file that an upload grows in."""
        return self.uploads / f"{job_id}.part"

    def upload(self, job_id: str, suffix: str) -> Path:
        """Return the file of a whole upload."""
        return self.uploads / f"{job_id}{suffix}"

    def attempt(self, job: Job) -> Path:
        """Return the folder of a job's last attempt; no other attempt writes there."""
        return self.results / job.id / str(job.attempt)

    def remove_upload(self, job: Job) -> None:
        """Remove the upload of a job."""
        self.upload(job.id, job.suffix).unlink(missing_ok=True)

    def remove_earlier(self, job: Job) -> None:
        """Remove what earlier attempts have left; a later one may be another worker's by now."""
        for folder in (self.results / job.id).glob("*"):
            if int(folder.name) < job.attempt:
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, job: Job) -> None:
        """Remove everything of a job."""
        self.remove_upload(job)
        shutil.rmtree(self.results / job.id, ignore_errors=True)

    def remove_strangers(self, known: set[str], *, age_s: float) -> None:
        """Remove what belongs to no job and has not been touched for some time."""
        old_s = time.time() - age_s
        for path in (*self.uploads.iterdir(), *self.results.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if path.name.partition(".")[0] in known or path.stat().st_mtime > old_s:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
