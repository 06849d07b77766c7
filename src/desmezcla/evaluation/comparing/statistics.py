"""Statistics of scores over tracks: intervals, tests of pairs, ranks.

Differences between systems are judged as Demšar advises for classifiers on many data sets, with
tracks in their place: ranks instead of means, for scores are far from normal, and a correction for
the number of tests.

References:
    B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
    F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945.
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6, 1979.
    M. Friedman, "The use of ranks to avoid the assumption of normality implicit in the analysis of
        variance", Journal of the American Statistical Association 32, 1937.
    J. Demšar, "Statistical comparisons of classifiers over multiple data sets", Journal of Machine
        Learning Research 7, 2006.
"""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from desmezcla.errors import ParameterError
from desmezcla.evaluation.optional import require

if TYPE_CHECKING:
    from pandas import DataFrame

AGGREGATIONS = ("median", "mean")

RESAMPLES = 5000

# Above, the normal distribution stands for that of signed ranks, as in SciPy.
_EXACT_UP_TO = 50

# Resamples are drawn in parts of so many tracks, so that memory does not grow with the tracks.
_VALUES_AT_ONCE = 2_000_000


def aggregate(values: ArrayLike, how: str = "median") -> float:
    """Return the median or the mean of the values that are finite; NaN if none is.

    >>> aggregate([1.0, 2.0, float("nan"), 6.0]), aggregate([1.0, 2.0, 6.0], "mean")
    (2.0, 3.0)

    Args:
        values: Any number of them.
        how: One of `AGGREGATIONS`.

    Errors:
        ParameterError: if there is no such aggregation.
    """
    _check_aggregation(how)
    finite = _finite(values)
    if not finite.size:
        return math.nan
    return float(np.median(finite) if how == "median" else np.mean(finite))


def bootstrap_interval(
    values: ArrayLike,
    statistic: str = "median",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a confidence interval of a median or mean, by Efron's percentile bootstrap.

    The percentiles are taken as they are. The corrected ones (BCa) need a jackknife, which is not
    consistent for a median.

    Args:
        values: One for each track; those that are not finite are left out.
        statistic: One of `AGGREGATIONS`.
        level: Share of such intervals that hold the true value, between 0 and 1.
        resamples: How many times as many tracks are drawn, with replacement.
        seed: Of the drawing; the same values and seed give the same interval.

    Returns:
        Its ends; both NaN for fewer than two values, which say nothing of others.

    Errors:
        ParameterError: if an option is out of range.
    """
    columns = _finite(values)[:, None]
    return bootstrap_mean_interval(columns, statistic, level, resamples, seed)


def bootstrap_mean_interval(
    columns: NDArray[np.float64],
    statistic: str = "median",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval of the mean over stems of their medians (or means) over tracks.

    Tracks are drawn with all their stems, which are not independent of each other.

    Shape:
        columns: `[tracks, S]`; what is not finite is left out.

    Args:
        columns: Scores.
        statistic: How each column is aggregated.
        level: As for `bootstrap_interval`, and so are the others.
        resamples: How many times tracks are drawn.
        seed: Of the drawing.

    Returns:
        Its ends; both NaN for fewer than two tracks.

    Errors:
        ParameterError: if an option is out of range.
    """
    _check_aggregation(statistic)
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must be between 0 and 1; 0.95 is usual")
    if resamples < 1:
        raise ParameterError(f"resamples={resamples} must be at least 1; {RESAMPLES} is usual")
    finite = np.where(np.isfinite(columns), columns, np.nan)
    finite = finite[~np.isnan(finite).all(axis=1)]
    tracks = len(finite)
    if tracks < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    at_once = max(1, _VALUES_AT_ONCE // tracks)
    means = []
    for done in range(0, resamples, at_once):
        drawn = rng.integers(tracks, size=(min(at_once, resamples - done), tracks))
        means.append(np.mean([_resampled(column, drawn, statistic) for column in finite.T], axis=0))
    # Of a stem that few tracks have, a resample may hold nothing; it does not count.
    found = _finite(np.concatenate(means))
    if not found.size:
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_tests(tracks: "DataFrame", metric: str = "SDR") -> "DataFrame":
    """Test every pair of systems, stem by stem, with Wilcoxon's signed-rank test.

    Each test is two-sided, over the tracks on which both systems have a score; tracks without a
    difference do not count, as in Wilcoxon's paper. The family that Holm's correction is for are
    all tests of this table: all pairs of systems and all stems, of one metric.

    Args:
        tracks: What `track_table` returns.
        metric: The metric to test.

    Returns:
        Columns stem, metric, system_a, system_b, tracks (that both have), difference (median of
        a - b in dB), p and p_holm. Where no track differs, p is 1; where there is no common track,
        p is NaN and the test no part of the family.

    Errors:
        ParameterError: if two systems have the same name.
        DesmezclaError: if SciPy is not installed.
    """
    rows = []
    for stem, scores in _by_stem(tracks, metric):
        for a, b in combinations(scores.columns, 2):
            differences = (scores[a] - scores[b]).dropna().to_numpy(dtype=float)
            p = _signed_rank_p(differences)
            rows.append((stem, metric, a, b, len(differences), aggregate(differences), p))
    columns = ["stem", "metric", "system_a", "system_b", "tracks", "difference", "p"]
    table = require("pandas").DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p"].to_numpy(dtype=float)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values of a family of tests by Holm's step-down procedure.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p: One for each test; NaN stays NaN and does not count as a test.

    Returns:
        Corrected values: what is below a level is significant at that level for the family.
    """
    values = np.asarray(p, np.float64)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected = np.full_like(values, np.nan)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return corrected


def mean_ranks(tracks: "DataFrame", metric: str = "SDR") -> "DataFrame":
    """Rank the systems on each track, stem by stem, and average over tracks.

    Rank 1 is the highest score; equal scores share the mean of their ranks. Only tracks count on
    which all systems that have the stem have a score.

    Args:
        tracks: What `track_table` returns.
        metric: The metric to rank by.

    Returns:
        Columns stem, system, rank (NaN where there is no such track) and tracks.

    Errors:
        ParameterError: if two systems have the same name.
        DesmezclaError: if SciPy is not installed.
    """
    rows = []
    for stem, scores in _by_stem(tracks, metric):
        common = scores.dropna()
        ranks = require("scipy.stats").rankdata(-common.to_numpy(dtype=float), axis=1)
        for index, system in enumerate(scores.columns):
            rows.append((stem, system, aggregate(ranks[:, index], "mean"), len(common)))
    return require("pandas").DataFrame(rows, columns=["stem", "system", "rank", "tracks"])


def friedman_tests(tracks: "DataFrame", metric: str = "SDR") -> "DataFrame":
    """Test, stem by stem, whether three or more systems differ at all, by Friedman's ranks.

    Args:
        tracks: What `track_table` returns.
        metric: The metric to test.

    Returns:
        Columns stem, metric, systems, tracks (that all have), statistic (chi-squared) and p. Where
        all systems are equal on all tracks, statistic is 0 and p is 1; with fewer than two tracks
        both are NaN. Stems of fewer than three systems have no row.

    Errors:
        ParameterError: if two systems have the same name.
        DesmezclaError: if SciPy is not installed.
    """
    rows = []
    for stem, scores in _by_stem(tracks, metric):
        common = scores.dropna().to_numpy(dtype=float)
        count, systems = common.shape
        if systems < 3:
            continue
        if count < 2:
            statistic = p = math.nan
        elif (common == common[:, :1]).all():
            statistic, p = 0.0, 1.0
        else:
            statistic, p = require("scipy.stats").friedmanchisquare(*common.T)
        rows.append((stem, metric, systems, count, float(statistic), float(p)))
    columns = ["stem", "metric", "systems", "tracks", "statistic", "p"]
    return require("pandas").DataFrame(rows, columns=columns)


def _by_stem(tracks: "DataFrame", metric: str) -> "Iterator[tuple[str, DataFrame]]":
    """Yield the stems that two or more systems have, with their scores `[tracks, systems]`."""
    chosen = tracks[tracks["metric"] == metric]
    if chosen.duplicated(["system", "split", "track", "stem"]).any():
        raise ParameterError(
            "a system has two scores for one track; give each result a name of its own"
        )
    pairs = chosen[["stem", "system"]].drop_duplicates()
    wide = chosen.pivot(index=["split", "track"], columns=["stem", "system"], values="score")
    finite = wide.where(np.isfinite(wide))
    for stem, rows in pairs.groupby("stem", sort=False):
        if len(rows) > 1:
            yield stem, finite[stem][list(rows["system"])]


def _signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Return p of the two-sided test; exact for 50 differences and fewer, of equal size or not."""
    if not differences.size:
        return math.nan
    changed = differences[differences != 0]
    stats = require("scipy.stats")
    if len(changed) > _EXACT_UP_TO:
        return float(stats.wilcoxon(changed).pvalue)
    # Equal differences share half ranks, hence the 2. Each rank is, or is not, in the sum of the
    # positive ones, with equal chance: SciPy counts that quickly only without equal differences.
    ranks = np.rint(2 * stats.rankdata(np.abs(changed))).astype(int)
    chances = np.ones(1)
    for rank in ranks:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    found = ranks[changed > 0].sum()
    return float(min(1.0, 2 * min(chances[: found + 1].sum(), chances[found:].sum())))


def _check_aggregation(how: str) -> None:
    if how not in AGGREGATIONS:
        raise ParameterError(f"aggregation {how!r} must be one of {', '.join(AGGREGATIONS)}")


def _resampled(
    values: NDArray[np.float64], drawn: NDArray[np.int64], how: str
) -> NDArray[np.float64]:
    """Aggregate resamples; NaN does not count, and is the result of one that holds nothing else.

    Shape:
        values: `[tracks]`.
        drawn: `[resamples, tracks]`, indices.

    Returns:
        `[resamples]`.
    """
    found: NDArray[np.float64]
    if how == "mean":
        chosen = values[drawn]
        with np.errstate(invalid="ignore"):
            found = np.nansum(chosen, axis=1) / np.isfinite(chosen).sum(axis=1)
        return found
    order = np.argsort(values)  # NaN comes last
    places = np.empty(len(values), np.int32)
    places[order] = np.arange(len(values))
    places = np.sort(places[drawn], axis=1)  # much faster than to sort numbers and NaN
    count = (places < np.isfinite(values).sum()).sum(axis=1)
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2], axis=1)
    found = values[order][np.take_along_axis(places, middle, axis=1)].mean(axis=1)
    return found


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.atleast_1d(np.asarray(values, np.float64))
    return array[np.isfinite(array)]
