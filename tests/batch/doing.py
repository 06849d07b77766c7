"""What workers of the tests do, in a module that processes and clusters can import."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from desmezcla.batch.driver import Free, Happened, Make, Message, Place, Ready, Workers
from desmezcla.batch.engines import Engine
from desmezcla.batch.events import Event, Report, attempt
from desmezcla.errors import DesmezclaError


def make(folder: Path, place: Place) -> Callable[[str, Report], None]:
    """Return what does a task as its name says, and notes in a folder that it was begun."""

    def work(task: str, report: Report) -> None:
        with (folder / task).open("a") as file:
            file.write(f"{place.name}\n")
        tries = len((folder / task).read_text().splitlines())

        def do() -> bool:
            if task.startswith("kill always") or (task.startswith("kill once") and tries == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            if task.startswith("fail"):
                raise DesmezclaError(f"{task} cannot be done")
            if task.startswith("fault"):
                raise ZeroDivisionError("too bad")
            if task.startswith("log"):
                logging.getLogger("desmezcla.batch").warning("said by %s", task)
            if task.startswith("slow"):
                for step in range(1000):
                    time.sleep(0.05)
                    report({"event": "progress", "input": task, "fraction": step / 1000})
            return True

        if attempt(do, task, report):
            report({"event": "file", "input": task, "outputs": {}, "skipped": False})

    return work


def refuse(place: Place) -> Callable[[str, Report], None]:
    raise DesmezclaError("the model is broken")


def die(place: Place) -> Callable[[str, Report], None]:
    os._exit(3)


Handled = list[tuple[Any, Event, int]]


class Pretending:
    """Workers that say that all is done, at once."""

    slots = 4

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def __enter__(self) -> "Pretending":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, slot: int) -> None:
        self.messages.append(Ready(slot))

    def give(self, slot: int, task: Any) -> None:
        event = {"event": "file", "input": str(task), "outputs": {}, "skipped": False}
        self.messages += [Happened(slot, event), Free(slot)]

    def wait(self, timeout_s: float) -> list[Message]:
        taken, self.messages = self.messages, []
        return taken


class Inside(Pretending):
    """A worker inside of this process."""

    slots = 1

    def __init__(self, make: Make, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.work = make(*arguments, Place(0, "here"))

    def give(self, slot: int, task: Any) -> None:
        self.work(task, lambda event: self.messages.append(Happened(slot, event)))
        self.messages.append(Free(slot))


class InsideEngine(Engine):
    """Does everything in this process, which saves the start of others."""

    def workers(self, make: Make, arguments: tuple[Any, ...]) -> Workers:
        return Inside(make, arguments)


class PretendingEngine(Engine):
    """Does nothing."""

    def workers(self, make: Make, arguments: tuple[Any, ...]) -> Workers:
        return Pretending()
