import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from desmezcla.batch import remote, storage
from desmezcla.batch.batching import run_batch
from desmezcla.batch.engines import Engine
from desmezcla.batch.inputs import Task
from desmezcla.batch.remote import separate_anywhere
from desmezcla.batch.track import BatchJob
from desmezcla.errors import AudioFileError, DesmezclaError, ParameterError
from desmezcla.inference.offline import Separator
from desmezcla.inference.outputs import output_options
from desmezcla.version import VERSION

from .conftest import WriteSongs, tree
from .doing import InsideEngine, PretendingEngine

parquet = pytest.importorskip("pyarrow.parquet", reason="the ledger needs the extra cluster")

Events = list[dict[str, Any]]


def run(manifest: object, out: object, **options: Any) -> tuple[tuple[int, int], Events]:
    """Run a batch with the release `baseline`, and return how it ended and the events."""
    events: Events = []
    report = options.pop("report", lambda event: None)

    def note(event: dict[str, Any]) -> None:
        events.append(json.loads(json.dumps(event)))
        report(event)

    options.setdefault("engine", InsideEngine())
    fields = {key: options.pop(key) for key in ("output", "patience_s") if key in options}
    ended = run_batch(BatchJob("baseline", str(out), **fields), str(manifest), note, **options)
    assert not multiprocessing.active_children()
    return ended, events


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the ledger by track; at the end it is one file."""
    (file,) = (out / "ledger").glob("*.parquet")
    return {row["track"]: row for row in parquet.read_table(file).to_pylist()}


def of_kind(events: Events, kind: str) -> Events:
    return [event for event in events if event["event"] == kind]


def skipped(events: Events) -> dict[str, bool]:
    return {Path(e["input"]).stem: e["skipped"] for e in of_kind(events, "file")}


def test_a_batch_keeps_a_ledger_and_does_only_what_is_missing(
    write_songs: WriteSongs, tmp_path: Path
) -> None:
    songs, out = write_songs(4), tmp_path / "out"
    songs[1].write_bytes(b"no music at all")
    ended, events = run(tmp_path / "music", out)
    assert ended == (3, 1)
    ledger = rows(out)
    assert {track: row["state"] for track, row in ledger.items()} == {
        "song0": "done",
        "song1": "failed",
        "song2": "done",
        "song3": "done",
    }
    assert "song1.wav" in ledger["song1"]["reason"]
    row = ledger["song0"]
    assert row["input"] == str(songs[0])
    assert row["audio_seconds"] == pytest.approx(0.3)
    assert 0 < row["seconds"] < 60
    assert (row["attempts"], row["version"], row["release"]) == (1, VERSION, "baseline")
    assert row["record"] == "baseline/song0/separation.json"
    assert (datetime.now(timezone.utc) - row["ended"]).total_seconds() < 300
    record = json.loads((out / row["record"]).read_text())
    assert row["release_sha256"] == record["release"]["sha256"]
    whole = [e for e in of_kind(events, "progress") if e["input"] == str(out)]
    assert (whole[-1]["fraction"], whole[-1]["eta_s"]) == (1, 0)
    assert not any("facts" in event for event in events)
    assert not list(Path(tempfile.gettempdir()).iterdir())

    before = tree(out)
    ended, events = run(tmp_path / "music", out)
    assert ended == (3, 1)
    assert skipped(events) == {"song0": True, "song2": True, "song3": True}
    assert "--retry-failed" in of_kind(events, "error")[0]["message"]
    assert not [e for e in of_kind(events, "start") if e["input"] != str(out)]
    assert tree(out) == before

    # What was made of another input, or is not there any more, is missing.
    songs[2].write_bytes(songs[3].read_bytes())
    (out / "baseline/song3/bass.wav").unlink()
    songs[1].write_bytes(songs[0].read_bytes())
    ended, events = run(tmp_path / "music", out)
    assert ended == (4, 0)
    assert skipped(events) == {"song0": True, "song1": False, "song2": False, "song3": False}
    _, events = run(tmp_path / "music", out, output=output_options(stems=("vocals",)))
    assert not any(skipped(events).values())


def test_what_failed_is_tried_again_only_if_that_is_wanted(
    write_songs: WriteSongs, tmp_path: Path
) -> None:
    (song,) = write_songs(1)
    song.write_bytes(b"no music at all")
    out = tmp_path / "out"
    assert run(song.parent, out)[0] == (0, 1)
    _, events = run(song.parent, out)
    assert "it has failed before: " in of_kind(events, "error")[0]["message"]
    _, events = run(song.parent, out, retry_failed=True)
    assert "it has failed before: " not in of_kind(events, "error")[0]["message"]


def test_a_worker_killed_in_the_middle_costs_nothing(
    write_songs: WriteSongs, tmp_path: Path
) -> None:
    write_songs(3, seconds=2)
    run(tmp_path / "music", tmp_path / "never", engine=Engine())  # with as many threads
    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and "song1" in event["input"] and not killed:
            (child,) = multiprocessing.active_children()
            assert child.pid is not None
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    out = tmp_path / "out"
    ended, _ = run(tmp_path / "music", out, report=kill, engine=Engine())
    assert killed
    assert ended == (3, 0)
    assert tree(out) == tree(tmp_path / "never")
    assert {track: row["attempts"] for track, row in rows(out).items()} == {
        "song0": 1,
        "song1": 2,
        "song2": 1,
    }
    assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_driver_killed_and_started_again_does_nothing_twice(
    write_songs: WriteSongs, tmp_path: Path
) -> None:
    write_songs(4, seconds=1)
    run(tmp_path / "music", tmp_path / "never")
    out = tmp_path / "out"
    command = ["batch", str(tmp_path / "music"), "-o", str(out), "-m", "baseline", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "desmezcla", *command], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "file":
            break
    process.kill()
    process.communicate()
    made = {p: p.stat().st_mtime_ns for p in (out / "baseline").rglob("*.wav")}
    assert made
    ended, events = run(tmp_path / "music", out)
    assert ended == (4, 0)
    assert True in skipped(events).values()
    done = [Path(e["input"]).stem for e in of_kind(events, "file") if e["skipped"]]
    for path, time_ns in made.items():
        if path.parent.name in done:
            assert path.stat().st_mtime_ns == time_ns
    assert tree(out) == tree(tmp_path / "never")
    assert set(rows(out)) == {"song0", "song1", "song2", "song3"}


def test_collisions_and_rows_that_lead_out_are_refused(
    write_songs: WriteSongs, tmp_path: Path
) -> None:
    songs, out = write_songs(3), tmp_path / "out"
    list_ = tmp_path / "list.csv"
    lines = [f"{songs[0]},one", f"{songs[1]},ONE", f"{songs[2]},../three", ",four"]
    list_.write_text("\n".join(["path,track", *lines, f"{songs[2]},three"]))
    ended, events = run(list_, out)
    assert ended == (2, 3)
    messages = [event["message"] for event in of_kind(events, "error")]
    assert any("would replace those of" in message for message in messages)
    assert any("track='../three'" in message for message in messages)
    assert any("path is empty" in message for message in messages)
    assert {path.parent.name for path in out.rglob("*.wav")} == {"one", "three"}
    # Refusals are found anew in each run, so a better manifest is enough.
    list_.write_text("\n".join(["path,track", f"{songs[1]},ONE", f"{songs[0]},zero"]))
    assert run(list_, out)[0] == (2, 0)


def test_an_input_is_not_replaced(write_songs: WriteSongs, tmp_path: Path) -> None:
    (song,) = write_songs(1)
    before = song.read_bytes()
    options = output_options(filename="{track}.wav/../{stem}.wav".replace(".wav/..", ""))
    song = song.rename(song.with_name("vocals.wav"))
    list_ = tmp_path / "list.csv"
    list_.write_text(f"path,track\n{song},music\n")
    ended, events = run(list_, tmp_path, output=options)
    assert ended == (0, 1)
    assert "is the input itself" in of_kind(events, "error")[0]["message"]
    assert song.read_bytes() == before


def test_two_batches_do_not_work_in_one_folder(write_songs: WriteSongs, tmp_path: Path) -> None:
    write_songs(1)
    (tmp_path / "out/ledger").mkdir(parents=True)
    with (
        FileLock(tmp_path / "out/ledger/.lock"),
        pytest.raises(DesmezclaError, match="another batch is at work there"),
    ):
        run(tmp_path / "music", tmp_path / "out")


def test_other_storages_are_separated_from_and_to(write_songs: WriteSongs, tmp_path: Path) -> None:
    """`local://` is another storage for us, which has no locks and no complete objects."""
    songs, out = write_songs(3), tmp_path / "elsewhere"
    songs[1].write_bytes(b"no music at all")
    run(tmp_path / "music", tmp_path / "here")
    address, music = f"local://{out}", f"local://{tmp_path}/music"
    ended, events = run(music, address)
    assert ended == (2, 1)
    assert tree(out) == tree(tmp_path / "here")
    assert not list(Path(tempfile.gettempdir()).iterdir())
    outputs = of_kind(events, "file")[0]["outputs"]
    assert outputs["bass"] == f"{address}/baseline/song0/bass.wav"
    ended, events = run(music, address)
    assert ended == (2, 1)
    assert set(skipped(events).values()) == {True}
    # Without the ledger, the records beside the stems tell what is done.
    (ledger,) = (out / "ledger").glob("*.parquet")
    ledger.unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    ended, events = run(music, address)
    assert set(skipped(events).values()) == {True}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == before


def test_stems_that_cannot_be_put_to_their_places_leave_nothing(
    write_songs: WriteSongs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (song,) = write_songs(1)
    separator, out = Separator("baseline"), tmp_path / "elsewhere"

    def separate(**fields: Any) -> Any:
        options = output_options(**fields)
        task, address = Task(str(song), "song0"), f"local://{out}"
        more: Any = {"progress": lambda now: None, "patience_s": 1}
        return separate_anywhere(separator, task, address, options, **more)

    def refuse(path: Path, address: str, **options: Any) -> None:
        if path.name == "other.wav":
            raise AudioFileError("the disk is full")
        storage.put(path, address, **options)

    assert not separate().skipped
    assert separate().skipped
    with monkeypatch.context() as patched:
        patched.setattr(remote, "put", refuse)
        assert separate().skipped
        with pytest.raises(AudioFileError, match="the disk is full"):
            separate(bit_depth="24")
    # What was to be replaced has lost its record, so it does not pass for complete.
    assert set(tree(out)) == {"baseline/song0/other.wav"}
    assert not separate().skipped
    assert len(tree(out)) == 5
    assert not list(Path(tempfile.gettempdir()).iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output": output_options(stems=("piano",))}, "piano"),
        ({"engine": Engine(devices=("cpu", "abacus"))}, None),
    ],
)
def test_wrong_options_are_told_before_anything_is_done(
    write_songs: WriteSongs, tmp_path: Path, fields: dict[str, Any], message: str | None
) -> None:
    write_songs(1)
    if message is None:
        job = BatchJob("baseline", str(tmp_path / "out"), devices=("cpu", "abacus"))
        with pytest.raises(ParameterError, match="abacus"):
            run_batch(job, str(tmp_path / "music"), lambda event: None, **fields)
    else:
        with pytest.raises(ParameterError, match=message):
            run(tmp_path / "music", tmp_path / "out", **fields)
    assert not (tmp_path / "out").exists()


def memory_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_on_the_way(table: Path, out: Path) -> list[float]:
    """Return the memory of this process after each ten thousand tracks."""
    seen: list[float] = []
    done = 0

    def watch(event: dict[str, Any]) -> None:
        nonlocal done
        done += event["event"] == "file"
        if event["event"] == "file" and done % 10_000 == 0:
            seen.append(memory_mib())

    job = BatchJob("baseline", str(out))
    assert run_batch(job, str(table), watch, engine=PretendingEngine()) == (100_000, 0)
    assert threading.active_count() < 40
    return seen


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_with_a_hundred_thousand_rows(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    with table.open("w") as file:
        file.write("path\n")
        file.writelines(
            f"albums/{n // 10:06}/a title of usual length {n}.mp3\n" for n in range(100_000)
        )
    # A process of its own, since the memory of this one is what earlier tests have made of it.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        seen = process.submit(memory_on_the_way, table, tmp_path / "out").result()
    assert len(seen) == 10
    assert max(seen) - seen[0] < 24
    (ledger,) = (tmp_path / "out/ledger").glob("*.parquet")
    assert parquet.read_metadata(ledger).num_rows == 100_000
