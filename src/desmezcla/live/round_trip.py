"""How long sound takes from the output of a device back to its input, measured."""

import math
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.errors import ParameterError
from desmezcla.live.backend import AudioBackend, DeviceError
from desmezcla.live.stream import Audio

Signal = NDArray[np.float64]

_PROBE_SAMPLES = 8192
# A correlation that far above its usual size is no chance: noise alone gets there once in 1e23
# values, and a probe 19 dB below the noise is still found.
_CLEAR = 10.0
# The sum of sinc functions between samples is cut at so many on each side.
_NEIGHBOURS = 32
_STEPS = 100
_SILENT_S = 10.0


@dataclass(frozen=True)
class Delay:
    """Where a signal was found in another.

    Attributes:
        samples: How much later, to about a hundredth of a sample if the noise is low.
        clearness: Height of the correlation there, in multiples of its usual size.
        inverted: Whether the polarity is turned round.
    """

    samples: float
    clearness: float
    inverted: bool


@dataclass(frozen=True)
class RoundTrip:
    """How long the sound took, several times.

    Attributes:
        delays_s: Each time that it was heard, in seconds.
        median_s: In the middle of them.
        spread_s: From the shortest to the longest.
        repetitions: How many times it was played.
        inverted: Whether it came back with its polarity turned round.
        xruns: Times the driver said that something was lost meanwhile.
    """

    delays_s: tuple[float, ...]
    median_s: float
    spread_s: float
    repetitions: int
    inverted: bool
    xruns: int


def make_probe(sample_rate: int, *, level: float = 0.25, seed: int = 0) -> Audio:
    """Return a short noise that is found easily: as much of each frequency from 60 Hz on.

    Args:
        sample_rate: In Hz.
        level: Its largest magnitude.
        seed: Of its phases.

    Shape:
        returns `[n]`.
    """
    frequencies = np.fft.rfftfreq(_PROBE_SAMPLES, 1 / sample_rate)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(frequencies))
    # The highest tenth is left to the filters of converters.
    band = (frequencies >= 60) & (frequencies <= 0.45 * sample_rate)
    noise = np.fft.irfft(band * np.exp(1j * phases), _PROBE_SAMPLES)
    # It begins and ends softly, so that loudspeakers do not click.
    ramp = np.minimum(1, np.arange(_PROBE_SAMPLES) / 256)
    noise *= ramp * ramp[::-1]
    probe: Audio = (level / np.abs(noise).max() * noise).astype(np.float32)
    return probe


def find_delay(probe: Audio, heard: Audio) -> Delay | None:
    """Find a probe in what was heard, by cross-correlation.

    Args:
        probe: What was played.
        heard: What was recorded from the beginning of the probe on, in one or more channels; that
            where it is clearest counts.

    Returns:
        Where it begins; None if it is not clearly there.

    Shape:
        probe: `[n]`; heard: `[C, m]`, m >= n.
    """
    found = [_find_in_channel(probe.astype(np.float64), own.astype(np.float64)) for own in heard]
    return max((delay for delay in found if delay), key=lambda d: d.clearness, default=None)


def measure_round_trip(
    backend: AudioBackend, *, repetitions: int = 5, longest_s: float = 1.0
) -> RoundTrip:
    """Play a probe several times and listen for it, through a cable from output to input.

    What is measured is what a live session adds to its own `latency_s` with the same devices,
    block and latency: converters, driver and buffers.

    Args:
        backend: Devices with an input, closed.
        repetitions: How many times.
        longest_s: The longest delay that can be found.

    Errors:
        ParameterError: if an option is out of range.
        DeviceError: if a device does not work, or the probe was not heard at least half of the
            times.
    """
    if repetitions < 1:
        raise ParameterError(f"repetitions={repetitions} must be 1 or more")
    if not 0 < longest_s <= 60:
        raise ParameterError(f"longest_s={longest_s} must be more than 0, up to 60")
    rate = backend.sample_rate
    probe = make_probe(rate)
    # Half a second before everything for devices that need a while. Unequal pauses, so that no
    # delay can be taken for a longer or shorter one.
    starts = [
        rate // 2 + k * (len(probe) + round(longest_s * rate)) + 997 * k * k
        for k in range(repetitions)
    ]
    window = len(probe) + round(longest_s * rate)
    tape = _Tape(backend.channels, starts, probe, starts[-1] + window)
    _play(backend, tape)
    delays = [find_delay(probe, tape.heard[:, start : start + window]) for start in starts]
    clear = [delay for delay in delays if delay is not None]
    if 2 * len(clear) < repetitions or not clear:
        peak = float(np.abs(tape.heard).max())
        level = f"{20 * math.log10(peak):.0f} dB" if peak > 0 else "silence"
        raise DeviceError(
            f"what was played came back {len(clear)} of {repetitions} times only (loudest input: "
            f"{level}); connect the output to the input with a cable, turn both up, and try again"
        )
    samples = np.array([delay.samples for delay in clear])
    return RoundTrip(
        delays_s=tuple(float(value) for value in samples / rate),
        median_s=float(np.median(samples)) / rate,
        spread_s=float(np.ptp(samples)) / rate,
        repetitions=repetitions,
        inverted=2 * sum(delay.inverted for delay in clear) > len(clear),
        xruns=tape.xruns,
    )


class _Tape:
    """What is played, and what is heard at the same time; the callback of the device."""

    def __init__(self, channels: int, starts: list[int], probe: Audio, length: int) -> None:
        self.heard = np.zeros((channels, length), np.float32)
        self.xruns = 0
        self.calls = 0
        self.complete = threading.Event()
        self._played = np.zeros(length, np.float32)
        for start in starts:
            self._played[start : start + len(probe)] = probe
        self._position = 0

    def callback(self, heard: Audio | None, play: Audio, xruns: int) -> None:
        count = min(play.shape[1], len(self._played) - self._position)
        part = slice(self._position, self._position + count)
        play[:, :count] = self._played[part]
        play[:, count:] = 0
        if heard is not None:
            self.heard[:, part] = heard[:, :count]
        self._position += count
        self.xruns += xruns
        self.calls += 1
        if self._position == len(self._played):
            self.complete.set()


def _play(backend: AudioBackend, tape: _Tape) -> None:
    """Run a tape through the devices, from its beginning to its end."""
    calls = -1
    backend.open(tape.callback)
    try:
        backend.start()
        while calls != tape.calls:
            calls = tape.calls
            if tape.complete.wait(_SILENT_S):
                return
    finally:
        backend.close(drain=False)
    raise DeviceError(
        f"the audio device has stopped: nothing was asked of it for {_SILENT_S:g} s; connect it "
        "again, or choose another one of --list-devices"
    )


def _find_in_channel(probe: Signal, heard: Signal) -> Delay | None:
    """Find a probe in one channel. Shape: `[n]`, `[m]`."""
    lags = len(heard) - len(probe) + 1
    size = 1 << (len(heard) + len(probe) + _NEIGHBOURS - 1).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.fft.rfft(probe, size).conj()
    correlation = np.fft.irfft(spectrum, size)  # negative delays stand at its end
    magnitudes = np.abs(correlation[:lags])
    place = int(np.argmax(magnitudes))
    # The median of |x| is 0.6745 standard deviations of a normal distribution, and what the probe
    # itself adds around its place does not matter for it.
    usual = float(np.median(magnitudes)) / 0.6745
    # Rounding in the transform leaves about 1e-16 of the largest value in perfect silence.
    if not magnitudes[place] > max(_CLEAR * usual, 1e-9 * float(probe @ probe)):
        return None
    clearness = float(magnitudes[place]) / usual if usual else math.inf
    return Delay(_refined(correlation, place), clearness, bool(correlation[place] < 0))


def _refined(correlation: Signal, place: int) -> float:
    """Return where the correlation is largest between its samples, around its largest one.

    It is band-limited, so it is known everywhere: the sum over m of r[m]·sinc(t - m).
    """
    around = place + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    times = place + np.linspace(-1, 1, 2 * _STEPS + 1)
    values = np.sinc(times[:, None] - around) @ correlation[around]
    return max(0.0, float(times[np.argmax(np.abs(values))]))
