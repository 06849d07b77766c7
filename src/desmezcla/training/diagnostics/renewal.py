"""New songs to train on, when a model begins to learn its songs by heart.

What a run trains on is a function of its checkpoint: `Progress.renewals` says what was rendered and
from which step on it is in use, and rendering is a function of a seed. A run that is killed while
songs are rendered goes on with those that are missing.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import left_out_stem
from desmezcla.datasets.track import Dataset
from desmezcla.errors import ParameterError
from desmezcla.training.diagnostics.config import Overfitting, Renew
from desmezcla.training.diagnostics.overfitting import judge
from desmezcla.training.progress import Progress

logger = logging.getLogger(__name__)

Render = Callable[..., Any]
_STEMS = {"vocals", "drums", "bass", "other"}


class Batches(Protocol):
    """What batches are read by."""

    def use(self, dataset: Dataset) -> None:
        """Read the batches that follow from other tracks."""


class Renewal:
    """Judges after each validation whether a model overfits, and gives it new songs if so.

    Args:
        rule: When a model counts as overfitted, and what is rendered then.
        folder: Of the run; songs go to `renewed/1`, `renewed/2` and so on.
        dataset: What is trained on at first.
        batches: What reads it.

    Errors:
        ParameterError: if there cannot be new songs for this dataset.
    """

    def __init__(self, rule: Overfitting, folder: Path, dataset: Dataset, batches: Batches) -> None:
        self.rule, self.folder = rule, folder
        self._dataset, self._batches = dataset, batches
        if rule.renew:
            _check(rule.renew, dataset)

    def consider(self, progress: Progress, *, warn: bool = True) -> None:
        """Write into the progress what the losses say, and that new songs are due if they are.

        Args:
            progress: Its last epoch has been validated.
            warn: Also tell people when overfitting begins.
        """
        renewals, renew = progress.renewals, self.rule.renew
        since = renewals[-1]["epoch"] if renewals else 0
        verdict = judge(progress.epochs, self.rule, since=since)
        progress.epochs[-1]["overfitting"] = asdict(verdict)
        if verdict.strikes != self.rule.patience + 1:
            return  # it does not overfit, or that has been said
        due = renew is not None and len(renewals) < renew.most
        if warn:
            logger.warning(
                "the model overfits since about epoch %d: the gap between the losses grows by "
                "%.2g of the loss per validation; %s",
                verdict.epoch - verdict.strikes + 1,
                verdict.trend,
                "new songs are rendered" if due else "train on more songs, augment more, or stop",
            )
        if renew and due:
            number = len(renewals) + 1
            renewals.append(
                {
                    "epoch": len(progress.epochs),
                    "step": progress.step,
                    "folder": f"renewed/{number}",
                    "songs": renew.songs,
                    "seed": renew.seed + number - 1,
                }
            )

    def render(self, progress: Progress, render: Render | None = None) -> None:
        """Render the songs that are due, as far as they are not there.

        Args:
            progress: Says what is due.
            render: What does it; None for `render_dataset`.

        Errors:
            DesmezclaError: if they cannot be rendered.
        """
        renew = self.rule.renew
        if renew is None or not progress.renewals:
            return
        due = progress.renewals[-1]
        (render or _render_dataset)(
            self.folder / due["folder"],
            songs=due["songs"],
            seed=due["seed"],
            material=Path(renew.material) if renew.material else None,
            duration_s=renew.duration_s,
        )

    def use(self, progress: Progress) -> None:
        """Let the batches that follow come from what is in use by now."""
        renew = self.rule.renew
        if renew is None or not progress.renewals:
            return
        due = progress.renewals[-1]["folder"]
        new = open_dataset(self.folder / due, kind="folder", splits=["train"])
        # Their names differ from those of a dataset that was rendered, too.
        tracks = tuple(replace(track, name=f"{due}/{track.name}") for track in new.tracks)
        own = self._dataset.tracks if renew.keep else ()
        self._batches.use(replace(self._dataset, tracks=(*own, *tracks)))


def _render_dataset(folder: Path, **options: Any) -> None:
    # Deferred: it needs what is in the extra `render`.
    from desmezcla.datasets.render.library import render_dataset

    render_dataset(folder, **options)


def _check(renew: Renew, dataset: Dataset) -> None:
    foreign = [s for s in dataset.stems if s not in _STEMS and left_out_stem(s) is None]
    if foreign:
        raise ParameterError(
            f"diagnostics.overfitting.renew: rendered songs have no {', '.join(foreign)}, but the "
            "dataset has; leave renew out"
        )
    seeds = range(renew.seed, renew.seed + renew.most)
    same = [s for s in seeds if any(t.name.startswith(f"rendered-{s}-") for t in dataset.tracks)]
    if same:
        raise ParameterError(
            f"diagnostics.overfitting.renew.seed={renew.seed}: songs of the seed {same[0]} are in "
            "the dataset already; choose another seed"
        )
