"""The numbers of a report, computed again with plain NumPy and SciPy."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from desmezcla.errors import ParameterError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import StemScores, TrackScores
from desmezcla.evaluation.track_json import track_json
from desmezcla.listening.analysis.analysis import Analysis, analyse
from desmezcla.listening.analysis.correlation import correlated, read_scores
from desmezcla.listening.analysis.effects import MixedModel, mixed_model
from desmezcla.listening.analysis.ratings import Ratings, collect
from desmezcla.listening.analysis.screening import screen
from desmezcla.listening.design import ListeningTest
from desmezcla.listening.store import ListenerState, Store

from .conftest import Rate, answer_all, plain_design

MEANS = {"system0": 2.2, "system1": 3.1, "system2": 3.5, "reference": 4.8}
DESIGN = plain_design(4, songs=3, stems=2, repeats=4)

Key = tuple[int, str, str, str, str]
"""Listener, song, stem, condition, scale."""


class Panel:
    """Listeners who rate by a rule with noise, and remember what they gave first."""

    def __init__(self, spread: float = 0.5) -> None:
        self.rng = np.random.default_rng(0)
        self.spread = spread
        self.first: dict[Key, int] = {}
        self.again: dict[Key, int] = {}
        self.bias: dict[int, float] = {}

    def __call__(
        self, listener: ListenerState, song: str, stem: str, condition: str, scale: str
    ) -> int:
        assert listener.number is not None
        bias = self.bias.setdefault(listener.number, self.rng.normal(0, 0.3))
        wanted = MEANS[condition] + bias + 0.4 * (song == "song1") + self.rng.normal(0, self.spread)
        value = int(np.clip(round(wanted), 1, 5))
        key = (listener.number + 1, song, stem, condition, scale)
        (self.again if key in self.first else self.first)[key] = value
        return value


def constant(value: int) -> Rate:
    return lambda *_: value


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Panel, Ratings]:
    """Let seven listeners answer everything."""
    rate = Panel()
    with Store(tmp_path_factory.mktemp("panel") / "answers.sqlite") as store:
        for _ in range(7):
            answer_all(store, DESIGN, rate)
        return rate, collect(DESIGN, store.listeners())


def plain(panel: Panel, **wanted: str) -> dict[int, list[int]]:
    """Return the first ratings of each listener that are of what is wanted."""
    found: dict[int, list[int]] = {}
    for (listener, *names), value in panel.first.items():
        facts = dict(zip(("song", "stem", "condition", "scale"), names, strict=True))
        if all(facts[key] == name for key, name in wanted.items()):
            found.setdefault(listener, []).append(value)
    return found


def check_means(table: pd.DataFrame, panel: Panel, by: tuple[str, ...]) -> None:
    for row in table.itertuples():
        wanted = {name: getattr(row, name) for name in ("scale", "condition", *by)}
        means = np.array([np.mean(values) for values in plain(panel, **wanted).values()])
        assert row.mos == pytest.approx(means.mean(), abs=1e-12)
        half = scipy.stats.t.ppf(0.975, len(means) - 1) * scipy.stats.sem(means)
        low, high = means.mean() - half, means.mean() + half
        assert (row.low, row.high) == pytest.approx((low, high), abs=1e-9)
        assert (row.listeners, row.ratings) == (
            len(means),
            sum(map(len, plain(panel, **wanted).values())),
        )
        assert row.boot_low <= row.mos <= row.boot_high


def test_means_and_intervals_equal_those_computed_apart(panel: tuple[Panel, Ratings]) -> None:
    rate, ratings = panel
    found = analyse(ratings)
    assert found.counted == 7
    assert len(found.overall) == 8
    check_means(found.overall, rate, ())
    check_means(found.by_stem, rate, ("stem",))
    check_means(found.by_song, rate, ("song",))
    check_means(found.by_excerpt, rate, ("song", "stem"))
    # The usual definition: all opinions of complete listeners, divided by their number.
    for row in found.overall.itertuples():
        values = plain(rate, scale=row.scale, condition=row.condition).values()
        assert row.mos == pytest.approx(np.mean([v for one in values for v in one]), abs=1e-12)


def wide(panel: Panel, scale: str) -> np.ndarray:
    """Return the means of listeners and conditions, `[listeners, conditions]`."""
    columns = [plain(panel, scale=scale, condition=name) for name in MEANS]
    return np.array([[np.mean(column[n]) for column in columns] for n in sorted(columns[0])])


def test_pairs_equal_those_computed_apart(panel: tuple[Panel, Ratings]) -> None:
    rate, ratings = panel
    for scale, effects in analyse(ratings).effects.items():
        means = wide(rate, scale)
        expected = []
        for a, b in combinations(range(4), 2):
            differences = means[:, a] - means[:, b]
            test = scipy.stats.wilcoxon(differences, method=scipy.stats.PermutationMethod(2**7))
            expected.append(
                (differences.mean(), scipy.stats.ttest_1samp(differences, 0), test.pvalue)
            )
        table = effects.pairs
        names = list(combinations(MEANS, 2))
        assert list(zip(table["condition_a"], table["condition_b"], strict=True)) == names
        assert table["difference"].to_numpy() == pytest.approx([one[0] for one in expected])
        for row, (_, test, p) in zip(table.itertuples(), expected, strict=True):
            interval = test.confidence_interval(0.95)
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            assert row.p == pytest.approx(p)
        p = table["p"].to_numpy()
        steps = [min(1.0, value * (len(p) - place)) for place, value in enumerate(sorted(p))]
        holm = np.maximum.accumulate(steps)
        assert sorted(table["p_holm"]) == pytest.approx(list(holm))


def test_analysis_of_variance_and_ranks_equal_those_computed_apart(
    panel: tuple[Panel, Ratings],
) -> None:
    rate, ratings = panel
    for scale, effects in analyse(ratings).effects.items():
        means = wide(rate, scale)
        count, conditions = means.shape
        grand = means.mean()
        of_conditions = count * np.square(means.mean(axis=0) - grand).sum()
        of_listeners = conditions * np.square(means.mean(axis=1) - grand).sum()
        rest = np.square(means - grand).sum() - of_conditions - of_listeners
        degrees = (conditions - 1, (conditions - 1) * (count - 1))
        f = (of_conditions / degrees[0]) / (rest / degrees[1])
        assert not isinstance(effects.anova, str)
        assert effects.anova.statistic == pytest.approx(f)
        assert effects.anova.degrees == degrees
        assert effects.anova.p == pytest.approx(scipy.stats.f.sf(f, *degrees))
        assert not isinstance(effects.ranks, str)
        expected = scipy.stats.friedmanchisquare(*means.T)
        assert effects.ranks.statistic == pytest.approx(expected.statistic)
        assert effects.ranks.p == pytest.approx(expected.pvalue)


def test_the_mixed_model_equals_the_variances_of_a_balanced_design(
    panel: tuple[Panel, Ratings],
) -> None:
    """In a balanced crossed design, restricted maximum likelihood has a closed form."""
    rate, ratings = panel
    model = analyse(ratings).effects["quality"].model
    assert isinstance(model, MixedModel)
    # [listeners, excerpts, conditions]
    excerpts = [(e.song, e.stem) for e in DESIGN.excerpts]
    cube = np.array(
        [
            [[rate.first[n, e[0], e[1], c, "quality"] for c in MEANS] for e in excerpts]
            for n in range(1, 8)
        ],
        float,
    )
    n, e, c = cube.shape
    grand = cube.mean()
    parts = {
        "listener": e * c * np.square(cube.mean(axis=(1, 2)) - grand).sum(),
        "excerpt": n * c * np.square(cube.mean(axis=(0, 2)) - grand).sum(),
        "condition": n * e * np.square(cube.mean(axis=(0, 1)) - grand).sum(),
    }
    degrees = n * e * c - 1 - (n - 1) - (e - 1) - (c - 1)
    rest = (np.square(cube - grand).sum() - sum(parts.values())) / degrees
    assert model.variances["rest"] == pytest.approx(rest, rel=1e-3)
    listener = (parts["listener"] / (n - 1) - rest) / (e * c)
    excerpt = (parts["excerpt"] / (e - 1) - rest) / (n * c)
    assert model.variances["listener"] == pytest.approx(listener, rel=0.01)
    assert model.variances["excerpt"] == pytest.approx(excerpt, rel=0.01)
    means = cube.mean(axis=(0, 1))
    assert model.intercept == pytest.approx(means[0])
    half = 1.959964 * math.sqrt(2 * rest / (n * e))
    for effect, difference in zip(model.effects, means[1:] - means[0], strict=True):
        assert effect.estimate == pytest.approx(difference)
        assert (effect.low, effect.high) == pytest.approx(
            (difference - half, difference + half), rel=1e-3
        )
    assert model.chi2 == pytest.approx(parts["condition"] / rest, rel=1e-3)
    assert model.p == pytest.approx(scipy.stats.chi2.sf(model.chi2, 3))


def test_known_effects_are_found(panel: tuple[Panel, Ratings]) -> None:
    model = analyse(panel[1]).effects["contamination"].model
    assert isinstance(model, MixedModel)
    for effect in model.effects:
        assert effect.low < MEANS[effect.condition] - MEANS["system0"] + 0.2
        assert effect.high > MEANS[effect.condition] - MEANS["system0"] - 0.2
    assert model.p < 1e-6


def test_a_model_that_cannot_be_fitted_says_why() -> None:
    table = pd.DataFrame(
        {"listener": [1, 1], "song": ["a"] * 2, "stem": ["b"] * 2, "condition": ["x", "y"],
         "score": [1.0, 2.0]}
    )  # fmt: skip
    assert "two listeners" in str(mixed_model(table, ("x", "y")))
    same = pd.concat([table.assign(listener=n, score=3.0) for n in (1, 2, 3)])
    assert isinstance(mixed_model(same, ("x", "y")), str)


def add(store: Store, rate: Rate, *, stop_after: int = 10**6) -> None:
    answer_all(store, DESIGN, rate, stop_after=stop_after)


def test_each_rule_of_screening_is_broken_by_who_breaks_it(store: Store) -> None:
    good = Panel(0.3)
    for _ in range(5):
        add(store, good)
    add(store, constant(4))
    add(store, Panel(0.1), stop_after=10)
    heard: dict[tuple[str, ...], int] = {}

    def forgetful(_: ListenerState, song: str, stem: str, condition: str, scale: str) -> int:
        heard[song, stem, condition, scale] = heard.get((song, stem, condition, scale), 0) + 1
        value = round(MEANS[condition])
        again = heard[song, stem, condition, scale] > 1
        return value if not again else (value - 3 if value > 3 else value + 3)

    add(store, forgetful)
    add(store, lambda *names: 6 - round(MEANS[names[3]]))
    verdicts = screen(collect(DESIGN, store.listeners()))
    assert [one.broken for one in verdicts[:5]] == [()] * 5
    assert "constant" in verdicts[5].broken
    assert verdicts[6].broken == ("answered",)
    assert verdicts[7].broken == ("repeats",)
    assert set(verdicts[8].broken) == {"reference", "agreement"}
    # The measures of one, apart.
    own = {key[1:]: value for key, value in good.first.items() if key[0] == 1}
    again = {key[1:]: value for key, value in good.again.items() if key[0] == 1}
    repeats = np.mean([abs(own[key] - value) for key, value in again.items()])
    assert verdicts[0].measures["repeats"] == pytest.approx(repeats)
    by_scale = [
        np.mean([v for k, v in own.items() if k[2:] == ("reference", scale)])
        for scale in ("quality", "contamination")
    ]
    assert verdicts[0].measures["reference"] == pytest.approx(min(by_scale))


def test_who_breaks_a_rule_is_left_out_or_kept_as_is_asked(store: Store) -> None:
    for _ in range(3):
        add(store, Panel(0.3))
    add(store, constant(1))
    ratings = collect(DESIGN, store.listeners())
    assert [analyse(ratings, screened=wanted).counted for wanted in (True, False)] == [3, 4]
    with pytest.raises(ParameterError, match="all 1 listeners break a rule"):
        analyse(ratings.of([4]))


def test_nobody_and_nothing_are_errors(store: Store) -> None:
    store.add_listeners(2)
    with pytest.raises(ParameterError, match="nobody has rated anything"):
        collect(DESIGN, store.listeners())


def mushra_design() -> ListeningTest:
    plain = DESIGN.model_dump()
    for place, excerpt in enumerate(plain["excerpts"]):
        excerpt["open_reference"] = f"{10_000 + place:024x}"
    return ListeningTest.model_validate(plain | {"mushra": True})


def test_mushra_pages_are_a_scale_and_have_a_rule(store: Store) -> None:
    design = mushra_design()

    def rate(listener: ListenerState, *names: str) -> int:
        condition, scale = names[2:]
        if scale != "mushra":
            return round(MEANS[condition])
        missed = listener.number == 2 and condition == "reference"
        return 50 if missed else round(20 * MEANS[condition])

    for _ in range(3):
        answer_all(store, design, rate)
    ratings = collect(design, store.listeners())
    assert [one.broken for one in screen(ratings)] == [(), (), ("mushra",)]
    found = analyse(ratings)
    assert found.ratings.scales == ("quality", "contamination", "mushra")
    of_mushra = found.overall[found.overall["scale"] == "mushra"].set_index("condition")["mos"]
    assert of_mushra.to_dict() == {name: round(20 * mean) for name, mean in MEANS.items()}


def test_groups_hold_the_listeners_who_belong_to_them(panel: tuple[Panel, Ratings]) -> None:
    rate, ratings = panel
    table = analyse(ratings).by_group["experience"]
    # `answer_all` gives choices in turn.
    choices = ("none", "some", "trained", "professional")
    for row in table.itertuples():
        own = plain(rate, scale=row.scale, condition=row.condition)
        members = [n for n in own if choices[(n - 1) % 4] == row.experience]
        assert row.listeners == len(members)
        assert row.mos == pytest.approx(np.mean([np.mean(own[n]) for n in members]))
    assert set(table["experience"]) == set(choices)


def write_evaluation(folder: Path, offset_db: float, rng: np.random.Generator) -> Path:
    (folder / "test").mkdir(parents=True)
    for song in ("song0", "song1", "song2"):
        stems: dict[str, StemScores] = {}
        for stem in ("stem0", "stem1"):
            frames = rng.normal(offset_db, 2, 9)
            stems[stem] = {
                "SDR": frames,
                "ISR": frames + 1,
                "SIR": frames**2,
                "SAR": -frames,
                "global_SDR": float(frames.mean()),
                "SI-SDR": math.nan,
            }
        text = track_json(TrackScores(song, stems, BssEvalConfig()))
        (folder / "test" / f"{song}.json").write_text(text, encoding="utf-8")
    return folder


def with_scores(ratings: Ratings, tmp_path: Path) -> tuple[Analysis, pd.DataFrame]:
    rng = np.random.default_rng(1)
    folders = {
        f"system{i}": write_evaluation(tmp_path / f"scores{i}", 3.0 * i, rng) for i in range(3)
    }
    scores = read_scores(DESIGN, folders)
    return analyse(ratings, scores=scores), scores


def test_correlations_equal_those_computed_apart(
    panel: tuple[Panel, Ratings], tmp_path: Path
) -> None:
    found, scores = with_scores(panel[1], tmp_path)
    assert found.correlations is not None
    objective = {(r.condition, r.song, r.stem, r.metric): r.objective for r in scores.itertuples()}
    for row in found.correlations.itertuples():
        pairs = []
        for mean in found.by_excerpt.itertuples():
            value = objective.get((mean.condition, mean.song, mean.stem, row.metric))
            if mean.scale == row.scale and value is not None and row.stem in ("all", mean.stem):
                pairs.append((value, mean.mos))
        assert row.points == len(pairs) == (18 if row.stem == "all" else 9)
        x, y = np.array(pairs).T
        pearson, spearman = scipy.stats.pearsonr(x, y), scipy.stats.spearmanr(x, y)
        interval = pearson.confidence_interval(0.95)
        assert row.pearson == pytest.approx(pearson.statistic)
        assert (row.pearson_low, row.pearson_high) == pytest.approx((interval.low, interval.high))
        assert row.spearman == pytest.approx(spearman.statistic)
        assert row.spearman_low < row.spearman < row.spearman_high
    assert set(found.correlations["metric"]) == {"SDR", "ISR", "SIR", "SAR", "global_SDR"}


def test_scores_of_other_songs_are_refused(panel: tuple[Panel, Ratings], tmp_path: Path) -> None:
    _, scores = with_scores(panel[1], tmp_path)
    with pytest.raises(ParameterError, match="none of the results"):
        analyse(panel[1], scores=scores.assign(song="another"))


def test_correlations_of_too_little_are_none() -> None:
    assert all(map(math.isnan, correlated([1, 2, 3], [1, 2, 3])))
    assert all(map(math.isnan, correlated([1, 1, 1, 1], [1, 2, 3, 4])))
    assert correlated([1, 2, 3, 4], [2, 4, 6, 8])[:3] == pytest.approx((1, 1, 1))


def test_scores_of_unknown_systems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="the systems are system0, system1, system2"):
        read_scores(DESIGN, {"reference": tmp_path})
