"""`desmezcla compare`."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import StemScores, TrackScores
from desmezcla.evaluation.track_json import track_json


def stem_scores(frames: Any) -> StemScores:
    return {
        "SDR": frames,
        "ISR": frames,
        "SIR": frames,
        "SAR": frames,
        "global_SDR": math.nan,
        "SI-SDR": math.nan,
    }


def write_results(folder: Path, better_db: float = 0.0, *, hop_s: float = 1.0) -> Path:
    rng = np.random.default_rng(0)
    (folder / "test").mkdir(parents=True)
    for index in range(3):
        stems = {stem: stem_scores(rng.normal(better_db, 1, 5)) for stem in ("vocals", "other")}
        scores = TrackScores(f"t{index}", stems, BssEvalConfig(hop_s=hop_s), genre="Rock")
        path = folder / "test" / f"{scores.track}.json"
        path.write_text(track_json(scores), encoding="utf-8")
    return folder


def test_all_files_are_written_and_the_overall_table_is_printed(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    one, two = write_results(tmp_path / "one"), write_results(tmp_path / "two", 2.0)
    done = desmezcla("compare", one, two, "-o", tmp_path / "out", "--metric", "SDR")
    assert (done.code, done.err.count("written:")) == (0, 1)
    files = {"comparison.md", "comparison.tex", "comparison.csv", "per_track.csv", "report.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    assert all(name in done.err for name in files)
    assert "SDR in dB: median of frames, median of tracks" in done.out
    assert "BSS Eval v4" in done.out
    assert "one" in done.out
    assert "[" in done.out


def test_json_holds_scores_files_and_notes(
    desmezcla: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "a")
    options = ["--names", "ñ", "--format", "csv", "--json", "-q", "--tracks", "mean"]
    done = desmezcla("compare", "a", *options, "--metric", "SDR", "--metric", "SI-SDR")
    assert (done.code, done.err) == (0, "")
    event = json.loads(done.out)
    assert event["event"] == "done"
    assert event["notes"] == []
    assert [Path(path).name for path in event["files"]] == ["comparison.csv", "per_track.csv"]
    assert Path("comparison/comparison.csv").is_file()
    assert {row["system"] for row in event["scores"]} == {"ñ"}
    missing = [row["score"] for row in event["scores"] if row["metric"] == "SI-SDR"]
    assert set(missing) == {None}
    assert {row["tracks_by"] for row in event["scores"]} == {"mean"}


def test_a_layout_is_printed_in_its_own_shape(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_results(tmp_path / "a")
    done = desmezcla("compare", folder, "--layout", "thesis", "-o", tmp_path / "out")
    assert done.code == 0
    assert "Voz" in done.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "layout.md",
        "layout.tex",
        "layout.csv",
    }


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--names", "a"], 2, "holds 1 names, but must hold one for each of the 2 folders"),
        (["--names", "a,a"], 2, "2 results are named 'a'"),
        (["--metric", "sdr"], 2, "metrics holds 'sdr'"),
        (["--format", "pdf"], 2, "formats holds 'pdf'"),
        (["--level", "95"], 2, "level=95"),
        (["--frames", "max"], 2, "frames"),
        (["--layout", "x"], 2, "layout"),
        (["--layout", "thesis", "--no-published"], 2, "leave out what"),
        (["--out", "a/test/t0.json"], 1, "cannot be written"),
        (["nothing"], 1, "'nothing' is no folder of results"),
    ],
)
def test_wrong_usage_and_failures_are_told_in_a_line(
    options: list[str],
    code: int,
    message: str,
    desmezcla: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "a")
    write_results(tmp_path / "b")
    done = desmezcla("compare", "a", "b", *options)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "comparison").exists()


def test_results_of_different_settings_are_refused(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    one, two = write_results(tmp_path / "one"), write_results(tmp_path / "two", hop_s=0.5)
    done = desmezcla("compare", one, two, "-o", tmp_path / "out")
    assert done.code == 1
    assert "every 1 s" in done.err
    assert "every 0.5 s" in done.err
    assert desmezcla("compare").code == 2
