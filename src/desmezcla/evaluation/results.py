"""The folder that an evaluation leaves behind, and reading it, or another program's, again.

FOLDER/evaluation.json        the system, the dataset, the settings
FOLDER/test/TRACK.json        scores, in museval's schema
FOLDER/excerpts/TRACK/*.mp3   mixture, STEM and STEM.reference, of some tracks
FOLDER/scores.csv, .parquet   all of it as one table
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.scores import Results, TrackScores
from desmezcla.evaluation.track_json import read_track_json

ABOUT_FILE = "evaluation.json"
EXCERPTS_FOLDER = "excerpts"

SPLITS = ("train", "valid", "test")


def read_results(folder: Path | str, *, name: str | None = None) -> Results:
    """Read the results of an evaluation, by this program or by museval.

    Args:
        folder: What `evaluate` wrote, or a folder of museval's JSON files, in folders named after
            the splits or not.
        name: What to call it in tables; None for what `evaluation.json` says, or the folder's name.

    Errors:
        EvaluationError: if the folder holds no scores, or a file of it is damaged.
    """
    root = Path(folder)
    if not root.is_dir():
        raise EvaluationError(f"{str(root)!r} is no folder of results; run `desmezcla evaluate`")
    about = read_about(root)
    tracks = sorted(_tracks(root), key=lambda scores: (SPLITS.index(scores.split), scores.track))
    if not tracks:
        raise EvaluationError(
            f"{str(root)!r} holds no scores: looked for test/TRACK.json and TRACK.json; "
            "run `desmezcla evaluate`"
        )
    own_name = about.get("system", {}).get("name")
    return Results(name or own_name or root.resolve().name, tuple(tracks), root, about)


def read_about(root: Path) -> dict[str, Any]:
    """Return what `evaluation.json` of a folder says; nothing where there is none.

    Errors:
        EvaluationError: if it is damaged.
    """
    path = root / ABOUT_FILE
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict) or not isinstance(about.get("system", {}), dict):
            raise ValueError("no object with an object 'system'")
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{str(path)!r} cannot be read: {error}; remove it, or evaluate again"
        ) from error
    return about


def _tracks(root: Path) -> Iterable[TrackScores]:
    for split in SPLITS:
        for path in sorted((root / split).glob("*.json")):
            yield read_track_json(path, split=split)
    for path in sorted(root.glob("*.json")):
        if path.name != ABOUT_FILE:
            yield read_track_json(path)
