import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from desmezcla.batch.engines import Engine
from desmezcla.batch.evaluating import Evaluated, EvaluationJob, run_evaluation
from desmezcla.errors import EvaluationError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.running import scoring
from desmezcla.evaluation.running.estimates import open_estimates, open_references
from desmezcla.evaluation.running.scoring import TrackOptions
from desmezcla.evaluation.running.systems import EstimatesSystem, open_system

RATE = 8000
STEMS = ("vocals", "bass")
NAMES = ("song 0", "song 1", "song 2")


# Short filters make no difference here, but are quick.
QUICK = BssEvalConfig(filter_samples=8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / "test" / name).mkdir(parents=True)
        for stem in STEMS:
            audio = rng.uniform(-0.2, 0.2, (2 * RATE, 1))
            soundfile.write(root / "test" / name / f"{stem}.wav", audio, RATE)
    return root


def run(data: Path, out: Path, **fields: Any) -> Any:
    """Evaluate, and return how it ended and the events."""
    jobs, system = fields.pop("jobs", 1), fields.pop("system", "mixture")
    events: list[dict[str, Any]] = []
    job = EvaluationJob(
        open_system=fields.pop("open_system", partial(open_system, system)),
        out=out,
        options=TrackOptions(fields.pop("config", QUICK), fields.pop("stems", None)),
        **{"excerpts": 1, **fields},
    )
    dataset = open_references(data)
    engine = None if jobs == 1 else Engine(jobs=jobs)
    ended = run_evaluation(job, dataset, events.append, engine=engine)
    return ended, events


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Return what starts an evaluation in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(data: Path, out: Path, jobs: int) -> "subprocess.Popen[str]":
        named = ["-m", "baseline", "--data", str(data), "-o", str(out), "-j", str(jobs)]
        options = ["--excerpts", "3", "--save-stems", str(out / "stems"), "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "desmezcla", "evaluate", *named, *options],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def kill_at(process: Any, **wanted: str) -> None:
    for line in process.stdout:
        event = json.loads(line)
        if all(event.get(key) == value for key, value in wanted.items()):
            break
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("jobs", "moment"), [(1, {"input": NAMES[1], "stage": "separate"}), (2, {"event": "file"})]
)
def test_killed_and_started_again_it_leaves_what_it_would_have_left(
    start: Any, data: Path, tmp_path: Path, jobs: int, moment: dict[str, str]
) -> None:
    out = tmp_path / "killed"
    process = start(data, out, jobs)
    kill_at(process, **moment)
    assert not (out / "scores.csv").exists()
    again = start(data, out, jobs)
    printed, _ = again.communicate()
    assert again.returncode == 0
    events = [json.loads(line) for line in printed.splitlines()]
    assert True in [event["skipped"] for event in of_kind(events, "file")]
    deadline = time.monotonic() + 60
    while is_there(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_there(process.pid)  # the workers of the killed one have ended, too

    never = tmp_path / "never"
    more: dict[str, Any] = {"excerpts": 3, "save": never / "stems", "config": BssEvalConfig()}
    ended, _ = run(data, never, system="baseline", jobs=jobs, **more)
    assert ended.done == len(NAMES)
    assert tree(out) == tree(never)
    assert len(tree(out)) == 3 + len(NAMES) * (1 + 5 + 2)  # scores, excerpts, stems


def test_what_is_done_is_skipped(data: Path, tmp_path: Path) -> None:
    ended, events = run(data, tmp_path / "out")
    assert (ended.done, ended.failed) == (3, 0)
    assert [event["skipped"] for event in of_kind(events, "file")] == [False] * 3
    before = tree(tmp_path / "out")
    ended, events = run(data, tmp_path / "out")
    assert (ended.done, ended.failed) == (3, 0)
    assert [event["skipped"] for event in of_kind(events, "file")] == [True] * 3
    assert not of_kind(events, "progress")
    assert tree(tmp_path / "out") == before
    # What is asked for in addition is made.
    _, events = run(data, tmp_path / "out", excerpts=2)
    assert [event["skipped"] for event in of_kind(events, "file")] == [True, True, False]
    assert (tmp_path / "out" / "excerpts" / "song 1" / "bass.mp3").exists()


def test_events_tell_how_far_all_tracks_are(data: Path, tmp_path: Path) -> None:
    _, events = run(data, tmp_path / "out")
    assert {event["system"] for event in events} == {"mixture"}
    total = [
        e["fraction"] for e in of_kind(events, "progress") if e["input"] == str(tmp_path / "out")
    ]
    assert total == sorted(total)
    assert total[-1] == pytest.approx(1)
    one = [e["fraction"] for e in of_kind(events, "progress") if e["input"] == "song 1"]
    assert one == sorted(one)
    assert (one[0], one[-1]) == (0, 1)


def break_file(path: Path) -> None:
    path.write_bytes(b"RIFF is all that is left")


def put_nan(path: Path) -> None:
    audio = np.full((100, 2), np.nan)
    soundfile.write(path, audio, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "message"), [(break_file, "bass.wav"), (put_nan, "not a number")]
)
def test_a_track_that_fails_is_told_and_the_others_are_done(
    data: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    bad = data / "test" / "song 1" / "bass.wav"
    bad.unlink()
    damage(bad)
    ended, events = run(data, tmp_path / "out")
    errors = of_kind(events, "error")
    assert (ended.done, ended.failed) == (2, 1)
    assert errors[0]["input"] == "song 1"
    assert message in errors[0]["message"]
    assert "fault of desmezcla" not in errors[0]["message"]
    assert [track.track for track in ended.results.tracks] == ["song 0", "song 2"]
    assert "song 1" not in (tmp_path / "out" / "scores.csv").read_text()


def test_a_folder_without_stems_fails_and_the_others_are_done(data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data / "test" / "song 1")
    (data / "test" / "song 1").mkdir()
    ended, events = run(data, tmp_path / "out")
    assert (ended.done, ended.failed) == (2, 1)
    assert "song 1" in of_kind(events, "error")[0]["message"]


def test_other_settings_need_another_folder_or_overwriting(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    longer = {"config": BssEvalConfig(window_s=float("inf"), filter_samples=8)}
    with pytest.raises(EvaluationError, match=r"config\.window_s is 1\.0 there.*--overwrite"):
        run(data, tmp_path / "out", **longer)
    ended, _ = run(data, tmp_path / "out", overwrite=True, **longer)
    assert all(len(track.stems["bass"]["SDR"]) == 1 for track in ended.results.tracks)
    about = (tmp_path / "out" / "evaluation.json").read_text()
    assert "Infinity" not in about
    assert str(tmp_path) not in about


def test_a_full_disk_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scoring, "write_signals", full)
    ended, events = run(data, tmp_path / "out")
    assert ended == Evaluated(done=0, failed=3, results=None)
    message = of_kind(events, "error")[0]["message"]
    assert "the disk is full" in message
    assert "TMPDIR" in message


def test_estimates_that_are_missing_or_new(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(data / "test", mine)
    shutil.rmtree(mine / "song 1")
    references = open_references(data).tracks

    def again() -> Any:
        found = open_estimates(mine, references)
        return run(data, tmp_path / "out", open_system=lambda: EstimatesSystem(found, "mine"))

    ended, events = again()
    assert (ended.done, ended.failed) == (2, 1)
    assert [event["input"] for event in of_kind(events, "error")] == ["song 1"]
    assert "holds no estimates of it" in of_kind(events, "error")[0]["message"]
    later = time.time() + 60
    os.utime(mine / "song 2" / "bass.wav", (later, later))
    _, events = again()
    skipped = {event["input"]: event["skipped"] for event in of_kind(events, "file")}
    assert skipped == {"song 0": True, "song 2": False}


def test_nothing_to_score_is_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no stem 'piano'"):
        run(data, tmp_path / "out", stems=("piano",))
    assert not (tmp_path / "out").exists()


def test_estimates_can_be_kept(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out", save=tmp_path / "kept", stems=("bass",))
    kept = sorted(path.relative_to(tmp_path / "kept") for path in (tmp_path / "kept").rglob("*.*"))
    assert kept == [Path(name, "bass.wav") for name in NAMES]
    audio, _ = soundfile.read(tmp_path / "kept" / "song 0" / "bass.wav")
    parts = [soundfile.read(data / "test" / "song 0" / f"{stem}.wav")[0] for stem in STEMS]
    np.testing.assert_allclose(audio, np.sum(parts, axis=0), atol=1e-6)
