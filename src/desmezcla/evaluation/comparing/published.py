"""Published figures of others, as data: each with how it was measured and where it stands.

They are facts to print beside scores of our own, labelled as published, and never scores of this
program. Figures of different definitions differ by a decibel and more for the same audio, so that
each says whether it may be compared with the medians that `desmezcla evaluate` prints.
"""

import csv
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from desmezcla.errors import ParameterError

Comparable = Literal["yes", "likely", "no"]

STEMS = ("vocals", "drums", "bass", "other", "mean")
"""Stems of figures; "mean" is the mean over the four stems."""

_FACTS = Path(__file__).with_name("facts")

# How the figures were made, by the key in the files, and whether ours are made so: "likely" where
# the source prints the figure among medians of frames and tracks without saying what it is.
_DEFINITIONS: Mapping[str, tuple[str, Comparable]] = {
    "median_median": ("BSS Eval v4, frames of 1 s, median of frames, median of tracks", "yes"),
    "median_median_likely": (
        "SDR printed among medians of frames and tracks; the aggregation is not stated",
        "likely",
    ),
    "median_mean": ("BSS Eval v4, frames of 1 s, median of frames, mean of tracks", "no"),
    "track_mean": ("whole-track SDR of the Music Demixing Challenge, mean of tracks", "no"),
    "tracks_median": ("BSS Eval, median of tracks; aggregation of frames not stated", "no"),
    "tracks_mean": ("SDR, mean of tracks; otherwise not stated", "no"),
    "unstated": ("SDR, not stated where it was seen", "no"),
}

_SAW_TEST_SET: Mapping[str, bool | None] = {"yes": True, "no": False, "unknown": None}


@dataclass(frozen=True)
class Figure:
    """A figure that others published.

    Attributes:
        system: What was measured; another training set makes it another system.
        stem: One of `STEMS`.
        metric: One of `scores.METRICS`.
        value_db: The figure.
        definition: How it was measured and averaged.
        comparable: Whether the defaults of `desmezcla evaluate` give the same measure.
        dataset: What it was measured on: the test tracks of MUSDB18, its compressed files, or of
            MUSDB18-HQ.
        extra_data: What the system was trained on besides the training tracks of MUSDB18; "none"
            for nothing.
        saw_test_set: Whether it was trained on what it was measured on; None if that is unknown.
        source: Who published it.
        url: Where; empty for texts without an address.
        note: What else is to be known, a sentence or nothing.
    """

    system: str
    stem: str
    metric: str
    value_db: float
    definition: str
    comparable: Comparable
    dataset: str
    extra_data: str
    saw_test_set: bool | None
    source: str
    url: str
    note: str


@dataclass(frozen=True)
class TrackFigure:
    """A published figure of one song.

    Attributes:
        system: What was measured.
        id: The song's number in the publication.
        stem: One of `STEMS`.
        metric: "SDR", "SIR" or "SAR".
        value_db: The figure.
    """

    system: str
    id: int
    stem: str
    metric: str
    value_db: float


@dataclass(frozen=True)
class GenreFigure:
    """A published SDR of the songs of one genre; the attributes are as in `TrackFigure`."""

    system: str
    stem: str
    genre: str
    value_db: float


def published(
    systems: str | Iterable[str] | None = None,
    *,
    metric: str | None = None,
    stem: str | None = None,
    dataset: str | None = None,
    comparable: Iterable[Comparable] = ("yes", "likely", "no"),
) -> tuple[Figure, ...]:
    """Return published figures; one system may have several, of several sources.

    >>> [figure.value_db for figure in published("UMXL", stem="vocals", metric="SDR")]
    [7.21]

    Args:
        systems: Name or names of systems, see `published_systems`; None for all.
        metric: None for all.
        stem: None for all.
        dataset: "MUSDB18" or "MUSDB18-HQ"; None for all.
        comparable: Figures of which sort to return.

    Errors:
        ParameterError: if there is no such system.
    """
    known = published_systems()
    wanted = known if systems is None else (systems,) if isinstance(systems, str) else systems
    names = {_checked(name, known) for name in wanted}
    sorts = set(comparable)
    return tuple(
        figure
        for figure in _figures()
        if figure.system in names
        and metric in (None, figure.metric)
        and stem in (None, figure.stem)
        and dataset in (None, figure.dataset)
        and figure.comparable in sorts
    )


@cache
def published_systems() -> tuple[str, ...]:
    """Return the names of all systems of which there are figures."""
    return tuple(dict.fromkeys(figure.system for figure in _figures()))


@cache
def thesis_tracks() -> tuple[TrackFigure, ...]:
    """Return tables 6-3, 6-7 and 6-10 of Guerra Cornejo (2023): 50 songs, three systems."""
    return tuple(_track_figures("thesis_tracks.csv"))


@cache
def thesis_genres() -> tuple[GenreFigure, ...]:
    """Return tables 6-2, 6-5 and 6-9 of Guerra Cornejo (2023): SDR by genre, three systems."""
    return tuple(
        GenreFigure(row["system"], row["stem"], row["genre"], float(row["value_db"]))
        for row in _rows("thesis_genres.csv")
    )


@cache
def deepaudiosplit_tracks() -> tuple[TrackFigure, ...]:
    """Return the table of DeepAudioSplit: SDR of ten songs."""
    return tuple(_track_figures("deepaudiosplit_tracks.csv"))


@cache
def _figures() -> tuple[Figure, ...]:
    sources = {row["key"]: row for row in _rows("published_sources.csv")}
    return tuple(
        figure
        for row in _rows("published.csv")
        for figure in _row_figures(row, sources[row["source"]])
    )


def _row_figures(row: Mapping[str, str], source: Mapping[str, str]) -> Iterator[Figure]:
    definition, comparable = _DEFINITIONS[row["definition"]]
    for stem in STEMS:
        if row[stem]:
            yield Figure(
                system=row["system"],
                stem=stem,
                metric=row["metric"],
                value_db=float(row[stem]),
                definition=definition,
                comparable=comparable,
                dataset=row["dataset"],
                extra_data=row["extra_data"],
                saw_test_set=_SAW_TEST_SET[row["saw_test_set"]],
                source=source["reference"],
                url=source["url"],
                note=row["note"],
            )


def _track_figures(name: str) -> Iterator[TrackFigure]:
    for row in _rows(name):
        value_db = float(row["value_db"])
        yield TrackFigure(row["system"], int(row["id"]), row["stem"], row["metric"], value_db)


def _rows(name: str) -> list[dict[str, str]]:
    with (_FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _checked(system: str, known: tuple[str, ...]) -> str:
    if system not in known:
        near = difflib.get_close_matches(system, known, n=3, cutoff=0.4) or known
        raise ParameterError(
            f"system={system!r} has no published figures here; there are: {', '.join(near)}"
        )
    return system
