"""One track: its references and estimates go to temporary files, and are scored against each other.

Nothing is held in memory as a whole but the mixture, while a release separates it.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desmezcla.audio.files import write_error
from desmezcla.audio.stems import StemWriter
from desmezcla.datasets.reading import MIXTURE, left_out_stem, stem_sources, track_info
from desmezcla.datasets.track import Track
from desmezcla.errors import EvaluationError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.evaluate import score_signals
from desmezcla.evaluation.running.excerpts import write_excerpts
from desmezcla.evaluation.running.scenarios import not_covered, scenarios
from desmezcla.evaluation.running.systems import SpooledTrack, System, track_blocks
from desmezcla.evaluation.scores import PEAK_HOP_S, Scores, TrackScores
from desmezcla.evaluation.signals import (
    Audio,
    ChosenSignals,
    FileSignals,
    Signals,
    spool_folder,
    write_signals,
)

Progress = Callable[[str, float], None]
"""Takes what is done, "read", "separate" or "score", and the fraction of the track, 0 to 1."""

# About how the time for a track is spent.
_READ, _SEPARATED = 0.1, 0.6


@dataclass(frozen=True)
class TrackOptions:
    """What is done with each track.

    Attributes:
        config: Settings of BSS Eval.
        stems: The stems to score; None for all.
        device: Where scores are computed.
    """

    config: BssEvalConfig
    stems: tuple[str, ...] | None = None
    device: str = "auto"


def scored_stems(
    system: System, track: Track, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say which stems of a track will be scored, and what is to be known of those that are not.

    Args:
        system: What gives estimates.
        track: The track.
        wanted: The stems that the user wants; None for all.

    Returns:
        The stems in the system's order, and one sentence for each that is left out.

    Errors:
        EvaluationError: if a stem that is wanted is not given by the system, or none is left.
    """
    given = system.stems(track)
    for stem in wanted or ():
        if stem not in given:
            raise EvaluationError(
                f"{system.name} has no stem {stem!r} for this track; choose from {', '.join(given)}"
            )
    asked = [stem for stem in given if wanted is None or stem in wanted]
    stems = tuple(stem for stem in asked if stem_sources(track, stem))
    if not stems:
        raise EvaluationError(
            f"none of the stems {', '.join(asked)} has a reference; this track has "
            f"{', '.join(track.stems)}"
        )
    notes = [f"left out, since the track has no such stem: {s}" for s in asked if s not in stems]
    notes += [
        f"left out, since there is no estimate of it: {stem}"
        for stem in not_covered(given, tuple(track.stems))
    ]
    return stems, tuple(notes)


def evaluate_track(
    system: System,
    track: Track,
    options: TrackOptions,
    *,
    save: dict[str, Path] | None = None,
    excerpts: Path | None = None,
    progress: Progress,
) -> TrackScores:
    """Separate and score a track.

    Args:
        system: What gives the estimates.
        track: Where the references are.
        options: What is scored, and how.
        save: Files for the estimates as 32-bit float wav, by stem; None for none.
        excerpts: Folder for excerpts to listen to; None for none.
        progress: Called now and then; what it raises ends the evaluation of the track.

    Errors:
        DesmezclaError: if a file cannot be read or written, or does not fit the others.
    """
    stems, notes = scored_stems(system, track, options.stems)
    with _full_disk_told(), spool_folder() as folder:
        spooled = _spooled(system, track, stems, folder, progress)
        estimates = _estimates(system, spooled, stems, folder / "estimates", save, progress)
        scores, more_notes = _scored(spooled, estimates, options, progress)
        if excerpts is not None:
            write_excerpts(
                excerpts,
                spooled.mixture,
                ChosenSignals(spooled.references, stems),
                estimates,
                spooled.sample_rate,
            )
        length = spooled.references.length_samples
        return TrackScores(
            track=track.name,
            stems=scores,
            config=options.config,
            split=track.split,
            genre=track.genre,
            duration_s=length / spooled.sample_rate,
            peaks=_peaks(spooled.mixture, spooled.sample_rate),
            notes=(*notes, *more_notes),
        )


@contextlib.contextmanager
def _full_disk_told() -> Iterator[None]:
    """Say it clearly where temporary files do not fit; writers of audio say it themselves."""
    try:
        yield
    except OSError as error:
        told = write_error(Path(tempfile.gettempdir()), error)
        raise EvaluationError(f"{told} (TMPDIR names the one for temporary files)") from error


def _spooled(
    system: System, track: Track, stems: tuple[str, ...], folder: Path, progress: Progress
) -> SpooledTrack:
    needed = system.stems(track) if system.needs_references else ()
    all_stems = (*stems, *(stem for stem in needed if stem not in stems))
    progress("read", 0.0)
    info = track_info(track)
    references = write_signals(folder / "references", all_stems, track_blocks(track, all_stems))
    progress("read", _READ / 2)
    mixture = write_signals(folder / "mixture", (MIXTURE,), track_blocks(track, (MIXTURE,)))
    progress("read", _READ)
    return SpooledTrack(track, info.sample_rate, mixture, references)


def _estimates(
    system: System,
    spooled: SpooledTrack,
    stems: tuple[str, ...],
    path: Path,
    save: dict[str, Path] | None,
    progress: Progress,
) -> FileSignals:
    blocks = _watched(system.blocks(spooled, stems), stems, spooled, progress)
    if save is None:
        return write_signals(path, stems, blocks)
    writer = StemWriter(
        {stem: save[stem] for stem in stems},
        sample_rate=spooled.sample_rate,
        channels=spooled.mixture.channels,
        format="wav",
        bit_depth="32f",
    )
    with writer:
        return write_signals(path, stems, _also_to(writer, blocks))


def _watched(
    blocks: Iterable[Audio], stems: tuple[str, ...], spooled: SpooledTrack, progress: Progress
) -> Iterator[Audio]:
    """Pass blocks `[S, C, n]` on, report how far they have come, and refuse what is no number."""
    done = 0
    for block in blocks:
        finite = np.isfinite(block).all(axis=(1, 2))
        if not finite.all():
            raise EvaluationError(
                f"the estimate of {stems[int(np.argmin(finite))]} holds NaN or infinite values "
                f"after {done / spooled.sample_rate:.2f} s; compute in float32, or mend the model"
            )
        yield block
        done += block.shape[-1]
        fraction = min(1.0, done / spooled.mixture.length_samples)
        progress("separate", _READ + (_SEPARATED - _READ) * fraction)


def _also_to(writer: StemWriter, blocks: Iterable[Audio]) -> Iterator[Audio]:
    for block in blocks:
        writer.write(block)
        yield block


def _scored(
    spooled: SpooledTrack, estimates: Signals, options: TrackOptions, progress: Progress
) -> tuple[Scores, tuple[str, ...]]:
    """Score each scenario, and put the scores in the order of the estimates."""
    found: Scores = {}
    notes: list[str] = []
    # BSS Eval needs double precision, which mps has not.
    device = "auto" if options.device.startswith("mps") else options.device
    groups = scenarios(estimates.stems)
    for number, (together, taken) in enumerate(groups):
        scores, of_scenario = score_signals(
            ChosenSignals(spooled.references, together),
            ChosenSignals(estimates, together),
            spooled.sample_rate,
            options.config,
            device=device,
        )
        found.update({stem: scores[stem] for stem in taken})
        notes += of_scenario
        progress("score", _SEPARATED + (1 - _SEPARATED) * (number + 1) / len(groups))
    sums = [stem for stem in estimates.stems if stem not in groups[0].stems]
    notes += [f"{s} was scored beside {left_out_stem(s)}, not beside its parts" for s in sums]
    return {stem: found[stem] for stem in estimates.stems}, tuple(dict.fromkeys(notes))


def _peaks(mixture: Signals, sample_rate: int) -> tuple[float, ...]:
    """Return the largest magnitude in each `PEAK_HOP_S`, as many as it takes for the whole song."""
    hop = max(1, round(PEAK_HOP_S * sample_rate))
    at_once = hop * math.ceil(sample_rate / hop) * 30
    peaks: list[float] = []
    for start in range(0, mixture.length_samples, at_once):
        audio = mixture.read(start, min(start + at_once, mixture.length_samples))
        padded = np.pad(np.abs(audio[0]), ((0, 0), (0, -audio.shape[-1] % hop)))
        peaks += padded.reshape(len(padded), -1, hop).max(axis=(0, 2)).tolist()
    return tuple(peaks)
