"""The benchmark of bad luck and bad intent, on a small scale."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve.py"

if not Path("/proc/self/task").is_dir():
    pytest.skip("only Linux tells the children of a process", allow_module_level=True)


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_kills_lose_nothing_and_double_nothing() -> None:
    found = run("kill", "--times", "4", "--seed", "1")["kill"]
    assert found["wrong"] == []
    assert found["jobs"] >= 4
    assert found["attempts"] >= found["jobs"]


def test_a_storm_is_refused_and_leaves_nothing() -> None:
    found = run("load", "--clients", "30", "--rounds", "1")["load"]
    assert found["10 GiB, as declared"]["status"] == found["10 GiB, undeclared"]["status"] == 413
    assert found["10 GiB, undeclared"]["sent_mib"] < 200
    assert set(found["storm"]["statuses"]) <= {"401", "422", "503"}
    assert found["left"] == []
