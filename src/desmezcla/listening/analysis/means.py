"""Mean opinion scores with confidence intervals.

The mean opinion score of a condition is the mean over listeners of each listener's mean; where all
have rated the same, that is the mean of all ratings. Listeners are what is drawn from a population:
ratings of one of them are not independent of each other. So the interval is

    mean ± t(n - 1) · s / √n

with the standard deviation s of the n listeners' means and the quantile t of Student's
distribution. It speaks of other listeners, not of other songs. Beside it stands a bootstrap
interval, for which listeners are drawn with all their ratings.

References:
    Recommendation ITU-T P.1401, "Methods, metrics and procedures for statistical evaluation,
        qualification and comparison of objective quality prediction models", 2020.
    B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from desmezcla.evaluation.comparing.statistics import bootstrap_interval
from desmezcla.listening.optional import require

if TYPE_CHECKING:
    from pandas import DataFrame


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a mean by Student's distribution; NaN for fewer than two values.

    >>> low, high = t_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    array = np.asarray(values, np.float64)
    if array.size < 2:
        return math.nan, math.nan
    half = require("scipy.stats").t.ppf((1 + level) / 2, array.size - 1)
    half *= array.std(ddof=1) / math.sqrt(array.size)
    return float(array.mean() - half), float(array.mean() + half)


def mean_scores(ratings: "DataFrame", by: Sequence[str], *, level: float = 0.95) -> "DataFrame":
    """Return mean opinion scores.

    Args:
        ratings: Ratings that count, with columns listener and score.
        by: Columns to group by, as in ("scale", "condition").
        level: Of the intervals.

    Returns:
        Columns `by`, mos, low, high, boot_low, boot_high, listeners and ratings. Groups stand in
        the order in which they first appear.
    """
    rows = []
    for keys, group in ratings.groupby(list(by), sort=False):
        means = group.groupby("listener")["score"].mean().to_numpy()
        interval = (*t_interval(means, level), *bootstrap_interval(means, "mean", level))
        rows.append((*keys, float(means.mean()), *interval, len(means), len(group)))
    columns = [*by, "mos", "low", "high", "boot_low", "boot_high", "listeners", "ratings"]
    return require("pandas").DataFrame(rows, columns=columns)
