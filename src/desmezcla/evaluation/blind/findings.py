"""What the measures of a separation mean: thresholds with their reasons, and one sentence each.

Everything is relative to the song, so that a change of volume finds the same, but for full scale.
"""

from collections.abc import Iterator

import numpy as np

from desmezcla.evaluation.blind.report import (
    FLOOR_DB,
    WINDOW_S,
    BlindReport,
    Finding,
    Kind,
    SignalReport,
    StemReport,
    SumReport,
)
from desmezcla.evaluation.blind.wording import db

# Below this, a stem is silent: 60 dB down, a sound has died away, as reverberation time is defined.
SILENT_DB = -60.0

# A stem is heard where it is less than that below the song at the same time. What is softer is
# masked by it, unless it has a range of frequencies for itself.
HEARD_DB = -25.0

# For how long it must be heard, in all: one window may be an accident, such as the end of a fade.
HEARD_S = 1.0

# A stem that is not heard is leakage if a louder one explains so much of its changes. True stems of
# three real songs explained at most 0.32 of each other, mostly below 0.1, and 0.43 to 1 of what
# leaked from them through masks that varied by up to 9 dB (standard deviation).
LEAKAGE = 0.4

# Stems that are heard share a sound if the louder explains so much of the other: well above what
# was seen of true stems, some of which may play in unison.
SHARED = 0.5

# One per cent of the energy.
SUM_DB = 20.0
# In a window, a tenth of it.
SUM_FRAME_DB = 10.0

# The sum is the song at another level if a gain brings it so near, and so much nearer than before.
GAIN_FITS_DB, GAIN_BETTER_DB = 10.0, 3.0
# Rounding to 16 bits may leave that much of a quiet song.
ROUNDING_DB = 60.0

# The sum is late, or early, if so much of the spectrum agrees on it.
ALIGNED = 0.5

# Stems without relation have the energy of the song, and stems that share sounds less. Twice the
# energy is only there if stems hold what others take away again.
CANCEL_DB = 3.0

# An offset by 3 % of the song's level. Over shorter times, the lowest tones have a mean, too.
OFFSET_DB, OFFSET_MIN_S = -30.0, 2.0

# Side and middle are equally strong for sounds on one side only; double energy at the side means
# that mixing to mono takes away two thirds.
OUT_OF_PHASE_DB = 3.0
# A song counts as stereo, and its stems as mono, on either side of these.
STEREO_DB, MONO_DB = -30.0, -60.0
# A tenth, or ten times, the song's energy at the side, relative to the middle.
WIDTH_DB = 10.0

# Converters for CDs pass 20 kHz. Encoders end below: mp3 of 128 kbit/s at 16 kHz, of 192 at 19.
FULL_BAND_HZ = 19_500.0
# What ends that much before the song does lacks some of it.
BAND_HZ = 1000.0

# What is left over, by its name, may be anything.
_RESIDUAL = "residual"


def kind_of(name: str, stem: StemReport) -> Kind:
    """Say what a stem is, from its measures."""
    if stem.loudest_db < SILENT_DB:
        return "silent"
    if stem.heard_db >= HEARD_DB:
        return "active"
    return "phantom" if stem.source_part >= LEAKAGE and name != _RESIDUAL else "faint"


def findings_of(report: BlindReport) -> Iterator[Finding]:
    """Yield what is wrong or worth knowing."""
    signals = {"mixture": report.mixture, **report.stems}
    yield from _presence(report)
    yield from _sum(report)
    yield from _lengths(report)
    for name, signal in signals.items():
        yield from _samples(name, signal)
        yield from _offset(report, name, signal)
        yield from _stereo(report, name, signal)
    yield from _mono(report)
    yield from _band(report)


def _presence(report: BlindReport) -> Iterator[Finding]:
    if report.mixture.level_dbfs <= FLOOR_DB:
        yield Finding("warning", "silent", "the song itself is silent", "mixture")
    elif all(stem.kind == "silent" for stem in report.stems.values()):
        yield Finding("warning", "silent", "all stems are silent, but the song is not")
    for name, stem in report.stems.items():
        other, part = stem.source, stem.source_part
        if stem.kind == "silent":
            text = (
                f"{name} is silent: it is never within {-SILENT_DB:g} dB of the song's level, so "
                "the song has no such sound, or it was not found"
            )
            yield Finding("info", "silent", text, name)
        elif stem.kind == "phantom":
            text = (
                f"{name} is a phantom: it stays {-stem.heard_db:.0f} dB or more below the song, "
                f"and {other} explains {part:.0%} of its changes, so that it seems to hold leakage"
            )
            yield Finding("warning", "phantom", text, name)
        elif stem.kind == "faint" and name != _RESIDUAL:
            text = (
                f"{name} is faint: it stays {-stem.heard_db:.0f} dB or more below the song; "
                "whether that is a soft instrument or what was left over, only listening tells"
            )
            yield Finding("info", "faint", text, name)
        elif stem.kind == "active" and part >= SHARED:
            text = f"{name} shares sound with {other}, which explains {part:.0%} of its changes"
            yield Finding("info", "leakage", text, name)


def _sum(report: BlindReport) -> Iterator[Finding]:
    total = report.sum
    quality = f"the error is {db(total.reconstruction_db)} dB below the song"
    if total.reconstruction_db >= SUM_DB:
        yield Finding("info", "sum", f"the stems add up to the song: {quality}")
        yield from _gaps(report)
    else:
        yield Finding("warning", "sum", f"the stems do not add up to the song: {quality}")
    if _gain_helps(total):
        turned = "inverted and " if total.inverted else ""
        text = (
            f"the stems are {turned}at another level than the song: with "
            f"{'-' if total.inverted else ''}{10 ** (total.gain_db / 20):.3g} times the sum "
            f"({total.gain_db:+.1f} dB) the error is {db(total.reconstruction_with_gain_db)} dB "
            "below it"
        )
        yield Finding("warning", "level", text)
    late = total.lag_samples
    if total.reconstruction_db < SUM_DB and late and total.alignment >= ALIGNED:
        way = "later" if late > 0 else "earlier"
        text = (
            f"the stems come {abs(late)} samples ({1000 * abs(late) / report.sample_rate:.1f} ms) "
            f"{way} than the song, as lossy encoders do; shift them before adding them up"
        )
        yield Finding("warning", "delay", text)
    if total.energies_db > CANCEL_DB:
        text = (
            f"the stems together have {total.energies_db:.1f} dB more energy than the song: they "
            "hold sounds that cancel each other"
        )
        yield Finding("warning", "cancel", text)


def _gain_helps(total: SumReport) -> bool:
    fitted_db = total.reconstruction_with_gain_db
    better_db = min(fitted_db, ROUNDING_DB) - min(total.reconstruction_db, ROUNDING_DB)
    return fitted_db >= GAIN_FITS_DB and better_db >= GAIN_BETTER_DB


def _gaps(report: BlindReport) -> Iterator[Finding]:
    frames = np.array(report.sum.frames_db)
    levels = np.array(report.mixture.levels_dbfs)
    bad = (frames < SUM_FRAME_DB) & (levels > levels.max() + SILENT_DB)
    if np.count_nonzero(bad) * WINDOW_S >= HEARD_S:
        at = int(np.argmin(np.where(bad, frames, np.inf)))
        text = (
            f"in {np.count_nonzero(bad) * WINDOW_S:.1f} s the stems do not add up to the song; at "
            f"{at * WINDOW_S:.1f} s the error is {-frames[at]:+.1f} dB relative to it"
        )
        yield Finding("warning", "sum", text)


def _lengths(report: BlindReport) -> Iterator[Finding]:
    song = report.mixture.length_samples
    others = {name: stem.length_samples - song for name, stem in report.stems.items()}
    told = [f"{name} {by:+d} samples" for name, by in others.items() if by]
    if told:
        text = f"lengths differ from the song's: {', '.join(told)}; what lacks counts as silence"
        yield Finding("warning", "length", text)
    if report.duration_s < HEARD_S:
        text = f"{report.duration_s:.2f} s are too short to tell well which stems share sounds"
        yield Finding("info", "short", text)


def _samples(name: str, signal: SignalReport) -> Iterator[Finding]:
    if signal.nonfinite_samples:
        text = f"{name} has {signal.nonfinite_samples} sample(s) that are NaN or infinite"
        yield Finding("warning", "not finite", text, name)
    if signal.clipped_runs:
        text = (
            f"{name} is clipped in {signal.clipped_runs} place(s): samples in a row stay at "
            "full scale"
        )
        yield Finding("warning", "clipped", text, name)
    if signal.over_samples:
        text = (
            f"{name} has {signal.over_samples} sample(s) beyond full scale, up to "
            f"{signal.peak_dbfs:+.1f} dB; integer formats cut them off, 32-bit float keeps them"
        )
        # A decoder of a lossy song goes beyond, too, and nobody asks to write the song again.
        yield Finding("info" if name == "mixture" else "warning", "over", text, name)
    elif signal.true_peak_dbtp > 0:
        text = f"{name} has a true peak of {signal.true_peak_dbtp:+.1f} dB between its samples"
        yield Finding("info", "true peak", text, name)


def _offset(report: BlindReport, name: str, signal: SignalReport) -> Iterator[Finding]:
    relative_db = signal.dc_dbfs - report.mixture.level_dbfs
    if relative_db > OFFSET_DB and report.duration_s >= OFFSET_MIN_S:
        text = (
            f"{name} has an offset (DC) of {10 ** (signal.dc_dbfs / 20):.2g}, which is "
            f"{-relative_db:.0f} dB below the song's level; a high-pass filter removes it"
        )
        yield Finding("warning", "offset", text, name)


def _stereo(report: BlindReport, name: str, signal: SignalReport) -> Iterator[Finding]:
    width_db, song_db = signal.width_db, report.mixture.width_db
    if width_db is None or not _counts(signal):
        return
    if width_db > OUT_OF_PHASE_DB:
        loss_db = 10 * np.log10(1 + 10 ** (width_db / 10))
        text = f"{name} is out of phase: mixed to mono, it loses {loss_db:.1f} dB"
        yield Finding("warning", "phase", text, name)
    elif song_db is not None and name != "mixture" and abs(width_db - song_db) > WIDTH_DB:
        kind, word = ("wide", "wider") if width_db > song_db else ("narrow", "narrower")
        side = "it is mono" if width_db < MONO_DB else f"its side is at {db(width_db)} dB"
        text = f"{name} is {word} than the song: {side}, the song's at {db(song_db)} dB"
        yield Finding("info", kind, text, name)


def _mono(report: BlindReport) -> Iterator[Finding]:
    song_db = report.mixture.width_db
    widths = [stem.width_db for stem in report.stems.values() if stem.width_db is not None]
    if song_db is not None and song_db > STEREO_DB and widths and max(widths) < MONO_DB:
        yield Finding("warning", "mono", "the song is stereo, but all stems are mono")


def _band(report: BlindReport) -> Iterator[Finding]:
    nyquist_hz = report.sample_rate / 2
    song_hz = report.mixture.cutoff_hz or nyquist_hz
    if song_hz < min(FULL_BAND_HZ, 0.9 * nyquist_hz):
        text = (
            f"the song ends abruptly at {song_hz / 1000:.1f} kHz: it comes from a lossy file or a "
            "lower sample rate"
        )
        yield Finding("info", "band", text, "mixture")
    ends_hz = {n: s.cutoff_hz or nyquist_hz for n, s in report.stems.items() if _counts(s)}
    if ends_hz and max(ends_hz.values()) < song_hz - BAND_HZ:
        text = (
            f"all stems end abruptly, at {max(ends_hz.values()) / 1000:.1f} kHz or below, and the "
            "song does not: a limit of the model, or of the stems' format"
        )
        yield Finding("warning", "band", text)
        return
    for name, end_hz in ends_hz.items():
        if end_hz < song_hz - BAND_HZ:
            text = f"{name} ends abruptly at {end_hz / 1000:.1f} kHz, others and the song do not"
            yield Finding("info", "band", text, name)


def _counts(signal: SignalReport) -> bool:
    """Whether a signal is loud enough for its stereo image and band to matter."""
    return not isinstance(signal, StemReport) or signal.kind in ("active", "phantom")
