"""Stems to one output: gains that change without clicks while the music plays, and meters."""

import collections
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import ParameterError
from desmezcla.live.stream import Audio

MAX_GAIN = 4.0
OUTPUT = "output"


@dataclass(frozen=True)
class Level:
    """Level of a signal over a stretch of time, in dB below a full scale of 1.

    Attributes:
        peak_db: Of the largest magnitude in any channel; minus infinity for silence.
        rms_db: Of the root of the mean square over all channels.
    """

    peak_db: float
    rms_db: float


@dataclass(frozen=True)
class _Measured:
    """What the meters have seen: largest magnitudes, sums of squares and how many samples."""

    peaks: NDArray[np.float32]
    squares: NDArray[np.float64]
    samples: int

    def with_more(self, later: "_Measured") -> "_Measured":
        return _Measured(
            np.maximum(self.peaks, later.peaks),
            self.squares + later.squares,
            self.samples + later.samples,
        )


class Mixer:
    """Adds up stems, each with a gain that can be changed from any thread.

    `mix` is called by one thread, which never waits for a lock: a change of gain is one new array
    put in the place of the old one, and what the meters measured is handed over in one piece.
    The output is not rescaled; samples beyond full scale are counted, and left to the device.

    Args:
        stems: Names of the stems, in order.
        sample_rate: In Hz.
        gains: Gains at the beginning, linear from 0 to 4; 1 for stems that are not named.
        ramp_s: How long a gain takes to its new value, in a straight line, sample by sample.

    Attributes:
        stems: Names of the stems, in order.
        clipped_samples: How many samples of the output were beyond full scale.

    Errors:
        ParameterError: if a stem is unknown, or a gain is out of range.

    >>> mixer = Mixer(("vocals", "drums"), 44100, {"vocals": 0.0})
    >>> mixer.mix(np.full((2, 1, 3), 0.25, np.float32))
    array([[0.25, 0.25, 0.25]], dtype=float32)
    """

    def __init__(
        self,
        stems: Sequence[str],
        sample_rate: int,
        gains: Mapping[str, float] | None = None,
        *,
        ramp_s: float = 0.02,
    ) -> None:
        self.stems = tuple(stems)
        if not self.stems or len({*self.stems, OUTPUT}) <= len(self.stems):
            raise ParameterError(
                f"stems={self.stems!r} must be different names, none of them {OUTPUT!r}"
            )
        if sample_rate <= 0 or not 0 <= ramp_s <= 10:
            raise ParameterError(
                f"sample_rate={sample_rate} Hz must be positive, ramp_s={ramp_s} from 0 to 10"
            )
        self.clipped_samples = 0
        self._changing = threading.Lock()  # among those who change gains; `mix` does not take it
        self._gains = dict.fromkeys(self.stems, 1.0)
        for stem, gain in (gains or {}).items():
            self._gains[self.check_stem(stem)] = _checked(stem, gain)
        self._first_gains = dict(self._gains)
        self._muted: frozenset[str] = frozenset()
        self._soloed: str | None = None
        self._wanted = self._effective()
        # Each stem's gain is on its way from `start` to `goal`, `passed` of `ramp` samples along.
        self._ramp_samples = max(1, round(ramp_s * sample_rate))
        self._goal = self._start = self._wanted
        self._passed = np.full(len(self.stems), self._ramp_samples)
        # Holds one object or none, so taking it out is both reading and resetting the meters.
        self._meter: collections.deque[_Measured] = collections.deque()

    def mix(self, stems: Audio) -> Audio:
        """Add up a block of stems. Any block size will do; the result is the same for all.

        Shape:
            stems: `[S, C, n]`, n >= 0; returns `[C, n]`.
        """
        if stems.ndim != 3 or len(stems) != len(self.stems):
            raise ParameterError(
                f"stems has shape {stems.shape}, but must be [{len(self.stems)}, C, n]"
            )
        if stems.shape[-1] == 0:
            return np.zeros(stems.shape[1:], np.float32)
        gains = self._next_gains(stems.shape[-1])
        heard = stems * gains  # [S, C, n]
        output: Audio = heard.sum(axis=0)
        self.clipped_samples += int(np.count_nonzero(np.abs(output) > 1))
        self._measure(heard, output)
        return output

    def set_gain(self, stem: str, gain: float) -> None:
        """Set the gain of a stem, linear from 0 to 4.

        Errors:
            ParameterError: if there is no such stem, or the gain is out of range.
        """
        value = _checked(self.check_stem(stem), gain)
        with self._changing:
            self._gains[stem] = value
            self._wanted = self._effective()

    def mute(self, stem: str, on: bool) -> None:
        """Silence a stem, or no longer; its gain stays as it is."""
        self.check_stem(stem)
        with self._changing:
            self._muted = self._muted | {stem} if on else self._muted - {stem}
            self._wanted = self._effective()

    def solo(self, stem: str | None) -> None:
        """Play only this stem, or all again. A stem that is muted stays silent."""
        if stem is not None:
            self.check_stem(stem)
        with self._changing:
            self._soloed = stem
            self._wanted = self._effective()

    def reset(self) -> None:
        """Return to the gains of the beginning, with nothing muted and no solo."""
        with self._changing:
            self._gains = dict(self._first_gains)
            self._muted = frozenset()
            self._soloed = None
            self._wanted = self._effective()

    def gains(self) -> dict[str, float]:
        """Return the gain of each stem as it was set, whatever is muted."""
        with self._changing:
            return dict(self._gains)

    @property
    def muted(self) -> frozenset[str]:
        """The stems that are muted."""
        return self._muted

    @property
    def soloed(self) -> str | None:
        """The stem that plays alone, if one does."""
        return self._soloed

    def levels(self) -> dict[str, Level]:
        """Return the level of each stem behind its gain, and of "output", since the last call."""
        try:
            measured = self._meter.popleft()
        except IndexError:
            return dict.fromkeys((*self.stems, OUTPUT), Level(-math.inf, -math.inf))
        return {
            name: Level(_db(float(peak)), _db(math.sqrt(square / measured.samples)))
            for name, peak, square in zip(
                (*self.stems, OUTPUT), measured.peaks, measured.squares, strict=True
            )
        }

    def check_stem(self, stem: str) -> str:
        """Return the name of a stem if there is such a one.

        Errors:
            ParameterError: if there is none.
        """
        if stem not in self.stems:
            raise ParameterError(f"stem={stem!r} must be one of {', '.join(self.stems)}")
        return stem

    def _effective(self) -> NDArray[np.float64]:
        """Return the gain that each stem is to be heard with. Shape: returns `[S]`."""
        silent = set(self._muted)
        if self._soloed is not None:
            silent |= {stem for stem in self.stems if stem != self._soloed}
        return np.array([0.0 if stem in silent else self._gains[stem] for stem in self.stems])

    def _next_gains(self, n: int) -> NDArray[np.float32]:
        """Return the gains of the next n samples. Shape: returns `[S, 1, n]` or `[S, 1, 1]`."""
        wanted = self._wanted
        if wanted is not self._goal:
            changed = wanted != self._goal
            self._start = np.where(changed, self._on_the_way(self._passed), self._start)
            self._passed = np.where(changed, 0, self._passed)
            self._goal = wanted
        if (self._passed >= self._ramp_samples).all():
            return self._goal.astype(np.float32)[:, None, None]
        # By the number of the sample, not by a step from the last: no cut makes a difference.
        gains = self._on_the_way(self._passed + np.arange(1, n + 1)[:, None])  # [n, S]
        self._passed = np.minimum(self._passed + n, self._ramp_samples)
        return np.ascontiguousarray(gains.T, np.float32)[:, None, :]

    def _on_the_way(self, passed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the gains after that many samples of the ramp. Shape: `[..., S]`, both."""
        share = np.minimum(passed / self._ramp_samples, 1.0)
        on_the_way: NDArray[np.float64] = self._start * (1 - share) + self._goal * share
        return on_the_way

    def _measure(self, heard: Audio, output: Audio) -> None:
        peaks = np.append(np.abs(heard).max(axis=(1, 2)), np.abs(output).max())
        squares = np.append(
            np.einsum("scn,scn->s", heard, heard, dtype=np.float64),
            np.einsum("cn,cn->", output, output, dtype=np.float64),
        )
        measured = _Measured(peaks, squares, output.size)
        try:
            before = self._meter.popleft()
        except IndexError:  # the meters have just been read
            pass
        else:
            measured = before.with_more(measured)
        self._meter.append(measured)


def _checked(stem: str, gain: float) -> float:
    if not 0 <= gain <= MAX_GAIN:  # NaN fails this, too
        raise ParameterError(
            f"gain={gain!r} of {stem} must be from 0 to {MAX_GAIN:g} (12 dB), linear: 0 is "
            "silence, 1 leaves the stem as it is"
        )
    return float(gain)


def _db(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else -math.inf
