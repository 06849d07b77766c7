"""Whose answers count: rules that the design fixes before anybody has answered.

    answered      less than `min_answered` of the trials and pages were answered
    repeats       ratings of repeats differ from the first ones by more than `max_repeat_difference`
                  categories in the mean
    reference     the mean rating of the hidden reference is below `min_reference`, on either scale
    constant      all ratings of a scale are the same
    agreement     ratings correlate with the means of all others by less than `min_agreement`
    mushra        the hidden reference is below `mushra_reference` on more than `mushra_missed` of
                  the MUSHRA pages

All rules look at what all listeners gave, so that the order in which they are applied does not
matter.

Reference:
    Recommendation ITU-R BS.1534-3, "Method for the subjective assessment of intermediate quality
    level of audio systems", 2015: the last rule.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from desmezcla.listening.analysis.ratings import Ratings
from desmezcla.listening.design import MOS_SCALES, REFERENCE, Screening
from desmezcla.listening.rows import MUSHRA

if TYPE_CHECKING:
    from pandas import DataFrame

_STIMULUS = ["song", "stem", "condition", "scale"]


@dataclass(frozen=True)
class Verdict:
    """What screening says of a listener.

    Attributes:
        listener: Their number, from 1.
        measures: What the rules look at, by rule; a rule that cannot be applied has none.
        broken: The rules that they break.
    """

    listener: int
    measures: dict[str, float]
    broken: tuple[str, ...]


def screen(ratings: Ratings) -> tuple[Verdict, ...]:
    """Apply all rules to all listeners."""
    rules = ratings.design.screening
    verdicts = []
    for row in ratings.listeners.itertuples():
        measures = _measures(ratings, int(row.listener), rules) | {"answered": float(row.share)}
        broken = tuple(name for name, value in measures.items() if _breaks(name, value, rules))
        verdicts.append(Verdict(int(row.listener), measures, broken))
    return tuple(verdicts)


def rule_texts(rules: Screening) -> dict[str, str]:
    """Return each rule in words, with its threshold."""
    return {
        "answered": f"answered less than {rules.min_answered:.0%} of the trials",
        "repeats": "ratings of repeated trials differ by more than "
        f"{rules.max_repeat_difference:g} in the mean",
        "reference": f"mean rating of the hidden reference below {rules.min_reference:g}",
        "constant": "all ratings of a scale are the same",
        "agreement": f"correlation with the mean of all others below {rules.min_agreement:g} "
        f"(with {rules.min_others} others or more)",
        "mushra": f"hidden reference below {rules.mushra_reference:g} on more than "
        f"{rules.mushra_missed:.0%} of the MUSHRA pages",
    }


def _breaks(name: str, value: float, rules: Screening) -> bool:
    return {
        "answered": value < rules.min_answered,
        "repeats": value > rules.max_repeat_difference,
        "reference": value < rules.min_reference,
        "constant": value > 0,
        "agreement": value < rules.min_agreement,
        "mushra": value > rules.mushra_missed,
    }[name]


def _measures(ratings: Ratings, listener: int, rules: Screening) -> dict[str, float]:
    own = ratings.all[ratings.all["listener"] == listener]
    first = own[~own["repeat"]]
    mos = first[first["scale"].isin(MOS_SCALES)]
    found = {
        "repeats": _repeat_difference(own),
        "reference": mos[mos["condition"] == REFERENCE].groupby("scale")["score"].mean().min(),
        "agreement": _agreement(ratings, listener, rules.min_others),
        "mushra": _missed(first, rules.mushra_reference),
    }
    if len(mos):
        # One rating of a scale is no pattern.
        spread = mos.groupby("scale")["score"].agg(["nunique", "size"])
        found["constant"] = float(((spread["nunique"] == 1) & (spread["size"] > 2)).sum())
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _repeat_difference(own: "DataFrame") -> float:
    """Return the mean magnitude of the difference between ratings of the same stimulus."""
    both = own[own["repeat"]].merge(own[~own["repeat"]], on=_STIMULUS, suffixes=("_again", ""))
    return float((both["score_again"] - both["score"]).abs().mean())


def _agreement(ratings: Ratings, listener: int, min_others: int) -> float:
    """Return the correlation with the mean of all others, over stimuli and both scales."""
    first: Any = ratings.first
    first = first[first["scale"].isin(MOS_SCALES)]
    wide = first.pivot_table(index=_STIMULUS, columns="listener", values="score")
    if listener not in wide or wide.shape[1] - 1 < min_others:
        return float("nan")
    others = wide.drop(columns=listener).mean(axis=1)
    both = np.stack([wide[listener].to_numpy(), others.to_numpy()])
    both = both[:, np.isfinite(both).all(axis=0)]
    if both.shape[1] < 3 or (both.std(axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(both)[0, 1])


def _missed(first: "DataFrame", threshold: float) -> float:
    hidden = first[(first["scale"] == MUSHRA) & (first["condition"] == REFERENCE)]
    return float((hidden["score"] < threshold).mean())
