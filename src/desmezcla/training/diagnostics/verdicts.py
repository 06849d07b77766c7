"""What a run's numbers mean, in a sentence each."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from desmezcla.training.diagnostics.finite import Finding
from desmezcla.training.diagnostics.reading import Run

# A layer is named when more of its units than this learn nothing.
_DEAD = 0.5
# Updates in relation to weights: outside of these, learning is likely too slow or too fast.
_SLOW, _FAST = 1e-6, 0.1


@dataclass(frozen=True)
class Judgement:
    """One sentence about a run.

    Attributes:
        name: What it is about.
        level: "good", "warning", "bad", or "unknown".
        text: The sentence.
    """

    name: str
    level: Literal["good", "warning", "bad", "unknown"]
    text: str


def judgements(run: Run) -> list[Judgement]:
    """Return what there is to say of a run."""
    return [_stability(run), _overfitting(run), _dead(run), _updates(run), _speed(run)]


def _stability(run: Run) -> Judgement:
    name = "Stability"
    event = run.nonfinite
    if event:
        keys = Finding.__dataclass_fields__
        found = Finding(**{key: _frozen(event[key]) for key in keys if key in event})
        numbers = event.get("numbers")
        which = f"; examples {', '.join(map(str, numbers))} of the training" if numbers else ""
        return Judgement(name, "bad", f"step {event['step']}: {found.text()}{which}")
    if not (run.recipe.get("diagnostics") or {}).get("enabled", True) or not run.steps:
        return Judgement(name, "unknown", "numbers were not checked, or no step has been measured")
    return Judgement(name, "good", f"no NaN or Inf in {run.last_step} steps")


def _overfitting(run: Run) -> Judgement:
    name = "Overfitting"
    verdict = run.overfitting()
    if verdict is None:
        return Judgement(name, "unknown", "not judged: diagnostics.overfitting is off")
    if verdict.trend is None or verdict.gap is None:
        return Judgement(name, "unknown", "too few validations to judge by")
    trend = f"gap {verdict.gap:.3g}, growing by {100 * verdict.trend:.2g} % of the loss"
    if verdict.overfits:
        since = verdict.epoch - verdict.strikes + 1
        return Judgement(name, "bad", f"since about epoch {since}: {trend} per validation")
    if verdict.strikes:
        return Judgement(name, "warning", f"{verdict.strikes} strikes in a row: {trend}")
    return Judgement(name, "good", f"no sign of it: {trend} per validation")


def _dead(run: Run) -> Judgement:
    name = "Dead units"
    last = _last(run, "weight", "dead")
    if not last:
        return Judgement(name, "unknown", "no layer has been measured")
    dead = {layer: share for layer, share in last.items() if share > _DEAD}
    worst = max(last, key=lambda layer: last[layer])
    if dead:
        listed = ", ".join(f"{layer} ({100 * share:.0f} %)" for layer, share in dead.items())
        return Judgement(name, "warning", f"more than half of the units learn nothing in {listed}")
    return Judgement(name, "good", f"at most {100 * last[worst]:.3g} % of a layer ({worst})")


def _updates(run: Run) -> Judgement:
    name = "Updates"
    ratios = {layer: run.update_ratios(layer) for layer in run.layer_names()}
    last = {layer: v[-1] for layer, v in ratios.items() if np.isfinite(v[-1])}
    if not last:
        return Judgement(name, "unknown", "no layer has been measured")
    low, high = min(last, key=lambda k: last[k]), max(last, key=lambda k: last[k])
    spread = f"from {last[low]:.2g} ({low}) to {last[high]:.2g} ({high}) of the weights per step"
    if last[high] > _FAST:
        return Judgement(name, "warning", f"too large: {spread}; lower optimizer.lr")
    if last[low] < _SLOW:
        return Judgement(name, "warning", f"too small: {spread}; a layer hardly learns")
    return Judgement(name, "good", spread)


def _speed(run: Run) -> Judgement:
    rates = [line["examples_per_s"] for line in [*run.epochs, *run.steps] if line["examples_per_s"]]
    if not rates:
        return Judgement("Throughput", "unknown", "not measured yet")
    return Judgement("Throughput", "good", f"{np.median(rates):.3g} examples per second")


def _last(run: Run, kind: str, number: str) -> dict[str, float]:
    """Return a number of each layer that has it, at the last step that was measured."""
    if not run.steps:
        return {}
    layers = run.steps[-1]["layers"]
    found = {name: facts.get(kind, {}).get(number) for name, facts in layers.items()}
    return {name: value for name, value in found.items() if value is not None}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
