import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.evaluation.results import read_results

SAMPLES = 44100


@pytest.fixture
def data(song: Any, tmp_path: Path) -> Path:
    """Make a dataset of one track at another rate than the releases'."""
    for seed, stem in enumerate(("mixture", "vocals", "bass")):
        path = f"data/test/a song/{stem}.wav"
        song(path, samples=48_000, rate=48_000, subtype="FLOAT", seed=seed)
    return tmp_path / "data"


def test_scores_are_those_of_what_users_get(desmezcla: Any, data: Path, tmp_path: Path) -> None:
    out, stems = tmp_path / "by release", tmp_path / "stems"
    options = ["--shifts", "2", "--overlap", "0.5"]
    done = desmezcla("evaluate", "-m", "baseline", "--data", data, "-o", out, *options)
    assert done.code == 0, done.err
    mixture = data / "test" / "a song" / "mixture.wav"
    template = ["--filename", "a song/{stem}.{ext}", "--bit-depth", "32f"]
    desmezcla("separate", "-m", "baseline", mixture, "-o", stems, *template, *options)
    other = tmp_path / "by files"
    done = desmezcla("evaluate", "--references", data, "--estimates", stems, "-o", other)
    assert done.code == 0, done.err
    (one,), (two,) = read_results(out).tracks, read_results(other).tracks
    assert list(one.stems) == ["vocals", "bass"]
    assert set(two.stems) == {"vocals", "bass"}
    for stem, scores in one.stems.items():
        for metric, values in scores.items():
            np.testing.assert_array_equal(values, two.stems[stem][metric])  # type: ignore[literal-required]
    assert np.isfinite(one.stems["vocals"]["SDR"]).all()


def test_the_table_of_several_systems(
    desmezcla: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models = ["-m", "tiny", "-m", "oracle_irm"]
    done = desmezcla("evaluate", *models, "--data", data, "--window", "track", "--excerpts", 0)
    assert done.code == 0, done.err
    assert "| tiny | vocals |" in done.out
    assert "| oracle_irm | bass |" in done.out
    assert "Median of frames" in done.out
    assert "one frame of the whole track" in done.out
    for name in ("tiny", "oracle_irm"):
        folder = tmp_path / "evaluation" / name
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
        expected = ["evaluation.json", "scores.csv", "scores.parquet", "test/a song.json"]
        assert sorted(files) == expected
    about = json.loads((tmp_path / "evaluation/tiny/evaluation.json").read_text())
    assert about["system"]["license"] == "MIT"
    assert about["dataset"] == {"name": "data", "split": "test"}


def test_events_end_with_the_scores(desmezcla: Any, data: Path, tmp_path: Path) -> None:
    wanted = ["--stems", "bass", "--excerpts", 0]
    done = desmezcla(
        "evaluate", "-m", "mixture", "--data", data, "-o", tmp_path / "out", *wanted, "--json"
    )
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[-1]["event"] == "done"
    assert (events[-1]["done"], events[-1]["failed"]) == (1, 0)
    assert events[-1]["scores"]["mixture"]["bass"]["SIR"] is None  # nothing interferes with one
    assert set(events[-1]["scores"]["mixture"]) == {"bass"}


def test_a_failed_track_is_exit_code_1(desmezcla: Any, data: Path, tmp_path: Path) -> None:
    (data / "test" / "a song" / "bass.wav").write_bytes(b"RIFF")
    done = desmezcla("evaluate", "-m", "mixture", "--data", data, "-o", tmp_path / "out", "-q")
    assert done.code == 1
    assert "error: a song: " in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-m", "tiny"],
        ["--data", "d", "--references", "r"],
        ["--references", "r"],
        ["--references", "r", "--estimates", "e", "-m", "tiny"],
        ["--blind", "song.wav", "--data", "d"],
        ["--blind", "song.wav", "-m", "tiny", "-m", "baseline"],
        ["--references", "r", "--estimates", "e", "--save-stems", "s"],
        ["--data", "d", "--window", "long"],
        ["--data", "d", "--hop", "0"],
        ["--data", "d", "--split", "rest"],
    ],
)
def test_wrong_usage(desmezcla: Any, options: list[str]) -> None:
    assert desmezcla("evaluate", *options).code == 2


def test_what_is_no_dataset_or_no_such_split_is_told(
    desmezcla: Any, data: Path, tmp_path: Path
) -> None:
    done = desmezcla("evaluate", "-m", "tiny", "--data", data, "--split", "train")
    assert done.code == 1
    assert "no track of the split train; it has test" in done.err
    (tmp_path / "empty").mkdir()
    done = desmezcla("evaluate", "-m", "tiny", "--data", tmp_path / "empty")
    assert done.code == 1
    assert "is no dataset" in done.err
    done = desmezcla("evaluate", "-m", "nothing", "--data", data)
    assert done.code == 1
    assert "nothing" in done.err


def test_a_song_without_references(desmezcla: Any, song: Any, tmp_path: Path) -> None:
    path = song(samples=60_000)
    done = desmezcla("evaluate", "--blind", path, "-m", "baseline", "-o", tmp_path / "one")
    assert done.code == 0, done.err
    assert "vocals" in done.out
    stems = tmp_path / "stems"
    desmezcla("separate", "-m", "baseline", path, "-o", stems, "--filename", "{stem}.{ext}")
    done = desmezcla("evaluate", "--blind", path, "--estimates", stems, "-o", tmp_path / "two")
    assert done.code == 0, done.err
    for name in ("one", "two"):
        assert {p.name for p in (tmp_path / name).iterdir()} == {
            "blind.csv",
            "blind.html",
            "blind.json",
        }
