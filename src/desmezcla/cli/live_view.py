"""How `desmezcla live` shows a session: meters on a terminal, lines of text, or JSON."""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from desmezcla.cli.live_text import (
    FAULTS,
    Running,
    latency_text,
    mixer_table,
    status_text,
    summary,
)
from desmezcla.cli.report import print_line
from desmezcla.live.controls.keys import HELP
from desmezcla.live.mixer import Level
from desmezcla.live.statistics import LiveStatistics

_EVENT_S = 1.0


class View(Protocol):
    """Shows a session while it runs."""

    def start(self) -> None:
        """Show how it has been set up."""

    def update(self) -> None:
        """Show how it is going, if it is time to."""

    def end(self, ended_by: str) -> None:
        """Show how it went; it was ended by "input", "duration", "user" or "error"."""


@contextlib.contextmanager
def open_view(running: Running, console: Console, *, as_json: bool, quiet: bool) -> Iterator[View]:
    """Give what shows a session, as it is wanted."""
    if as_json:
        yield JsonView(running)
    elif quiet:
        yield SilentView()
    elif not console.is_terminal:
        yield TextView(running, console)
    else:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield TerminalView(running, console, live)


class SilentView:
    """Shows nothing."""

    def start(self) -> None:
        """Show nothing."""

    def update(self) -> None:
        """Show nothing."""

    def end(self, ended_by: str) -> None:
        """Show nothing."""


class TextView:
    """Shows how a session begins and how it ends."""

    def __init__(self, running: Running, console: Console) -> None:
        self._running = running
        self._console = console

    def start(self) -> None:
        """Show how it has been set up."""
        running = self._running
        self._print(f"{running.input} -> {running.model} -> {running.output}")
        self._print(f"{running.sample_rate} Hz, {latency_text(running)}")
        for control in running.controls:
            self._print(control)

    def update(self) -> None:
        """Show nothing in between."""

    def end(self, ended_by: str) -> None:
        """Show a summary."""
        for line in summary(self._running):
            self._print(line)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class TerminalView(TextView):
    """Shows meters, gains and counters, besides how it begins and ends."""

    def __init__(self, running: Running, console: Console, live: Live) -> None:
        super().__init__(running, console)
        self._live = live
        self._load = _RecentLoad()

    def update(self) -> None:
        """Draw everything anew."""
        running = self._running
        statistics = running.session.statistics()
        load = self._load.of(statistics)
        lines = [Text(status_text(running, statistics, load))]
        if running.keys is not None:
            lines.append(Text(HELP, style="dim"))
        self._live.update(Group(mixer_table(running), *lines), refresh=True)

    def end(self, ended_by: str) -> None:
        """Take the meters away, and show a summary."""
        self._live.stop()
        super().end(ended_by)


class JsonView:
    """Prints events on standard output, one JSON object a line."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._load = _RecentLoad()
        self._next_s = 0.0

    def start(self) -> None:
        """Print how it has been set up."""
        running, session = self._running, self._running.session
        heard_s, played_s = session.device_latency_s
        self._next_s = time.monotonic() + _EVENT_S
        self._print(
            "start",
            output=running.output,
            model=running.model,
            engine=running.engine,
            stems=running.mixer.stems,
            sample_rate=running.sample_rate,
            latency_samples=session.latency_samples,
            latency_s=session.latency_s,
            handoff_samples=session.handoff_samples,
            device_latency_s={"input": heard_s, "output": played_s},
            priority=session.priority,
            controls=running.controls,
        )

    def update(self) -> None:
        """Print how it is going, once a second."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = max(self._next_s + _EVENT_S, now_s)
        running, mixer = self._running, self._running.mixer
        statistics = running.session.statistics()
        self._print(
            "level",
            time_s=statistics.played_s,
            levels={name: _as_json(level) for name, level in mixer.levels().items()},
            gains=mixer.gains(),
            muted=sorted(mixer.muted),
            solo=mixer.soloed,
            load=self._load.of(statistics),
            device_lost=running.session.device_lost,
            **{name: getattr(statistics, name) for name in FAULTS},
            clipped_samples=mixer.clipped_samples,
        )

    def end(self, ended_by: str) -> None:
        """Print how it went."""
        running, recorder = self._running, self._running.recorder
        self._print(
            "done",
            ended_by=ended_by,
            **asdict(running.session.statistics()),
            clipped_samples=running.mixer.clipped_samples,
            recorded={} if recorder is None else {s: str(p) for s, p in recorder.paths.items()},
            recorded_samples=0 if recorder is None else recorder.recorded_samples,
            lost_samples=0 if recorder is None else recorder.lost_samples,
        )

    def _print(self, event: str, **more: Any) -> None:
        print_line(json.dumps({"event": event, "input": self._running.input, **more}))


class _RecentLoad:
    """The mean load since it was last asked for, from the mean since the beginning."""

    def __init__(self) -> None:
        self._blocks, self._sum, self._last = 0, 0.0, 0.0

    def of(self, statistics: LiveStatistics) -> float:
        blocks, total = statistics.blocks, statistics.load_mean * statistics.blocks
        if blocks > self._blocks:
            self._last = (total - self._sum) / (blocks - self._blocks)
            self._blocks, self._sum = blocks, total
        return self._last


def _as_json(level: Level) -> dict[str, float | None]:
    """Return a level with null for silence, since JSON has no infinity."""
    return {
        name: round(value, 2) if math.isfinite(value) else None
        for name, value in asdict(level).items()
    }
