"""Separation of a track whose input or stems are in another storage.

The input is fetched, separated on this machine, and the files of the stems are put to their places
when all of them are complete; `separation.json` comes last, and says so.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from desmezcla.batch.inputs import Task
from desmezcla.batch.scratch import scratch_folder
from desmezcla.batch.storage import fetch, is_remote, join, local_path, put, read, remove, stamp_of
from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.inference.files import (
    Progress,
    SeparatedFile,
    plan_names,
    plan_paths,
    record_path,
)
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import OutputOptions, StemMix
from desmezcla.inference.provenance import Provenance, parse_provenance


@dataclass(frozen=True)
class Outputs:
    """The files of a track below the output folder, which may be in another storage.

    Attributes:
        out: Address of the output folder.
        stems: Name of each stem's file.
        record: Name of its `separation.json`.
    """

    out: str
    stems: dict[str, str]
    record: str

    def addresses(self) -> dict[str, str]:
        """Return the address of each stem's file."""
        return {stem: join(self.out, name) for stem, name in self.stems.items()}


def plan_outputs(
    out: str, options: OutputOptions, model: str, task: Task, stems: tuple[str, ...]
) -> Outputs:
    """Say which files a track will have; nothing is touched.

    Errors:
        ParameterError: if two stems would get the same file, or one would replace the input.
    """
    source = _source_path(task)
    names = plan_names(options, model, task.track, source.suffix, stems)
    if not (is_remote(out) or is_remote(task.path)):
        plan_paths(local_path(out), options, model, task.track, source, stems)
    record = record_path(names, options, task.track)
    outputs = Outputs(out, {s: name.as_posix() for s, name in names.items()}, record.as_posix())
    if is_remote(task.path) and task.path in outputs.addresses().values():
        raise ParameterError(
            f"{task.path!r} would be replaced by a stem; choose another --out or --filename"
        )
    return outputs


def _source_path(task: Task) -> Path:
    return Path(PurePosixPath(task.path).name) if is_remote(task.path) else local_path(task.path)


def separate_anywhere(
    separator: Separator,
    task: Task,
    out: str,
    options: OutputOptions,
    *,
    progress: Callable[[Progress], None],
    patience_s: float,
) -> SeparatedFile:
    """Separate a track from and to any storage; what is done already is left alone.

    Args:
        separator: What separates.
        task: The track.
        out: Address of the output folder.
        options: What is written.
        progress: Called now and then; what it raises ends the separation.
        patience_s: How long a storage may be out of reach.

    Errors:
        AudioFileError: if the input cannot be fetched or read, or a file cannot be written.
    """
    fields = options.model_dump() | {"skip_existing": True}
    common: dict[str, Any] = {"track": task.track, "progress": progress, **fields}
    if not (is_remote(task.path) or is_remote(out)):
        return separator.separate_file(local_path(task.path), local_path(out), **common)
    with scratch_folder() as scratch:
        source = _source_path(task)
        if is_remote(task.path):
            source = scratch / source.name
            fetch(task.path, source, patience_s=patience_s)
        if not is_remote(out):
            return separator.separate_file(source, local_path(out), **common)
        results = scratch / "results"
        stems = StemMix(separator.stems, options).names
        outputs = plan_outputs(out, options, separator.name, task, stems)
        existing = _Existing(outputs, patience_s)
        result = separator.separate_file(source, results, existing=existing, **common)
        if not result.skipped:
            _publish(outputs, results, patience_s)
        return result


@dataclass(frozen=True)
class _Existing:
    """Finds the record of stems in another storage."""

    outputs: Outputs
    patience_s: float

    def __call__(self, paths: Mapping[str, Path], record: Path) -> Provenance | None:
        content = read(join(self.outputs.out, self.outputs.record), patience_s=self.patience_s)
        found = parse_provenance(content) if content else None
        if found is None or not are_there(self.outputs, patience_s=self.patience_s):
            return None
        return found


def are_there(outputs: Outputs, *, patience_s: float) -> bool:
    """Whether the files of all stems are there."""
    addresses = set(outputs.addresses().values())
    return all(stamp_of(address, patience_s=patience_s) is not None for address in addresses)


def _publish(outputs: Outputs, results: Path, patience_s: float) -> None:
    """Put complete files to their places; if that fails, none of them is left there."""
    record = join(outputs.out, outputs.record)
    # Stems of an earlier run that are being replaced are not complete any more.
    remove(record, patience_s=patience_s)
    done: list[str] = []
    try:
        for name in dict.fromkeys([*outputs.stems.values(), outputs.record]):
            address = join(outputs.out, name)
            put(results / name, address, patience_s=patience_s)
            done.append(address)
    except BaseException:
        for address in done:
            with contextlib.suppress(DesmezclaError):  # what went wrong first is told
                remove(address, patience_s=0)
        raise
