"""How well objective scores tell what listeners say.

Each point is one system's version of a stem of a song: its mean opinion score, and what
`desmezcla evaluate` says of it. Intervals come from Fisher's transform z = atanh r, whose standard
error is 1/√(n - 3) for Pearson's r, and √((1 + ρ²/2)/(n - 3)) for Spearman's ρ.

References:
    R. A. Fisher, "On the 'probable error' of a coefficient of correlation deduced from a small
        sample", Metron 1, 1921.
    D. G. Bonett and T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and
        Spearman correlations", Psychometrika 65, 2000.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from desmezcla.errors import ParameterError
from desmezcla.evaluation.comparing.tables import track_table
from desmezcla.evaluation.results import read_results
from desmezcla.evaluation.scores import METRICS
from desmezcla.listening.design import ListeningTest
from desmezcla.listening.optional import require

if TYPE_CHECKING:
    from pandas import DataFrame

# Fewer points say nothing of others.
_FEWEST = 4


def read_scores(design: ListeningTest, folders: Mapping[str, Path]) -> "DataFrame":
    """Read objective scores of the systems of a test.

    Args:
        design: The test.
        folders: What `desmezcla evaluate` wrote, by the name of the system in the test.

    Returns:
        Columns condition, song, stem, metric and objective (dB, median of frames).

    Errors:
        ParameterError: if there is no such system.
        EvaluationError: if a folder holds no scores.
    """
    names = [c.name for c in design.conditions if c.role == "system"]
    for name in folders:
        if name not in names:
            raise ParameterError(f"--scores {name}=…: the systems are {', '.join(names)}")
    results = [read_results(folder, name=name) for name, folder in folders.items()]
    table = track_table(results).rename(
        columns={"system": "condition", "track": "song", "score": "objective"}
    )
    return table[["condition", "song", "stem", "metric", "objective"]]


def points(scores: "DataFrame", means: "DataFrame") -> "DataFrame":
    """Put mean opinion scores beside objective ones.

    Args:
        scores: What `read_scores` returns.
        means: Mean opinion scores by scale, condition, song and stem.

    Returns:
        Columns scale, condition, song, stem, mos, metric and objective; what has not both is left
        out.
    """
    both = means.merge(scores, on=["condition", "song", "stem"])
    both = both[np.isfinite(both["objective"].to_numpy(float))]
    return both[["scale", "condition", "song", "stem", "mos", "metric", "objective"]]


def correlations(found: "DataFrame", stems: Sequence[str]) -> "DataFrame":
    """Correlate mean opinion scores with objective ones, over all stems and for each.

    Args:
        found: What `points` returns.
        stems: The stems.

    Returns:
        Columns scale, metric, stem ("all" for all together), points, pearson, pearson_low,
        pearson_high, spearman, spearman_low and spearman_high.
    """
    rows = []
    for scale in found["scale"].unique():
        for metric in METRICS:
            of_metric = found[(found["scale"] == scale) & (found["metric"] == metric)]
            for stem in ("all", *(stems if len(stems) > 1 else ())):
                chosen = of_metric if stem == "all" else of_metric[of_metric["stem"] == stem]
                if len(chosen):
                    values = correlated(chosen["objective"], chosen["mos"])
                    rows.append((scale, metric, stem, len(chosen), *values))
    names = [f"{kind}{end}" for kind in ("pearson", "spearman") for end in ("", "_low", "_high")]
    columns = ["scale", "metric", "stem", "points", *names]
    return require("pandas").DataFrame(rows, columns=columns)


def correlated(x: ArrayLike, y: ArrayLike) -> tuple[float, ...]:
    """Return Pearson's r and Spearman's ρ, each with its 95 % interval.

    All are NaN for fewer than four points, or where one of both does not vary.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return (math.nan,) * 6
    rank = require("scipy.stats").rankdata
    pearson = float(np.corrcoef(a, b)[0, 1])
    spearman = float(np.corrcoef(rank(a), rank(b))[0, 1])
    error = 1 / math.sqrt(len(a) - 3)
    rank_error = math.sqrt(1 + spearman**2 / 2) * error
    return (pearson, *_ends(pearson, error), spearman, *_ends(spearman, rank_error))


def _ends(r: float, error: float) -> tuple[float, float]:
    if abs(r) >= 1:
        return r, r
    half = float(require("scipy.stats").norm.ppf(0.975)) * error
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
