"""The folder of a run: recipe, record, checkpoints, events for TensorBoard, and releases."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.models import SeparationModel
from desmezcla.releases.checkpoint import save_release, summary_of
from desmezcla.training.checkpoint import newest_checkpoint, write_durably
from desmezcla.training.progress import Progress
from desmezcla.training.recipe import Recipe
from desmezcla.training.recipes import recipe_content
from desmezcla.training.record import SawTest, about_run, card, write_record


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The recipe with every default, the values that were set, and the dataset."""
        return self.path / "recipe.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def release(self) -> Path:
        """The release of the best epoch."""
        return self.path / "release"

    @property
    def last_release(self) -> Path:
        """The release of the last weights."""
        return self.path / "release-last"

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint, None if there is none."""
        return newest_checkpoint(self.checkpoints)

    def begin(self, recipe: Recipe, *, resume: bool) -> None:
        """Make the folder, with the recipe in it.

        Errors:
            ParameterError: if there is a run in it already, and it is not to be resumed.
            DesmezclaError: if it cannot be written.
        """
        if self.recipe_file.exists() and not resume:
            raise ParameterError(
                f"out={str(self.path)!r} holds a run already; go on with it by --resume, or "
                "choose another folder"
            )
        text = yaml.safe_dump(recipe_content(recipe), sort_keys=False, allow_unicode=True)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_durably(self.recipe_file, text.encode())
        except OSError as error:
            raise DesmezclaError(
                f"{self.path} cannot be written ({error.strerror or error}); choose another folder"
            ) from error


@dataclass(frozen=True)
class Writer:
    """Writes what a run leaves behind.

    Attributes:
        folder: Where to.
        recipe: Of the run.
        facts: Of the dataset.
        saw_test: Whether MUSDB18's test tracks have been trained on, or "unknown".
    """

    folder: RunFolder
    recipe: Recipe
    facts: dict[str, Any]
    saw_test: SawTest

    def record(self, progress: Progress, stopped: dict[str, Any] | None = None) -> None:
        """Write `record.json`: all of it anew, so that no epoch is lost or doubled."""
        content = {
            "recipe": recipe_content(self.recipe),
            "seed": self.recipe.seed,
            "dataset": self.facts,
            "sessions": progress.sessions,
            "steps": progress.step,
            "wall_s": sum(e["wall_s"] for e in progress.epochs) + progress.epoch_s,
            "epochs": progress.epochs,
            "best": progress.best,
            "renewals": progress.renewals,
            "stopped": stopped,
        }
        write_record(self.folder.path / "record.json", content)

    def release(
        self,
        path: Path,
        model: SeparationModel[Any],
        progress: Progress,
        validation: dict[str, Any] | None,
    ) -> None:
        """Write the model's weights as a release.

        Errors:
            ReleaseError: if it cannot be written, or a weight is not finite.
        """
        about = about_run(
            release_name(self.folder.path), self.recipe, self.facts, validation, self.saw_test
        )
        text = card(about, summary_of(model, about), self.facts, progress)
        save_release(model, path, about, card=text, replace=True)


def release_name(folder: Path) -> str:
    """Return a name for the release of a run: that of its folder, in the letters allowed.

    >>> release_name(Path("runs/My Model"))
    'my_model'
    """
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789_.-"
    name = "".join(c if c in allowed else "_" for c in folder.resolve().name.lower())
    return name.strip("_.-")[:64].rstrip(".") or "trained"
