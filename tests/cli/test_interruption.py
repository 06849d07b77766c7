"""What is left on the disk when a command ends before its time."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

SAMPLES = 44100 * 40


@pytest.fixture
def start(tiny_home: Path, song: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what starts a separation of long songs, in a process of its own."""
    environment = os.environ | {"DESMEZCLA_HOME": str(tiny_home), "OMP_NUM_THREADS": "1"}
    running: list[subprocess.Popen[str]] = []

    def run(*options: str, songs: int = 1, **more: Any) -> subprocess.Popen[str]:
        paths = [str(song(f"song{i}.wav", samples=SAMPLES, seed=i)) for i in range(songs)]
        command = [sys.executable, "-m", "desmezcla", "separate", "-m", "tiny", *paths, "--json"]
        process = subprocess.Popen(
            [*command, "-o", str(tmp_path / "out"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # Where the tests run in the background of a shell, children inherit a deaf ear.
            **{"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **more},
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def wait_for(process: Any, fraction: float) -> None:
    """Read events until a song has come that far."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["fraction"] >= fraction:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.8, 0.99, 1.0])
def test_killed_at_any_moment_no_final_name_is_incomplete(
    start: Any, tmp_path: Path, fraction: float
) -> None:
    process = start("--flac")
    wait_for(process, fraction)
    process.kill()
    process.communicate()
    final = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name[0] != "."]
    stems = [p for p in final if p.suffix == ".flac"]
    for path in stems:
        assert soundfile.read(path)[0].shape[0] == SAMPLES
    if any(p.suffix == ".json" for p in final):
        assert len(stems) == 4
    if fraction < 0.5:
        assert not final


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_tidies_up(start: Any, tmp_path: Path, number: int, code: int) -> None:
    process = start()
    wait_for(process, 0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_interrupted_several_processes_tidy_up(start: Any, tmp_path: Path) -> None:
    process = start("-j", "2", songs=3, start_new_session=True)
    wait_for(process, 0.01)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_full_disk_is_told_and_leaves_nothing(start: Any, tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    process = start(preexec_fn=limit)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    errors = [e for e in map(json.loads, out.splitlines()) if e["event"] == "error"]
    assert len(errors) == 1
    assert "larger than the system" in errors[0]["message"]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_who_stops_reading_is_no_error(start: Any) -> None:
    process = start("--duration", "1")
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 0
    assert "song0.wav -> " in err  # the work was done all the same
    assert "rror" not in err
