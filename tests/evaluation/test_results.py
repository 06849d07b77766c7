"""Scores as JSON: museval reads ours, we read museval's."""

import json
import math
from pathlib import Path

import museval
import numpy as np
import pytest
from numpy.typing import NDArray

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.results import read_results
from desmezcla.evaluation.scores import StemScores, TrackScores
from desmezcla.evaluation.track_json import read_track_json, track_json


def stem_scores(*sdr: float) -> StemScores:
    frames: NDArray[np.float64] = np.array(sdr)
    return {
        "SDR": frames,
        "ISR": frames + 1,
        "SIR": frames + 2,
        "SAR": frames - 1,
        "global_SDR": 4.5,
        "SI-SDR": math.nan,
    }


TRACK = TrackScores(
    track="Ñandú - 'Song' <1>",
    stems={"vocals": stem_scores(1.25, math.nan, 3.0), "drums": stem_scores(5, 6, math.inf)},
    config=BssEvalConfig(hop_s=0.5),
    genre="Pop/Rock",
    duration_s=2.0,
    peaks=(0.1, 0.25),
    notes=("drums: a note",),
)


def write(folder: Path, scores: TrackScores = TRACK) -> Path:
    path = folder / scores.split / f"{scores.track}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(track_json(scores), encoding="utf-8")
    return path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    read = read_track_json(write(tmp_path))
    assert (read.track, read.split, read.genre) == (TRACK.track, "test", "Pop/Rock")
    assert (read.config, read.duration_s) == (TRACK.config, 2.0)
    assert (read.peaks, read.notes) == (TRACK.peaks, TRACK.notes)
    np.testing.assert_array_equal(read.stems["vocals"]["SDR"], [1.25, math.nan, 3.0])
    # Not finite is written as NaN, as museval does.
    np.testing.assert_array_equal(read.stems["drums"]["SDR"], [5, 6, math.nan])
    assert read.stems["vocals"]["global_SDR"] == 4.5
    assert math.isnan(read.stems["vocals"]["SI-SDR"])
    assert track_json(read) == track_json(read_track_json(write(tmp_path, read)))


def test_museval_reads_our_files(tmp_path: Path) -> None:
    write(tmp_path)
    store = museval.EvalStore()
    store.add_eval_dir(tmp_path)
    scores = store.df
    assert set(scores["target"]) == {"vocals", "drums"}
    sdr = scores[(scores["metric"] == "SDR") & (scores["target"] == "vocals")]["score"]
    np.testing.assert_array_equal(sdr.to_numpy(np.float64), [1.25, math.nan, 3.0])
    medians = store.agg_frames_tracks_scores()
    assert medians["vocals"]["SDR"] == pytest.approx(2.125)
    assert medians["drums"]["SAR"] == pytest.approx(4.5)


def test_our_file_has_musevals_schema(tmp_path: Path) -> None:
    from jsonschema import validate

    schema = Path(museval.__path__[0]) / "musdb.schema.json"
    validate(json.loads(write(tmp_path).read_text("utf-8")), json.loads(schema.read_text()))


def test_we_read_musevals_files_with_nan(tmp_path: Path) -> None:
    store = museval.TrackStore("A Song", win=2.0, hop=1.5)
    values = {m: [1.0, math.nan, 2.5] for m in ("SDR", "SIR", "ISR", "SAR")}
    store.add_target("vocals", values)
    store.add_target("accompaniment", values)
    (tmp_path / "test").mkdir()
    store.save(tmp_path / "test" / "A Song.json")
    results = read_results(tmp_path, name="theirs")
    (track,) = results.tracks
    assert (results.name, track.track, track.split) == ("theirs", "A Song", "test")
    assert (track.config.window_s, track.config.hop_s) == (2.0, 1.5)
    assert track.duration_s == 5.0
    assert results.stems == ("vocals", "accompaniment")
    np.testing.assert_array_equal(track.stems["vocals"]["SIR"], values["SIR"])
    assert math.isnan(track.stems["vocals"]["global_SDR"])


def test_an_infinite_window_is_read_again(tmp_path: Path) -> None:
    scores = TrackScores("x", {"a": stem_scores(1.0)}, BssEvalConfig(window_s=math.inf))
    path = write(tmp_path, scores)
    assert "Infinity" not in path.read_text()
    assert read_track_json(path).config == scores.config


def test_results_are_sorted_and_named(tmp_path: Path) -> None:
    for name, split in (("b", "test"), ("a", "test"), ("c", "train")):
        write(tmp_path, TrackScores(name, TRACK.stems, TRACK.config, split=split))
    results = read_results(tmp_path)
    assert [t.track for t in results.tracks] == ["c", "a", "b"]
    assert results.name == tmp_path.name
    (tmp_path / "evaluation.json").write_text('{"system": {"name": "umxl"}}')
    assert read_results(tmp_path).name == "umxl"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"targets": 3}', '{"targets": [{"name": "a"}]}', "\x00\xff",
     '{"targets": [{"name": "a", "frames": [{"time": 0, "duration": 1, "metrics": {}}]}]}',
     '{"targets": [], "desmezcla": {"config": {"window": 1}}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "song.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(EvaluationError, match=r"song\.json.*evaluate the track again"):
        read_track_json(path)


def test_folders_without_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds no scores"):
        read_results(tmp_path)
    with pytest.raises(EvaluationError, match="no folder of results"):
        read_results(tmp_path / "missing")
    (tmp_path / "evaluation.json").write_text("[1]")
    with pytest.raises(EvaluationError, match="remove it, or evaluate again"):
        read_results(tmp_path)
