"""Comparisons: what is written, what it says, and what is refused."""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.comparing.comparison import compare, with_genres
from desmezcla.evaluation.comparing.published import published
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import Results, StemScores, TrackScores

STEMS = ("vocals", "drums", "bass", "other")
TEXTS = ("md", "tex", "csv")


def stem_scores(frames: Any) -> StemScores:
    frames = np.asarray(frames, float)
    return {
        "SDR": frames,
        "ISR": frames + 1,
        "SIR": frames + 2,
        "SAR": frames + 3,
        "global_SDR": float(frames.mean()),
        "SI-SDR": math.nan,
    }


def results(
    name: str,
    better_db: float = 0.0,
    *,
    tracks: int = 8,
    stems: tuple[str, ...] = STEMS,
    config: BssEvalConfig | None = None,
    split: str = "test",
    dataset: str = "",
) -> Results:
    """Return random scores; the tracks of all systems are equally hard."""
    rng = np.random.default_rng(0)
    made = [
        TrackScores(
            f"Año {index} & co",
            {stem: stem_scores(rng.normal(5 + better_db, 2, 9)) for stem in stems},
            config or BssEvalConfig(),
            split=split,
            genre="Rock" if index % 2 else "Jazz",
        )
        for index in range(tracks)
    ]
    about = {"dataset": {"name": dataset, "split": split}} if dataset else {}
    return Results(name, tuple(made), about=about)


def rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of the table of Markdown below a title."""
    table = text.partition(f"### {title}\n\n")[2].partition("\n\n")[0]
    lines = [line.strip("|").split(" | ") for line in table.splitlines()]
    return [[cell.strip() for cell in line] for line in (lines[:1] + lines[2:])]


def summary(out: Path) -> list[dict[str, str]]:
    text = (out / "comparison.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_all_tables_are_written_and_nothing_else(tmp_path: Path) -> None:
    done = compare([results("a"), results("b", 1.0)], tmp_path, formats=TEXTS)
    names = ["comparison.md", "comparison.tex", "comparison.csv", "per_track.csv"]
    assert [path.name for path in done.files] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert done.notes == ()
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    headings = re.findall("^## (.*)$", md, re.M)
    expected = ["Overall", "Beside published scores", "Ranks", "Paired tests"]
    assert headings == [*expected, "By genre", "By track"]
    assert len(re.findall("^### ", md, re.M)) == 6 * 4
    tex = (tmp_path / "comparison.tex").read_text(encoding="utf-8")
    assert tex.count(r"\toprule") >= 6 * 4
    assert "Año 0 \\& co" in tex


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for out in ("one", "two"):
        compare([results("a"), results("b", 1.0)], tmp_path / out, formats=TEXTS)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_overall_scores_are_medians_of_medians_and_the_best_is_bold(tmp_path: Path) -> None:
    both = [results("a"), results("b", 1.0)]
    done = compare(both, tmp_path, formats=TEXTS, metrics=["SIR"])
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    head, a, b = rows(md, "SIR in dB: median of frames, median of tracks")
    assert head == ["system", "tracks", *STEMS, "mean"]
    medians = [
        np.median([np.median(track.stems[stem]["SIR"]) for track in both[0].tracks])
        for stem in STEMS
    ]
    for cell, median in zip(a[2:], [*medians, np.mean(medians)], strict=True):
        value, low, high = map(float, re.findall(r"\d+\.\d+", cell))
        assert value == pytest.approx(median, abs=0.005)
        assert low <= value <= high
        assert low < high
    assert a[:2] == ["a", "8"]
    assert all(cell.startswith("**") for cell in b[2:])
    assert len(done.tables) == 1
    own = next(row for row in summary(tmp_path) if (row["system"], row["stem"]) == ("a", "bass"))
    assert (own["genre"], own["metric"], own["tracks"]) == ("", "SIR", "8")
    assert float(own["score"]) == pytest.approx(medians[2])
    assert own["settings"] == BssEvalConfig().describe()
    assert (own["frames_by"], own["tracks_by"], own["level"]) == ("median", "median", "0.95")


def test_ranks_and_tests_are_of_the_systems_measured(tmp_path: Path) -> None:
    compare([results("a"), results("b", 1.0)], tmp_path, formats=TEXTS, metrics=["SDR"])
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    ranks = rows(md, "SDR: mean ranks over tracks, 1 is best")
    assert ranks[1:] == [["a", *["2.00"] * 4], ["b", *["**1.00**"] * 4]]
    tests = rows(md, "SDR: paired tests of systems, track by track")
    # Eight differences of one sign: p = 2 / 2**8, times the four tests of the family.
    assert tests[1] == ["vocals", "a", "b", "8", "−1.00", "0.008", "**0.031**"]
    assert "Friedman" not in md


def test_three_systems_have_friedmans_test(tmp_path: Path) -> None:
    three = [results("a"), results("b", 1.0), results("c", 2.0)]
    compare(three, tmp_path, formats=["md"], metrics=["SDR"])
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "Friedman's test that all are equal: vocals χ² = 16.00, p = \\<0.001" in md


def test_genres_and_tracks_have_a_row_for_each_system(tmp_path: Path) -> None:
    both = [results("a"), results("b", 1.0)]
    compare(both, tmp_path, formats=["md"], metrics=["SDR"])
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    genres = rows(md, "SDR in dB by genre: median of frames, median of tracks")
    assert [row[:3] for row in genres[1:]] == [
        ["Jazz", "a", "4"],
        ["", "b", "4"],
        ["Rock", "a", "4"],
        ["", "b", "4"],
    ]
    tracks = rows(md, "SDR in dB by track: median of frames")
    assert tracks[1][:2] == ["Año 0 & co", "a"]
    values = [np.median(both[0].tracks[0].stems[stem]["SDR"]) for stem in STEMS]
    assert [float(cell) for cell in tracks[1][2:]] == pytest.approx(
        [*values, np.mean(values)], abs=0.005
    )
    assert tracks[2][2].startswith("**")


def test_genres_that_one_result_does_not_tell_are_those_of_another_or_of_musdb() -> None:
    known = results("a", tracks=1)
    (track,) = known.tracks
    musdb = replace(track, track="Al James - Schoolboy Facination", genre="")
    other = Results("b", (replace(track, genre=""), musdb, replace(musdb, track="?")))
    filled = with_genres([known, other])
    genres = [[track.genre for track in each.tracks] for each in filled]
    assert genres == [["Jazz"], ["Jazz", "Pop/Rock", ""]]
    assert other.tracks[0].genre == ""


def test_published_scores_are_labelled_and_stand_nowhere_else(tmp_path: Path) -> None:
    done = compare([results("a", dataset="MUSDB18-HQ")], tmp_path, formats=TEXTS, metrics=["SDR"])
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    table = rows(md, "SDR in dB, with published scores: median of frames, median of tracks")
    assert (table[1][0], table[1][-3], table[1][-1]) == ("a", "MUSDB18-HQ, test", "measured here")
    others = {row[0]: row for row in table[2:]}
    assert all(name.endswith(" (published)") for name in others)
    umx = [figure.value_db for figure in published("UMX", metric="SDR")]
    assert [float(cell) for cell in others["UMX (published)"][1:5]] == pytest.approx(umx)
    number = others["UMX (published)"][-1].strip("[]")
    assert re.search(rf"^- \[{number}\] Stöter.*https://", md, re.M)
    assert md.count("(published)") == len(table[2:])
    assert set(done.summary["system"]) == {"a"}
    assert "## Ranks" not in md


def test_only_published_scores_of_the_same_measure_are_shown(tmp_path: Path) -> None:
    def shown(**options: Any) -> set[float]:
        config = options.pop("config", None)
        compare([results("a", config=config)], tmp_path, formats=["md"], **options)
        md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
        return {float(row.split(" | ")[1]) for row in re.findall(r"^.*\(published\).*$", md, re.M)}

    def vocals(words: str, metric: str) -> set[float]:
        figures = published(metric=metric, stem="vocals")
        return {
            round(figure.value_db, 2) for figure in figures if figure.definition.endswith(words)
        }

    means = shown(over="mean", metrics=["SDR"])
    assert means == vocals("median of frames, mean of tracks", "SDR") != set()
    challenge = shown(over="mean", metrics=["global_SDR"])
    assert challenge == vocals("Challenge, mean of tracks", "global_SDR") != set()
    assert shown(metrics=["global_SDR"]) == set()
    assert shown(frames="mean", metrics=["SDR"]) == set()
    assert shown(config=BssEvalConfig(window_s=2.0), metrics=["SDR"]) == set()
    assert shown(published=False) == set()


def test_a_stem_that_a_system_lacks_is_a_gap_and_leaves_no_mean(tmp_path: Path) -> None:
    both = [results("a", stems=("vocals",)), results("b", stems=("vocals", "bass"))]
    compare(both, tmp_path, formats=["md"], metrics=["SDR"], published=False)
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    table = rows(md, "SDR in dB: median of frames, median of tracks")
    assert table[0] == ["system", "tracks", "vocals", "bass", "mean"]
    assert table[1][3:] == ["—", "—"]
    assert table[2][4][0].isdigit()


def test_different_tracks_datasets_and_splits_are_told(tmp_path: Path) -> None:
    pair = [results("a", dataset="one"), results("b", tracks=5, dataset="two")]
    done = compare(pair, tmp_path, formats=TEXTS, metrics=["SDR"])
    assert "different tracks (a 8, b 5; 5 in common)" in done.notes[0]
    assert "different datasets: a on one, test; b on two, test" in done.notes[1]
    md = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert done.notes[0] in md
    assert "a 8, b 5" in (tmp_path / "comparison.tex").read_text(encoding="utf-8")
    assert rows(md, "SDR: paired tests of systems, track by track")[1][3] == "5"
    split = compare([results("a"), results("b", split="valid")], tmp_path, formats=["md"])
    assert "splits test, valid" in split.notes[-1]


def test_different_settings_are_refused_and_both_named(tmp_path: Path) -> None:
    other = results("b", config=BssEvalConfig(window_s=2.0))
    message = r"'a' \(.*frames of 1 s every 1 s.*but 'b' \(.*frames of 2 s every 1 s"
    with pytest.raises(EvaluationError, match=message):
        compare([results("a"), other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_results_of_one_name_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"2 results are named 'a'.*--names a,b"):
        compare([results("a"), results("a")], tmp_path)
    with pytest.raises(ParameterError, match="at least one"):
        compare([], tmp_path)
    with pytest.raises(EvaluationError, match="hold no tracks"):
        compare([Results("a", ())], tmp_path)
    twice = Results("a", results("a").tracks * 2)
    with pytest.raises(EvaluationError, match="'a' has 2 scores of the track 'Año 0 & co'"):
        compare([twice], tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["pdf"]}, "formats holds 'pdf'"),
        ({"formats": []}, "formats holds nothing"),
        ({"metrics": ["SDRR"]}, "metrics holds 'SDRR'.*SI-SDR"),
        ({"frames": "mode"}, "frames holds 'mode'.*median, mean"),
        ({"over": "max"}, "over holds 'max'"),
        ({"level": 95}, "level=95"),
        ({"layout": "other"}, "layout='other'"),
        ({"layout": "thesis", "over": "mean"}, "averages and published scores of its own"),
        ({"layout": "thesis", "formats": ["html"]}, "no layouts"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=message):
        compare([results("a")], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["thesis", "deepaudiosplit"])
def test_a_layout_takes_the_place_of_the_usual_tables(layout: str, tmp_path: Path) -> None:
    done = compare([results("a"), results("b")], tmp_path, layout=layout)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layout.csv", "layout.md", "layout.tex"]
    md = (tmp_path / "layout.md").read_text(encoding="utf-8")
    text = (tmp_path / "layout.csv").read_text(encoding="utf-8")
    for table in done.tables:
        assert f"### {table.title}\n" in md
        assert [table.title] in list(csv.reader(io.StringIO(text)))
    assert len(done.tables) == (8 if layout == "thesis" else 2)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "comparison.md").write_text("old")

    def full(self: Path, *args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", full)
        with pytest.raises(EvaluationError, match=r"comparison.md' cannot be written: No space"):
            compare([results("a")], tmp_path, formats=["md"])
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.md"]
    assert (tmp_path / "comparison.md").read_text() == "old"
