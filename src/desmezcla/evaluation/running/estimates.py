"""Folders of references and of anybody's estimates, matched by the names of the tracks."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from desmezcla.datasets import folder, layout, musdb
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.track import Dataset, Split, Track
from desmezcla.errors import DatasetError, EvaluationError

_log = logging.getLogger(__name__)


def open_references(
    path: Path,
    *,
    kind: str = "auto",
    splits: Collection[Split] | None = None,
    pattern: str = "*",
) -> Dataset:
    """Open a dataset of any layout, or one folder of stems as a dataset of one track.

    Tracks that lack a file are left out and named in `Dataset.problems`.

    Args:
        path: A folder, or a manifest.
        kind: Layout of the dataset; see `open_dataset`.
        splits: The splits that are wanted; None for all.
        pattern: What the names of the tracks must match, with `*`, `?` and `[…]`.

    Errors:
        DatasetError: if there is no track that can be used.
    """
    if kind == "auto" and _is_one_track(path):
        track = _one_track(path, split="test")
        dataset = Dataset(track.name, path, (track,))
    else:
        dataset = open_dataset(path, kind=kind, splits=splits, skip_faulty=True)
    chosen = dataset.where(lambda track: fnmatchcase(track.name, pattern))
    if not chosen.tracks:
        raise DatasetError(
            f"no track of {str(path)!r} is called like {pattern!r}; the first of "
            f"{len(dataset.tracks)} is {dataset.tracks[0].name!r}"
        )
    return chosen


@dataclass(frozen=True)
class Estimates:
    """Tracks of a folder of estimates.

    Attributes:
        root: The folder.
        tracks: What was found.
        alone: Whether they are those of the only reference, whatever its name is.
    """

    root: Path
    tracks: tuple[Track, ...]
    alone: bool

    def of(self, track: Track) -> Track:
        """Return the estimates of a track.

        Errors:
            EvaluationError: if there are none.
        """
        for found in self.tracks:
            if self.alone or found.name == track.name:
                return found
        raise EvaluationError(
            f"{str(self.root)!r} holds no estimates of it: looked for {track.name}/STEM.EXT, "
            f"there and in folders {', '.join(layout.SPLITS)}; separate it, or rename its folder"
        )


def open_estimates(root: Path, references: Iterable[Track]) -> Estimates:
    """Find estimates: `TRACK/STEM.EXT` or `TRACK.stem.mp4`, in folders of splits or not.

    The folder of stems of a single track, `STEM.EXT`, does for a single reference. Tracks that
    are not among the references are warned about.

    Args:
        root: The folder.
        references: The tracks that are to be scored.

    Errors:
        DatasetError: if there is no estimate.
        EvaluationError: if there are the stems of one track, but several references.
    """
    names = [track.name for track in references]
    if not root.is_dir():
        raise DatasetError(f"{str(root)!r} is no folder of estimates; check the path")
    if _is_one_track(root):
        if len(names) != 1:
            raise EvaluationError(
                f"{str(root)!r} holds the stems of one track, but there are {len(names)} tracks "
                "with references; make a folder for each track"
            )
        return Estimates(root, (_one_track(root, split="test"),), alone=True)
    found = folder.read_folder(root)
    for problem in found.problems:
        _log.warning("%r: %s", str(root), problem)
    unknown = [track.name for track in found.tracks if track.name not in names]
    if unknown:
        _log.warning(
            "%r holds estimates of %d track(s) that are not among the references, and are left "
            "out: %s",
            str(root),
            len(unknown),
            ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else ""),
        )
    return Estimates(root, found.tracks, alone=False)


def _is_one_track(root: Path) -> bool:
    """Return whether stems lie in the folder itself, and no tracks below."""
    if not root.is_dir() or len(layout.audio_files(root)) <= len(musdb.stem_files(root)):
        return False
    return not any(folder.track_paths(place) for place in (root, *folder.split_folders(root)))


def _one_track(root: Path, *, split: Split) -> Track:
    try:
        stems, mixture = layout.stems_of_folder(root)
    except layout.Faulty as fault:
        raise DatasetError(str(fault)) from fault
    return Track(root.resolve().name, stems, mixture, split)
