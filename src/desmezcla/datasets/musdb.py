"""MUSDB18, as stem files, and MUSDB18-HQ, as folders of wav files.

Rafii, Liutkus, Stöter, Mimilakis and Bittner, "The MUSDB18 corpus for music separation", 2017.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from desmezcla.audio.reader import AudioReader
from desmezcla.datasets import layout
from desmezcla.datasets.track import Dataset, Source, Split, Track
from desmezcla.errors import AudioFileError

STEM_SUFFIX = ".stem.mp4"
STEMS = ("vocals", "drums", "bass", "other")
PARTS: dict[str, Split] = {"train": "train", "test": "test"}

_FACTS_FILE = Path(__file__).with_name("facts") / "musdb18_tracks.csv"

# The audio streams of a MUSDB18 file, in their order; they have no titles.
_STREAMS = ("mixture", "drums", "bass", "other", "vocals")

# The part of the 100 training tracks that the community validates on (the `musdb` package).
_VALIDATION = frozenset(
    {
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "ANiMAL - Rockshow",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)


@dataclass(frozen=True)
class Facts:
    """What is known of a MUSDB18 track.

    Attributes:
        split: "valid" for the usual validation tracks of its training part.
        genre: As its authors state it.
        source: The collection that it was taken from.
        licence: As its authors state it.
    """

    split: Split
    genre: str
    source: str
    licence: str


@cache
def musdb_facts() -> Mapping[str, Facts]:
    """Return what is known of the 150 tracks, by their names."""
    with _FACTS_FILE.open(encoding="utf-8", newline="") as file:
        return {
            row["track"]: Facts(
                split=usual_split(row["track"], PARTS[row["subset"]]),
                genre=row["genre"],
                source=row["source"],
                licence=row["licence"],
            )
            for row in csv.DictReader(file)
        }


def usual_split(name: str, part: Split) -> Split:
    """Return the split of a track in the training or the test part."""
    return "valid" if part == "train" and name in _VALIDATION else part


def read_musdb18(root: Path) -> Dataset:
    """Read `train/*.stem.mp4` and `test/*.stem.mp4`, or a single folder of such files.

    In a single folder, the split of a known track is MUSDB18's, and that of any other is "train".
    Stem files of other origin name their streams, which then are the names of the stems.

    Errors:
        DatasetError: if there is no track, or two have the same name.
    """
    parts: list[tuple[Path, Split | None]] = [
        (root / part, split)
        for part, split in PARTS.items()
        if (root / part).is_dir() and stem_files(root / part)
    ]
    tracks: list[Track] = []
    problems: list[str] = []
    for folder, split in parts or [(root, None)]:
        for path in stem_files(folder):
            try:
                tracks.append(with_facts(stem_file_track(path), split))
            except layout.Faulty as fault:
                problems.append(str(fault))
    return layout.dataset_of(_name(root, tracks, "musdb18"), root, tracks, problems)


def read_musdb18hq(root: Path) -> Dataset:
    """Read `train/TRACK/STEM.wav` and `test/TRACK/STEM.wav`.

    Errors:
        DatasetError: if there is no track, or two have the same name.
    """
    tracks: list[Track] = []
    problems: list[str] = []
    for part, split in PARTS.items():
        for folder in layout.folders(root / part) if (root / part).is_dir() else []:
            try:
                tracks.append(with_facts(_wav_track(folder), split))
            except layout.Faulty as fault:
                problems.append(str(fault))
    return layout.dataset_of(_name(root, tracks, "musdb18hq"), root, tracks, problems)


def stem_files(folder: Path) -> list[Path]:
    """Return the stem files in a folder, sorted."""
    return [
        path
        for path in layout.entries(folder)
        if path.name.lower().endswith(STEM_SUFFIX) and path.is_file()
    ]


def stem_file_track(path: Path) -> Track:
    """Return the track of a stem file, named by the file.

    Errors:
        Faulty: if it is not known what its streams are.
    """
    name = path.name[: -len(STEM_SUFFIX)]
    streams = _STREAMS if name in musdb_facts() else _named_streams(name, path)
    sources = {stream: Source(path, stream=index) for index, stream in enumerate(streams)}
    mixture = sources.pop("mixture")
    return Track(name, {stem: (source,) for stem, source in sources.items()}, mixture)


def _wav_track(folder: Path) -> Track:
    files = {name: folder / f"{name}.wav" for name in ("mixture", *STEMS)}
    there = {name: Source(path) for name, path in files.items() if path.is_file()}
    mixture = there.pop("mixture", None)
    if mixture is None or not there:
        lacking = "mixture.wav" if mixture is None else "all of its stems"
        raise layout.Faulty(folder.name, f"{str(folder)!r} lacks {lacking}; copy it again")
    return Track(folder.name, {name: (source,) for name, source in there.items()}, mixture)


def _named_streams(name: str, path: Path) -> tuple[str, ...]:
    """Return what the streams of a stem file hold, by the titles that it gives them."""
    try:
        with AudioReader(path) as reader:
            count, titles = reader.info.streams, reader.info.titles
    except AudioFileError:
        return _STREAMS  # `data check` and training report that it cannot be read
    stems = tuple(title.strip().lower() for title in titles[1:])
    if stems and all(stems) and len(set(stems) - {"mixture"}) == len(stems):
        return ("mixture", *stems)
    if count != len(_STREAMS):
        raise layout.Faulty(
            name,
            f"{str(path)!r} has {count} audio stream(s) without names, but a stem file of MUSDB18 "
            f"has {len(_STREAMS)}; give the streams titles",
        )
    return _STREAMS


def with_facts(track: Track, part: Split | None) -> Track:
    """Return a track with what is known of it, if it is one of MUSDB18's.

    Args:
        track: The track.
        part: The part of the dataset that it lies in; None if that is not said.
    """
    facts = musdb_facts().get(track.name)
    if facts is None:
        return replace(track, split=part or "train")
    split = usual_split(track.name, part) if part else facts.split
    return replace(track, split=split, genre=facts.genre, licence=facts.licence)


def _name(root: Path, tracks: list[Track], name: str) -> str:
    """Return MUSDB18's name where one of its tracks is there, not for others in its layout."""
    known = musdb_facts()
    return name if any(track.name in known for track in tracks) else root.resolve().name
