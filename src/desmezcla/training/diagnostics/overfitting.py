"""Whether a model learns its songs by heart: the gap between two losses, and where it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from desmezcla.training.diagnostics.config import Overfitting


@dataclass(frozen=True)
class Verdict:
    """What the losses of the epochs say.

    Attributes:
        overfits: Whether the model overfits.
        epoch: The last epoch that was validated, 0 if none was.
        gap: The smoothed validation loss less the smoothed training loss; None without epochs.
        trend: Growth of the gap per validation, as a part of the loss; None where there are fewer
            validations than the window has.
        strikes: Validations in a row, the last one included, with too much growth.
    """

    overfits: bool
    epoch: int = 0
    gap: float | None = None
    trend: float | None = None
    strikes: int = 0


def judge(epochs: Sequence[Mapping[str, Any]], rule: Overfitting, *, since: int = 0) -> Verdict:
    r"""Judge by the losses of training and validation whether a model overfits.

    With $T_n$ and $V_n$ the losses of the n-th validated epoch, and a bar for the moving average
    $\bar x_n = s \bar x_{n-1} + (1 - s) x_n$, the gap is $G_n = \bar V_n - \bar T_n$. Its trend is
    the slope of the straight line through the last w gaps (least squares), divided by
    $\max(|\bar V_n|, |\bar T_n|)$. A strike is a validation with a trend above the limit, and with
    $\bar V_n$ above its lowest value so far. More strikes in a row than the patience: overfitted.

    Args:
        epochs: Entries of the record, in their order.
        rule: s, w, the limit and the patience.
        since: Do not look at epochs up to this number.
    """
    chosen = [entry for entry in epochs if entry["epoch"] > since and entry.get("validation")]
    if not chosen:
        return Verdict(False)
    training = smoothed([entry["loss"]["total"] for entry in chosen], rule.smoothing)
    valid = smoothed([entry["validation"]["loss"]["total"] for entry in chosen], rule.smoothing)
    gaps = valid - training
    strikes, trend = 0, None
    for last in range(rule.window, len(chosen) + 1):
        size = max(abs(valid[last - 1]), abs(training[last - 1]), 1e-12)
        trend = _slope(gaps[last - rule.window : last]) / size
        is_worse = valid[last - 1] > valid[:last].min()
        strikes = strikes + 1 if trend > rule.trend and is_worse else 0
    return Verdict(
        strikes > rule.patience, int(chosen[-1]["epoch"]), float(gaps[-1]), trend, strikes
    )


def smoothed(values: Sequence[float], weight: float) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the moving average of some values; `weight` is that of the past.

    >>> smoothed([0.0, 1.0, 1.0], 0.5).tolist()
    [0.0, 0.5, 0.75]
    """
    out = np.array(values, np.float64)
    for place in range(1, len(out)):
        out[place] = weight * out[place - 1] + (1 - weight) * out[place]
    return out


def _slope(values: "np.ndarray[Any, np.dtype[np.float64]]") -> float:
    """Return the slope of the straight line through values that are 1 apart, by least squares."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    return float((x * values).sum() / (x * x).sum())
