"""From a file to the files of its stems, in flat memory: all of them complete, or none."""

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desmezcla.audio.formats import (
    BitDepth,
    FileFormat,
    OutputFormat,
    check_output,
    find_format,
    writable_rate,
)
from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.audio.stems import StemWriter
from desmezcla.audio.tags import read_tags
from desmezcla.errors import AudioFileError, ParameterError
from desmezcla.inference.blocks import Block, in_step, resampled
from desmezcla.inference.device import wanted_threads
from desmezcla.inference.ensemble import Ensemble
from desmezcla.inference.outputs import OutputOptions, StemMix, file_name, track_name
from desmezcla.inference.provenance import Provenance, read_provenance
from desmezcla.inference.sources import FileSource
from desmezcla.releases.release import file_digest
from desmezcla.version import VERSION

_log = logging.getLogger(__name__)

RECORD_FILE = "separation.json"


@dataclass(frozen=True)
class Progress:
    """How far a separation has come.

    Attributes:
        fraction: From 0 to 1.
        eta_s: Seconds that it will still take, as far as can be told; None at the very start.
    """

    fraction: float
    eta_s: float | None


@dataclass(frozen=True)
class SeparatedFile:
    """What `Separator.separate_file` wrote.

    Attributes:
        paths: The file of each stem; the same one for all with the format stem.mp4.
        provenance: What stands in `separation.json`.
        audio_s: Length of the stems in seconds; if skipped, what the input says of its own.
        skipped: Whether all of it was there already, and `skip_existing` was set.
    """

    paths: dict[str, Path]
    provenance: Provenance
    audio_s: float
    skipped: bool = False


def existing_record(paths: Mapping[str, Path], record: Path) -> Provenance | None:
    """Return the record of stems if all of them are there, or None."""
    return read_provenance(record) if all(file.exists() for file in paths.values()) else None


def separate_file(
    ensemble: Ensemble,
    release: dict[str, Any],
    path: Path,
    out: Path,
    options: OutputOptions,
    *,
    track: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    existing: Callable[[Mapping[str, Path], Path], Provenance | None] = existing_record,
) -> SeparatedFile:
    """Separate a file and write its stems; see `Separator.separate_file`.

    Args:
        ensemble: What separates.
        release: What `separation.json` says of it; `name` goes into the file names.
        path: The input.
        out: Folder to write below.
        options: What to write.
        track: Name of the track in the file names; None for the file's own name.
        progress: Called now and then.
        existing: Returns the record of the stems that `skip_existing` would leave alone, given the
            files of the stems and of the record.
    """
    source = FileSource(path, start_s=options.start_s, duration_s=options.duration_s)
    target = _target(ensemble, source, options)
    mix = StemMix(ensemble.stems, options, _step(target.bit_depth))
    paths = plan_paths(out, options, release["name"], track or track_name(path), path, mix.names)
    record = record_path(paths, options, track or track_name(path))
    provenance = _provenance(ensemble, release, source, options, target, paths)
    if options.skip_existing:
        found = existing(paths, record)
        if found is not None and found.same_request(provenance):
            audio_s = (source.length_samples or 0) / source.sample_rate
            return SeparatedFile(paths, found, audio_s, skipped=True)
    samples = 0
    with _writer(paths, target, source) as writer:
        for block, mixture in _blocks(ensemble, source, mix, target.sample_rate, progress):
            samples += block.shape[-1]
            if isinstance(writer, StemMp4Writer):
                writer.write(block, mixture)
            else:
                writer.write(block)
    provenance = provenance.model_copy(update={"clipped_samples": writer.clipped_samples})
    provenance.write(record)
    return SeparatedFile(paths, provenance, samples / target.sample_rate)


def plan_paths(
    out: Path, options: OutputOptions, model: str, track: str, source: Path, stems: tuple[str, ...]
) -> dict[str, Path]:
    """Say which file each stem will be written to; nothing is touched.

    Args:
        out: The output folder.
        options: The template and the format.
        model: Name of the release.
        track: Name of the track.
        source: The input.
        stems: Names of the stems.

    Errors:
        ParameterError: if two stems would get the same file, or one would replace the input.
    """
    names = plan_names(options, model, track, source.suffix, stems)
    paths = {stem: out / name for stem, name in names.items()}
    for path in paths.values():
        if path.exists() and source.exists() and path.samefile(source):
            raise ParameterError(
                f"{str(path)!r} is the input itself; choose another --out or --filename"
            )
    return paths


def plan_names(
    options: OutputOptions, model: str, track: str, suffix: str, stems: tuple[str, ...]
) -> dict[str, Path]:
    """Say which file below the output folder each stem will be written to.

    Args:
        options: The template and the format.
        model: Name of the release.
        track: Name of the track.
        suffix: The input's ending.
        stems: Names of the stems.

    Errors:
        ParameterError: if two stems would get the same file.
    """
    file_format = find_format(options.format)
    # One file holds them all; it is named after the track.
    together = file_format.name == "stem.mp4"
    names = {
        stem: Path(
            file_name(
                options.filename,
                model=model,
                track=track,
                trackext=suffix.removeprefix("."),
                stem=Path(track).name if together else stem,
                ext=file_format.extension,
            )
        )
        for stem in stems
    }
    if not together and len(set(names.values())) != len(names):
        raise ParameterError(
            f"filename={options.filename!r} gives two stems the same file; let {{stem}} stand in it"
        )
    return names


def _target(ensemble: Ensemble, source: FileSource, options: OutputOptions) -> OutputFormat:
    """Choose rate and bit depth of the files, and check that their format can hold them."""
    file_format = find_format(options.format)
    wanted = options.sample_rate
    if wanted == "source":
        rate = source.sample_rate
    elif wanted == "model":
        rate = ensemble.sample_rate
    else:
        rate = wanted
    possible = writable_rate(options.format, rate)
    if possible != rate:
        _log.warning(
            "%s cannot hold %d Hz: the stems are resampled to %d Hz",
            file_format.name,
            rate,
            possible,
        )
    depth = options.bit_depth or (
        _nearest_depth(file_format, source) if file_format.lossless else None
    )
    return check_output(options.format, possible, len(source.layout), depth, options.bitrate)


def _nearest_depth(file_format: FileFormat, source: FileSource) -> BitDepth:
    """Return the bit depth that keeps what the source holds, or the format's best; 16 for lossy."""
    depth = source.info.bit_depth or "16"
    return depth if depth in file_format.bit_depths else file_format.bit_depths[-1]


def _step(depth: BitDepth | None) -> float | None:
    """Return the distance of two neighbouring values of integer samples."""
    return {"16": 2.0**-15, "24": 2.0**-23}.get(depth or "")


def record_path(paths: Mapping[str, Path], options: OutputOptions, track: str) -> Path:
    """Say where the record of stems is written: with the track's name where tracks share a folder.

    Args:
        paths: The files of the stems.
        options: The template.
        track: Name of the track.
    """
    folder = str(Path(options.filename).parent)
    apart = any(f"{{{name}}}" in folder for name in ("track", "filename", "file_name"))
    name = RECORD_FILE if apart else f"{Path(track).name}.{RECORD_FILE}"
    return next(iter(paths.values())).parent / name


def _provenance(
    ensemble: Ensemble,
    release: dict[str, Any],
    source: FileSource,
    options: OutputOptions,
    target: OutputFormat,
    paths: dict[str, Path],
) -> Provenance:
    engine = ensemble.members[0].engine
    how = dataclasses.asdict(engine.options) | options.model_dump(exclude={"skip_existing"})
    chosen = {
        "engine": engine.runner.engine,
        "device": engine.runner.device,
        "precision": engine.runner.precision,
        "sample_rate": target.sample_rate,
        "bit_depth": target.bit_depth,
        "bitrate": target.bitrate,
    }
    return Provenance(
        version=VERSION,
        release=release,
        input={
            "name": source.path.name,
            "sha256": file_digest(source.path),
            "sample_rate": source.sample_rate,
            "channels": len(source.layout),
        },
        options=json.loads(json.dumps(how | chosen)),
        stems={stem: path.name for stem, path in paths.items()},
    )


def _blocks(
    ensemble: Ensemble,
    source: FileSource,
    mix: StemMix,
    sample_rate: int,
    progress: Callable[[Progress], None] | None,
) -> Iterator[tuple[Block, Block | None]]:
    """Yield what to write, `[S, C, n]`, with the mixture if there is need, and report progress."""
    streams: list[Iterator[Block]] = [ensemble.stream(source, sample_rate)]
    if mix.needs_mixture:
        streams.append(resampled(source.blocks(), source.sample_rate, sample_rate))
    length = (source.length_samples or 0) * sample_rate / source.sample_rate
    start_s, done = time.monotonic(), 0
    for stems, *rest in in_step(streams):
        mixture = rest[0] if rest else None
        yield mix.apply(stems, mixture), mixture
        done += stems.shape[-1]
        if progress is not None:
            # The file's own word on its length may be wrong: only the end is the end.
            fraction = min(done / length, 0.999) if length else 0.0
            spent_s = time.monotonic() - start_s
            progress(Progress(fraction, spent_s / fraction - spent_s if fraction else None))
    if done == 0:
        raise AudioFileError(
            f"{str(source.path)!r} has no samples in the part asked for; change start or duration"
        )
    if progress is not None:
        progress(Progress(1.0, 0.0))


def _writer(
    paths: dict[str, Path], target: OutputFormat, source: FileSource
) -> StemWriter | StemMp4Writer:
    common: dict[str, Any] = {
        "sample_rate": target.sample_rate,
        "channels": target.channels,
        "bit_depth": target.bit_depth,
        "bitrate": target.bitrate,
        "layout": source.layout,
        "tags": read_tags(source.path),
    }
    if target.format.name == "stem.mp4":
        return StemMp4Writer(next(iter(paths.values())), tuple(paths), **common)
    threads = wanted_threads() or os.cpu_count() or 1
    return StemWriter(paths, format=target.format.name, threads=threads, **common)
