"""Running measures of samples: energies over time, peaks, clipping, offsets, stereo, the sum."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import StreamResampler
from desmezcla.evaluation.blind.report import CEILING_DB, FLOOR_DB

Audio = NDArray[np.float32]
Values = NDArray[np.float64]

# What samples of 16 bits saturate at, 32767/32768, is full scale for floating ones, too.
_FULL_SCALE = 1 - 2.0**-14

# Two equal samples at full scale also happen at the top of a wave that was not cut off.
_RUN_SAMPLES = 3

# ITU-R BS.1770-4, annex 2: at four times 48 kHz, a peak is at most 0.7 dB higher than what is seen.
_OVERSAMPLING = 4


def ratio_db(numerator: Values | float, denominator: Values | float) -> Values:
    """Return the ratio of energies in dB, within `FLOOR_DB` and `CEILING_DB`.

    Nothing relative to anything, even to nothing, is at the floor.

    >>> ratio_db(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 100.0])).tolist()
    [-200.0, 200.0, -20.0]
    """
    above, below = np.broadcast_arrays(np.float64(numerator), np.float64(denominator))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        db = 10 * (np.log10(above) - np.log10(below))
    db = np.where(above > 0, np.where(below > 0, db, CEILING_DB), FLOOR_DB)
    clipped: Values = np.clip(db, FLOOR_DB, CEILING_DB)
    return clipped


class Meters:
    """Measures the song and its stems while they pass, in parts of whole windows.

    Axis K holds the song first, then the stems.

    Args:
        signals: Their number K.
        channels: Their channels.
        sample_rate: In Hz.
        window_samples: Length of a window.

    Attributes:
        nonfinite: By signal, samples that were NaN or infinite.
        peaks: By signal, the largest magnitude.
        true_peaks: By signal, the largest magnitude after oversampling; complete after `finish`.
        full_scale, over, runs: By signal, see `SignalReport`.
        sums: By signal and channel, the sum of all samples.
        middle, side: By signal, energy of half the sum and half the difference of two channels.
        song_song, song_sum, sum_sum: Products of the song with itself and with the sum of the
            stems, and of that with itself.
    """

    def __init__(self, signals: int, channels: int, sample_rate: int, window_samples: int) -> None:
        self._window = window_samples
        self._shape = (signals, channels)
        self._energies: list[Values] = []
        self._errors: list[Values] = []
        self._lengths: list[int] = []
        self._oversampler = StreamResampler(
            sample_rate, _OVERSAMPLING * sample_rate, signals * channels
        )
        # Before the first sample there is none that a run could start with.
        self._last = np.full((signals, channels, _RUN_SAMPLES), np.nan, np.float32)
        self.nonfinite = np.zeros(signals, np.int64)
        self.full_scale = np.zeros(signals, np.int64)
        self.over = np.zeros(signals, np.int64)
        self.runs = np.zeros(signals, np.int64)
        self.peaks = np.zeros(signals)
        self.true_peaks = np.zeros(signals)
        self.sums = np.zeros((signals, channels))
        self.middle = np.zeros(signals)
        self.side = np.zeros(signals)
        self.song_song = self.song_sum = self.sum_sum = 0.0

    @property
    def energies(self) -> Values:
        """Energy of each signal in each window: the mean square over time and channels `[K, W]`."""
        energies: Values = np.concatenate(self._energies, axis=1) / self._samples
        return energies

    @property
    def errors(self) -> Values:
        """Energy of the song less the sum of the stems in each window: `[W]`."""
        errors: Values = np.concatenate(self._errors) / self._samples
        return errors

    @property
    def weights(self) -> Values:
        """Part of the whole time that each window takes: `[W]`."""
        samples = self._samples
        weights: Values = samples / samples.sum()
        return weights

    @property
    def _samples(self) -> Values:
        """How many samples each window holds, in all channels."""
        return np.concatenate(
            [
                np.minimum(self._window, length - np.arange(0, length, self._window))
                for length in self._lengths
            ]
        ) * float(self._shape[1])

    def add(self, part: Audio) -> Audio:
        """Measure a part, whole windows unless it is the last, and return it with finite values.

        Shape:
            part: `[K, C, n]`, at least one sample; returns the same.
        """
        finite = np.isfinite(part)
        if not finite.all():
            self.nonfinite += np.count_nonzero(~finite, axis=(1, 2))
            part = np.where(finite, part, np.float32(0))
        self._measure_peaks(part)
        exact = part.astype(np.float64)
        total = exact[1:].sum(axis=0)
        self._lengths.append(part.shape[-1])
        self._energies.append(self._by_window(np.square(exact)))
        self._errors.append(self._by_window(np.square(exact[:1] - total))[0])
        self.song_song += float(np.vdot(exact[0], exact[0]))
        self.song_sum += float(np.vdot(exact[0], total))
        self.sum_sum += float(np.vdot(total, total))
        self.sums += exact.sum(axis=-1)
        if part.shape[1] == 2:
            self.middle += np.square((exact[:, 0] + exact[:, 1]) / 2).sum(axis=-1)
            self.side += np.square((exact[:, 0] - exact[:, 1]) / 2).sum(axis=-1)
        return part

    def finish(self) -> None:
        """Measure what is still in the oversampling filter."""
        self._measure_true_peaks(self._oversampler.flush())

    def _by_window(self, squares: Values) -> Values:
        """Add squares `[K, C, n]` to energies of windows `[K, W]`."""
        over_channels = squares.sum(axis=1)
        starts = np.arange(0, over_channels.shape[-1], self._window)
        energies: Values = np.add.reduceat(over_channels, starts, axis=-1)
        return energies

    def _measure_peaks(self, part: Audio) -> None:
        magnitudes = np.abs(part)
        self.peaks = np.maximum(self.peaks, magnitudes.max(axis=(1, 2)))
        self._measure_true_peaks(self._oversampler.process(part.reshape(-1, part.shape[-1])))
        joined = np.concatenate([self._last, part], axis=-1)
        if magnitudes.max() >= _FULL_SCALE:
            self.full_scale += np.count_nonzero(magnitudes >= _FULL_SCALE, axis=(1, 2))
            self.over += np.count_nonzero(magnitudes > 1, axis=(1, 2))
            self.runs += _new_runs(joined)
        self._last = joined[..., -_RUN_SAMPLES:]

    def _measure_true_peaks(self, oversampled: Audio) -> None:
        if oversampled.size:
            peaks = np.abs(oversampled).max(axis=-1).reshape(self._shape).max(axis=1)
            self.true_peaks = np.maximum(self.true_peaks, peaks)


def _new_runs(joined: Audio) -> NDArray[np.int64]:
    """Count, by signal, the runs that become three samples long after the first three.

    Shape:
        joined: `[K, C, 3 + n]`; returns `[K]`.
    """
    now, before, first = joined[..., 2:], joined[..., 1:-1], joined[..., :-2]
    equal = (now == before) & (now == first) & (np.abs(now) >= _FULL_SCALE)
    begun = equal[..., 1:] & ~equal[..., :-1]
    counts: NDArray[np.int64] = np.count_nonzero(begun, axis=(1, 2))
    return counts
