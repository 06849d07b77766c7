"""What `desmezcla live` says of a session: its setup, its meters and a summary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from desmezcla.live.controls.keys import KeyControl
from desmezcla.live.mixer import OUTPUT, Level, Mixer
from desmezcla.live.recording import StemRecorder
from desmezcla.live.session import LiveSession
from desmezcla.live.statistics import LiveStatistics

_METER_DB = 60  # how far down the meters reach
_METER_CELLS = 30

# Counters that are only spoken of when they are not zero, and what they mean.
FAULTS = {
    "deadline_misses": "blocks came too late and were played as silence",
    "input_overruns": "blocks of input were lost",
    "input_underruns": "blocks of the file could not be decoded in time",
    "xruns": "times the audio driver lost input or had no output",
    "skipped_samples": "samples were left out because the model was too slow",
    "nonfinite_input_samples": "samples of the input were no numbers",
    "nonfinite_output_samples": "samples of the model were no numbers, and were silenced",
    "device_losses": "times a device disappeared",
}


@dataclass(frozen=True)
class Running:
    """What there is to show of a session."""

    model: str
    engine: str
    input: str
    output: str
    session: LiveSession
    mixer: Mixer
    sample_rate: int
    recorder: StemRecorder | None = None
    keys: KeyControl | None = None
    controls: Sequence[str] = ()


def mixer_table(running: Running) -> Table:
    """Return one row for each stem and one for the output: meter, level, gain, mute and solo."""
    mixer = running.mixer
    levels, gains, muted, soloed = mixer.levels(), mixer.gains(), mixer.muted, mixer.soloed
    table = Table.grid(padding=(0, 1))
    for number, stem in enumerate(mixer.stems, 1):
        chosen = running.keys is not None and running.keys.chosen == stem
        table.add_row(
            ">" if chosen else " ",
            str(number),
            Text(stem, style="bold" if chosen else ""),
            _meter(levels[stem]),
            Text(_db_text(levels[stem].peak_db), justify="right"),
            Text(f"gain {_db_text(_gain_db(gains[stem]))}", justify="right"),
            Text("mute" if stem in muted else "", style="red"),
            Text("solo" if stem == soloed else "", style="yellow"),
        )
    level = levels[OUTPUT]
    peak = Text(_db_text(level.peak_db), justify="right")
    table.add_row("", "", OUTPUT, _meter(level), peak)
    return table


def status_text(running: Running, statistics: LiveStatistics, load: float) -> str:
    """Return one line about time, load, latency, faults and the recording."""
    parts = [
        _clock(statistics.played_s),
        f"load {load:.0%} (most {statistics.load_max:.0%})",
        f"latency {1000 * total_latency_s(running):.0f} ms",
        f"misses {statistics.deadline_misses}",
        f"overruns {statistics.input_overruns}",
        f"xruns {statistics.xruns}",
        f"clipped {running.mixer.clipped_samples}",
    ]
    recorder = running.recorder
    if recorder is not None:
        done_s = recorder.recorded_samples / running.sample_rate
        parts.append("recording ENDED" if recorder.error else f"recorded {_clock(done_s)}")
    if running.session.device_lost:
        parts.append("DEVICE LOST, waiting for it")
    return " · ".join(parts)


def summary(running: Running) -> list[str]:
    """Return lines about how a session went."""
    statistics = running.session.statistics()
    lines = [
        f"played {_clock(statistics.played_s)}; load {statistics.load_mean:.0%} on average, "
        f"{statistics.load_p999:.0%} for 99.9 % of the blocks, {statistics.load_max:.0%} at most"
    ]
    counts = {what: getattr(statistics, name) for name, what in FAULTS.items()}
    faults = [f"{count} {what}" for what, count in counts.items() if count]
    lines += faults or ["no deadline was missed and nothing was lost"]
    if running.mixer.clipped_samples:
        lines.append(
            f"{running.mixer.clipped_samples} samples of the output were beyond full scale"
        )
    recorder = running.recorder
    if recorder is not None:
        lines += [f"recorded {path}" for path in recorder.paths.values()]
        if recorder.lost_samples:
            lost_s = recorder.lost_samples / running.sample_rate
            lines.append(f"{lost_s:.3f} s of it are silence: the disk was too slow")
    return lines


def total_latency_s(running: Running) -> float:
    """Return the latency from input to output, as far as the devices know their own."""
    return running.session.latency_s + sum(running.session.device_latency_s)


def latency_text(running: Running) -> str:
    """Return the latency with its parts."""
    session = running.session
    handoff_ms = 1000 * session.handoff_samples / running.sample_rate
    model_ms = 1000 * session.latency_s - handoff_ms
    devices_ms = 1000 * sum(session.device_latency_s)
    return (
        f"latency {1000 * total_latency_s(running):.1f} ms: model {model_ms:.1f}, hand-off "
        f"{handoff_ms:.1f}, devices {devices_ms:.1f}; engine: {running.engine}; priority: "
        f"{session.priority}"
    )


def _meter(level: Level) -> ProgressBar:
    shown = max(0.0, min(_METER_DB, _METER_DB + level.peak_db))
    style = "red" if level.peak_db > 0 else "yellow" if level.peak_db > -6 else "green"
    return ProgressBar(
        total=_METER_DB,
        completed=shown,
        width=_METER_CELLS,
        complete_style=style,
        finished_style=style,
    )


def _gain_db(gain: float) -> float:
    return 20 * math.log10(gain) if gain > 0 else -math.inf


def _db_text(value_db: float) -> str:
    return f"{value_db:6.1f} dB" if math.isfinite(value_db) else "  -inf dB"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{minutes}:{rest:04.1f}" if minutes or hours else f"{rest:.1f} s"
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else text
