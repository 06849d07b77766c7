"""Resampling for live use: a windowed sinc with a short delay that is known exactly.

`resample` is for files: its filter is better, but nothing bounds how long it keeps its input back.

Reference:
    J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", Proc. IEEE
    Int. Symp. Circuits and Systems, 1974: the window, and the width of the transition it needs.

Notation: L / M = rate_out / rate_in in lowest terms. The filter reaches N / L input samples to both
sides, N = half_width · max(L, M), which are half_width samples of the lower rate. Output sample m
lies at m·M / L input samples and is the sum over the input samples nearer to it than N / L. With

    b = m·M + N − 1

the last of them is sample b // L, and it lies N / L − (φ + 1) / L after the output, φ = b % L. So
all positions are integers: they cannot drift, however long the stream lasts.
"""

import math

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import Audio, resampled_length
from desmezcla.errors import ParameterError

HALF_WIDTH = 32
"""Reach of the filter to each side, in samples of the lower rate: 0.73 ms at 44.1 kHz."""

# With a reach of 32 and 44.1 kHz as the lower rate this leaves 0 to 18.3 kHz flat within 0.01 dB
# (-3 dB at 19.7 kHz), aliases below -90 dB and images below -100 dB; below 17.6 kHz the result is
# right to -100 dB, and there and back to -95 dB. 10 dB more would cost 0.35 kHz of the band.
_STOPBAND_DB = 91.0
_BETA = 0.1102 * (_STOPBAND_DB - 8.7)  # Kaiser's formula

# Interpolating linearly between points 1/4096 of a sample of the lower rate apart is wrong by
# (π / 4096)² / 8, -143 dB, for the highest frequency, which is the rounding of float32; only where
# the outermost tap leaves the filter, in one sample of 4096, it is -110 dB. The table has then at
# most 4097 rows, 1 MiB with a reach of 32, whatever the ratio of the rates.
_FINEST = 4096
_HALF_WIDTHS = (8, 256)
_LARGEST_FACTOR = 64
_GATHERED = 1 << 18  # floats gathered at a time: 1 MiB stays in the cache


def _design(rate_in: int, rate_out: int, half_width: int) -> tuple[int, int, int]:
    """Check the parameters and return L, M and N."""
    for name, value in {"rate_in": rate_in, "rate_out": rate_out}.items():
        if value <= 0:
            raise ParameterError(f"{name}={value} must be positive")
    if max(rate_in, rate_out) > _LARGEST_FACTOR * min(rate_in, rate_out):
        raise ParameterError(
            f"rate_in={rate_in} and rate_out={rate_out} must lie within a factor of "
            f"{_LARGEST_FACTOR}; resample in two steps"
        )
    lowest, highest = _HALF_WIDTHS
    if not lowest <= half_width <= highest:
        raise ParameterError(f"half_width={half_width} must be from {lowest} to {highest}")
    common = math.gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    return up, down, half_width * max(up, down)


class _Kernel:
    """The taps for each phase φ: one row each if they are few, else interpolated.

    Attributes:
        taps: K, the number of input samples that an output sample is made of.
    """

    def __init__(self, up: int, down: int, reach: int) -> None:
        self.taps = -(-2 * reach // up)
        self._up = up
        # Points per input sample.
        self._grid = math.ceil(_FINEST * min(1.0, up / down))
        self._exact = up <= self._grid
        if self._exact:
            points = np.arange(1, up + 1) / up
        else:
            # The ends as limits from within: at the very end the outermost tap jumps to zero.
            points = np.clip(np.arange(self._grid + 1) / self._grid, 1e-7, 1 - 1e-7)
        self._table = self._taps_at(points, reach / up, up / down)

    def rows(self, phases: NDArray[np.int64]) -> Audio:
        """Return the taps, oldest input sample first. Shape: `[m]`; returns `[m, K]`."""
        if self._exact:
            return self._table[phases]
        # (φ + 1) / L lies in (0, 1]; one is taken off so that the right end belongs to a cell.
        point = (phases + 1) * self._grid - 1
        left = point // self._up
        fraction = ((point % self._up + 1) / self._up).astype(np.float32)[:, None]
        rows = self._table[left]
        rows += fraction * (self._table[left + 1] - rows)
        return rows

    def _taps_at(self, points: NDArray[np.float64], half: float, ratio: float) -> Audio:
        """Evaluate the filter where the last input sample lies `half - point` after the output."""
        time = half - points[:, None] - np.arange(self.taps)[::-1]  # [points, K]
        inside = half - np.abs(time) > 1e-8  # at both ends alike, whatever the rounding
        window = np.i0(_BETA * np.sqrt(np.where(inside, 1 - (time / half) ** 2, 0.0))) * inside
        # Kaiser's formula for the width of the transition, as a part of the lower band, which
        # `2 · half_width` samples of the lower rate reach. It ends where that band ends.
        lower = min(1.0, ratio)
        width = (_STOPBAND_DB - 8) / (2.285 * 2 * half * lower) / np.pi
        rows = window * np.sinc((1 - width / 2) * lower * time)
        # Every phase passes a constant unchanged; else the level would flutter with the phases.
        rows /= rows.sum(axis=1, keepdims=True)
        return rows.astype(np.float32)


class LiveResampler:
    """Resample a signal that arrives in blocks, giving out every sample as soon as it is certain.

    Output sample m is the band-limited signal at time m / rate_out, and the signal is zero before
    its start and after its end. Nothing is shifted: the delay consists in waiting for the input
    after an output sample's instant. After n input samples `max(0, (n·L − N) // M + 1)` output
    samples have been given, L / M being rate_out / rate_in in lowest terms and
    N = half_width · max(L, M). How the input is cut into blocks changes no bit of the output. What
    is held is bounded: about `2 · half_width` samples of the lower rate.

    A sample that is not finite makes those output samples not finite that it is part of, and no
    others.

    Args:
        rate_in: Sample rate of the input, in Hz.
        rate_out: Sample rate of the output, in Hz; if it is the same, blocks pass unchanged.
        channels: Number of channels.
        half_width: How many samples of the lower rate the filter reaches to each side. Half of it
            halves the delay and doubles the width of the transition below the band's end.

    Attributes:
        latency_in_samples: How many input samples after its instant, rounded down, an output
            sample needs at most: m is given once input sample `m·M // L + latency_in_samples` has
            been taken.

    Errors:
        ParameterError: if a rate or the number of channels is not positive, the rates lie further
            apart than a factor of 64, or `half_width` is not from 8 to 256.

    Example:
        >>> stream = LiveResampler(48000, 44100, channels=2)
        >>> stream.latency_in_samples
        35
        >>> [stream.process(np.zeros((2, 480), np.float32)).shape for _ in range(3)]
        [(2, 410), (2, 441), (2, 441)]
        >>> stream.flush().shape
        (2, 31)
    """

    def __init__(
        self, rate_in: int, rate_out: int, channels: int, *, half_width: int = HALF_WIDTH
    ) -> None:
        self._up, self._down, self._reach = _design(rate_in, rate_out, half_width)
        if channels <= 0:
            raise ParameterError(f"channels={channels} must be positive")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.channels = channels
        self.latency_in_samples = 0
        self._kernel: _Kernel | None = None
        if rate_in != rate_out:
            # The largest of b // L − m·M // L, reached by the instant farthest past a sample.
            self.latency_in_samples = (self._reach + self._up - 2) // self._up
            self._kernel = _Kernel(self._up, self._down, self._reach)
        self.reset()

    def reset(self) -> None:
        """Forget everything, ready for another stream."""
        self._taken = 0
        self._given = 0
        # What is held begins with the first sample that the next output sample is made of.
        last, self._phase = divmod(self._reach - 1, self._up)
        before = self._kernel.taps - 1 - last if self._kernel else 0
        self._held = np.zeros((before, self.channels), np.float32)  # [T, C]

    def process(self, block: Audio) -> Audio:
        """Take a block and return what is certain by now, which can be nothing.

        Shape:
            block: `[C, n]`; returns `[C, m]`.

        Errors:
            ParameterError: if the block has another shape.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ParameterError(f"block has shape {block.shape}, but must be [{self.channels}, n]")
        self._taken += block.shape[1]
        out = self._resample(block, self._kernel) if self._kernel else block.astype(np.float32)
        self._given += out.shape[1]
        return out

    def flush(self, length: int | None = None) -> Audio:
        """Return the rest of the output, then be as after `reset`.

        Args:
            length: Length that the whole output shall have, for a way there and back through
                another rate; None for `resampled_length` of the whole input. It may differ from
                that only by the rounding of such a way.

        Shape:
            returns `[C, m]`.

        Errors:
            ParameterError: if `length` is another than rounding explains.
        """
        natural = resampled_length(self._taken, self.rate_in, self.rate_out)
        length = natural if length is None else length
        # One sample of the other rate, rounded up, and one of this.
        slack = -(-self._up // self._down) + 1 if self._kernel else 0
        if length < 0 or abs(length - natural) > slack:
            raise ParameterError(
                f"length={length} must be within {slack} samples of {natural}, the length of "
                f"{self._taken} samples at {self.rate_in} Hz resampled to {self.rate_out} Hz"
            )
        # What was given ends 8 samples of the lower rate before `natural` or earlier, which is more
        # than the slack: it is never too much.
        missing = length - self._given
        needed = ((length - 1) * self._down + self._reach - 1) // self._up + 1
        silence = np.zeros((self.channels, max(0, needed - self._taken)), np.float32)
        tail = self.process(silence)[:, :missing]
        self.reset()
        return tail

    def _resample(self, block: Audio, kernel: _Kernel) -> Audio:
        held = len(self._held)
        signal = np.empty((held + block.shape[1], self.channels), np.float32)
        signal[:held] = self._held
        signal[held:] = block.T
        # Output i from here begins at (φ + i·M) // L and must end with the signal.
        starts = len(signal) - kernel.taps + 1
        count = max(0, (starts * self._up - 1 - self._phase) // self._down + 1)
        out = np.empty((self.channels, count), np.float32)
        begun = 0
        at_once = max(1, _GATHERED // (kernel.taps * self.channels))
        for first in range(0, count, at_once):
            steps = np.arange(min(at_once, count - first), dtype=np.int64)
            start, phase = np.divmod(self._phase + steps * self._down, self._up)
            products = self._products(signal, begun + start, kernel.rows(phase))
            out[:, first : first + len(steps)] = products.T
            ahead, self._phase = divmod(self._phase + len(steps) * self._down, self._up)
            begun += ahead
        self._held = signal[begun:].copy()
        return out

    def _products(self, signal: Audio, starts: NDArray[np.int64], rows: Audio) -> Audio:
        """Multiply stretches of the signal with their taps. Shape: [T, C], [m], [m, K]; [m, C]."""
        taps = rows.shape[1]
        # Every stretch of K samples, as a view; that of `numpy.lib.stride_tricks` is slower and
        # leaves cycles of references behind.
        shape = (len(signal) - taps + 1, taps, self.channels)
        strides = (signal.strides[0], *signal.strides)
        stretches = np.ndarray(shape, np.float32, buffer=signal, strides=strides)
        # One product [1, K] [K, C] for each sample, never one for many: the order of a sum then
        # depends on K and C alone, and not on how many samples a block brings.
        products = np.empty((len(starts), self.channels), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            np.matmul(rows[:, None], stretches[starts], out=products[:, None])
        return products


def round_trip_latency_samples(
    rate_device: int,
    rate_model: int,
    model_latency_samples: int,
    half_width: int = HALF_WIDTH,
) -> int:
    """Return the latency of a model between two `LiveResampler`, there and back.

    The model gives out at least n − `model_latency_samples` samples after it has taken n.

    Args:
        rate_device: Rate at which samples come and go, in Hz.
        rate_model: Rate of the model, in Hz.
        model_latency_samples: Latency of the model, in samples of its own rate.
        half_width: That of both resamplers.

    Returns:
        The smallest K such that after n device samples have come, at least n − K have gone,
        for every n and any cut into blocks.

    Errors:
        ParameterError: if the latency is negative, or as for `LiveResampler`.

    Example:
        >>> round_trip_latency_samples(48000, 44100, 1024)
        1184
    """
    up, down, reach = _design(rate_device, rate_model, half_width)
    if model_latency_samples < 0:
        raise ParameterError(f"model_latency_samples={model_latency_samples} must not be negative")
    if rate_device == rate_model:
        return model_latency_samples
    # Let A be the model's latency. Counting below zero before the first sample, the model takes
    # x = (n·L − N) // M + 1 and gives x − A at least, and the way back, whose L and M are swapped
    # and whose N is the same, gives ((x − A)·M − N) // L + 1. With n·L − N = q·M + r, 0 <= r < M:
    #     (x − A)·M − N = (q + 1 − A)·M − N = n·L − (2N + (A − 1)·M + r)
    # so n − K samples have gone with K = ceil((2N + (A − 1)·M + r) / L) − 1. This is largest for
    # r = M − 1, which some n of every M in a row has, L and M having no common divisor; and until
    # the first samples come out, counts of zero instead of less can only make the lag smaller.
    return (2 * reach + model_latency_samples * down - 2) // up
