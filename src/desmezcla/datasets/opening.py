"""Opening a dataset of any kind, by what its folder looks like."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from desmezcla.datasets import dsd100, folder, layout, manifest, mir1k, musdb
from desmezcla.datasets.track import Dataset, Split
from desmezcla.errors import DatasetError, ParameterError


@dataclass(frozen=True)
class _Kind:
    """A layout that can be read.

    Attributes:
        read: Its reader.
        fits: Whether a path has this layout, by the names in it.
        layout: What is looked for.
    """

    read: Callable[[Path], Dataset]
    fits: Callable[[Path], bool]
    layout: str


def _is_dsd100(root: Path) -> bool:
    return all(
        any((root / half / part).is_dir() for part in dsd100.PARTS)
        for half in ("Mixtures", "Sources")
    )


def _is_mir1k(root: Path) -> bool:
    return (root / mir1k.FOLDER).is_dir() and bool(layout.audio_files(root / mir1k.FOLDER))


def _is_musdb18(root: Path) -> bool:
    places = [root, *(root / part for part in musdb.PARTS)]
    return any(musdb.stem_files(place) for place in places if place.is_dir())


def _mixtures_of_parts(root: Path) -> list[Path]:
    parts = [root / part for part in musdb.PARTS if (root / part).is_dir()]
    tracks = [track for part in parts for track in layout.folders(part)]
    return [track for track in tracks if (track / "mixture.wav").is_file()]


def _is_folder(root: Path) -> bool:
    places = [root, *folder.split_folders(root)] if root.is_dir() else []
    return any(folder.track_paths(place) for place in places)


def _is_manifest(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in manifest.SUFFIXES


# In the order in which they are tried; the last but one fits almost anything.
_KINDS: dict[str, _Kind] = {
    "dsd100": _Kind(
        dsd100.read_dsd100, _is_dsd100, "Mixtures/{Dev,Test}/TRACK and Sources/{Dev,Test}/TRACK"
    ),
    "mir1k": _Kind(mir1k.read_mir1k, _is_mir1k, "Wavfile/*.wav"),
    "musdb18": _Kind(
        musdb.read_musdb18, _is_musdb18, "{train,test}/*.stem.mp4, or *.stem.mp4 in one folder"
    ),
    "musdb18hq": _Kind(
        musdb.read_musdb18hq,
        lambda root: bool(_mixtures_of_parts(root)),
        "{train,test}/TRACK/{mixture,vocals,drums,bass,other}.wav",
    ),
    "folder": _Kind(
        folder.read_folder,
        _is_folder,
        "TRACK/STEM.EXT and TRACK.stem.mp4, or the same in folders train, valid and test",
    ),
    "manifest": _Kind(manifest.read_manifest, _is_manifest, "a file .csv, .yaml or .yml"),
}

KINDS = ("auto", *_KINDS)


def open_dataset(
    path: Path | str,
    *,
    kind: str = "auto",
    splits: Collection[Split] | None = None,
    skip_faulty: bool = False,
) -> Dataset:
    """Find the tracks of a dataset, by the names of its files; no audio is read.

    Args:
        path: A folder, or a manifest.
        kind: Its layout, one of `KINDS`; "auto" finds it out.
        splits: The splits that are wanted; None for all.
        skip_faulty: Leave out tracks that lack a file, and name them in `Dataset.problems`,
            instead of refusing the dataset.

    Errors:
        DatasetError: if the path has not the layout, a track lacks a file, two have the same name,
            or there is no track of the wanted splits.
        ParameterError: if the kind or a split is unknown.
    """
    if kind not in KINDS:
        raise ParameterError(f"kind={kind!r} must be one of {', '.join(KINDS)}")
    wanted = layout.SPLITS if splits is None else tuple(splits)
    unknown = set(wanted).difference(layout.SPLITS)
    if unknown or not wanted:
        raise ParameterError(
            f"splits={list(wanted)} must be one or more of {', '.join(layout.SPLITS)}"
        )
    root = Path(path)
    dataset = _KINDS[_detected(root) if kind == "auto" else _checked(root, kind)].read(root)
    if dataset.problems and not skip_faulty:
        raise DatasetError(
            f"{len(dataset.problems)} track(s) of {str(root)!r} are not what they should be: "
            f"{'; '.join(dataset.problems)}; mend them, or leave them out on purpose"
        )
    chosen = dataset.where(lambda track: track.split in wanted)
    if not chosen.tracks:
        there = ", ".join(s for s in layout.SPLITS if dataset.split(s).tracks)
        raise DatasetError(
            f"{str(root)!r} has no track of the split {' or '.join(wanted)}; it has {there}"
        )
    return chosen


def _detected(root: Path) -> str:
    _check_exists(root)
    for name, kind in _KINDS.items():
        if kind.fits(root) and not _holds_more(root, name):
            return name
    looked_for = "; ".join(f"{kind.layout} ({name})" for name, kind in _KINDS.items())
    raise DatasetError(f"{str(root)!r} is no dataset: looked for {looked_for}; check the path")


def _holds_more(root: Path, name: str) -> bool:
    """Return whether a folder that looks like MUSDB18 holds what its reader would not find."""
    if name == "musdb18":
        places = [root, *(root / part for part in musdb.PARTS)]
        tracks = [path for place in places if place.is_dir() for path in folder.track_paths(place)]
        return (root / "valid").is_dir() or any(path.is_dir() for path in tracks)
    if name == "musdb18hq":
        known = musdb.musdb_facts()
        return not any(track.name in known for track in _mixtures_of_parts(root))
    return False


def _checked(root: Path, name: str) -> str:
    _check_exists(root)
    if not _KINDS[name].fits(root):
        raise DatasetError(
            f"{str(root)!r} is no dataset of the kind {name!r}: looked for {_KINDS[name].layout}; "
            "check the path, or leave the kind to be found out"
        )
    return name


def _check_exists(root: Path) -> None:
    if not root.exists():
        raise DatasetError(f"{str(root)!r} does not exist; check the path")
