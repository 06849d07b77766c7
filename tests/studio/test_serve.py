"""The command, and the server as it really runs: processes, signals and a queue that goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from desmezcla.cli.serve import serve
from desmezcla.errors import ParameterError

PATIENCE_S = 60.0
Start = Callable[..., Any]


def sent(client: httpx.Client, song: bytes) -> str:
    answer = client.post(
        "/api/jobs", files={"file": ("song.wav", song)}, data={"model": "baseline"}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def until(wanted: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not wanted():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.1)


def done(client: httpx.Client, ids: list[str]) -> bool:
    states = [client.get(f"/api/jobs/{job_id}").json()["state"] for job_id in ids]
    assert set(states) <= {"waiting", "running", "done"}
    return set(states) == {"done"}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_queue_goes_on_where_it_was(start: Start, song: bytes, sign: int) -> None:
    server = start()
    with httpx.Client(base_url=server.address, timeout=30) as client:
        ids = [sent(client, song) for _ in range(3)]
    server.end(sign)
    with httpx.Client(base_url=start().address, timeout=30) as client:
        until(lambda: done(client, ids))
        assert {client.get(f"/api/jobs/{job_id}/stems/bass").status_code for job_id in ids} == {200}


def test_a_server_that_is_killed_leaves_no_worker_behind(start: Start, song: bytes) -> None:
    server = start()
    with httpx.Client(base_url=server.address, timeout=30) as client:
        until(lambda: client.get("/api/health").json()["workers"] == 1)
    children = _children(server.process.pid)
    assert children
    server.end(signal.SIGKILL)
    until(lambda: not any(_alive(pid) for pid in children))


def test_a_worker_that_is_killed_is_replaced_and_its_job_done(start: Start, song: bytes) -> None:
    server = start()
    with httpx.Client(base_url=server.address, timeout=30) as client:
        until(lambda: client.get("/api/health").json()["workers"] == 1)
        ids = [sent(client, song) for _ in range(2)]
        until(lambda: client.get("/api/health").json()["running"] == 1)
        (worker,) = _children(server.process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: done(client, ids))
        assert _children(server.process.pid) != [worker]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        pytest.skip("only Linux tells the children of a process")
    lists = [(task / "children").read_text() for task in tasks.iterdir()]
    return [int(child) for text in lists for child in text.split()]


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_following_a_job_tells_its_course(start: Start, song: bytes) -> None:
    with httpx.Client(base_url=start().address, timeout=30) as client:
        job_id = sent(client, song)
        with client.stream("GET", f"/api/jobs/{job_id}/events") as answer:
            text = "".join(answer.iter_text())
    states = list(dict.fromkeys(re.findall(r'"state":\s*"(\w+)"', text)))
    assert states[-1] == "done"
    assert states[:-1] in (["waiting", "running"], ["running"])


@pytest.fixture
def command() -> Callable[..., Any]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(serve)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, arguments)

    return run


def test_a_network_needs_a_token(command: Callable[..., Any], tmp_path: Path) -> None:
    result = command("--host", "0.0.0.0", "--data", str(tmp_path / "data"))
    assert isinstance(result.exception, ParameterError)
    assert "a token is needed: add --token" in str(result.exception)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--token", "short"], "must have 16 or more"),
        (["--database", "nonsense"], "--database is no address"),
        (["--host", "no.such.host.invalid", "--token", "x" * 16], "no.such.host.invalid"),
    ],
)
def test_what_is_wrong_is_said(
    command: Callable[..., Any], tmp_path: Path, options: list[str], words: str
) -> None:
    result = command("--port", "0", "--data", str(tmp_path / "data"), *options)
    assert isinstance(result.exception, ParameterError)
    assert words in str(result.exception)


def test_help_imports_neither_torch_nor_the_web() -> None:
    code = (
        "import sys, desmezcla.cli.serve; "
        "assert not {'torch', 'fastapi', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_web_process_does_not_import_torch() -> None:
    code = "import sys, desmezcla.studio.serving; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
