"""The supervisor: starts workers, replaces those that die, and clears away what is over."""

import json
import logging
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from desmezcla.studio.folders import Folders
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
_CLEAN_S = 30.0
# What lies about without a job may be an upload on its way.
_STRANGE_S = 3600.0
_LEAVE_S = 10.0
# A worker that dies sooner than that is started again after a pause.
_YOUNG_S = 5.0


@dataclass
class _Slot:
    """The place of one worker."""

    name: str = ""
    process: "subprocess.Popen[str] | None" = None
    started_s: float = 0.0
    early_deaths: int = 0
    start_at_s: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps workers running and folders small, in a thread of its own.

    Args:
        settings: Of the server.
        store: The queue.
    """

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store
        self._folders = Folders(settings.data)
        self._slots = [_Slot() for _ in range(settings.workers)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the workers, and the thread that looks after them."""
        self._thread.start()

    def stop(self) -> None:
        """End the workers; what they have in hand goes back into the queue."""
        self._stop.set()
        self._thread.join()
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.terminate()
        end_s = time.monotonic() + _LEAVE_S
        for slot in self._slots:
            if slot.process is None:
                continue
            try:
                slot.process.wait(max(0.1, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                slot.process.kill()
                slot.process.wait()
            self._buried(slot)

    def pids(self) -> list[int]:
        """Return the process ids of the workers that run."""
        processes = [slot.process for slot in self._slots if slot.process is not None]
        return [process.pid for process in processes if process.poll() is None]

    def clean(self) -> None:
        """Remove jobs that are no longer kept, and files that belong to none."""
        for job in self._store.expired(self._settings.keep_s):
            if self._store.delete(job.id, only_ended=True):
                self._folders.remove(job)
        self._folders.remove_strangers(self._store.ids(), age_s=_STRANGE_S)
        self._store.forget_workers()

    def _run(self) -> None:
        clean_at_s = 0.0
        while not self._stop.is_set():
            try:
                for slot in self._slots:
                    self._look_after(slot)
                self._store.reclaim()
                if time.monotonic() >= clean_at_s:
                    self.clean()
                    clean_at_s = time.monotonic() + _CLEAN_S
            except Exception:
                # A database that is away for a while is no reason to end.
                _log.exception("the supervisor could not do all of its work, and tries again")
                self._stop.wait(1.0)
            self._stop.wait(_LOOK_S)

    def _look_after(self, slot: _Slot) -> None:
        now_s = time.monotonic()
        if slot.process is not None and slot.process.poll() is not None:
            _log.warning("worker %s ended with code %s", slot.name, slot.process.returncode)
            young = now_s - slot.started_s < _YOUNG_S
            slot.early_deaths = slot.early_deaths + 1 if young else 0
            slot.start_at_s = now_s + (min(30.0, 0.5 * 2**slot.early_deaths) if young else 0.0)
            self._buried(slot)
        if slot.process is None and now_s >= slot.start_at_s:
            slot.name, slot.started_s = secrets.token_hex(8), now_s
            slot.process = _started(slot.name, self._settings)

    def _buried(self, slot: _Slot) -> None:
        """Note that a worker is no more: its job need not wait for the end of its lease."""
        assert slot.process is not None
        if slot.process.stdin is not None:
            slot.process.stdin.close()
        slot.process = None
        self._store.reclaim(slot.name)


def _started(name: str, settings: Settings) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "desmezcla.studio.worker"], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    # Not on the command line, which every user of the machine can read: there may be a password.
    start = json.dumps({"name": name, "settings": settings.model_dump(mode="json")})
    try:
        process.stdin.write(start + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        _log.warning("worker %s ended at once", name)
    return process
