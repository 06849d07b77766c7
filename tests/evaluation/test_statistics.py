"""Intervals, tests and ranks, against SciPy and against examples worked by hand."""

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.errors import ParameterError
from desmezcla.evaluation.comparing.statistics import (
    _resampled,
    _signed_rank_p,
    aggregate,
    bootstrap_interval,
    bootstrap_mean_interval,
    friedman_tests,
    holm,
    mean_ranks,
    paired_tests,
)

NAN = math.nan


def tracks(scores: dict[str, dict[str, list[float]]], metric: str = "SDR") -> Any:
    """Return a table of tracks from system -> stem -> one score for each track."""
    rows = [
        (system, f"track {i}", "test", "", stem, metric, value)
        for system, stems in scores.items()
        for stem, values in stems.items()
        for i, value in enumerate(values)
    ]
    columns = ["system", "track", "split", "genre", "stem", "metric", "score"]
    return pd.DataFrame(rows, columns=columns)


def random_tracks(systems: int, count: int = 20, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return tracks(
        {
            f"s{i}": {stem: list(rng.normal(i / 4, 1, count)) for stem in ("vocals", "drums")}
            for i in range(systems)
        }
    )


def scores_of(table: Any, system: str, stem: str) -> Any:
    return table[(table["system"] == system) & (table["stem"] == stem)]["score"].to_numpy()


def test_what_is_not_finite_is_left_out_of_aggregates() -> None:
    values = [1.0, NAN, 2.0, math.inf, -math.inf, 9.0]
    assert aggregate(values) == 2.0
    assert aggregate(values, "mean") == 4.0
    assert math.isnan(aggregate([NAN, math.inf]))
    assert math.isnan(aggregate([]))
    assert aggregate(3.0) == 3.0


@pytest.mark.parametrize(("how", "function"), [("median", np.median), ("mean", np.mean)])
def test_the_interval_is_scipys(how: str, function: Any) -> None:
    values = np.random.default_rng(1).normal(5, 3, 40)
    found = bootstrap_interval([*values, NAN], how, 0.9, 4000, seed=7)
    reference = scipy.stats.bootstrap(
        (values,),
        function,
        confidence_level=0.9,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(3),
    ).confidence_interval
    # Both are drawn; their ends differ by some thousandths of the interval of the mean.
    assert found == pytest.approx(tuple(reference), abs=0.1)
    assert found == bootstrap_interval(values, how, 0.9, 4000, seed=7)
    assert found[0] < function(values) < found[1]


def test_the_interval_of_a_mean_is_near_that_of_student() -> None:
    values = np.random.default_rng(2).normal(0, 1, 400)
    student = scipy.stats.t.interval(0.95, 399, values.mean(), scipy.stats.sem(values))
    assert bootstrap_interval(values, "mean") == pytest.approx(student, abs=0.01)


def test_two_values_have_an_interval_and_fewer_have_none() -> None:
    assert bootstrap_interval([1.0, 3.0]) == (1.0, 3.0)
    assert all(map(math.isnan, bootstrap_interval([1.0, NAN])))
    assert all(map(math.isnan, bootstrap_interval([NAN, NAN])))
    assert all(map(math.isnan, bootstrap_interval([])))


def test_more_values_than_are_drawn_at_once_give_as_many_resamples() -> None:
    values = np.linspace(0, 1, 3001)
    low, high = bootstrap_interval(values, "mean", resamples=1500)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.01)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 3001**0.5, rel=0.1)


def test_the_mean_over_stems_is_drawn_track_by_track() -> None:
    rng = np.random.default_rng(4)
    common = rng.normal(size=(60, 1))
    together, opposed = np.hstack([common, common]), np.hstack([common, -common])
    alone = bootstrap_interval(common[:, 0], "mean")
    assert bootstrap_mean_interval(together, "mean") == pytest.approx(alone)
    assert bootstrap_mean_interval(opposed, "mean") == pytest.approx((0, 0), abs=1e-12)


def test_a_stem_that_few_tracks_have_does_not_spoil_the_interval() -> None:
    columns = np.array([[1.0, 5.0], [2.0, NAN], [3.0, NAN], [4.0, NAN]])
    low, high = bootstrap_mean_interval(columns)
    assert 3.0 <= low < high <= 4.5


@given(
    st.lists(st.floats(-9, 9) | st.just(NAN), min_size=1, max_size=7), st.sampled_from(range(50))
)
@pytest.mark.filterwarnings("ignore:All-NaN slice|Mean of empty slice:RuntimeWarning")
def test_resamples_are_aggregated_as_numpy_does(values: list[float], seed: int) -> None:
    column = np.array(values)
    drawn = np.random.default_rng(seed).integers(len(column), size=(20, len(column)))
    for how, function in (("median", np.nanmedian), ("mean", np.nanmean)):
        expected = function(column[drawn], axis=1)
        np.testing.assert_allclose(_resampled(column, drawn, how), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"statistic": "mode"}, "aggregation 'mode'"),
        ({"level": 1.0}, "level=1.0"),
        ({"resamples": 0}, "resamples=0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        bootstrap_interval([1.0, 2.0], **options)


def test_holms_correction_as_worked_by_hand() -> None:
    # In order: 0.01*4, max(0.04, 0.02*3), max(0.06, 0.03*2), max(0.06, 0.04*1).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferronis(values: list[float]) -> None:
    p = np.array(values)
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_a_missing_p_is_no_test_of_the_family() -> None:
    np.testing.assert_allclose(holm([0.02, NAN, 0.01]), [0.02, NAN, 0.02])


def test_pairs_are_tested_as_scipy_does() -> None:
    table = random_tracks(3)
    found = paired_tests(table)
    assert len(found) == 6
    for row in found.itertuples():
        a, b = (scores_of(table, system, row.stem) for system in (row.system_a, row.system_b))
        assert row.p == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
        assert row.difference == pytest.approx(np.median(a - b))
        assert row.tracks == 20
    np.testing.assert_allclose(found["p_holm"], holm(found["p"]))
    assert (found["p_holm"] > found["p"]).any()


@pytest.mark.parametrize("count", [1, 2, 7, 12, 50, 51])
@pytest.mark.parametrize("shift", [0.0, 0.4, 5.0])
def test_signed_ranks_are_scipys(count: int, shift: float) -> None:
    differences = np.random.default_rng(count).normal(shift, 1, count)
    expected = scipy.stats.wilcoxon(differences).pvalue
    assert _signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_equal_differences_are_counted_as_all_signs_are(values: list[int]) -> None:
    changed = np.array([value for value in values if value], float)
    ranks = scipy.stats.rankdata(np.abs(changed))
    sums = [sum(chosen) for chosen in product(*((0.0, rank) for rank in ranks))]
    found = ranks[changed > 0].sum()
    tails = [np.mean(np.array(sums) <= found), np.mean(np.array(sums) >= found)]
    expected = min(1.0, 2 * min(tails))
    assert _signed_rank_p(np.array(values, float)) == pytest.approx(expected)


def test_a_pair_of_five_tracks_by_hand() -> None:
    # All of 5 differences have one sign: the chance is 2 / 2**5.
    found = paired_tests(tracks({"a": {"bass": [1, 2, 3, 4, 5]}, "b": {"bass": [0, 0, 0, 0, 0]}}))
    assert found["p"].item() == pytest.approx(2 / 2**5)
    assert found["difference"].item() == 3.0


def test_pairs_that_cannot_differ_or_have_nothing_in_common_have_a_result() -> None:
    table = tracks(
        {
            "a": {"vocals": [1, 2, 3], "drums": [1, NAN], "bass": [1]},
            "b": {"vocals": [1, 2, 3], "drums": [NAN, 1], "bass": [2]},
        }
    )
    found = paired_tests(table).set_index("stem")
    assert found.loc["vocals", "p"] == 1.0
    assert math.isnan(found.loc["drums", "p"])
    assert found.loc["drums", "tracks"] == 0
    assert math.isnan(found.loc["drums", "p_holm"])
    assert found.loc["bass", "p"] == 1.0


def test_only_common_tracks_and_finite_scores_count_in_a_pair() -> None:
    table = tracks({"a": {"vocals": [5, 6, math.inf, 9]}, "b": {"vocals": [1, 3, 2]}})
    found = paired_tests(table)
    assert found["tracks"].item() == 2
    assert found["difference"].item() == 3.5


def test_a_stem_of_one_system_has_no_pair() -> None:
    table = tracks({"a": {"vocals": [1, 2], "piano": [1, 2]}, "b": {"vocals": [2, 3]}})
    assert list(paired_tests(table)["stem"]) == ["vocals"]
    assert set(mean_ranks(table)["stem"]) == {"vocals"}
    assert paired_tests(table, "SIR").empty
    assert list(paired_tests(table, "SIR").columns) == list(paired_tests(table).columns)


def test_ranks_by_hand_with_a_tie() -> None:
    table = tracks({"a": {"x": [3, 3, 1]}, "b": {"x": [2, 3, 2]}, "c": {"x": [1, 1, 3]}})
    ranks = mean_ranks(table).set_index("system")["rank"]
    assert ranks["a"] == pytest.approx((1 + 1.5 + 3) / 3)
    assert ranks["b"] == pytest.approx((2 + 1.5 + 2) / 3)
    assert ranks["c"] == pytest.approx((3 + 3 + 1) / 3)


def test_ranks_leave_out_tracks_that_a_system_has_no_score_for() -> None:
    table = tracks({"a": {"x": [3, 1]}, "b": {"x": [2, NAN]}})
    ranks = mean_ranks(table)
    assert list(ranks["rank"]) == [1.0, 2.0]
    assert list(ranks["tracks"]) == [1, 1]
    none = mean_ranks(tracks({"a": {"x": [NAN]}, "b": {"x": [2]}}))
    assert none["rank"].isna().all()


def test_friedmans_test_is_scipys() -> None:
    table = random_tracks(4)
    found = friedman_tests(table)
    assert list(found["stem"]) == ["vocals", "drums"]
    for row in found.itertuples():
        columns = [scores_of(table, f"s{i}", row.stem) for i in range(4)]
        expected = scipy.stats.friedmanchisquare(*columns)
        assert (row.statistic, row.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_friedmans_test_has_a_result_for_equal_systems_and_few_tracks() -> None:
    equal = friedman_tests(tracks({s: {"x": [1, 2, 3]} for s in "abc"}))
    assert (equal["statistic"].item(), equal["p"].item()) == (0.0, 1.0)
    assert math.isnan(friedman_tests(tracks({s: {"x": [1]} for s in "abc"}))["p"].item())
    assert friedman_tests(random_tracks(2)).empty


@pytest.mark.parametrize("function", [paired_tests, mean_ranks, friedman_tests])
def test_two_systems_of_one_name_are_refused(function: Any) -> None:
    table = tracks({"a": {"x": [1, 2]}})
    with pytest.raises(ParameterError, match="a name of its own"):
        function(pd.concat([table, table]))
