"""What the readers of all layouts share: listing folders, naming stems, putting tracks together."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from desmezcla.datasets.track import Dataset, Source, Split, Track
from desmezcla.errors import DatasetError

SPLITS: tuple[Split, ...] = ("train", "valid", "test")

# Names of the file with the song itself.
MIXTURE_NAMES = frozenset({"mixture", "mix"})

# What may hold a stem. A file is taken for audio by its ending, since opening a dataset reads none.
AUDIO_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        "aac aif aiff ape au caf flac m4a mka mp3",
        "mp4 oga ogg opus w64 wav wave wma wv",
    )
    for name in names.split()
)


class Faulty(Exception):
    """One track cannot be used; the others can.

    Args:
        track: Its name.
        what: What is wrong with it.
    """

    def __init__(self, track: str, what: str) -> None:
        super().__init__(f"track {track!r}: {what}")


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without hidden files.

    Errors:
        DatasetError: if it cannot be read.
    """
    try:
        # By their text: the order of paths ignores case on Windows.
        names = sorted(os.listdir(folder))  # noqa: PTH208 - only names are wanted
    except OSError as error:
        raise DatasetError(
            f"folder {str(folder)!r} cannot be read: {(error.strerror or str(error)).lower()}; "
            "check the path and its permissions"
        ) from error
    return [folder / name for name in names if not name.startswith(".")]


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return [path for path in entries(folder) if path.is_dir()]


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files in a folder, sorted, without hidden ones."""
    return [p for p in entries(folder) if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]


def stems_of_folder(folder: Path) -> tuple[dict[str, tuple[Source, ...]], Source | None]:
    """Return the stems of a track's folder, named by their files, and the mixture if there is one.

    Errors:
        Faulty: if there is no stem, or two files of the same.
    """
    found: dict[str, Path] = {}
    for path in audio_files(folder):
        stem = path.stem.lower()
        stem = "mixture" if stem in MIXTURE_NAMES else stem
        if stem in found:
            raise Faulty(
                folder.name,
                f"{found[stem].name!r} and {path.name!r} are both its {stem}; keep one of them",
            )
        found[stem] = path
    mixture = found.pop("mixture", None)
    if not found:
        raise Faulty(
            folder.name,
            f"its folder {str(folder)!r} holds no stems; add one audio file for each",
        )
    stems: dict[str, tuple[Source, ...]] = {stem: (Source(path),) for stem, path in found.items()}
    return stems, Source(mixture) if mixture else None


def dataset_of(name: str, root: Path, tracks: Iterable[Track], problems: Sequence[str]) -> Dataset:
    """Put tracks together, in the order of their splits and names.

    Args:
        name: Of the dataset.
        root: Where it is.
        tracks: The tracks.
        problems: What is wrong with the tracks that were left out, one line each.

    Errors:
        DatasetError: if there is no track, or two have the same name.
    """
    ordered = sorted(tracks, key=lambda track: (SPLITS.index(track.split), track.name))
    if not ordered:
        raise DatasetError(
            f"{str(root)!r} holds no track that can be used as {name}; "
            + ("; ".join(problems) or "check the path")
        )
    seen: dict[str, Track] = {}
    for track in ordered:
        other = seen.setdefault(track.name, track)
        if other is not track:
            raise DatasetError(
                f"track {track.name!r} is there twice, as {str(other.files()[0])!r} and as "
                f"{str(track.files()[0])!r}; rename or remove one of them"
            )
    return Dataset(name, root, tuple(ordered), tuple(problems))
