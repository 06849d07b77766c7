"""Whether conditions differ: a mixed-effects model, an analysis of variance, tests of ranks, pairs.

The model of the scores of one scale is

    score = condition + listener + excerpt + rest

with a fixed effect of the condition and random effects of the listener and of the excerpt (the stem
of a song), which are crossed; it is fitted by restricted maximum likelihood. Whether conditions
differ is Wald's test of all their effects. Where the fit does not converge, or gives no standard
errors, the report says so, and the analysis of variance with repeated measures stands in its place.
That, Friedman's test and the tests of pairs take one mean for each listener and condition, from
those who have rated all conditions.

References:
    N. M. Laird and J. H. Ware, "Random-effects models for longitudinal data", Biometrics 38, 1982.
    R. H. Baayen, D. J. Davidson, D. M. Bates, "Mixed-effects modeling with crossed random effects
        for subjects and items", Journal of Memory and Language 59, 2008.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.evaluation.comparing.statistics import friedman_tests, paired_tests
from desmezcla.listening.analysis.means import t_interval
from desmezcla.listening.optional import require

if TYPE_CHECKING:
    from pandas import DataFrame

# A variance of the rest that is nothing but rounding.
_NO_VARIANCE = 1e-10


@dataclass(frozen=True)
class Effect:
    """How a condition differs from the first one.

    Attributes:
        condition: Its name.
        estimate: The difference.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    condition: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MixedModel:
    """What the mixed-effects model found.

    Attributes:
        baseline: The condition that the effects are differences from.
        intercept: Its mean.
        effects: Those of the other conditions.
        variances: Of the listeners, of the excerpts, and of the rest.
        chi2: Statistic of Wald's test that no condition differs.
        degrees: Its degrees of freedom.
        p: Its p-value.
        notes: What the fit warned of.
    """

    baseline: str
    intercept: float
    effects: tuple[Effect, ...]
    variances: dict[str, float]
    chi2: float
    degrees: int
    p: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Anova:
    """An analysis of variance with repeated measures, or a test of ranks.

    Attributes:
        statistic: F, or chi-squared.
        degrees: Degrees of freedom.
        p: The p-value.
        listeners: How many have rated all conditions.
    """

    statistic: float
    degrees: tuple[float, ...]
    p: float
    listeners: int


def mixed_model(ratings: "DataFrame", conditions: Sequence[str]) -> MixedModel | str:
    """Fit the model to the ratings of one scale.

    Args:
        ratings: With columns listener, song, stem, condition and score.
        conditions: In the order wanted; the first is the baseline.

    Returns:
        The model, or why there is none.
    """
    pandas, formula = require("pandas"), require("statsmodels.formula.api")
    present = [name for name in conditions if (ratings["condition"] == name).any()]
    if len(present) < 2 or ratings["listener"].nunique() < 2:
        return "it needs two conditions and two listeners or more"
    data = pandas.DataFrame(
        {
            "score": ratings["score"].to_numpy(float),
            "condition": [present.index(name) for name in ratings["condition"]],
            "listener": ratings["listener"].to_numpy(),
            "excerpt": ratings.groupby(["song", "stem"]).ngroup().to_numpy(),
        }
    )
    random = {"listener": "0 + C(listener)"}
    if data["excerpt"].nunique() > 1:
        random["excerpt"] = "0 + C(excerpt)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # One group of all: the random effects are crossed, not nested.
            fitted = formula.mixedlm(
                "score ~ C(condition)",
                data,
                groups=np.zeros(len(data)),
                re_formula="0",
                vc_formula=random,
            ).fit(reml=True)
            covariance = np.asarray(fitted.cov_params(), float)[: len(present), : len(present)]
        except (ValueError, np.linalg.LinAlgError) as error:
            return f"it could not be fitted: {error}"
    notes = tuple(dict.fromkeys(str(one.message).splitlines()[0] for one in caught))
    return _model(fitted, covariance, present, notes)


def repeated_anova(wide: "DataFrame") -> Anova | str:
    """Analyse the variance of means of listeners and conditions, with repeated measures.

    Args:
        wide: What `listener_means` returns.

    Returns:
        The analysis, or why there is none.
    """
    if wide.shape[0] < 2 or wide.shape[1] < 2:
        return "it needs two listeners or more who have rated two conditions or more"
    if np.allclose(wide.sub(wide.mean(axis=1), axis=0).sub(wide.mean() - wide.mean().mean()), 0):
        return "there is no variance that conditions and listeners do not explain"
    long = wide.melt(ignore_index=False, var_name="condition", value_name="score").reset_index()
    anova = require("statsmodels.stats.anova").AnovaRM(long, "score", "listener", ["condition"])
    row: Any = anova.fit().anova_table.iloc[0]
    degrees = (float(row["Num DF"]), float(row["Den DF"]))
    return Anova(float(row["F Value"]), degrees, float(row["Pr > F"]), len(wide))


def friedman(wide: "DataFrame") -> Anova | str:
    """Test by Friedman's ranks whether three conditions or more differ.

    Args:
        wide: What `listener_means` returns.

    Returns:
        The test, or why there is none.
    """
    table = friedman_tests(_as_tracks(wide), "score")
    if not len(table) or not math.isfinite(table["p"].iloc[0]):
        return "it needs three conditions and two listeners or more"
    row = table.iloc[0]
    return Anova(float(row["statistic"]), (wide.shape[1] - 1.0,), float(row["p"]), len(wide))


def pairs(wide: "DataFrame") -> "DataFrame":
    """Compare every pair of conditions.

    Args:
        wide: What `listener_means` returns.

    Returns:
        Columns condition_a, condition_b, listeners, difference (mean of a - b), low, high (95 %
        interval by Student's distribution), p (Wilcoxon's signed-rank test over listeners) and
        p_holm (corrected for all pairs).
    """
    tests = paired_tests(_as_tracks(wide), "score")
    found = {(row.system_a, row.system_b): row for row in tests.itertuples()}
    rows = []
    for a, b in combinations(wide.columns, 2):
        differences = (wide[a] - wide[b]).to_numpy(dtype=float)
        test = found.get((a, b))
        p, p_holm = (test.p, test.p_holm) if test is not None else (math.nan, math.nan)
        mean = float(differences.mean()) if differences.size else math.nan
        rows.append((a, b, len(differences), mean, *t_interval(differences), p, p_holm))
    columns = ["condition_a", "condition_b", "listeners", "difference", "low", "high", "p"]
    return require("pandas").DataFrame(rows, columns=[*columns, "p_holm"])


def listener_means(ratings: "DataFrame", conditions: Sequence[str]) -> "DataFrame":
    """Return the means of the listeners who have rated all conditions.

    Args:
        ratings: Of one scale.
        conditions: In the order wanted.

    Shape:
        returns `[listeners, conditions]`.
    """
    wide = ratings.pivot_table(index="listener", columns="condition", values="score")
    return wide[[name for name in conditions if name in wide]].dropna()


def _model(
    fitted: Any, covariance: NDArray[np.float64], present: Sequence[str], notes: tuple[str, ...]
) -> MixedModel | str:
    values = np.asarray(fitted.fe_params, float)
    spread = np.diag(covariance)
    if not fitted.converged:
        return f"its fit did not converge ({'; '.join(notes) or 'no reason given'})"
    if not (np.isfinite(covariance).all() and (spread > 0).all() and fitted.scale > _NO_VARIANCE):
        return f"its fit gives no standard errors ({'; '.join(notes) or 'nothing varies'})"
    stats = require("scipy.stats")
    chi2 = float(values[1:] @ np.linalg.solve(covariance[1:, 1:], values[1:]))
    half = float(stats.norm.ppf(0.975)) * np.sqrt(spread)
    variances = dict(zip(fitted.model.exog_vc.names, map(float, fitted.vcomp), strict=True))
    return MixedModel(
        baseline=present[0],
        intercept=float(values[0]),
        effects=tuple(
            Effect(name, value, value - reach, value + reach)
            for name, value, reach in zip(
                present[1:], map(float, values[1:]), map(float, half[1:]), strict=True
            )
        ),
        variances=variances | {"rest": float(fitted.scale)},
        chi2=chi2,
        degrees=len(present) - 1,
        p=float(stats.chi2.sf(chi2, len(present) - 1)),
        notes=notes,
    )


def _as_tracks(wide: "DataFrame") -> "DataFrame":
    """Return the table that tests of systems over tracks take: listeners stand for tracks."""
    rows = [
        (condition, "", listener, "all", "score", score)
        for condition in wide
        for listener, score in wide[condition].items()
    ]
    columns = ["system", "split", "track", "stem", "metric", "score"]
    return require("pandas").DataFrame(rows, columns=columns)
