"""What happened while the music played, counted in bounded memory."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LiveStatistics:
    """What has happened in a live session so far.

    Attributes:
        played_s: How long the output device has been served, in seconds.
        blocks: Blocks of input that were separated.
        deadline_misses: Blocks whose result was not there when the output device asked for it:
            silence was played in its place, and what came late was dropped.
        missed_samples: Length of that silence, all together.
        input_overruns: Blocks of which input was lost because too much of it waited.
        lost_input_samples: Input lost so; silence stands in its place.
        input_underruns: Blocks for which a file could not be decoded in time.
        underrun_samples: Length of the silence that was put between the file's samples.
        skipped_samples: Input that was not separated because the model was hopelessly behind.
        nonfinite_input_samples: Samples of the input that were NaN or infinite, taken as zeros.
        nonfinite_output_samples: Samples of results silenced because of such values.
        xruns: Times the driver said that input was lost or output was missing.
        device_losses: Times a device disappeared.
        load_mean: Time that a block takes to compute, as part of its duration.
        load_p999: The same, not exceeded by 99.9 % of the blocks; within 1 %.
        load_max: The same for the slowest block.
    """

    played_s: float
    blocks: int
    deadline_misses: int
    missed_samples: int
    input_overruns: int
    lost_input_samples: int
    input_underruns: int
    underrun_samples: int
    skipped_samples: int
    nonfinite_input_samples: int
    nonfinite_output_samples: int
    xruns: int
    device_losses: int
    load_mean: float
    load_p999: float
    load_max: float


class LoadMeter:
    """Mean, maximum and percentiles of a positive number, kept as counts of its logarithm.

    >>> meter = LoadMeter()
    >>> for load in [0.1] * 999 + [0.8]:
    ...     meter.add(load)
    >>> round(meter.percentile(50), 2), meter.maximum, round(meter.mean, 4)
    (0.1, 0.8, 0.1007)
    """

    # 1 % wide each, from a ten thousandth of a block's duration up to a thousand times of it.
    _LOWEST = 1e-4
    _STEP = math.log(1.01)
    _BINS = 1 + math.ceil(math.log(1e7) / _STEP)

    def __init__(self) -> None:
        self.count = 0
        self.maximum = 0.0
        self._sum = 0.0
        self._counts = np.zeros(self._BINS, np.int64)

    def add(self, value: float) -> None:
        """Count a value."""
        place = math.ceil(math.log(max(value, self._LOWEST) / self._LOWEST) / self._STEP)
        self._counts[min(place, self._BINS - 1)] += 1
        self.count += 1
        self._sum += value
        self.maximum = max(self.maximum, value)

    @property
    def mean(self) -> float:
        """Mean of the values; 0 without any."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return a value that so many percent do not exceed, too high by 1 % at most."""
        reached = np.cumsum(self._counts) >= self.count * percent / 100
        value = self._LOWEST * math.exp(self._STEP * int(np.argmax(reached)))
        return min(value, self.maximum)


class Counters:
    """The running counts behind `LiveStatistics`; each is changed by one thread only."""

    def __init__(self) -> None:
        # By the device's thread.
        self.played_samples = 0
        self.deadline_misses = 0
        self.missed_samples = 0
        self.input_overruns = 0
        self.lost_input_samples = 0
        self.input_underruns = 0
        self.underrun_samples = 0
        self.xruns = 0
        # By the worker.
        self.blocks = 0
        self.skipped_samples = 0
        self.nonfinite_input_samples = 0
        self.nonfinite_output_samples = 0
        self.load = LoadMeter()
        # By the thread that waits for the session.
        self.device_losses = 0

    def statistics(self, sample_rate: int) -> LiveStatistics:
        """Return the counts as they are now."""
        return LiveStatistics(
            played_s=self.played_samples / sample_rate,
            blocks=self.blocks,
            deadline_misses=self.deadline_misses,
            missed_samples=self.missed_samples,
            input_overruns=self.input_overruns,
            lost_input_samples=self.lost_input_samples,
            input_underruns=self.input_underruns,
            underrun_samples=self.underrun_samples,
            skipped_samples=self.skipped_samples,
            nonfinite_input_samples=self.nonfinite_input_samples,
            nonfinite_output_samples=self.nonfinite_output_samples,
            xruns=self.xruns,
            device_losses=self.device_losses,
            load_mean=self.load.mean,
            load_p999=self.load.percentile(99.9),
            load_max=self.load.maximum,
        )
