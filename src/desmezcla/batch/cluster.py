"""Workers that are actors on a Ray cluster, with one processor core (or one GPU) each.

An actor that dies, or whose node does, is replaced by a new one wherever there is room; how often
its task is tried again is the driver's business, so Ray itself repeats nothing.
"""

import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from desmezcla.batch.driver import Free, Happened, Lost, Make, Message, Place, Ready
from desmezcla.batch.events import Event, Interrupted, reason_of
from desmezcla.batch.processes import send_log
from desmezcla.errors import DesmezclaError
from desmezcla.evaluation.optional import require

_log = logging.getLogger(__name__)

# How long an actor waits for something to report, and how long it may take to stop, in seconds.
_REPORT_S = 1.0
_STOP_S = 5.0

_CONNECT_S = 10.0

# When to say that a cluster has no room, in seconds.
_PATIENCE_S = 60.0


class RayWorkers:
    """Actors on a cluster.

    Args:
        make: Called once in each actor; it must be importable on all nodes.
        arguments: What it is called with.
        jobs: Number of actors; None for one for each core, or each GPU.
        address: Of the cluster; None for the one that Ray finds, or a new one on this machine.
        device: What tasks compute on: a GPU for each actor if this is "cuda", or "auto" and there
            are GPUs in the cluster.

    Errors:
        DesmezclaError: if Ray is not installed.
    """

    def __init__(
        self,
        make: Make,
        arguments: tuple[Any, ...],
        *,
        jobs: int | None,
        address: str | None,
        device: str,
    ) -> None:
        # A program of ours reports to nobody, unless its user wants it.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = require("ray", needed_by="clusters", extra="cluster")
        self.slots = jobs or 0
        self._work = (make, arguments)
        self._address = address
        self._device = device
        self._resources: dict[str, float] = {}
        self._connected = False
        self._actors: dict[int, Any] = {}
        self._refs: dict[Any, tuple[int, str]] = {}
        self._waiting_since_s = time.monotonic()

    def __enter__(self) -> "RayWorkers":
        """Connect to the cluster.

        Errors:
            DesmezclaError: if it does not answer.
        """
        if not self._ray.is_initialized():
            try:
                _check_address(self._address)
                with _own_signals():
                    self._ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, RuntimeError, ValueError) as error:
                raise DesmezclaError(
                    f"address={self._address!r}: no Ray cluster answers ({error}); start one with "
                    "`ray start --head`, or check the address"
                ) from error
            self._connected = True
        there = self._ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        on_gpus = self._device == "cuda" or (self._device == "auto" and gpus > 0)
        self._resources = {"num_cpus": 1, "num_gpus": 1 if on_gpus else 0}
        self.slots = self.slots or max(1, gpus if on_gpus else int(there.get("CPU", 1)))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all actors, politely first, and leave the cluster."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            stops = [actor.stop.remote() for actor in self._actors.values()]
            working = [ref for ref, (_, kind) in self._refs.items() if kind == "work"]
            if stops:
                self._ray.wait(stops + working, num_returns=len(stops + working), timeout=_STOP_S)
        for slot in list(self._actors):
            self._forget(slot)
        if self._connected:
            self._ray.shutdown()

    def start(self, slot: int) -> None:
        """Ask for an actor; it starts when the cluster has room for it."""
        level = logging.getLogger("desmezcla").getEffectiveLevel()
        options: dict[str, Any] = {
            "max_concurrency": 3,  # besides its work, it reports, and hears that it is to stop
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
        }
        kind = self._ray.remote(_Actor).options(**options, **self._resources)
        actor = kind.remote(slot, level)
        self._actors[slot] = actor
        self._refs[actor.start.remote(*self._work)] = (slot, "start")

    def give(self, slot: int, task: Any) -> None:
        """Send a task."""
        self._refs[self._actors[slot].work.remote(task)] = (slot, "work")

    def wait(self, timeout_s: float) -> list[Message]:
        """Return what the actors report."""
        self._tell_if_no_room()
        if not self._refs:
            time.sleep(timeout_s)
            return []
        done, _ = self._ray.wait(list(self._refs), num_returns=1, timeout=timeout_s)
        if done:
            done, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        messages: list[Message] = []
        for ref in done:
            if ref in self._refs:  # else it belongs to an actor that was lost a moment ago
                messages += self._received(ref, *self._refs.pop(ref))
        return messages

    def _received(self, ref: Any, slot: int, kind: str) -> list[Message]:
        try:
            value = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._forget(slot)
            reason = str(error).strip().partition("\n")[0]
            return [Lost(slot, f"its worker on the cluster died ({reason})")]
        if kind == "work":
            return []  # its end is reported with all that came before
        if kind == "start" and value is not None:
            self._forget(slot)
            return [Lost(slot, value, final=True)]
        self._refs[self._actors[slot].reports.remote()] = (slot, "reports")
        return [Ready(slot)] if kind == "start" else self._read(slot, value)

    def _read(self, slot: int, reports: list[tuple[str, Any]]) -> list[Message]:
        messages: list[Message] = []
        for kind, content in reports:
            if kind == "log":
                _log.log(content[0], "%s", content[1])
            else:
                messages.append(Happened(slot, content) if kind == "event" else Free(slot))
        return messages

    def _forget(self, slot: int) -> None:
        """Make sure that an actor is dead, and listen to it no more."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actors.pop(slot))
        self._refs = {ref: what for ref, what in self._refs.items() if what[0] != slot}

    def _tell_if_no_room(self) -> None:
        """Say so if no actor has been started for a while."""
        starting = {slot for slot, kind in self._refs.values() if kind == "start"}
        if not starting or len(starting) < len(self._actors):
            self._waiting_since_s = time.monotonic()
        elif time.monotonic() - self._waiting_since_s > _PATIENCE_S:
            self._waiting_since_s = time.monotonic()
            _log.warning("the cluster has no free cores (or GPUs) for a worker yet; waiting")


def _check_address(address: str | None) -> None:
    """Raise OSError if nobody listens at HOST:PORT; Ray would try that for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this program does when it is told to end, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change that
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Actor:
    """What runs on the cluster: does one task after the other, and keeps what there is to report.

    Args:
        slot: Its number.
        level: From which level on messages are logged.
    """

    def __init__(self, slot: int, level: int) -> None:
        self._slot = slot
        self._reports: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._do: Any = None
        send_log(lambda kind, content: self._reports.put((kind, content)), level)

    def start(self, make: Make, arguments: tuple[Any, ...]) -> str | None:
        """Make what does the tasks; return why it cannot be made, if so."""
        import ray

        node = ray.get_runtime_context().get_node_id()[:8]
        name = f"{socket.gethostname()}/{node}/{os.getpid()}"
        try:
            self._do = make(*arguments, Place(self._slot, name))
        except Exception as error:
            return reason_of(error)
        return None

    def work(self, task: Any) -> None:
        """Do a task."""
        import torch

        torch.set_num_threads(1)  # holds for the thread that sets it
        with contextlib.suppress(Interrupted):
            self._do(task, self._report)
        self._reports.put(("free", None))

    def reports(self) -> list[tuple[str, Any]]:
        """Return what there is to report, as soon as there is something."""
        found: list[tuple[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._reports.get(timeout=_REPORT_S))
            while True:
                found.append(self._reports.get_nowait())
        return found

    def stop(self) -> None:
        """Let the task end at its next report, and tidy up."""
        self._stopped.set()

    def _report(self, event: Event) -> None:
        if self._stopped.is_set():
            raise Interrupted
        self._reports.put(("event", event))
