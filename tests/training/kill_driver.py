"""Trains in processes that are killed, and again until one comes to the end.

    python kill_driver.py RECIPE DATASET OUT [SECONDS | write:N | rename:N | release:N ...]

Each argument after the third says when one process is killed with SIGKILL: after so many seconds,
or in the middle of its Nth write, rename, or replacement of a release. One interpreter does it all,
by forking, since the imports take longer than the training.
"""

import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import lightning
import torch

from desmezcla.releases import checkpoint as releases
from desmezcla.training import RunOptions, keeper, module, record, train

torch.set_num_threads(1)
assert lightning
assert keeper
assert module
assert record


def kill_at(owner: Any, name: str, count: int) -> None:
    """Let the process kill itself where a function is about to be called for the Nth time."""
    own = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(*args, **options)

    setattr(owner, name, counted)


def run(recipe: str, data: str, out: str, when: str | None) -> None:
    kind, _, count = (when or "").partition(":")
    if kind == "write":  # the file is there, under its temporary name
        kill_at(os, "fsync", int(count))
    elif kind == "rename":
        kill_at(Path, "replace", int(count))
    elif kind == "release":
        kill_at(releases, "write_release_file", int(count))
    train(recipe, data=data, out=out, resume=True, options=RunOptions(device="cpu"))


def main(recipe: str, data: str, out: str, *moments: str) -> None:
    shutil.rmtree(out, ignore_errors=True)
    killed = 0
    for when in (*moments, None):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(recipe, data, out, when)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        if when and ":" not in when:
            time.sleep(float(when))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.WEXITSTATUS(status):
            sys.exit(f"training failed when it should have been killed at {when}")
    assert (Path(out) / "release").is_dir()
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
