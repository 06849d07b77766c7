"""Blind reports of files: of a song and its stems on disk, or of a song that is separated now."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioReader
from desmezcla.datasets import layout, musdb
from desmezcla.datasets.reading import component_stems
from desmezcla.datasets.track import Source
from desmezcla.errors import DatasetError, EvaluationError
from desmezcla.evaluation.blind.measure import measured
from desmezcla.evaluation.blind.report import BlindReport, Finding
from desmezcla.inference.blocks import resampled
from desmezcla.inference.sources import FileSource

if TYPE_CHECKING:
    from desmezcla.inference.files import Progress
    from desmezcla.inference.offline import Separator

Audio = NDArray[np.float32]


def blind_from_separator(
    separator: "Separator",
    song: Path,
    *,
    progress: "Callable[[Progress], None] | None" = None,
) -> BlindReport:
    """Separate a song and report on its stems; nothing is written, and memory stays flat.

    Args:
        separator: What separates it.
        song: An audio file.
        progress: Called now and then; what it raises ends the separation.

    Errors:
        AudioFileError: if the song cannot be read.
    """
    source = FileSource(song)
    stems: Iterable[Audio] = separator.stream_file(song)
    if progress is not None:
        stems = _watched(stems, source, progress)
    return measured(
        [(block[None] for block in source.blocks()), stems],
        separator.stems,
        source.sample_rate,
        song=song.name,
        system=separator.name,
    )


def blind_from_files(song: Path, stems: Path) -> BlindReport:
    """Report on stems that somebody has separated, in one pass over the files.

    A stem is named by its file, in lower case. A file `mixture` or `mix`, the song itself, and sums
    of other stems that are there (`accompaniment`, `no_vocals`) are left out. Stems at another
    rate are resampled to the song's.

    Args:
        song: The audio file that was separated.
        stems: A folder with one audio file for each stem, or a stem file (`.stem.mp4`).

    Errors:
        EvaluationError: if there are no stems, or their channels do not fit the song's.
        AudioFileError: if a file cannot be read.
    """
    found = _stem_sources(song, stems)
    names = component_stems(found)
    with AudioReader(song) as reader:
        rate, channels = reader.sample_rate, reader.channels
    notes = [
        Finding("info", "left out", f"{name} is the sum of other stems and was left out", name)
        for name in found
        if name not in names
    ]
    for name in names:
        with AudioReader(found[name].path, stream=found[name].stream) as reader:
            notes += _differences(name, reader, rate, channels)
    return measured(
        [_blocks(source, rate) for source in (Source(song), *(found[name] for name in names))],
        names,
        rate,
        song=song.name,
        system=stems.name,
        notes=notes,
    )


def _stem_sources(song: Path, stems: Path) -> Mapping[str, Source]:
    """Return the stems in a folder or a stem file, without the song itself."""
    try:
        if stems.is_file():
            parts = musdb.stem_file_track(stems).stems
        else:
            parts, _ = layout.stems_of_folder(stems)
    except (layout.Faulty, DatasetError) as error:
        raise EvaluationError(str(error)) from error
    found = {name: sources[0] for name, sources in parts.items()}
    if not stems.is_file():
        found = {n: s for n, s in found.items() if not (song.exists() and s.path.samefile(song))}
    if not found:
        raise EvaluationError(
            f"{str(stems)!r} holds no audio but the song itself; name the folder of its stems"
        )
    return found


def _differences(name: str, reader: AudioReader, rate: int, channels: int) -> Iterator[Finding]:
    """Yield in what a stem's file differs from the song's."""
    if reader.channels != channels and 1 not in (reader.channels, channels):
        raise EvaluationError(
            f"stem {name!r} has {reader.channels} channels, but the song has {channels}; they must "
            "have the same, or one of them 1: mix it down"
        )
    if reader.sample_rate != rate:
        text = (
            f"{name} has {reader.sample_rate} Hz, the song {rate} Hz: it was resampled, so that "
            "its samples at full scale are not exactly those of the file"
        )
        yield Finding("info", "rate", text, name)
    if reader.channels != channels:
        text = f"{name} has {reader.channels} channel(s), the song {channels}"
        yield Finding("info", "channels", text, name)


def _blocks(source: Source, rate: int) -> Iterator[Audio]:
    with AudioReader(source.path, stream=source.stream) as reader:
        for block in resampled(reader.blocks(), reader.sample_rate, rate):
            yield block[None]


def _watched(
    blocks: Iterable[Audio], source: FileSource, progress: "Callable[[Progress], None]"
) -> Iterator[Audio]:
    """Pass blocks through and report how far they are."""
    from desmezcla.inference.files import Progress  # imports torch, as the separator has done

    start_s, done = time.monotonic(), 0
    for block in blocks:
        yield block
        done += block.shape[-1]
        # The file's own word on its length may be wrong: only the end is the end.
        fraction = min(done / source.length_samples, 0.999) if source.length_samples else 0.0
        spent_s = time.monotonic() - start_s
        progress(Progress(fraction, spent_s / fraction - spent_s if fraction else None))
    progress(Progress(1.0, 0.0))
