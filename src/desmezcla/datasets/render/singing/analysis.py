"""What a recording of a voice holds: its fundamental, the instant of each period, its syllables.

The fundamental is found as Boersma ("Accurate short-term analysis of the fundamental frequency",
1993) does, by the autocorrelation divided by that of the window; two passes, the second near the
median of the first, stand in for his path finder. The instants of the periods are those where
the phase of the fundamental, by complex demodulation, passes a fixed value.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from desmezcla.audio.resample import resample
from desmezcla.datasets.render.singing.units import UNIT_RATE, Signal, Unit

ANALYSIS_RATE = 16_000
HOP = 80  # 5 ms
HOP_S = HOP / ANALYSIS_RATE
LOWEST_HZ, HIGHEST_HZ = 65.0, 900.0
BANDS = 20

# Below this peak of the autocorrelation a frame is not voiced.
_VOICED = 0.55
# How far below the loudest frames silence begins.
_SILENCE_DB = 32.0
# Root mean square difference of the bands within which a vowel keeps its colour.
_SAME_COLOUR_DB = 5.0
_LONGEST_ONSET_S = 0.3
_LONGEST_RELEASE_S = 0.25
_SHORTEST_STABLE_S = 0.045


@dataclass(frozen=True)
class Frames:
    """A recording in frames of 5 ms: bands in dB `[N, BANDS]`, level in dB, f0, voicedness."""

    bands_db: Signal
    level_db: Signal
    f0_hz: Signal
    voiced: NDArray[np.bool_]


def cut_syllables(recording: NDArray[np.float32], *, source: int) -> list[Unit]:
    """Find the syllables of a recording.

    Shape:
        recording: `[T]` at `UNIT_RATE`.

    Args:
        recording: One voice, without accompaniment.
        source: What `Unit.source` is to be.
    """
    audio = resample(recording[None], UNIT_RATE, ANALYSIS_RATE)[0].astype(np.float64)
    if len(audio) < 0.2 * ANALYSIS_RATE:
        return []
    frames = analyse(audio)
    if not frames.voiced.any():
        return []
    marks_s, periods_s = pitch_marks(audio, frames)
    units = []
    peaks = _nuclei(frames)
    edges = [0, *(_boundary(frames, a, b) for a, b in pairwise(peaks))]
    edges.append(len(frames.voiced) - 1)
    for peak, low, high in zip(peaks, edges, edges[1:], strict=False):
        found = _cut(frames, peak, low, high)
        if found is None:
            continue
        start, vowel, stable, release, end = (frame * HOP_S for frame in found)
        inside = slice(*np.searchsorted(marks_s, (start - 0.02, end + 0.02)))
        steady = slice(*np.searchsorted(marks_s, (stable, release)))
        turns = np.diff(marks_s[steady]) / periods_s[steady][1:]
        if len(turns) < 4 or np.abs(turns - 1).max() > 0.35:
            continue
        bands = frames.bands_db[found[2] : found[3] + 1].mean(axis=0)
        sound = audio[int(stable * ANALYSIS_RATE) : int(release * ANALYSIS_RATE)]
        units.append(
            Unit(
                source=source,
                start_s=start,
                vowel_s=vowel,
                stable_s=stable,
                release_s=release,
                end_s=end,
                marks_s=marks_s[inside],
                periods_s=periods_s[inside],
                f0_hz=float(1 / np.median(periods_s[steady])),
                level=float(np.sqrt(np.mean(sound**2))),
                colour=bands - bands.mean(),
            )
        )
    return units


def analyse(audio: Signal) -> Frames:
    """Describe each 5 ms of a recording. Shape: audio: `[T]` at `ANALYSIS_RATE`."""
    bands_db = band_levels(audio)
    f0_hz, strength = fundamental(audio)
    count = min(len(bands_db), len(f0_hz))
    bands_db, f0_hz, strength = bands_db[:count], f0_hz[:count], strength[:count]
    # The bands from 200 to 4000 Hz, where vowels are louder than consonants.
    level_db = 10 * np.log10(np.sum(10 ** (bands_db[:, 1:15] / 10), axis=1))
    level_db = np.convolve(np.pad(level_db, 3, mode="edge"), np.hanning(9)[1:-1] / 4, "valid")
    loud_db = np.percentile(level_db, 95)
    voiced = (strength > _VOICED) & (level_db > loud_db - _SILENCE_DB)
    return Frames(bands_db, level_db, f0_hz, _without_short_runs(voiced, shortest=4))


def _framed(audio: Signal, width: int) -> Signal:
    padded = np.pad(audio, width // 2)
    return sliding_window_view(padded, width)[::HOP]


def band_levels(audio: Signal) -> Signal:
    """Return the level in dB of bands of equal width on the mel scale, each 5 ms.

    Shape:
        audio: `[T]` at `ANALYSIS_RATE`; returns `[N, BANDS]`.
    """
    width, size = 400, 512
    power = np.abs(np.fft.rfft(_framed(audio, width) * np.hanning(width), size)) ** 2
    mel = np.linspace(np.log1p(80 / 700), np.log1p(7800 / 700), BANDS + 2)
    edges = np.expm1(mel) * 700 * size / ANALYSIS_RATE
    bins = np.arange(power.shape[1])[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rise, fall), 0, None)
    return np.asarray(10 * np.log10(power @ weights + 1e-9))


def fundamental(audio: Signal) -> tuple[Signal, Signal]:
    """Return the fundamental of each frame in Hz, and the height of the autocorrelation there."""
    rate = ANALYSIS_RATE // 2
    halved = resample(audio[None].astype(np.float32), ANALYSIS_RATE, rate)[0].astype(np.float64)
    width, size = 368, 1024
    window = np.hanning(width)
    padded = np.pad(halved, width // 2)
    pieces = sliding_window_view(padded, width)[:: HOP // 2]
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)
    shortest, longest = int(rate / HIGHEST_HZ) - 1, int(rate / LOWEST_HZ) + 1
    rows = []
    for begin in range(0, len(pieces), 4096):
        piece = pieces[begin : begin + 4096]
        spectrum = np.fft.rfft((piece - piece.mean(axis=1, keepdims=True)) * window, size)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, : longest + 1]
        rows.append(correlation / (correlation[:, :1] + 1e-9))
    normal = np.concatenate(rows) / (shape[: longest + 1] / shape[0])
    lags = np.arange(longest + 1)
    # The octave below correlates as well: the shorter lag wins where they are alike.
    cost = 0.02 * np.log2(np.maximum(lags, 1) / shortest)
    score = np.where((lags >= shortest) & (lags < longest), normal - cost, -np.inf)
    strong = score.max(axis=1) > 0.7
    if strong.any():
        middle = np.median(score.argmax(axis=1)[strong])
        score = np.where((lags > 0.52 * middle) & (lags < 1.9 * middle), score, -np.inf)
    best = score.argmax(axis=1)
    rows_at = np.arange(len(best))
    left, top, right = (normal[rows_at, np.clip(best + d, 0, longest)] for d in (-1, 0, 1))
    bend = np.minimum(left - 2 * top + right, -1e-9)
    lag = best + np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    return rate / np.maximum(lag, 1), np.clip(top, 0, 1)


def pitch_marks(audio: Signal, frames: Frames) -> tuple[Signal, Signal]:
    """Return the instant of each period of the voiced parts, and the periods, in seconds."""
    marks: list[Signal] = [np.zeros(0)]
    periods: list[Signal] = [np.zeros(0)]
    for low, high in _runs(frames.voiced):
        time_s = np.arange(low * HOP, min(high * HOP, len(audio))) / ANALYSIS_RATE
        if len(time_s) < 4 * HOP:
            continue
        f0_hz = _median5(frames.f0_hz[low:high])
        curve_hz = np.interp(time_s, np.arange(low, high) * HOP_S, f0_hz)
        phase = _phase_of_fundamental(audio[low * HOP :][: len(time_s)], curve_hz)
        offset = _loudest_phase(audio[low * HOP :][: len(time_s)], phase, curve_hz)
        first, last = np.ceil(phase[0] - offset), np.floor(phase[-1] - offset)
        instants = np.interp(np.arange(first, last + 1) + offset, phase, time_s)
        marks.append(instants)
        periods.append(1 / np.interp(instants, time_s, curve_hz))
    return np.concatenate(marks), np.concatenate(periods)


def _phase_of_fundamental(sound: Signal, f0_hz: Signal) -> Signal:
    """Return the phase of the fundamental in turns, growing."""
    turns = np.cumsum(f0_hz) / ANALYSIS_RATE
    slow = sound * np.exp(-2j * np.pi * turns)
    # Two periods of Hann have their first zero at the distance to the next harmonic.
    width = int(2 * ANALYSIS_RATE / np.median(f0_hz)) | 1
    window = np.hanning(width + 2)[1:-1]
    slow = np.convolve(np.pad(slow, width // 2, mode="reflect"), window, "valid")
    phase = turns + np.unwrap(np.angle(slow)) / (2 * np.pi)
    return np.asarray(np.maximum.accumulate(phase + 1e-9 * np.arange(len(phase))))


def _loudest_phase(sound: Signal, phase: Signal, f0_hz: Signal) -> float:
    """Return the part of the period, in turns, in which most of the energy lies."""
    slot = ((phase % 1.0) * 16).astype(int) % 16
    energy = np.bincount(slot, weights=sound**2, minlength=16)
    smooth = energy + 0.5 * (np.roll(energy, 1) + np.roll(energy, -1))
    return float((smooth.argmax() + 0.5) / 16)


def _nuclei(frames: Frames) -> list[int]:
    """Return the frames where a vowel is loudest."""
    from scipy.signal import find_peaks

    level = np.where(frames.voiced, frames.level_db, frames.level_db.min())
    peaks, _ = find_peaks(np.pad(level, 1, constant_values=-200), prominence=2.5, distance=14)
    return [int(peak) - 1 for peak in peaks if frames.voiced[peak - 1]]


def _boundary(frames: Frames, left: int, right: int) -> int:
    """Return where the syllable of one nucleus ends and that of the next begins."""
    silent = np.flatnonzero(~frames.voiced[left:right])
    if len(silent):
        return left + int(silent[0])
    return left + int(np.argmin(frames.level_db[left:right]))


def _cut(frames: Frames, peak: int, low: int, high: int) -> tuple[int, int, int, int, int] | None:
    """Return start, vowel, stable, release and end of the syllable of a nucleus, in frames."""
    bands = frames.bands_db
    colour = bands[max(peak - 2, low) : peak + 3].mean(axis=0)
    unlike = bands - bands.mean(axis=1, keepdims=True) - (colour - colour.mean())
    calm = sliding_window_view(np.pad(unlike, ((2, 2), (0, 0)), mode="edge"), 5, axis=0).mean(-1)
    distance = np.sqrt(np.mean(calm[:, :16] ** 2, axis=1))
    loud = frames.voiced & (frames.level_db > frames.level_db[peak] - 9)
    stable, release = _around(loud & (distance < _SAME_COLOUR_DB), peak, low, high)
    vowel, tail = _around(loud, peak, low, high)
    if (release - stable) * HOP_S < _SHORTEST_STABLE_S:
        return None
    sounding = frames.level_db > frames.level_db[peak] - _SILENCE_DB - 6
    start = max(low, vowel - int(_LONGEST_ONSET_S / HOP_S))
    quiet = np.flatnonzero(~sounding[start:vowel])
    # A stop is silent before its burst: only silence longer than it ends the search.
    if len(quiet) > 20:
        start += int(quiet[-1])
    vowel = max(vowel, stable - int(0.08 / HOP_S))
    end = min(high, tail + int(_LONGEST_RELEASE_S / HOP_S))
    gone = np.flatnonzero(~sounding[tail:end])
    return start, vowel, stable, release, end if not len(gone) else tail + int(gone[0])


def _around(good: NDArray[np.bool_], peak: int, low: int, high: int) -> tuple[int, int]:
    """Return the first and last frame of the run of good ones that holds a frame."""
    before = np.flatnonzero(~good[low:peak])
    after = np.flatnonzero(~good[peak + 1 : high])
    first = low + int(before[-1]) + 1 if len(before) else low
    last = peak + int(after[0]) if len(after) else high - 1
    return min(first, peak), max(last, peak)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _without_short_runs(flags: NDArray[np.bool_], *, shortest: int) -> NDArray[np.bool_]:
    kept = np.array(flags, dtype=np.bool_)
    for low, high in _runs(flags):
        if high - low < shortest:
            kept[low:high] = False
    return kept


def _median5(values: Signal) -> Signal:
    return np.asarray(np.median(sliding_window_view(np.pad(values, 2, mode="edge"), 5), axis=1))
