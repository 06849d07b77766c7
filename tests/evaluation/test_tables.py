"""Tables of frames, tracks and summaries."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.evaluation.comparing.tables import (
    frame_table,
    stem_mean_table,
    summary_table,
    track_table,
)
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import FRAME_METRICS, METRICS, Results, StemScores, TrackScores
from desmezcla.evaluation.track_json import track_json

NAN = math.nan


def stem_scores(sdr: list[float], *, global_sdr: float = 1.0) -> StemScores:
    frames = np.array(sdr, float)
    return {
        "SDR": frames,
        "ISR": frames + 1,
        "SIR": frames + 2,
        "SAR": frames + 3,
        "global_SDR": global_sdr,
        "SI-SDR": NAN,
    }


def results(name: str, tracks: dict[str, dict[str, list[float]]], **about: Any) -> Results:
    config = BssEvalConfig(hop_s=0.5)
    return Results(
        name,
        tuple(
            TrackScores(
                track, {stem: stem_scores(sdr) for stem, sdr in stems.items()}, config, **about
            )
            for track, stems in tracks.items()
        ),
    )


def pick(table: Any, **facts: Any) -> Any:
    for column, value in facts.items():
        table = table[table[column] == value]
    return table


def test_every_frame_has_a_row_with_its_time() -> None:
    table = frame_table([results("a", {"t": {"vocals": [1, NAN, 3], "bass": [4]}}, genre="Rock")])
    assert len(table) == (3 + 1) * len(FRAME_METRICS)
    vocals = pick(table, stem="vocals", metric="SAR")
    assert list(vocals["time_s"]) == [0.0, 0.5, 1.0]
    np.testing.assert_equal(vocals["score"].to_numpy(), [4, NAN, 6])
    assert set(
        zip(table["system"], table["track"], table["split"], table["genre"], strict=True)
    ) == {("a", "t", "test", "Rock")}


def test_every_track_has_a_row_for_each_stem_and_metric() -> None:
    both = [
        results("a", {"t": {"bass": [1, 2, 9], "vocals": [NAN, math.inf]}, "u": {"vocals": [7]}}),
        results("b", {"t": {"vocals": [4]}}),
    ]
    table = track_table(both)
    assert len(table) == 4 * len(METRICS)
    assert pick(table, stem="bass", metric="SDR")["score"].item() == 2
    assert pick(table, stem="bass", metric="global_SDR")["score"].item() == 1
    assert pick(table, system="a", track="t", stem="vocals", metric="SDR")["score"].isna().all()
    assert pick(table, metric="SI-SDR")["score"].isna().all()
    means = track_table(both, frames="mean")
    assert pick(means, stem="bass", metric="SDR")["score"].item() == 4
    assert list(dict.fromkeys(table["stem"])) == ["vocals", "bass"]
    with pytest.raises(ParameterError, match="'mode' must be one of median, mean"):
        track_table(both, frames="mode")


def test_the_summary_is_the_median_of_medians_with_an_interval() -> None:
    tracks = {f"t{i}": {"vocals": [i, i, 100.0]} for i in range(9)} | {"none": {"vocals": [NAN]}}
    table = track_table([results("a", tracks)])
    row = pick(summary_table(table), metric="SDR").iloc[0]
    assert (row["system"], row["stem"], row["score"], row["tracks"]) == ("a", "vocals", 4.0, 9)
    assert 0 <= row["low"] < 4 < row["high"] <= 8
    mean = pick(summary_table(table, over="mean", level=0.5), metric="SDR").iloc[0]
    assert mean["score"] == 4.0
    assert mean["high"] - mean["low"] < row["high"] - row["low"]


def test_medians_are_those_of_musevals_reader(tmp_path: Path) -> None:
    museval = pytest.importorskip("museval")
    rng = np.random.default_rng(0)
    tracks = {
        f"t{i}": {s: [*rng.normal(5, 2, 9), NAN] for s in ("vocals", "bass")} for i in range(6)
    }
    made = results("a", tracks)
    (tmp_path / "test").mkdir()
    for track in made.tracks:
        path = tmp_path / "test" / f"{track.track}.json"
        path.write_text(track_json(track), encoding="utf-8")
    store = museval.EvalStore(frames_agg="median", tracks_agg="median")
    store.add_eval_dir(str(tmp_path))
    summary = summary_table(track_table([made])).set_index(["stem", "metric"])["score"]
    expected = store.agg_frames_tracks_scores()
    assert len(expected) == 2 * len(FRAME_METRICS)
    for key, score in expected.items():
        assert summary[key] == pytest.approx(score, abs=1e-5)


def test_a_summary_by_genre_and_of_one_track_or_none() -> None:
    table = track_table(
        [
            results("a", {"t": {"vocals": [1]}}, genre="Rock"),
            results("b", {"t": {"vocals": [2]}, "u": {"vocals": [4]}}, genre="Jazz"),
        ]
    )
    summary = summary_table(table, by=("genre", "metric"))
    assert list(summary.columns) == ["genre", "metric", "score", "low", "high", "tracks"]
    rock = pick(summary, genre="Rock", metric="SDR").iloc[0]
    assert (rock["score"], rock["tracks"]) == (1.0, 1)
    assert math.isnan(rock["low"])
    assert pick(summary, genre="Jazz", metric="SDR")["score"].item() == 3.0
    nothing = pick(summary, genre="Jazz", metric="SI-SDR").iloc[0]
    assert nothing["tracks"] == 0
    assert math.isnan(nothing["score"])


def test_the_mean_over_stems_needs_all_of_them() -> None:
    both = [
        results("a", {"t": {"vocals": [1], "bass": [3]}, "u": {"vocals": [2], "bass": [NAN]}}),
        results("b", {"t": {"vocals": [4]}}),
    ]
    table = stem_mean_table(track_table(both), ("vocals", "bass"))
    assert list(table.columns) == list(
        summary_table(track_table(both)).columns[[0, 2, 1, 3, 4, 5, 6]]
    )
    (a,) = pick(table, system="a", metric="SDR").itertuples()
    assert (a.stem, a.score, a.tracks) == ("mean", (1.5 + 3) / 2, 2)
    assert a.low <= a.score <= a.high
    (b,) = pick(table, system="b", metric="SDR").itertuples()
    assert math.isnan(b.score)
    assert b.tracks == 1


def test_no_results_give_tables_with_columns_and_no_rows() -> None:
    assert frame_table([]).columns.to_list()[-2:] == ["time_s", "score"]
    assert summary_table(track_table([])).empty


def test_the_summary_changes_nothing_and_is_the_same_each_time() -> None:
    table = track_table([results("a", {f"t{i}": {"vocals": [i]} for i in range(5)})])
    before = table.copy()
    assert summary_table(table).equals(summary_table(table))
    assert table.equals(before)


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DesmezclaError, match=r"need pandas.*pip install 'desmezcla\[eval\]'"):
        track_table([results("a", {"t": {"vocals": [1]}})])
