"""Running measures of spectra: how stems follow each other, where they end, whether they are late.

How much a stem follows another is measured on the changes of their magnitudes from one frame to
the next. For each frequency, the squared correlation of the changes of both is the part of the
changes of the one that the other explains by a constant gain; over frequencies, these parts are
weighted with the changes of the stem itself. So neither the level, nor a filter, nor that two
instruments begin and end together counts, and what remains is high where the same sound is in both.
The square root of the magnitude stands for it, as loud moments would outweigh all others.
"""

import math

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Values = NDArray[np.float64]
Spectrum = NDArray[np.complexfloating]

# A frame, of the next power of two, resolves semitones from some 300 Hz on, and is shorter than
# most notes.
_FRAME_S = 0.08

# Over fewer frames, correlations are high by chance (1 / frames on average), and spectra rough.
_MIN_FRAMES = 16

# An abrupt end is a fall by that much from the half kilohertz below it to every quarter above: the
# filters of encoders and converters are that steep, instruments and microphones are not. Below it
# the median counts, so that the last of some single tones is no end.
_CLIFF_DB = 30.0
_CLIFF_BELOW_HZ, _CLIFF_GAP_HZ = 500.0, 250.0
# Below that, half a kilohertz is no small step.
_CLIFF_LOWEST_HZ = 2000.0


class Spectra:
    """Gathers statistics of the spectra of the song and its stems while they pass.

    Axis K holds the song first, then the stems.

    Args:
        signals: Their number K.
        channels: Their channels.
        sample_rate: In Hz.
    """

    def __init__(self, signals: int, channels: int, sample_rate: int) -> None:
        self.frame_samples = 2 ** max(4, round(math.log2(_FRAME_S * sample_rate)))
        bins = self.frame_samples // 2 + 1
        stems = signals - 1
        self._rate = sample_rate
        self._window = np.hanning(self.frame_samples + 1)[:-1].astype(np.float32)
        self._held = np.zeros((signals, channels, 0), np.float32)
        self._roots: Values | None = None  # of the last frame: stems, then the rest of each
        self._frames = 0
        self._power = np.zeros((signals, bins))
        self._cross = np.zeros(bins, np.complex128)
        self._products = np.zeros((stems, stems, bins))
        self._with_rest = np.zeros((stems, bins))
        self._of_rest = np.zeros((stems, bins))

    def add(self, part: Audio) -> None:
        """Take the next samples; what does not fill a frame at the end is left out.

        So there is no frame in which the audio begins or ends abruptly, which has a spectrum of its
        own.

        Shape:
            part: `[K, C, n]`, finite.
        """
        held = np.concatenate([self._held, part], axis=-1)
        hop = self.frame_samples // 2
        if held.shape[-1] >= self.frame_samples:
            frames = np.lib.stride_tricks.sliding_window_view(held, self.frame_samples, axis=-1)
            frames = frames[:, :, ::hop]
            self._measure(np.fft.rfft(frames * self._window))
            held = held[..., frames.shape[2] * hop :]
        self._held = held

    def following(self) -> tuple[Values, Values] | None:
        """Return how much each stem follows each other one, and all others together.

        Shape:
            returns `[S, S]` (row: the stem that follows) and `[S]`, or None for a signal that is
            too short.
        """
        if self._frames < _MIN_FRAMES:
            return None
        own = np.einsum("aaf->af", self._products)
        pairs = _explained(self._products, own[:, None], own[None, :])
        rest = _explained(self._with_rest, own, self._of_rest)
        return pairs, rest

    def cutoffs_hz(self) -> tuple[float | None, ...]:
        """Return, by signal, where its spectrum ends abruptly, or None."""
        if self._frames < _MIN_FRAMES:
            return (None,) * len(self._power)
        return tuple(_cutoff_hz(power, self._rate) for power in self._power)

    def lag(self) -> tuple[int, float]:
        """Return how many samples the sum of the stems is late, and how clear that is (0 to 1).

        It is the peak of the generalised cross-correlation with phase transform (Knapp and Carter,
        "The generalized correlation method for estimation of time delay", 1976).
        """
        magnitude = np.abs(self._cross)
        if not magnitude.any():
            return 0, 0.0
        # Frequencies without sound have no phase that tells anything.
        heard = magnitude > 1e-8 * magnitude.max()
        phases = np.where(heard, self._cross / np.where(heard, magnitude, 1), 0)
        correlation = np.fft.irfft(phases, n=self.frame_samples)
        place = int(correlation.argmax())
        clear = min(1.0, float(correlation[place] / heard.mean()))
        late = (-place) % self.frame_samples
        return late - self.frame_samples * (late > self.frame_samples // 2), clear

    def _measure(self, spectra: Spectrum) -> None:
        """Add frames `[K, C, N, F]`."""
        total = spectra[1:].sum(axis=0)
        power = _power(spectra)
        self._frames += power.shape[1]
        self._power += power.sum(axis=1)
        self._cross += (spectra[0] * total.conj()).sum(axis=(0, 1))
        roots = np.concatenate([power[1:], _power(total - spectra[1:])]) ** 0.25  # [2S, N, F]
        if self._roots is not None:
            roots = np.concatenate([self._roots, roots], axis=1)
        self._roots = roots[:, -1:]
        changes, rest = np.split(np.diff(roots, axis=1), 2)
        self._products += np.einsum("anf,bnf->abf", changes, changes)
        self._with_rest += np.einsum("anf,anf->af", changes, rest)
        self._of_rest += np.einsum("anf,anf->af", rest, rest)


def _power(spectra: Spectrum) -> Values:
    """Return the power of all channels: `[K, C, N, F]` to `[K, N, F]`."""
    parts = np.square(spectra.real, dtype=np.float64) + np.square(spectra.imag)
    power: Values = parts.sum(axis=1)
    return power


def _explained(products: Values, own: Values, other: Values) -> Values:
    """Return the part of changes that others explain, over all frequencies (the last axis)."""
    scale = own * other
    positive = np.maximum(products, 0)
    # Where either does not change at all, nothing is explained.
    parts = np.divide(positive**2, scale, out=np.zeros_like(positive), where=scale > 0)
    explained = np.minimum(parts, 1) * own
    changes = own.sum(axis=-1)
    shares: Values = np.divide(
        explained.sum(axis=-1),
        changes,
        out=np.zeros(explained.shape[:-1]),
        where=changes > 0,
    )
    return shares


def _cutoff_hz(power: Values, sample_rate: int) -> float | None:
    """Return where a spectrum `[F]` falls abruptly, to less than that everywhere above."""
    width_hz = sample_rate / 2 / (len(power) - 1)
    gap, below = (max(1, round(hz / width_hz)) for hz in (_CLIFF_GAP_HZ, _CLIFF_BELOW_HZ))
    places = np.arange(round(_CLIFF_LOWEST_HZ / width_hz), len(power) - 2 * gap + 1)
    if not len(places) or not power.any():
        return None
    floor = power.max() * 1e-16  # of 32-bit arithmetic, generously
    wide, narrow = (np.lib.stride_tricks.sliding_window_view(power, n) for n in (below, gap))
    lower = np.median(wide, axis=-1)[places - gap - below] + floor
    bands = narrow.mean(axis=-1)
    upper = np.maximum.accumulate(bands[::-1])[::-1][places + gap] + floor
    falls_db = 10 * np.log10(lower / upper)
    best = int(falls_db.argmax())
    if falls_db[best] < _CLIFF_DB:
        return None
    # The end is where half of the decibels are reached, in or before the gap.
    around = np.arange(places[best] - gap - below, places[best] + gap + 1)
    above = around[power[around] > math.sqrt(lower[best] * upper[best])]
    return float((above[-1] if len(above) else places[best]) * width_hz)
