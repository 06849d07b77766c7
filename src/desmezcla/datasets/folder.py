"""Any folder of tracks: a folder with one file for each stem, or a stem file, for each."""

from dataclasses import replace
from pathlib import Path

import yaml

from desmezcla.datasets import layout, musdb
from desmezcla.datasets.track import Dataset, Split, Track


def read_folder(root: Path) -> Dataset:
    """Read `TRACK/STEM.EXT` and `TRACK.stem.mp4`, or the same in folders train, valid and test.

    Stems are named by their files, in lower case. A file `mixture.EXT` or `mix.EXT` is the song;
    without one, the song is the sum of the stems. Tracks outside of the folders of splits are for
    training, unless they are known to belong to another split of MUSDB18. The genre of a rendered
    song is its style.

    Errors:
        DatasetError: if there is no track, or two have the same name.
    """
    tracks: list[Track] = []
    problems: list[str] = []
    for path, split in _track_paths(root):
        try:
            track = musdb.with_facts(_track(path), None)
        except layout.Faulty as fault:
            problems.append(str(fault))
        else:
            tracks.append(replace(track, split=split) if split else track)
    return layout.dataset_of(root.resolve().name, root, tracks, problems)


def split_folders(root: Path) -> dict[Path, Split]:
    """Return the folders of splits: called like one, and no track themselves."""
    named = {root / split: split for split in layout.SPLITS if (root / split).is_dir()}
    return {path: split for path, split in named.items() if not _is_track(path)}


def track_paths(folder: Path) -> list[Path]:
    """Return the folders and the stem files of tracks in a folder."""
    return [path for path in layout.folders(folder) if _is_track(path)] + musdb.stem_files(folder)


def _track(path: Path) -> Track:
    if path.is_file():
        return musdb.stem_file_track(path)
    stems, mixture = layout.stems_of_folder(path)
    return Track(path.name, stems, mixture, genre=_rendered_style(path))


def _rendered_style(path: Path) -> str:
    """Return the style of a rendered song, from the file that tells how it was made; or ""."""
    try:
        facts = yaml.safe_load((path / "song.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""  # no rendered song
    style = facts.get("style", "") if isinstance(facts, dict) else ""
    return style if isinstance(style, str) else ""


def _is_track(folder: Path) -> bool:
    return len(layout.audio_files(folder)) > len(musdb.stem_files(folder))


def _track_paths(root: Path) -> list[tuple[Path, Split | None]]:
    splits = split_folders(root)
    if not splits:
        # A folder without audio is a track that was not copied, which is to be told.
        return [(p, None) for p in [*layout.folders(root), *musdb.stem_files(root)]]
    paths: list[tuple[Path, Split | None]] = [(path, None) for path in track_paths(root)]
    for folder, split in splits.items():
        paths += [(p, split) for p in [*layout.folders(folder), *musdb.stem_files(folder)]]
    return paths
