"""Excerpts of audio that an evaluation left beside its scores, for the players of a report."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.results import EXCERPTS_FOLDER
from desmezcla.evaluation.scores import Results

# Of all excerpts together; base64 makes 16 MB of them, which a browser opens at once.
LIMIT_BYTES = 12_000_000


@dataclass(frozen=True)
class Player:
    """One thing to listen to: a label and the audio as a data URL."""

    label: str
    url: str


@dataclass(frozen=True)
class Excerpt:
    """What there is to listen to of a track.

    Attributes:
        track: Its name.
        rows: By stem, its reference and the systems' estimates; the mixture stands under "".
    """

    track: str
    rows: dict[str, list[Player]]


def read_excerpts(
    results: Sequence[Results], stems: Sequence[str], *, limit_bytes: int = LIMIT_BYTES
) -> tuple[list[Excerpt], list[str]]:
    """Read the excerpts that lie in the folders of results.

    Tracks of which more systems have an excerpt come first. A track is taken whole or not at all.

    Args:
        results: The systems.
        stems: Which stems, in which order.
        limit_bytes: How large all files may be together.

    Returns:
        The excerpts, and the names of the tracks that were left out for their size.

    Errors:
        EvaluationError: if a file cannot be read.
    """
    taken: list[Excerpt] = []
    left_out: list[str] = []
    left_bytes = limit_bytes
    for track in _tracks(results):
        files = _files(track, results, stems)
        size_bytes = sum(path.stat().st_size for _, _, path in files)
        if size_bytes > left_bytes:
            left_out.append(track)
        elif files:
            left_bytes -= size_bytes
            taken.append(_excerpt(track, files))
    return taken, left_out


def _tracks(results: Sequence[Results]) -> list[str]:
    """Return names of tracks with excerpts, those of most systems first."""
    systems: dict[str, int] = {}
    for result in results:
        for name in {track.track for track in result.tracks}:
            if _exists(_inside(result, name)):
                systems[name] = systems.get(name, 0) + 1
    return sorted(systems, key=lambda name: (-systems[name], name))


def _files(
    track: str, results: Sequence[Results], stems: Sequence[str]
) -> list[tuple[str, str, Path]]:
    """Return (stem, label, file): the mixture and references once, estimates of each system."""
    found = [("", "Mixture", _first(track, results, "mixture.mp3"))]
    for stem in stems:
        found.append((stem, "Reference", _first(track, results, f"{stem}.reference.mp3")))
        found += [(stem, each.name, _first(track, [each], f"{stem}.mp3")) for each in results]
    return [(stem, label, path) for stem, label, path in found if path is not None]


def _first(track: str, results: Sequence[Results], name: str) -> Path | None:
    paths = (_inside(result, track, name) for result in results)
    return next((path for path in paths if _exists(path)), None)


def _inside(result: Results, *names: str) -> Path:
    """Return a place in a system's folder of excerpts, or one that does not exist.

    Names of tracks and stems come from files of anybody, and must not lead out of the folder.
    """
    if result.root is None or any(n in ("", ".", "..") or Path(n).name != n for n in names):
        return Path("\0")
    return result.root.joinpath(EXCERPTS_FOLDER, *names)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that the system does not take, too long for instance
        return False


def _excerpt(track: str, files: list[tuple[str, str, Path]]) -> Excerpt:
    rows: dict[str, list[Player]] = {}
    for stem, label, path in files:
        try:
            audio = base64.b64encode(path.read_bytes()).decode("ascii")
        except OSError as error:
            raise EvaluationError(
                f"{str(path)!r} cannot be read ({error.strerror}); remove it, or evaluate again"
            ) from error
        rows.setdefault(stem, []).append(Player(label, f"data:audio/mpeg;base64,{audio}"))
    return Excerpt(track, rows)
