import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.datasets.track import Source, Track
from desmezcla.errors import DatasetError, EvaluationError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.running.estimates import open_estimates, open_references
from desmezcla.evaluation.running.excerpts import (
    EXCERPT_S,
    excerpt_files,
    excerpt_start,
    write_excerpts,
)
from desmezcla.evaluation.running.run_folder import prepare_folder, remove_unfinished, scores_file
from desmezcla.evaluation.running.scenarios import not_covered, scenarios
from desmezcla.evaluation.running.scoring import TrackOptions, evaluate_track, scored_stems
from desmezcla.evaluation.running.systems import (
    EstimatesSystem,
    OracleSystem,
    ReleaseSystem,
    SpooledTrack,
    System,
    open_system,
)
from desmezcla.evaluation.scores import TrackScores
from desmezcla.evaluation.signals import array_signals
from desmezcla.inference.offline import Separator

RATE = 8000

# Short filters make no difference here, but are quick.
QUICK = BssEvalConfig(filter_samples=8)

PLAIN = ("vocals", "drums", "bass", "other")
PARTS = {"accompaniment": {"drums", "bass", "other"}, "no_drums": {"vocals", "bass", "other"}}


def write_stems(folder: Path, stems: Any, *, seed: int = 0, rate: int = RATE, **more: Any) -> Path:
    options: dict[str, Any] = {"samples": 2 * RATE, "channels": 2, "extension": "wav"} | more
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    shape = (options["samples"], options["channels"])
    for stem in stems:
        path = folder / f"{stem}.{options['extension']}"
        soundfile.write(path, rng.uniform(-0.3, 0.3, shape), rate)
    return folder


def track_of(folder: Path, *, split: Any = "test") -> Track:
    stems = {path.stem: (Source(path),) for path in sorted(folder.iterdir())}
    return Track(folder.name, stems, split=split)


def scored(system: System, track: Track, **options: Any) -> TrackScores:
    return evaluate_track(system, track, TrackOptions(QUICK, **options), progress=lambda *_: None)


@given(st.lists(st.sampled_from([*PLAIN, *PARTS, "no_vocals"]), min_size=1, unique=True))
def test_every_stem_is_scored_once_and_no_sum_beside_its_parts(stems: list[str]) -> None:
    found = scenarios(tuple(stems))
    assert sorted(stem for one in found for stem in one.taken) == sorted(stems)
    for one in found:
        assert set(one.taken) <= set(one.stems) <= set(stems)
        for name, parts in PARTS.items():
            assert not (name in one.stems and parts & set(one.stems))


def test_what_stands_in_no_stem_is_told() -> None:
    assert not_covered(("vocals", "accompaniment"), PLAIN) == ()
    assert not_covered(("accompaniment",), PLAIN) == ("vocals",)
    assert not_covered(("vocals", "bass"), PLAIN) == ("drums", "other")


def test_an_estimate_of_a_sum_changes_no_other_score(tmp_path: Path) -> None:
    references = track_of(write_stems(tmp_path / "song", PLAIN))
    folder = write_stems(tmp_path / "estimates" / "song", PLAIN, seed=1)
    found = open_estimates(tmp_path / "estimates", [references])
    before = scored(EstimatesSystem(found, "mine"), references).stems
    rng = np.random.default_rng(9)
    soundfile.write(folder / "accompaniment.wav", rng.uniform(-0.3, 0.3, (2 * RATE, 2)), RATE)
    found = open_estimates(tmp_path / "estimates", [references])
    after = scored(EstimatesSystem(found, "mine"), references)
    for stem in PLAIN:
        np.testing.assert_array_equal(after.stems[stem]["SIR"], before[stem]["SIR"])
    assert np.isfinite(after.stems["accompaniment"]["SIR"]).all()
    assert "accompaniment was scored beside vocals, not beside its parts" in after.notes


def test_a_release_separates_as_users_do(tmp_path: Path) -> None:
    track = track_of(write_stems(tmp_path / "song", PLAIN, samples=3 * RATE))
    scores = scored(ReleaseSystem("baseline"), track)
    parts = [soundfile.read(tmp_path / "song" / f"{stem}.wav")[0].T for stem in PLAIN]
    stems = Separator("baseline").separate(np.sum(parts, axis=0).astype(np.float32), RATE)
    error = np.sum((parts[0] - stems["vocals"]) ** 2)
    expected = 10 * np.log10(np.sum(parts[0] ** 2) / error)
    assert scores.stems["vocals"]["global_SDR"] == pytest.approx(expected, abs=1e-3)
    assert scores.duration_s == 3.0
    assert len(scores.peaks) == 30
    peak = np.abs(np.sum(parts, axis=0)[:, :800]).max()
    assert scores.peaks[0] == pytest.approx(peak, abs=1e-6)


def test_the_mixture_as_the_estimate_of_every_stem(tmp_path: Path) -> None:
    track = track_of(write_stems(tmp_path / "song", ["vocals", "drums"]))
    system = open_system("mixture")
    assert isinstance(system, OracleSystem)
    scores = scored(system, track, stems=("drums",)).stems
    assert list(scores) == ["drums"]
    true = {s: soundfile.read(tmp_path / "song" / f"{s}.wav")[0] for s in ("vocals", "drums")}
    expected = 10 * np.log10(np.sum(true["drums"] ** 2) / np.sum(true["vocals"] ** 2))
    assert scores["drums"]["global_SDR"] == pytest.approx(expected, abs=1e-3)


def test_a_sum_of_references_is_made_for_a_release_with_two_stems(tmp_path: Path) -> None:
    references = track_of(write_stems(tmp_path / "song", PLAIN))
    write_stems(tmp_path / "estimates" / "song", ["vocals", "accompaniment"], seed=1)
    found = open_estimates(tmp_path / "estimates", [references])
    scores = scored(EstimatesSystem(found, "mine"), references)
    assert list(scores.stems) == ["accompaniment", "vocals"]
    assert scores.notes == ()


def test_stems_that_cannot_be_scored_are_left_out_and_told(tmp_path: Path) -> None:
    track = track_of(write_stems(tmp_path / "song", ["vocals", "drums"]))
    stems, notes = scored_stems(ReleaseSystem("baseline"), track, None)
    assert stems == ("vocals", "drums")
    assert notes == (
        "left out, since the track has no such stem: bass",
        "left out, since the track has no such stem: other",
    )
    write_stems(tmp_path / "estimates" / "song", ["drums"])
    system = EstimatesSystem(open_estimates(tmp_path / "estimates", [track]), "mine")
    assert scored_stems(system, track, None)[1] == (
        "left out, since there is no estimate of it: vocals",
    )
    with pytest.raises(EvaluationError, match=r"no stem 'piano'.*choose from drums"):
        scored_stems(system, track, ("piano",))
    only_bass = track_of(write_stems(tmp_path / "bass song", ["bass"]))
    with pytest.raises(EvaluationError, match="no estimates of it"):
        scored_stems(system, only_bass, None)
    with pytest.raises(EvaluationError, match="none of the stems vocals has a reference"):
        scored_stems(ReleaseSystem("baseline"), only_bass, ("vocals",))


@pytest.mark.parametrize("place", ["song", "test/song", "train/song"])
def test_estimates_are_matched_by_name_in_any_layout(tmp_path: Path, place: str) -> None:
    track = track_of(write_stems(tmp_path / "data" / "song", ["vocals"]))
    write_stems(tmp_path / "estimates" / place, ["vocals"], extension="flac")
    system = EstimatesSystem(open_estimates(tmp_path / "estimates", [track]), "mine")
    assert system.stems(track) == ("vocals",)
    assert [path.suffix for path in system.files(track)] == [".flac"]


def test_two_folders_of_stems_are_one_track_whatever_they_are_called(tmp_path: Path) -> None:
    write_stems(tmp_path / "true", ["mixture", "vocals", "drums"])
    write_stems(tmp_path / "mine", ["vocals", "drums"], seed=1)
    (track,) = open_references(tmp_path / "true").tracks
    assert (track.name, track.split) == ("true", "test")
    system = EstimatesSystem(open_estimates(tmp_path / "mine", [track]), "mine")
    assert set(scored(system, track).stems) == {"vocals", "drums"}
    with pytest.raises(EvaluationError, match="stems of one track, but there are 2 tracks"):
        open_estimates(tmp_path / "mine", [track, track])


def test_estimates_without_references_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    track = track_of(write_stems(tmp_path / "data" / "song", ["vocals"]))
    write_stems(tmp_path / "estimates" / "song", ["vocals"])
    write_stems(tmp_path / "estimates" / "another", ["vocals"])
    with caplog.at_level(logging.WARNING):
        open_estimates(tmp_path / "estimates", [track])
    assert "1 track(s) that are not among the references, and are left out: another" in caplog.text


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"rate": 11025}, "has 11025 Hz, but the references have 8000 Hz; resample it"),
        ({"channels": 1}, r"have 1 channel\(s\), but the references have 2"),
    ],
)
def test_estimates_of_another_kind_are_refused(
    tmp_path: Path, difference: dict[str, int], message: str
) -> None:
    track = track_of(write_stems(tmp_path / "data" / "song", ["vocals"]))
    write_stems(tmp_path / "estimates" / "song", ["vocals"], **difference)
    system = EstimatesSystem(open_estimates(tmp_path / "estimates", [track]), "mine")
    with pytest.raises(EvaluationError, match=message):
        scored(system, track)


def test_shorter_estimates_are_scored_with_a_note(tmp_path: Path) -> None:
    track = track_of(write_stems(tmp_path / "data" / "song", ["vocals", "drums"]))
    write_stems(tmp_path / "estimates" / "song", ["vocals", "drums"], samples=RATE)
    system = EstimatesSystem(open_estimates(tmp_path / "estimates", [track]), "mine")
    scores = scored(system, track)
    assert len(scores.stems["vocals"]["SDR"]) == 2
    assert any("8000 samples" in note for note in scores.notes)


def test_estimates_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    class Broken(OracleSystem):
        def blocks(self, spooled: SpooledTrack, stems: tuple[str, ...]) -> Iterator[Any]:
            yield np.zeros((2, 2, 4000), np.float32)
            yield np.full((2, 2, 4000), [[[0.0]], [[np.nan]]], np.float32)

    track = track_of(write_stems(tmp_path / "song", ["vocals", "drums"]))
    with pytest.raises(EvaluationError, match=r"estimate of vocals holds NaN .* after 0\.50 s"):
        scored(Broken("mixture"), track)


def test_tracks_are_chosen_by_a_pattern(tmp_path: Path) -> None:
    for name in ("a song", "another", "b song"):
        write_stems(tmp_path / "data" / "test" / name, ["vocals"], samples=10)
    chosen = open_references(tmp_path / "data", pattern="*song")
    assert [track.name for track in chosen.tracks] == ["a song", "b song"]
    with pytest.raises(DatasetError, match="called like 'c\\*'; the first of 3 is 'a song'"):
        open_references(tmp_path / "data", pattern="c*")


def test_excerpts_are_where_all_stems_are_active(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loud = {s: rng.normal(scale=1e-3, size=(1, 40 * RATE)) for s in ("vocals", "drums")}
    loud["drums"][:, : 14 * RATE] *= 300
    loud["vocals"][:, 11 * RATE : 30 * RATE] *= 50
    start = excerpt_start(array_signals(loud, "references"), RATE) / RATE
    overlap = min(14, start + EXCERPT_S) - max(11, start)
    assert overlap == pytest.approx(3, abs=0.51)
    short = array_signals({"vocals": rng.normal(size=(1, 3 * RATE))}, "references")
    assert excerpt_start(short, RATE) == 0
    silent = array_signals({"vocals": np.zeros((1, 20 * RATE))}, "references")
    assert excerpt_start(silent, RATE) == 0


def test_excerpts_are_written_at_a_rate_of_mp3(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vocals = array_signals({"vocals": rng.uniform(-0.5, 0.5, (2, 3 * 9000))}, "references")
    shorter = array_signals({"vocals": rng.uniform(-0.5, 0.5, (2, 2 * 9000))}, "estimates")
    write_excerpts(tmp_path / "song", vocals, vocals, shorter, 9000)
    files = excerpt_files(tmp_path / "song", ("vocals",))
    assert sorted(files) == ["mixture", "vocals", "vocals.reference"]
    assert {path.name for path in (tmp_path / "song").iterdir()} == {
        path.name for path in files.values()
    }
    for path in files.values():
        assert soundfile.info(path).samplerate == 11025


ABOUT = {"system": {"name": "mine", "options": {"shifts": 0}}, "version": "1"}


def test_a_folder_of_other_settings_is_refused_until_it_is_overwritten(tmp_path: Path) -> None:
    prepare_folder(tmp_path, ABOUT)
    prepare_folder(tmp_path, ABOUT)
    track = Track("song", {}, split="test")
    path = scores_file(tmp_path, track)
    path.parent.mkdir()
    path.write_text("{}")
    other = {**ABOUT, "system": {"name": "mine", "options": {"shifts": 2}}}
    with pytest.raises(EvaluationError, match=r"system\.options\.shifts is 0 there, and 2 now"):
        prepare_folder(tmp_path, other)
    assert path.exists()
    prepare_folder(tmp_path, other, overwrite=True)
    assert not path.exists()


def test_scores_of_another_program_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "test" / "song.json"
    path.parent.mkdir()
    path.write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(EvaluationError, match="scores of another program"):
            prepare_folder(tmp_path, ABOUT, overwrite=overwrite)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize("name", ["a/b", "..", "a\\b", ""])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EvaluationError, match="cannot be the name of a file"):
        scores_file(tmp_path, Track(name, {}))


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / "test" / f".song.json.{dead.pid}-0123abcd.part"
    living = tmp_path / "test" / f".song.json.{os.getpid()}-0123abcd.part"
    other = tmp_path / ".mine.part"
    left.parent.mkdir()
    for path in (left, living, other):
        path.touch()
    remove_unfinished(tmp_path)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {living, other}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what has become of a process")
def test_what_a_process_left_that_nobody_asked_for_yet_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # its number stays its own
        (tmp_path / f".song.json.{dead.pid}-0123abcd.part").touch()
        remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())
