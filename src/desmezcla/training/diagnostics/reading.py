"""What a run has written about itself, read while it is running or after it has ended."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import yaml
from numpy.typing import NDArray

from desmezcla.training.diagnostics.config import Overfitting
from desmezcla.training.diagnostics.journal import DiagnosticsError, Journal
from desmezcla.training.diagnostics.overfitting import Verdict, judge

State = Literal["running", "ended", "broken off", "not known"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """What a run has written.

    Attributes:
        path: Its folder.
        recipe: Keys and values.
        record: What `record.json` says; empty if there is none yet.
        steps: What was measured, in the order of the steps.
        events: What happened.
        state: "broken off" if it ended without saying so: by an error, or killed.
    """

    path: Path
    recipe: dict[str, Any]
    record: dict[str, Any]
    steps: list[dict[str, Any]]
    events: list[dict[str, Any]]
    state: State

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Entries of the epochs that are done."""
        return list(self.record.get("epochs", []))

    @property
    def last_step(self) -> int:
        """The number of steps that are known to be done."""
        measured = self.steps[-1]["step"] + 1 if self.steps else 0
        return max(measured, int(self.record.get("steps", 0)))

    @property
    def nonfinite(self) -> dict[str, Any] | None:
        """What made the run stop because of NaN or Inf."""
        found = [event for event in self.events if event.get("event") == "nonfinite"]
        return found[-1] if found else None

    def overfitting(self) -> Verdict | None:
        """Return whether the model overfits on what it is trained on now; None if not judged."""
        config = (self.recipe.get("diagnostics") or {}).get("overfitting", {})
        if config is None:
            return None
        renewals = self.record.get("renewals") or []
        since = renewals[-1]["epoch"] if renewals else 0
        return judge(self.epochs, Overfitting.model_validate(config), since=since)

    def layer_names(self) -> list[str]:
        """Return the layers that were measured, in the order of execution."""
        return list(dict.fromkeys(name for line in self.steps for name in line["layers"]))

    def of_layer(self, name: str, kind: str, number: str) -> Values:
        """Return a number of a layer at each measured step, NaN where there is none."""
        parts = [line["layers"].get(name, {}).get(kind, {}) for line in self.steps]
        values = [part.get(number) for part in parts]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def update_ratios(self, name: str) -> Values:
        """Return how much each measured step changed a layer's weights, as a part of them."""
        update, norm = (self.of_layer(name, "weight", number) for number in ("update", "norm"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(norm > 0, update / norm, np.nan)


def read_run(path: Path) -> Run:
    """Read what a run has written so far.

    Errors:
        DiagnosticsError: if the folder is no run, or what is in it is damaged.
    """
    recipe_file = path / "recipe.yaml"
    if not recipe_file.is_file():
        what = "does not exist" if not path.exists() else "has no recipe.yaml, so it is no run"
        raise DiagnosticsError(
            f"{str(path)!r} {what}; give the folder of a run, what was --out of desmezcla train"
        )
    record_file = path / "record.json"
    record = _read(record_file) if record_file.exists() else {}
    run = Run(
        path=path,
        recipe=_read(recipe_file),
        record=record,
        steps=Journal(path / "diagnostics" / "steps.jsonl").read(),
        events=Journal(path / "diagnostics" / "events.jsonl").read(),
        state=_state(path, record),
    )
    _check(run)
    return run


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise DiagnosticsError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise _damaged(path, " ".join(str(error).split())[:200]) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it does not hold keys and values")
    return content


def _check(run: Run) -> None:
    """Read everything that a page shows, to find what is damaged before."""
    names = "record.json"
    try:
        for entry in run.epochs:
            _ = entry["epoch"] + entry["step"], entry["loss"]["total"], entry["examples_per_s"]
        run.overfitting()
        names = "diagnostics/steps.jsonl"
        for name in run.layer_names():
            run.update_ratios(name)
        for line in run.steps:
            _ = line["loss"].items(), line["lr"], line["gradient_norm"], line["examples_per_s"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise _damaged(run.path / names, reason) from error


def _damaged(path: Path, reason: str) -> DiagnosticsError:
    return DiagnosticsError(
        f"{path} is damaged ({reason}); go on with the run by --resume, which writes it anew"
    )


def _state(path: Path, record: dict[str, Any]) -> State:
    """Return whether a training holds the run's lock, or how it ended."""
    lock = path / "diagnostics" / ".lock"
    if lock.exists():
        try:
            with filelock.FileLock(lock, timeout=0):
                pass
        except filelock.Timeout:
            return "running"
        except OSError:
            return "ended" if record.get("stopped") else "not known"
    if record.get("stopped"):
        return "ended"
    return "broken off" if lock.exists() else "not known"
