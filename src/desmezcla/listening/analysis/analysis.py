"""Everything that a report says, computed from the answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from desmezcla.errors import ParameterError
from desmezcla.listening.analysis.correlation import correlations, points
from desmezcla.listening.analysis.effects import (
    Anova,
    MixedModel,
    friedman,
    listener_means,
    mixed_model,
    pairs,
    repeated_anova,
)
from desmezcla.listening.analysis.means import mean_scores
from desmezcla.listening.analysis.ratings import Ratings, with_groups
from desmezcla.listening.analysis.screening import Verdict, screen

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ScaleEffects:
    """Whether conditions differ on a scale; a text says why something could not be computed.

    Attributes:
        model: The mixed-effects model.
        anova: The analysis of variance with repeated measures.
        ranks: Friedman's test.
        pairs: Tests of all pairs.
    """

    model: MixedModel | str
    anova: Anova | str
    ranks: Anova | str
    pairs: "DataFrame"


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        everything: The answers of all listeners.
        ratings: The answers that count.
        verdicts: What screening says of each listener.
        screened: Whether listeners who break a rule were left out.
        overall: Mean opinion scores by scale and condition.
        by_stem: And by stem.
        by_song: And by song.
        by_excerpt: And by song and stem.
        by_group: Names of groupings -> scores by scale, condition and group.
        effects: By scale.
        points: Mean opinion scores beside objective ones; None without objective ones.
        correlations: What they have to do with each other.
    """

    everything: Ratings
    ratings: Ratings
    verdicts: tuple[Verdict, ...]
    screened: bool
    overall: "DataFrame"
    by_stem: "DataFrame"
    by_song: "DataFrame"
    by_excerpt: "DataFrame"
    by_group: Mapping[str, "DataFrame"]
    effects: Mapping[str, ScaleEffects]
    points: "DataFrame | None" = None
    correlations: "DataFrame | None" = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions that were rated, in the order of the design."""
        rated = set(self.overall["condition"])
        return tuple(c.name for c in self.ratings.design.conditions if c.name in rated)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in the order of the design."""
        return tuple(dict.fromkeys(e.stem for e in self.ratings.design.excerpts))

    @property
    def songs(self) -> tuple[str, ...]:
        """Names of the songs."""
        return tuple(song.name for song in self.ratings.design.songs)

    @property
    def counted(self) -> int:
        """How many listeners count."""
        return len(self.ratings.listeners)


def analyse(
    everything: Ratings, *, screened: bool = True, scores: "DataFrame | None" = None
) -> Analysis:
    """Analyse the answers of a test.

    Args:
        everything: What `collect` returns.
        screened: Whether listeners who break a rule of the design are left out.
        scores: Objective scores, as `read_scores` returns them.

    Errors:
        ParameterError: if nobody is left, or the objective scores are of other songs.
    """
    verdicts = screen(everything)
    kept = [one.listener for one in verdicts if not (screened and one.broken)]
    ratings = everything.of(kept)
    if not len(ratings.all):
        raise ParameterError(
            f"all {len(verdicts)} listeners break a rule of screening, so that nothing is left; "
            "ask more people, or add --keep-all to see what they answered"
        )
    first = ratings.first
    table, groupings = with_groups(ratings)
    by_excerpt = mean_scores(first, ("scale", "condition", "song", "stem"))
    found = None if scores is None else points(scores, by_excerpt)
    if found is not None and not len(found):
        raise ParameterError(
            "--scores: none of the results has a score of a song and stem that was heard; evaluate "
            "the same songs under the same names"
        )
    stems = tuple(dict.fromkeys(excerpt.stem for excerpt in ratings.design.excerpts))
    return Analysis(
        everything=everything,
        ratings=ratings,
        verdicts=verdicts,
        screened=screened,
        overall=mean_scores(first, ("scale", "condition")),
        by_stem=mean_scores(first, ("scale", "condition", "stem")),
        by_song=mean_scores(first, ("scale", "condition", "song")),
        by_excerpt=by_excerpt,
        by_group={name: mean_scores(table, ("scale", "condition", name)) for name in groupings},
        effects={scale: _effects(ratings, scale) for scale in ratings.scales},
        points=found,
        correlations=None if found is None else correlations(found, stems),
    )


def _effects(ratings: Ratings, scale: str) -> ScaleEffects:
    chosen = ratings.first[ratings.first["scale"] == scale]
    conditions = [condition.name for condition in ratings.design.conditions]
    wide = listener_means(chosen, conditions)
    return ScaleEffects(
        mixed_model(chosen, conditions), repeated_anova(wide), friedman(wide), pairs(wide)
    )
