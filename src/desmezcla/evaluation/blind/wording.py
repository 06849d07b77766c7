"""How measures are put for people: the same words and digits in the text and on the page."""

from desmezcla.evaluation.blind.report import (
    CEILING_DB,
    FLOOR_DB,
    BlindReport,
    SignalReport,
    StemReport,
)

COLUMNS = (
    "is",
    "level",
    "to song",
    "share",
    "heard",
    "peak",
    "true peak",
    "clipped",
    "side",
    "ends at",
    "follows",
)

# What each column says, for people who see one for the first time.
LEGEND = (
    "In dB: level, mean square over the whole time; to song, energy relative to the song's; peak; "
    "true peak; side, energy of L - R relative to L + R. Share: part of the energy of all stems; "
    "heard: part of the time in which it is less than 25 dB below the song; clipped: places where "
    "samples stay at full scale; ends at: where the spectrum ends abruptly; follows: how much of "
    "its changes a louder stem explains."
)


def heading(report: BlindReport) -> str:
    """Return a line that says what the report is about."""
    minutes, seconds = divmod(report.duration_s, 60)
    parts = [
        report.song or "a song",
        *([f"stems from {report.system}"] if report.system else []),
        f"{int(minutes)}:{seconds:04.1f}",
        f"{report.sample_rate} Hz",
        f"{report.channels} channel{'s' if report.channels > 1 else ''}",
    ]
    return ", ".join(parts)


def sum_line(report: BlindReport) -> str:
    """Return a line about the sum of the stems."""
    total = report.sum
    return (
        f"Song less stems: {db(-total.reconstruction_db)} dB relative to the song; "
        f"{db(-total.reconstruction_with_gain_db)} dB with the best gain for the sum, "
        f"{'inverted and ' if total.inverted else ''}{db(total.gain_db, '+')} dB."
    )


def cells(signal: SignalReport) -> tuple[str, ...]:
    """Return what stands in the columns of `COLUMNS`."""
    stem = signal if isinstance(signal, StemReport) else None
    return (
        stem.kind if stem else "song",
        db(signal.level_dbfs),
        db(stem.relative_db) if stem else "",
        f"{stem.share:.1%}" if stem else "",
        f"{stem.active_share:.0%}" if stem else "",
        db(signal.peak_dbfs),
        db(signal.true_peak_dbtp, "+"),
        str(signal.clipped_runs),
        "" if signal.width_db is None else db(signal.width_db),
        "" if signal.cutoff_hz is None else f"{signal.cutoff_hz / 1000:.1f} kHz",
        f"{stem.source} {stem.source_part:.0%}" if stem and stem.source else "",
    )


def db(value: float, sign: str = "") -> str:
    """Return decibels with one decimal.

    >>> db(-12.34), db(3.0, "+"), db(-200.0), db(200.0)
    ('-12.3', '+3.0', '-inf', 'inf')
    """
    if value <= FLOOR_DB:
        return "-inf"
    if value >= CEILING_DB:
        return "inf"
    return f"{round(value, 1) + 0.0:{sign}.1f}"  # no minus before zero
