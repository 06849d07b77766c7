"""A worker: a process that takes one job after the other from the queue.

`python -m desmezcla.studio.worker` reads its name and the settings from standard input, as a line
of JSON, and leaves when that is closed: it does not outlive its server.
"""

import errno
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from desmezcla.audio.reader import AudioReader
from desmezcla.errors import DesmezclaError
from desmezcla.inference.device import set_threads
from desmezcla.inference.provenance import read_provenance
from desmezcla.studio.folders import Folders
from desmezcla.studio.orders import estimated_bytes
from desmezcla.studio.preview import make_preview
from desmezcla.studio.probe import too_long, without_path
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore, open_store
from desmezcla.studio.tables import Job

if TYPE_CHECKING:
    from desmezcla.inference.files import Progress
    from desmezcla.inference.offline import Separator

_log = logging.getLogger(__name__)

PREVIEW = "preview"
RECORD_FILE = "separation.json"
_TRACK = "stems"
_IDLE_S = 0.25
_WRITE_S = 0.25
# How long a worker whose server is gone may take to put its job back.
_GRACE_S = 10.0
# Of a job, what the separation is; the rest is reading the song before, and the preview after.
_MEASURED, _SEPARATED = 0.02, 0.95


class Stopped(Exception):
    """The job was cancelled."""


class Leaving(Exception):
    """The worker is told to leave."""


class Lost(Exception):
    """The job is no longer this worker's."""


class Worker:
    """Takes jobs until it is told to leave.

    Args:
        name: Of the worker, unlike that of any other.
        settings: Of the server.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.leaving = threading.Event()
        self._settings = settings
        self.store: JobStore = open_store(settings)
        self._folders = Folders(settings.data)
        self._job: Job | None = None
        self._state: bool | None = False
        self._written_s = 0.0
        self._separator: Separator | None = None

    def run(self) -> None:
        """Take jobs until `leaving` is set."""
        threading.Thread(target=self._live, daemon=True).start()
        while not self.leaving.is_set():
            job = self.store.claim(self.name)
            if job is None:
                self.leaving.wait(_IDLE_S)
            else:
                self.do(job)

    def do(self, job: Job) -> None:
        """Do a job that was claimed; whatever happens, it is written down."""
        self._state, self._job = False, job
        folder, kept = self._folders.attempt(job), False
        path = self._folders.upload(job.id, job.suffix)
        try:
            self._folders.remove_earlier(job)
            folder.mkdir(parents=True)  # an attempt has a folder that nobody had before
            files, size = self._separate(job, path, folder)
            # Until the queue has answered, they may be the job's results.
            kept = True
            kept = self.store.finish(job, files=files, bytes=size)
            if kept:
                self._folders.remove_upload(job)
        except Stopped:
            self.store.stopped(job)
        except Leaving:
            self.store.give_back(job)
        except Lost:
            _log.info("job %s is no longer %s's", job.id, self.name)
        except DesmezclaError as error:
            self.store.fail(job, without_path(str(error), path, job.name))
        except OSError as error:
            _log.exception("job %s failed", job.id)
            self.store.fail(job, _disk_trouble(error))
        except Exception as error:
            _log.exception("job %s failed", job.id)
            self.store.fail(
                job, f"{type(error).__name__}: this is a fault of desmezcla, please report it"
            )
        finally:
            self._job = None
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _separate(self, job: Job, path: Path, folder: Path) -> tuple[dict[str, str], int]:
        samples = self._measure(job, path)
        separator = self._loaded(job.model)
        self._reserve(job, estimated_bytes(samples, len(job.stems or separator.stems)))
        result = separator.separate_file(
            path,
            folder,
            track=_TRACK,
            filename="{stem}.{ext}",
            format=job.format,
            stems=tuple(job.stems) or None,
            progress=self._progress,
        )
        self._name_record(job, folder)
        (folder / PREVIEW).mkdir()
        together = len(set(result.paths.values())) < len(result.paths)
        # In a file of several streams the first is the mixture.
        places = {
            stem: (file, index + 1 if together else 0)
            for index, (stem, file) in enumerate(result.paths.items())
        }
        make_preview(places, folder / PREVIEW, check=self._check)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {stem: file.name for stem, file in result.paths.items()}, size

    def _measure(self, job: Job, path: Path) -> int:
        """Read the song to its end, and return the samples of all its channels.

        What a file says of its length may be wrong on purpose.
        """
        with AudioReader(path) as reader:
            most = self._settings.max_duration_s * reader.sample_rate
            length = 0
            for block in reader.blocks():
                length += block.shape[1]
                if length > most:
                    duration_s = length / reader.sample_rate
                    raise too_long(job.name, duration_s, self._settings.max_duration_s)
                self._check()
            return length * reader.channels

    def _reserve(self, job: Job, needed_bytes: int) -> None:
        """Make sure that there is room for the results, should they need more than was promised."""
        if needed_bytes > job.bytes:
            size = self.store.reserve(job, needed_bytes)
            if size > self._settings.max_disk_bytes:
                raise DesmezclaError(
                    f"{job.name!r} is longer than it says, and its stems do not fit on the "
                    "server's disk; delete jobs, or export the song again"
                )
        self._note(_MEASURED, None)

    def _loaded(self, model: str) -> "Separator":
        """Return the release's separator, the one of the job before if it is the same."""
        if self._separator is None or self._separator.name != model:
            # Deferred: it imports torch, which takes longer than claiming a job.
            from desmezcla.inference.offline import Separator

            self._separator = None
            self._separator = Separator(model, device=self._settings.device)
        return self._separator

    def _name_record(self, job: Job, folder: Path) -> None:
        """Let the record call the song by its own name, and itself by the usual one."""
        path = folder / f"{_TRACK}.{RECORD_FILE}"
        record = read_provenance(path)
        assert record is not None, path
        named = record.model_copy(update={"input": record.input | {"name": job.name}})
        named.write(folder / RECORD_FILE)
        path.unlink()

    def _progress(self, now: "Progress") -> None:
        self._check()
        if now.fraction == 1 or time.monotonic() - self._written_s > _WRITE_S:
            self._note(_MEASURED + now.fraction * (_SEPARATED - _MEASURED), now.eta_s)

    def _note(self, fraction: float, eta_s: float | None) -> None:
        self._written_s = time.monotonic()
        assert self._job is not None
        self._state = self.store.progress(self._job, fraction, eta_s)
        self._check()

    def _check(self) -> None:
        """Leave the job if there is a reason to."""
        if self._state is None:
            raise Lost
        if self._state:
            raise Stopped
        if self.leaving.is_set():
            raise Leaving

    def _live(self) -> None:
        """Say now and then that the worker lives; a model may compute for long without progress."""
        while True:
            job = self._job
            try:
                state = self.store.seen(self.name, job)
                if job is not None and job is self._job and state is not False:
                    self._state = state
            except Exception as error:
                # The database is away; when it is back, it tells whether the job is still held.
                _log.warning("the queue cannot be reached: %s", error)
            time.sleep(self._settings.lease_s / 5)


def _disk_trouble(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the server's disk is full; delete jobs, or try later"
    return f"the server could not write the results ({error.strerror}); try again later"


def main() -> None:
    """Work as long as standard input is open."""
    start = json.loads(sys.stdin.readline())
    settings = Settings.model_validate(start["settings"])
    if settings.workers > 1:
        # With one worker nothing is changed, so that the bytes are those of `desmezcla separate`.
        set_threads(max(1, (os.cpu_count() or 1) // settings.workers))
    worker = Worker(start["name"], settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the server decides
    signal.signal(signal.SIGTERM, lambda *_: worker.leaving.set())
    threading.Thread(target=_leave_with_server, args=(worker,), daemon=True).start()
    worker.run()


def _leave_with_server(worker: Worker) -> None:
    sys.stdin.read()
    worker.leaving.set()
    time.sleep(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
