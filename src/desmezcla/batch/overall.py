"""How far a batch is: what is done, what has failed, and how long the rest will take."""

import time

from desmezcla.batch.events import Event, Report

# Progress of the whole is reported so often, in seconds.
_REPORT_S = 0.5


class Overall:
    """Counts tracks, and passes their events on with the progress of all of them.

    Args:
        name: Stands as `input` in the events of the whole.
        report: Called with every event.
    """

    def __init__(self, name: str, report: Report) -> None:
        self.done = self.failed = 0
        self._name = name
        self._report = report
        self._tracks = 0
        self._worked = 0  # tracks of this run that took their time
        self._running: dict[object, float] = {}
        self._start_s = self._told_s = time.monotonic()

    def start(self, tracks: int) -> None:
        """Begin with so many tracks."""
        self._tracks = tracks
        self._start_s = time.monotonic()
        self._report({"event": "start", "input": self._name, "tracks": tracks})

    def report(self, event: Event, *, task: object = None, again: bool = False) -> None:
        """Pass on an event.

        Args:
            event: What happened.
            task: What it happened to, if a worker has it.
            again: Whether that took no time: it was refused, or known from an earlier run.
        """
        self._report(event)
        kind = event["event"]
        if kind == "progress":
            self._running[task] = event["fraction"]
        elif kind in ("file", "error"):
            self._running.pop(task, None)
            self.done += kind == "file"
            self.failed += kind == "error"
            self._worked += not again
        finished = self.done + self.failed
        now_s = time.monotonic()
        if now_s - self._told_s >= _REPORT_S or finished == self._tracks:
            self._told_s = now_s
            self._report({"event": "progress", "input": self._name, **self._progress(now_s)})

    def _progress(self, now_s: float) -> dict[str, float | None]:
        under_way = sum(self._running.values())
        finished = self.done + self.failed + under_way
        worked = self._worked + under_way
        left = max(0.0, self._tracks - finished)
        eta_s = (now_s - self._start_s) / worked * left if worked else None
        return {"fraction": min(1.0, finished / self._tracks), "eta_s": eta_s}
