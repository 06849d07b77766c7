"""What a test is made of: the same songs and stems, as several systems have separated them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from desmezcla.datasets.reading import component_stems, track_info
from desmezcla.datasets.track import Dataset, Track
from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.running.estimates import Estimates, open_estimates, open_references
from desmezcla.listening.design import ANCHOR, REFERENCE

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SongMaterial:
    """A song that all systems have separated.

    Attributes:
        name: Name of the track.
        versions: The stems by system; those of the true song are the reference's.
        stems: Stems that all versions have, in the usual order.
        mixture: What the song itself is read from; None where there is none.
    """

    name: str
    versions: Mapping[str, Track]
    stems: tuple[str, ...]
    mixture: Track | None


def find_material(
    systems: Mapping[str, Path],
    *,
    reference: Path | None = None,
    songs: Sequence[str] = (),
    stems: Sequence[str] = (),
) -> tuple[SongMaterial, ...]:
    """Find the songs and stems that all systems have, and the references where they are given.

    Songs that a system lacks are left out, with a warning.

    Args:
        systems: Folders of results by what the systems are called: `TRACK/STEM.EXT` as
            `desmezcla separate` writes them, or the stems of a single track.
        reference: A dataset with the true stems, of any layout; None for none.
        songs: Patterns that the names of songs must match one of; none for all.
        stems: The stems that are wanted; none for all that there are.

    Errors:
        ParameterError: if a system has a name that is taken, or no song or stem is left.
        DatasetError: if a folder holds no tracks.
    """
    _check_names(systems)
    first, *_ = systems.values()
    base = open_references(reference if reference is not None else first)
    chosen = _chosen(base, songs)
    opened = {name: open_estimates(folder, chosen) for name, folder in systems.items()}
    found: list[SongMaterial] = []
    for track in chosen:
        song = _song(track, opened, stems, with_reference=reference is not None)
        found += [song] if song is not None else []
    if not found:
        raise ParameterError(
            f"no song has been separated by all of {', '.join(systems)}"
            + (f" into {', '.join(stems)}" if stems else "")
            + "; separate the same songs with each of them"
        )
    return tuple(found)


def sample_rate_of(songs: Sequence[SongMaterial]) -> int:
    """Return the highest rate of all files, in Hz: what everything is brought to."""
    return max(track_info(track).sample_rate for song in songs for track in song.versions.values())


def channels_of(song: SongMaterial) -> int:
    """Return the largest number of channels of a song's versions, 1 or 2."""
    return max(track_info(track).channels for track in song.versions.values())


def _check_names(systems: Mapping[str, Path]) -> None:
    if not systems:
        raise ParameterError("--system must be given at least once, as LABEL=FOLDER")
    for name in systems:
        if name in (REFERENCE, ANCHOR):
            raise ParameterError(
                f"--system {name}=…: the name {name!r} stands for the {name} itself; take another"
            )


def _chosen(base: Dataset, songs: Sequence[str]) -> tuple[Track, ...]:
    def wanted(track: Track) -> bool:
        return not songs or any(fnmatchcase(track.name, pattern) for pattern in songs)

    tracks = base.where(wanted).tracks
    if not tracks:
        raise ParameterError(
            f"--songs {','.join(songs)} fits none of the {len(base.tracks)} songs of "
            f"{str(base.root)!r}; the first is {base.tracks[0].name!r}"
        )
    return tracks


def _song(
    track: Track, opened: Mapping[str, Estimates], wanted: Sequence[str], *, with_reference: bool
) -> SongMaterial | None:
    versions: dict[str, Track] = {}
    try:
        for name, estimates in opened.items():
            versions[name] = estimates.of(track)
    except EvaluationError as error:
        _log.warning("%s is left out: %s", track.name, error)
        return None
    if with_reference:
        versions[REFERENCE] = track
    common = set.intersection(*(set(version.stems) for version in versions.values()))
    stems = tuple(wanted) or _usual_order(common)
    for stem in [stem for stem in stems if stem not in common]:
        lacking = [name for name, version in versions.items() if stem not in version.stems]
        _log.warning("%s: %s is left out, %s lacks it", track.name, stem, ", ".join(lacking))
    stems = tuple(stem for stem in stems if stem in common)
    if not stems:
        _log.warning("%s is left out: there is no stem that all have", track.name)
        return None
    # The sum of some stems is the song only where there is more than one.
    whole = track.mixture is not None or len(component_stems(track.stems)) > 1
    return SongMaterial(track.name, versions, stems, track if whole else None)


def _usual_order(stems: set[str]) -> tuple[str, ...]:
    usual = ("vocals", "drums", "bass", "other")
    return (*(s for s in usual if s in stems), *sorted(stems.difference(usual)))
