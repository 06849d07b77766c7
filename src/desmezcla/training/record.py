"""What stands beside the weights: the facts of a run, for people and programs."""

import datetime
import json
import platform
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from desmezcla.datasets.track import Dataset
from desmezcla.errors import DesmezclaError
from desmezcla.releases.release import About, Scores, Summary, card_text
from desmezcla.training.checkpoint import write_durably
from desmezcla.training.progress import Progress
from desmezcla.training.recipe import Recipe
from desmezcla.version import VERSION

SawTest = bool | Literal["unknown"]


def session_facts(device: str, devices: int) -> dict[str, Any]:
    """Return when, with what and on what the work is done."""
    cuda = device.startswith("cuda")
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "versions": {
            "desmezcla": VERSION,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "lightning": version("lightning"),
        },
        "hardware": {
            "device": torch.cuda.get_device_name(device) if cuda else device,
            "devices": devices,
            "machine": f"{platform.system()} {platform.machine()}",
            "threads": torch.get_num_threads(),
        },
    }


def git_commit() -> str | None:
    """Return the commit of the working directory, with "-dirty" if files have been changed.

    None outside of a repository, or where git is not installed.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Return what a dataset is: its tracks, their licences and their genres, counted."""
    return {
        "name": dataset.name,
        "root": str(dataset.root),
        "tracks": dict(Counter(track.split for track in dataset.tracks)),
        "stems": list(dataset.stems),
        "licences": dict(Counter(track.licence or "not stated" for track in dataset.tracks)),
        "genres": dict(Counter(track.genre or "not stated" for track in dataset.tracks)),
        "problems": list(dataset.problems),
    }


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write `record.json`; the file is always whole.

    Errors:
        DesmezclaError: if it cannot be written.
    """
    data = (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        write_durably(path, data)
    except OSError as error:
        raise DesmezclaError(
            f"{path} cannot be written ({error.strerror or error}); free some space, then go on "
            "with --resume"
        ) from error


def about_run(
    name: str,
    recipe: Recipe,
    facts: dict[str, Any],
    validation: dict[str, Any] | None,
    saw_test: SawTest,
) -> About:
    """Return what a release says of itself."""
    scores: tuple[Scores, ...] = ()
    if validation and validation["sdr_db"]:
        found = Scores(
            metric="plain SDR",
            dataset=f"excerpts of {recipe.data.validation.excerpt_s:g} s of "
            f"{validation['tracks']} validation tracks of {facts['name']}",
            averaging="median of the tracks",
            source="desmezcla train",
            values_db=validation["sdr_db"],
        )
        scores = (found,)
    return About(
        name=name,
        license=recipe.license,
        trained_on=_trained_on(recipe, facts),
        saw_musdb18_test=saw_test,
        scores=scores,
        description=recipe.description,
    )


def card(about: About, summary: Summary, facts: dict[str, Any], progress: Progress) -> str:
    """Return the card of a release that was trained here, in Markdown."""
    text = card_text(summary)
    lines = [
        "",
        "## Training data",
        "",
        f"{about.trained_on}. Licences of the tracks:",
        "",
        "| licence | tracks |",
        "|---|---|",
        *(f"| {licence} | {count} |" for licence, count in facts["licences"].items()),
        "",
        "## Training",
        "",
        f"{progress.step} steps; the run's `recipe.yaml` and `record.json` say everything else.",
    ]
    return f"{text.rstrip()}\n" + "\n".join(lines) + "\n"


def _trained_on(recipe: Recipe, facts: dict[str, Any]) -> str:
    tracks = facts["training_tracks"]
    text = f"{facts['name']} ({tracks} track{'s' if tracks != 1 else ''})"
    return f"{text}, starting from the release {recipe.start.release}" if recipe.start else text
