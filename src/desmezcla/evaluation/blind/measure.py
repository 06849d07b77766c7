"""One pass over a song and its stems, and the report that comes of it."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.blind.findings import HEARD_DB, HEARD_S, findings_of, kind_of
from desmezcla.evaluation.blind.meters import Meters, ratio_db
from desmezcla.evaluation.blind.report import (
    WINDOW_S,
    BlindReport,
    Finding,
    SignalReport,
    StemReport,
    SumReport,
)
from desmezcla.evaluation.blind.spectra import Spectra
from desmezcla.evaluation.signals import Signals

Audio = NDArray[np.float32]
Values = NDArray[np.float64]

# What is measured together; results do not depend on it.
_PART_WINDOWS = 2

# Windows in which the song is that much below its loudest one count as its silence.
_GATE_DB = -60.0


def blind_report(
    mixture: Signals,
    stems: Signals,
    sample_rate: int,
    *,
    song: str = "",
    system: str = "",
) -> BlindReport:
    """Report on stems of a song without references, reading each sample once.

    What is shorter is continued by silence. A mono signal beside one with more channels has the
    same on all of them. Values that are not finite count as zeros, with a warning.

    Args:
        mixture: The song: signals with one stem.
        stems: What it was separated into.
        sample_rate: In Hz.
        song: Name of the song.
        system: Name of what separated it.

    Errors:
        EvaluationError: if there is not a single sample, or the channels do not fit.
    """
    if len(mixture.stems) != 1:
        raise EvaluationError(
            f"mixture has {len(mixture.stems)} stems, but must have one, the song; add them up"
        )
    channels = {mixture.channels, stems.channels} - {1}
    if len(channels) > 1:
        raise EvaluationError(
            f"the song has {mixture.channels} channels and its stems have {stems.channels}; "
            "they must have the same, or one of them 1: mix them down"
        )
    return measured(
        [_blocks(mixture, sample_rate), _blocks(stems, sample_rate)],
        stems.stems,
        sample_rate,
        song=song,
        system=system,
    )


def measured(
    streams: Sequence[Iterable[Audio]],
    names: tuple[str, ...],
    sample_rate: int,
    *,
    song: str,
    system: str,
    notes: Sequence[Finding] = (),
) -> BlindReport:
    """Report on streams of blocks: the song first, then stems, one or more in each stream.

    Args:
        streams: Blocks of any length.
        names: Of all stems, in the order of the streams.
        sample_rate: In Hz.
        song: Name of the song.
        system: Name of what separated it.
        notes: What is known already.

    Shape:
        streams: blocks `[S, C, n]`; C is 1 or the same for all.

    Errors:
        EvaluationError: if there is not a single sample.
    """
    window_samples = max(1, round(WINDOW_S * sample_rate))
    meters: Meters | None = None
    spectra: Spectra | None = None
    lengths = np.zeros(1 + len(names), np.int64)
    for part, part_lengths in _aligned(streams, _PART_WINDOWS * window_samples):
        if meters is None or spectra is None:
            if len(part) != len(lengths):
                break  # a stream without a single sample
            signals, channels, _ = part.shape
            meters = Meters(signals, channels, sample_rate, window_samples)
            spectra = Spectra(signals, channels, sample_rate)
        spectra.add(meters.add(part))
        lengths += part_lengths
    if meters is None or spectra is None:
        raise EvaluationError(f"song {song!r} or a stem of it has no samples; check the audio")
    meters.finish()
    reports = _signal_reports(meters, spectra, lengths)
    report = BlindReport(
        song=song,
        system=system,
        sample_rate=sample_rate,
        channels=meters.sums.shape[1],
        duration_s=float(lengths.max() / sample_rate),
        mixture=reports[0],
        stems=dict(zip(names, _stem_reports(meters, spectra, reports, names), strict=True)),
        sum=_sum_report(meters, spectra),
    )
    found = [*notes, *findings_of(report)]
    ordered = sorted(found, key=lambda finding: finding.severity != "warning")
    return replace(report, findings=tuple(ordered))


def _blocks(signals: Signals, sample_rate: int) -> Iterator[Audio]:
    """Read signals a second at a time."""
    for start in range(0, signals.length_samples, sample_rate):
        stop = min(start + sample_rate, signals.length_samples)
        yield signals.read(start, stop).astype(np.float32, copy=False)


def _aligned(
    streams: Sequence[Iterable[Audio]], size: int
) -> Iterator[tuple[Audio, NDArray[np.int64]]]:
    """Yield all streams in parts of `size` samples, and how many of them each signal really had."""
    kinds: list[tuple[int, int]] = [(0, 0)] * len(streams)
    for parts in itertools.zip_longest(*[_rechunked(stream, size) for stream in streams]):
        for index, part in enumerate(parts):
            if part is not None:
                kinds[index] = part.shape[:2]
        length = max(part.shape[2] for part in parts if part is not None)
        channels = max(channels for _, channels in kinds)
        joined = np.zeros((sum(count for count, _ in kinds), channels, length), np.float32)
        lengths = np.zeros(len(joined), np.int64)
        first = 0
        for part, (count, _) in zip(parts, kinds, strict=True):
            if part is not None:
                joined[first : first + count, :, : part.shape[2]] = part
                lengths[first : first + count] = part.shape[2]
            first += count
        yield joined, lengths


def _rechunked(blocks: Iterable[Audio], size: int) -> Iterator[Audio]:
    """Cut a stream of blocks `[S, C, n]` anew, into parts of `size` samples and a shorter last."""
    held: list[Audio] = []
    samples = 0
    for block in blocks:
        held.append(block)
        samples += block.shape[-1]
        if samples >= size:
            joined = np.concatenate(held, axis=-1)
            whole = samples - samples % size
            for start in range(0, whole, size):
                yield joined[..., start : start + size]
            held, samples = [joined[..., whole:]], samples - whole
    if samples:
        yield np.concatenate(held, axis=-1)


def _signal_reports(
    meters: Meters, spectra: Spectra, lengths: NDArray[np.int64]
) -> list[SignalReport]:
    energies = meters.energies
    levels = ratio_db(energies @ meters.weights, 1.0)
    frames = ratio_db(energies, 1.0)
    peaks, true_peaks = (ratio_db(peak**2, 1.0) for peak in (meters.peaks, meters.true_peaks))
    offsets = ratio_db(np.square(meters.sums / lengths.max()).max(axis=1), 1.0)
    widths = ratio_db(meters.side, meters.middle)
    stereo = meters.sums.shape[1] == 2
    return [
        SignalReport(
            level_dbfs=float(levels[k]),
            levels_dbfs=tuple(frames[k].tolist()),
            peak_dbfs=float(peaks[k]),
            true_peak_dbtp=float(true_peaks[k]),
            full_scale_samples=int(meters.full_scale[k]),
            over_samples=int(meters.over[k]),
            clipped_runs=int(meters.runs[k]),
            nonfinite_samples=int(meters.nonfinite[k]),
            dc_dbfs=float(offsets[k]),
            width_db=float(widths[k]) if stereo and meters.peaks[k] > 0 else None,
            cutoff_hz=cutoff_hz,
            length_samples=int(lengths[k]),
        )
        for k, cutoff_hz in enumerate(spectra.cutoffs_hz())
    ]


def _stem_reports(
    meters: Meters, spectra: Spectra, signals: list[SignalReport], names: tuple[str, ...]
) -> Iterator[StemReport]:
    energies, weights = meters.energies, meters.weights
    song = energies[0]
    sounding = song > song.max() * 10 ** (_GATE_DB / 10)
    if not sounding.any():  # a silent song: what its stems hold is heard
        sounding = np.ones_like(sounding)
    song_level = np.average(song[sounding], weights=weights[sounding])
    totals = energies @ weights
    loudest = ratio_db(energies.max(axis=1), song_level)
    beside = ratio_db(energies[:, sounding], song[sounding])
    heard_windows = min(beside.shape[1], round(HEARD_S / WINDOW_S))
    heard_time = (beside > HEARD_DB) @ weights[sounding] / weights[sounding].sum()
    following = _following(spectra, totals[1:], names)
    for k, name in enumerate(names, start=1):
        stem = StemReport(
            **vars(signals[k]),
            kind="active",
            relative_db=float(ratio_db(totals[k], totals[0])),
            share=float(totals[k] / totals[1:].sum()) if totals[1:].any() else 0.0,
            loudest_db=float(loudest[k]),
            heard_db=float(np.sort(beside[k])[-heard_windows]),
            active_share=float(heard_time[k]),
            **following[k - 1],
        )
        yield replace(stem, kind=kind_of(name, stem))


def _following(spectra: Spectra, totals: Values, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the fields of each stem that say what it follows."""
    measured_parts = spectra.following()
    if measured_parts is None or len(names) == 1:
        return [{} for _ in names]
    fields = []
    for k, (pairs, rest) in enumerate(zip(*measured_parts, strict=True)):
        others = [j for j in range(len(names)) if j != k]
        louder = {names[j]: float(pairs[j]) for j in others if totals[j] > totals[k]}
        if len(others) > 1 and totals[others].sum() > totals[k]:
            louder["the rest"] = float(rest)
        source, part = max(louder.items(), key=lambda item: item[1], default=("", 0.0))
        fields.append(
            {
                "follows": {names[j]: float(pairs[j]) for j in others},
                "follows_rest": float(rest),
                "source": source,
                "source_part": part,
            }
        )
    return fields


def _sum_report(meters: Meters, spectra: Spectra) -> SumReport:
    energies, errors, weights = meters.energies, meters.errors, meters.weights
    song = float(energies[0] @ weights)
    gain = meters.song_sum / meters.sum_sum if meters.sum_sum > 0 else 1.0
    # What the nearest multiple of the sum leaves of the song is at a right angle to it.
    left = max(meters.song_song - gain * meters.song_sum, 0.0)
    lag_samples, alignment = spectra.lag()
    return SumReport(
        reconstruction_db=-float(ratio_db(errors @ weights, song)),
        frames_db=tuple((-ratio_db(errors, energies[0])).tolist()),
        gain_db=float(ratio_db(gain**2, 1.0)),
        inverted=gain < 0,
        reconstruction_with_gain_db=-float(ratio_db(left, meters.song_song)),
        energies_db=float(ratio_db(gain**2 * (energies[1:] @ weights).sum(), song)),
        lag_samples=lag_samples,
        alignment=alignment,
    )
