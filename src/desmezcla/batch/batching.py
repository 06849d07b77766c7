"""A batch: thousands of tracks, on this machine or a cluster, that can be killed and goes on.

What is done stands in the ledger, and in the `separation.json` beside the stems. A track is left
alone if the ledger says that it is done with the same release and options, and neither its input
nor its stems have changed since. What the ledger does not know, because the driver was killed, the
worker that is given the track finds out from `separation.json`.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from filelock import FileLock, Timeout

from desmezcla.batch.driver import ATTEMPTS, drive
from desmezcla.batch.engines import Engine
from desmezcla.batch.events import Event, Report
from desmezcla.batch.inputs import Refusal, Task
from desmezcla.batch.ledger import FOLDER, Ledger, Row
from desmezcla.batch.manifest import Manifest, open_manifest
from desmezcla.batch.overall import Overall
from desmezcla.batch.remote import Outputs, are_there, plan_outputs
from desmezcla.batch.scratch import remove_abandoned, scratch_folder
from desmezcla.batch.separating import collision
from desmezcla.batch.storage import is_remote, join, local_path, stamp_of
from desmezcla.batch.track import BatchJob, TrackWorker
from desmezcla.errors import DesmezclaError
from desmezcla.evaluation.running.run_folder import remove_unfinished
from desmezcla.inference.device import choose_device
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import StemMix
from desmezcla.version import VERSION

# How many tracks are compared with the ledger at once, and by how many threads: looking at a remote
# file takes its time.
_AT_ONCE = 64
_THREADS = 32


def run_batch(
    job: BatchJob,
    manifest: str,
    report: Report,
    *,
    engine: Engine | None = None,
    attempts: int = ATTEMPTS,
    retry_failed: bool = False,
) -> tuple[int, int]:
    """Separate all tracks of a manifest that are not done yet, and report everything that happens.

    Args:
        job: What is done to every track.
        manifest: Address of a CSV or Parquet file, a folder, or a pattern.
        report: Called with every event; progress of the whole batch has the output folder as input.
        engine: Which workers do it; None for one process of this machine.
        attempts: How many workers a track may take along before it is set aside as failed.
        retry_failed: Try again what has failed in an earlier run.

    Returns:
        How many tracks are done, those of earlier runs included, and how many have failed.

    Errors:
        DesmezclaError: if the manifest or the release cannot be read, an option is not possible, or
            no worker can be started.
    """
    engine = engine or Engine()
    facts = _facts(job, engine)
    remove_abandoned()
    with scratch_folder() as scratch, _only_driver(job.out):
        found = open_manifest(
            manifest, leave_out=job.out, scratch=scratch, patience_s=job.patience_s
        )
        ledger = Ledger(job.out, scratch, patience_s=job.patience_s)
        with contextlib.closing(ledger):
            _tidy(job.out)
            batch = _Batch(job, facts, ledger, report, retry_failed)
            batch.overall.start(found.length)
            lost = drive(
                engine.workers(TrackWorker, (job,)),
                batch.tasks(found),
                batch.handle,
                name=lambda task: task.path,
                attempts=attempts,
            )
            if lost:
                _tidy(job.out)
                remove_abandoned()
    return batch.overall.done, batch.overall.failed


@dataclass(frozen=True)
class _Facts:
    """What a batch needs to know of the release.

    Attributes:
        name: Its name.
        sha256: Of its weights.
        stems: Names of the stems that are written.
        request: What identifies release, version and options.
    """

    name: str
    sha256: str
    stems: tuple[str, ...]
    request: str


def _facts(job: BatchJob, engine: Engine) -> _Facts:
    """Load the release once, so that a wrong option is told before anything is done."""
    options = dict(job.separator)
    if engine.kind == "ray":  # the machine that drives a cluster need not have its devices
        separator = Separator(job.model, **options | {"device": "cpu", "precision": "auto"})
    else:
        for device in job.devices:
            choose_device(device)
        separator = Separator(job.model, device=job.devices[0], **options)
    about = separator.description()
    options |= job.output.model_dump(exclude={"skip_existing"})
    kinds = sorted({device.partition(":")[0] for device in job.devices})
    request = json.dumps([VERSION, about, kinds, options], sort_keys=True)
    return _Facts(
        separator.name,
        about.get("sha256", ""),
        StemMix(separator.stems, job.output).names,
        hashlib.sha256(request.encode()).hexdigest()[:16],
    )


@contextlib.contextmanager
def _only_driver(out: str) -> Iterator[None]:
    """Keep a second batch out of a local output folder, as long as this one works."""
    if is_remote(out):
        yield  # other storages have no locks
        return
    folder = local_path(out) / FOLDER
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DesmezclaError(
            f"out={out!r}: another batch is at work there; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise DesmezclaError(f"out={out!r} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _tidy(out: str) -> None:
    """Remove what workers that were killed left in a local output folder."""
    if not is_remote(out):
        remove_unfinished(local_path(out))


@dataclass(frozen=True)
class _Planned:
    """A track that can be done, and what the ledger knows of it."""

    task: Task
    outputs: Outputs
    row: Row | None


class _Batch:
    """What the driver keeps of a batch."""

    def __init__(
        self, job: BatchJob, facts: _Facts, ledger: Ledger, report: Report, retry_failed: bool
    ) -> None:
        self.job = job
        self.facts = facts
        self.ledger = ledger
        self.retry_failed = retry_failed
        self.overall = Overall(job.out, report)

    def tasks(self, manifest: Manifest) -> Iterator[Task | None]:
        """Yield the tracks that are to be done; None now and then, if others come in between."""
        planned = filter(None, map(self._planned, manifest.rows()))
        with ThreadPoolExecutor(_THREADS) as threads:
            while some := list(islice(planned, _AT_ONCE)):
                for one, same in zip(some, self._unchanged(some, threads), strict=True):
                    if same:
                        self._leave_alone(one)
                    else:
                        yield one.task
                yield None

    def _planned(self, task: Task | Refusal) -> _Planned | None:
        """Say what a track's files are; refuse those that cannot be done."""
        if isinstance(task, Refusal):
            self._refuse(Task(task.path, ""), task.reason)
            return None
        try:
            outputs = plan_outputs(
                self.job.out, self.job.output, self.facts.name, task, self.facts.stems
            )
        except DesmezclaError as error:
            self._refuse(task, str(error))
            return None
        # Some file systems do not tell "Song" from "song".
        names = {name.casefold() for name in [*outputs.stems.values(), outputs.record]}
        other = self.ledger.claim(sorted(names), task.path)
        if other is not None:
            self._refuse(task, collision(other))
            return None
        return _Planned(task, outputs, self.ledger.find(task.path, task.track))

    def _unchanged(self, some: list[_Planned], threads: ThreadPoolExecutor) -> Iterable[bool]:
        """Say for each track whether what the ledger knows of it still holds."""
        if is_remote(self.job.out) or any(is_remote(one.task.path) for one in some):
            return threads.map(self._holds, some)
        return map(self._holds, some)

    def _holds(self, one: _Planned) -> bool:
        row, patience = one.row, {"patience_s": self.job.patience_s}
        if row is None or row.request != self.facts.request or not row.attempts:
            return False
        if row.state == "failed" and self.retry_failed:
            return False
        if row.input_stamp != (stamp_of(one.task.path, **patience) or ""):
            return False
        if row.state == "failed":
            return True
        there = stamp_of(join(self.job.out, one.outputs.record), **patience)
        return row.record_stamp == there and are_there(one.outputs, **patience)

    def _leave_alone(self, one: _Planned) -> None:
        """Report what an earlier run has found out."""
        row, path = one.row, one.task.path
        assert row is not None  # it holds
        if row.state == "failed":
            message = f"it has failed before: {row.reason}; --retry-failed tries it again"
            self.overall.report({"event": "error", "input": path, "message": message}, again=True)
        else:
            event = {"event": "file", "input": path, "outputs": one.outputs.addresses()}
            self.overall.report(event | {"skipped": True}, again=True)

    def _refuse(self, task: Task, reason: str) -> None:
        self.overall.report({"event": "error", "input": task.path, "message": reason}, again=True)
        before = self.ledger.find(task.path, task.track)
        if before is None or before.state == "failed":
            self.ledger.add(self._row(task, state="failed", reason=reason, attempts=0))

    def handle(self, task: Task, event: Event, attempts: int) -> None:
        """Note what has become of a track, and pass the event on."""
        facts = event.pop("facts", {})
        if event["event"] == "file":
            self.ledger.add(self._row(task, state="done", attempts=attempts, **facts))
        elif event["event"] == "error":
            facts = {"input_stamp": ""} | facts
            reason = event["message"]
            row = self._row(task, state="failed", reason=reason, attempts=attempts, **facts)
            self.ledger.add(row)
        self.ledger.tick()
        self.overall.report(event, task=task)

    def _row(self, task: Task, **known: Any) -> Row:
        unknown: dict[str, Any] = {
            "reason": "",
            "seconds": 0.0,
            "audio_seconds": 0.0,
            "worker": "",
            "input_stamp": "",
            "record": "",
            "record_stamp": "",
        }
        return Row(
            input=task.path,
            track=task.track,
            release=self.facts.name,
            release_sha256=self.facts.sha256,
            version=VERSION,
            request=self.facts.request,
            ended=time.time(),
            **unknown | known,
        )
