"""One track of a batch, and the worker that separates one after the other."""

import time
from dataclasses import dataclass, field
from typing import Any

from desmezcla.batch.driver import Place
from desmezcla.batch.events import Event, Report, attempt
from desmezcla.batch.inputs import Task
from desmezcla.batch.remote import Outputs, plan_outputs, separate_anywhere
from desmezcla.batch.scratch import remove_abandoned
from desmezcla.batch.storage import PATIENCE_S, join, stamp_of
from desmezcla.inference.files import Progress, SeparatedFile
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import OutputOptions, StemMix, output_options


@dataclass(frozen=True)
class BatchJob:
    """What is done to every track.

    Attributes:
        model: Name of the release.
        out: Address of the output folder: a local path, or one of another storage.
        separator: Options of `Separator`, but for the device.
        devices: Devices, which are shared out among the workers.
        output: What is written.
        patience_s: How long a storage may be out of reach before that counts as a failure.
    """

    model: str
    out: str
    separator: dict[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("auto",)
    output: OutputOptions = field(default_factory=output_options)
    patience_s: float = PATIENCE_S


class TrackWorker:
    """What a worker does: separate, with a model of its own."""

    def __init__(self, job: BatchJob, place: Place) -> None:
        remove_abandoned()
        self.job = job
        self.place = place
        device = job.devices[place.slot % len(job.devices)]
        self.separator = Separator(job.model, device=device, **job.separator)
        self.stems = StemMix(self.separator.stems, job.output).names

    def __call__(self, task: Task, report: Report) -> None:
        """Separate a track; every end comes with what the ledger wants to know."""
        start_s = time.monotonic()
        patience = {"patience_s": self.job.patience_s}
        facts: dict[str, Any] = {"worker": self.place.name}

        def progress(now: Progress) -> None:
            event = {"event": "progress", "input": task.path, "fraction": now.fraction}
            report(event | {"eta_s": now.eta_s})

        def work() -> tuple[SeparatedFile, Outputs]:
            facts["input_stamp"] = stamp_of(task.path, **patience) or ""
            job = self.job
            result = separate_anywhere(
                self.separator, task, job.out, job.output, progress=progress, **patience
            )
            outputs = plan_outputs(job.out, job.output, self.separator.name, task, self.stems)
            facts["audio_seconds"] = result.audio_s
            facts["record"] = outputs.record
            facts["record_stamp"] = stamp_of(join(job.out, outputs.record), **patience) or ""
            return result, outputs

        def with_facts(event: Event) -> None:
            if event["event"] == "error":
                event = event | {"facts": facts | {"seconds": time.monotonic() - start_s}}
            report(event)

        done = attempt(work, task.path, with_facts)
        if done is not None:
            result, outputs = done
            event = {"event": "file", "input": task.path, "outputs": outputs.addresses()}
            facts["seconds"] = time.monotonic() - start_s
            report(event | {"skipped": result.skipped, "facts": facts})
