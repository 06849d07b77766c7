"""Recorded instruments: the nearest recording, brought to the pitch and the length of a note."""

import re
from dataclasses import dataclass

import numpy as np
import soxr
from scipy import signal

from desmezcla.datasets.render.instruments.take import (
    Signal,
    faded,
    half_cosine,
    hz_to_midi,
    midi_to_hz,
    rms,
)
from desmezcla.datasets.render.material import Material, Sample

# A layer of velocity further away counts as much as so many semitones.
_LAYER_SEMITONES = 3.0
# The measured pitch may differ from the name of the note by so much; else the name is right.
_WIDEST = 0.8


@dataclass(frozen=True)
class Collection:
    """A recorded instrument.

    Attributes:
        pattern: Regular expression that the paths of its files match.
        layers: Regular expressions of its layers of velocity, from soft to loud.
        short: Regular expression of strokes that are damped, for short notes.
        sustained: The sound can be held: longer notes go on as loud.
        reach: Semitones beyond the recorded range at which it is still used.
    """

    pattern: str
    layers: tuple[str, ...] = ("",)
    short: str | None = None
    sustained: bool = False
    reach: float = 8.0


@dataclass(frozen=True)
class _Zone:
    sample: Sample
    midi: float
    layer: int
    short: bool


class Sampler:
    """Makes strokes from a collection.

    Args:
        material: Where the recordings are.
        collection: Which of them.
        sample_rate: In Hz.
        bright: How much more of the highs soft strokes keep, in [0, 1].
        stereo: Keep both channels of a stereo recording.
    """

    def __init__(
        self,
        material: Material,
        collection: Collection,
        *,
        sample_rate: int,
        bright: float = 0.5,
        stereo: bool = False,
    ) -> None:
        self.collection = collection
        self._material = material
        self._rate = sample_rate
        self._bright = bright
        self._stereo = stereo
        self._zones = _zones(material, collection)
        self._ready: dict[str, tuple[Signal, float]] = {}

    def __call__(self, pitch: float, velocity: float, *, samples: int, short: bool) -> Signal:
        """Return a stroke, as `players.Sounder` says."""
        zone = self._nearest(pitch, velocity, short)
        audio, midi = self._prepared(zone)
        # A zone without layers of velocity is darkened where it is struck softly.
        if len(self.collection.layers) == 1 and velocity < 1:
            audio = softened(audio, velocity + self._bright * (1 - velocity), self._rate)
        ratio = 2 ** ((pitch - midi) / 12)
        audio = transposed(audio[:, : int(samples * ratio) + 256], ratio)
        if audio.shape[1] < samples:
            audio = extended(audio, samples, self._rate, sustained=self.collection.sustained)
        out = audio[:, :samples]
        if short and not zone.short and self.collection.short is not None:
            out = softened(out, 0.35, self._rate)
        return np.asarray(out, np.float32)

    def _nearest(self, pitch: float, velocity: float, short: bool) -> _Zone:
        loud = velocity * len(self.collection.layers) - 0.5
        damped = short and any(zone.short for zone in self._zones)
        fitting = [zone for zone in self._zones if zone.short == damped]

        def distance(zone: _Zone) -> float:
            apart = 0.0 if damped else _LAYER_SEMITONES * abs(zone.layer - loud)
            # Transposed down, a recording loses its highs; a little less is lost upwards.
            return abs(zone.midi - pitch) + apart + (0.01 if zone.midi > pitch else 0.0)

        return min(fitting, key=distance)

    def _prepared(self, zone: _Zone) -> tuple[Signal, float]:
        """Return a recording without its leading silence at level 1, and its pitch."""
        if zone.sample.file not in self._ready:
            audio = self._material.audio(zone.sample, self._rate)
            if not self._stereo:
                audio = audio.mean(axis=0, keepdims=True)
            audio = trimmed(audio, self._rate)
            midi = measured_midi(audio, zone.midi, self._rate)
            self._ready[zone.sample.file] = audio / max(loudest_rms(audio, self._rate), 1e-6), midi
        return self._ready[zone.sample.file]


def covers(material: Material, collection: Collection, low: float, high: float) -> bool:
    """Tell whether a collection is there and reaches over a range of pitches."""
    midis = [zone.midi for zone in _zones(material, collection)]
    reach = collection.reach
    return bool(midis) and min(midis) - reach <= low and high <= max(midis) + reach


def _zones(material: Material, collection: Collection) -> tuple[_Zone, ...]:
    pattern = re.compile(collection.pattern)
    zones = []
    for sample in material.samples:
        if sample.midi is None or not pattern.match(sample.file):
            continue
        short = collection.short is not None and re.search(collection.short, sample.file)
        layers = [i for i, name in enumerate(collection.layers) if re.search(name, sample.file)]
        if short or layers:
            layer = 0 if short else layers[-1]
            zones.append(_Zone(sample, sample.midi, layer, bool(short)))
    return tuple(zones)


def trimmed(audio: Signal, sample_rate: int) -> Signal:
    """Return a recording without offset, from just before it begins. Shape: `[C, n]`."""
    sos = signal.butter(2, 22.0, "highpass", fs=sample_rate, output="sos")
    clean = signal.sosfilt(sos, audio.astype(np.float64), axis=1)
    level = np.abs(clean).max(axis=0)
    begin = int(np.argmax(level > 0.012 * level.max())) - round(0.001 * sample_rate)
    ends = round(0.002 * sample_rate)
    return faded(np.asarray(clean[:, max(begin, 0) :], np.float32), attack=24, release=ends)


def loudest_rms(audio: Signal, sample_rate: int) -> float:
    """Return the root mean square of the loudest eighth of a second."""
    frame = max(1, min(sample_rate // 16, audio.shape[1]))
    whole = audio[:, : audio.shape[1] // frame * frame]
    power = np.square(whole).reshape(audio.shape[0], -1, frame).mean(axis=(0, 2))
    pair = np.convolve(power, [0.5, 0.5]) if len(power) > 1 else power
    return float(np.sqrt(pair.max()))


def measured_midi(audio: Signal, named: float, sample_rate: int) -> float:
    """Return the pitch of a recording near that of its name.

    The partials up to the fourth that stand out are looked for in a spectrum, and their
    deviations averaged with their strength; the name is kept where nothing is found.
    """
    begin = min(round(0.06 * sample_rate), audio.shape[1] // 4)
    part = audio.mean(axis=0)[begin : begin + round(0.9 * sample_rate)]
    size = 1 << (4 * len(part) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
    deviations, weights = [], []
    for order in (1, 2, 3, 4):
        centre = order * midi_to_hz(named) * size / sample_rate
        low, high = (int(centre * 2 ** (side * _WIDEST / 12)) for side in (-1, 1))
        if high + 2 >= len(spectrum) or high - low < 3:
            continue
        peak = low + int(np.argmax(spectrum[low : high + 1]))
        if low < peak < high:
            left, middle, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
            peak_bin = peak + 0.5 * (left - right) / (left - 2 * middle + right)
            hz = peak_bin * sample_rate / size / order
            deviations.append(hz_to_midi(hz) - named)
            weights.append(spectrum[peak] ** 2 / order)
    if not deviations:
        return named
    return named + float(np.average(deviations, weights=weights))


def transposed(audio: Signal, ratio: float) -> Signal:
    """Return a sound played faster by a ratio, band-limited. Shape: `[C, n]` to `[C, n/ratio]`."""
    if abs(ratio - 1) < 1e-5 or not audio.shape[1]:
        return audio
    frames = soxr.resample(np.ascontiguousarray(audio.T), ratio, 1.0, quality="MQ")
    return np.asarray(frames.reshape(-1, audio.shape[0]).T, np.float32)


def softened(audio: Signal, openness: float, sample_rate: int) -> Signal:
    """Return a sound with fewer highs, 1 leaving it as it is. Shape: `[C, n]`, returns the same."""
    cutoff = 700.0 * (14000 / 700) ** openness
    if openness >= 1 or cutoff >= 0.45 * sample_rate:
        return audio
    numerator, denominator = signal.butter(1, cutoff, fs=sample_rate)
    return np.asarray(signal.lfilter(numerator, denominator, audio, axis=1), np.float32)


def extended(audio: Signal, samples: int, sample_rate: int, *, sustained: bool) -> Signal:
    """Go on with a recording beyond its end, by cross-fading back into itself where it fits best.

    A sound that decays goes on decaying as it did from the point that it goes back to.

    Shape:
        audio: `[C, n]`; returns `[C, samples]`, or less if it has died away.
    """
    length = audio.shape[1]
    fade = min(round(0.06 * sample_rate), length // 8)
    # Recordings are cut off and end with a fade.
    end = length - min(round(0.05 * sample_rate), length // 8)
    if fade < 32:
        return audio
    mono = audio.sum(axis=0)
    reach = min(round(0.03 * sample_rate), length // 8)
    back = int(end - 0.4 * length)
    last = mono[end - fade : end]
    found = np.correlate(mono[back - fade - reach : back + reach], last, "valid")
    back += int(np.argmax(found)) - reach
    tail, head = audio[:, end - fade : end], audio[:, back - fade : back]
    gain = min(1.0, rms(tail) / max(rms(head), 1e-9))
    if not sustained and gain < 0.05:
        return audio
    rise = half_cosine(fade)
    seam = tail * (1 - rise) + gain * head * rise
    piece = np.concatenate([audio[:, back : end - fade] * gain, seam], axis=1)
    # The seam leads from the end of one round to the start of the next.
    pieces, total, level = [audio[:, : end - fade], seam], end, 1.0
    fall = 1.0 if sustained else gain
    while total < samples and level > 1e-3:
        pieces.append(level * piece)
        total += piece.shape[1]
        level *= fall
    return np.concatenate(pieces, axis=1)[:, :samples]
