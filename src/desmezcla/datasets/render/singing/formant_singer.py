"""A singer made of mathematics alone: pulses of the vocal folds through the tract's resonances.

The pulse is that of Fant, Liljencrants and Lin ("A four-parameter model of glottal flow", 1985)
in its simplest shape: an opening sine that grows, cut off by an exponential return. The tract
follows Klatt ("Software for a cascade/parallel formant synthesizer", 1980), resonators in cascade.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import resample
from desmezcla.datasets.render.singing.analysis import ANALYSIS_RATE, band_levels
from desmezcla.datasets.render.singing.units import UNIT_RATE, Signal, Unit, Voice

# Formants in Hz of vowels of a man (Peterson and Barney 1952, table II).
VOWELS_HZ = {
    "a": (730, 1090, 2440),
    "ae": (660, 1720, 2410),
    "e": (530, 1840, 2480),
    "i": (280, 2250, 2950),
    "o": (540, 840, 2410),
    "aw": (570, 840, 2410),
    "u": (310, 870, 2240),
    "uh": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
# Where the formants come from after a consonant of a place.
LOCI_HZ = {
    "lips": (300, 850, 2250),
    "teeth": (300, 1750, 2650),
    "palate": (280, 2150, 2900),
    "throat": (300, 1900, 2200),
}
# Place, seconds voiced before the vowel and its level, band of the noise in Hz, its seconds, level.
Consonant = tuple[str, float, float, tuple[float, float], float, float]
CONSONANTS: dict[str, Consonant] = {
    "": ("lips", 0.0, 0.0, (500, 5000), 0.0, 0.0),
    "m": ("lips", 0.07, 0.4, (500, 5000), 0.0, 0.0),
    "n": ("teeth", 0.07, 0.4, (500, 5000), 0.0, 0.0),
    "l": ("teeth", 0.06, 0.55, (500, 5000), 0.0, 0.0),
    "y": ("palate", 0.07, 0.6, (500, 5000), 0.0, 0.0),
    "w": ("lips", 0.07, 0.55, (500, 5000), 0.0, 0.0),
    "b": ("lips", 0.05, 0.12, (300, 2500), 0.010, 0.5),
    "d": ("teeth", 0.05, 0.12, (2500, 7000), 0.012, 0.5),
    "g": ("throat", 0.05, 0.12, (1300, 3500), 0.018, 0.5),
    "v": ("lips", 0.08, 0.25, (3000, 9000), 0.07, 0.08),
    "z": ("teeth", 0.09, 0.2, (4500, 11000), 0.08, 0.25),
    "p": ("lips", 0.0, 0.0, (500, 3500), 0.045, 0.45),
    "t": ("teeth", 0.0, 0.0, (3000, 9000), 0.05, 0.6),
    "k": ("throat", 0.0, 0.0, (1400, 4500), 0.055, 0.55),
    "s": ("teeth", 0.0, 0.0, (4800, 12000), 0.12, 0.5),
    "sh": ("palate", 0.0, 0.0, (2200, 7500), 0.12, 0.55),
    "f": ("lips", 0.0, 0.0, (3000, 13000), 0.10, 0.16),
    "h": ("throat", 0.0, 0.0, (600, 5000), 0.07, 0.2),
    "ch": ("palate", 0.0, 0.0, (2500, 8000), 0.08, 0.6),
}
# A tube has a resonance each 1000 Hz or so, without end: if those above the fifth were left out, a
# vowel would have nothing above 5 kHz.
_SPACING_HZ = 1000.0
# Mixtures of the consonant's tract and the vowel's, between which the sound is cross-faded.
_STEPS = (0.35, 0.65, 1.0)
_LEAD_S = 0.03


def formant_voice(rng: np.random.Generator, *, f0_hz: float, count: int) -> Voice:
    """Return a voice of synthetic syllables around a pitch.

    Args:
        rng: Who it is, and what it says.
        f0_hz: Where it is to sing.
        count: Number of syllables.
    """
    # A voice that sings high has a short tract as a rule.
    length = 1.0 + 0.17 * np.clip(np.log2(f0_hz / 130.0), 0, 1) + rng.uniform(-0.05, 0.05)
    pulse = (float(rng.uniform(0.5, 0.7)), float(rng.uniform(0.002, 0.015)))
    noise = float(rng.uniform(0.02, 0.1))
    fourth_hz, fifth_hz = rng.uniform(3000, 3500), rng.uniform(3800, 4300)
    upper_hz = [fourth_hz, fifth_hz, *np.arange(fifth_hz + 900, UNIT_RATE / 2, _SPACING_HZ)]
    sounds, units = [], []
    for number in range(count):
        vowel = str(rng.choice(list(VOWELS_HZ)))
        consonant = CONSONANTS[str(rng.choice(list(CONSONANTS)))]
        pitch_hz = f0_hz * 2 ** (rng.normal(0, 1.5) / 12)
        sound, unit = _syllable(
            rng,
            number,
            np.array([*VOWELS_HZ[vowel], *upper_hz]) * length,
            consonant,
            pitch_hz,
            pulse,
            noise,
        )
        sounds.append(sound)
        units.append(unit)
    return Voice("formants", True, tuple(units), sounds.__getitem__)


def _syllable(
    rng: np.random.Generator,
    number: int,
    vowel_hz: Signal,
    consonant: Consonant,
    f0_hz: float,
    pulse: tuple[float, float],
    noise: float,
) -> tuple[NDArray[np.float32], Unit]:
    """Return one syllable of about 0.7 s, and where its parts are."""
    place, voiced_s, voiced_level, band_hz, noise_s, noise_level = consonant
    held_s = float(rng.uniform(0.5, 0.7))
    vowel_s = _LEAD_S + max(voiced_s, noise_s)
    total_s = vowel_s + held_s + 0.08
    time_s = np.arange(int(total_s * UNIT_RATE)) / UNIT_RATE
    drift = np.interp(time_s, np.linspace(0, total_s, 12), rng.normal(0, 0.1, 12))
    curve_hz = f0_hz * 2 ** (drift / 12)
    phase = np.cumsum(curve_hz) / UNIT_RATE
    source = _pulses(phase, rng, opening=pulse[0], back=pulse[1])
    source += noise * rng.standard_normal(len(phase)) * (0.3 + (phase % 1 < pulse[0]))
    level = np.interp(
        time_s,
        [vowel_s - voiced_s - 0.01, vowel_s - voiced_s + 0.01, vowel_s - 0.01, vowel_s + 0.03,
         total_s - 0.1, total_s - 0.01],
        [0, voiced_level, voiced_level, 1, 1, 0],
    )  # fmt: skip
    locus_hz = np.array([*LOCI_HZ[place], *vowel_hz[3:]])
    # Singers raise the first formant with the pitch, or the fundamental would be lost.
    floor_hz = np.array([1.05 * f0_hz, *np.zeros(len(vowel_hz) - 1)])
    turn = np.interp(time_s, [vowel_s - 0.03, vowel_s + 0.06], [0, len(_STEPS) - 1])
    sound = np.zeros_like(time_s)
    for step, share in enumerate(_STEPS):
        formants_hz = np.maximum(locus_hz + share * (vowel_hz - locus_hz), floor_hz)
        sound += np.clip(1 - np.abs(turn - step), 0, 1) * _tract(source * level, formants_hz)
    steady = slice(int((vowel_s + 0.07) * UNIT_RATE), int((total_s - 0.12) * UNIT_RATE))
    sound *= 0.1 / np.sqrt(np.mean(sound[steady] ** 2))
    if noise_s:
        hiss = 0.06 * noise_level * _hiss(rng, band_hz, noise_s)
        sound[int(_LEAD_S * UNIT_RATE) :][: len(hiss)] += hiss
    marks_s = np.interp(np.arange(1, int(phase[-1])), phase, time_s)
    marks_s = marks_s[np.interp(marks_s, time_s, level) > 0.02]
    slow = resample(sound[None, steady].astype(np.float32), UNIT_RATE, ANALYSIS_RATE)[0]
    bands = band_levels(slow.astype(np.float64)).mean(axis=0)
    return sound.astype(np.float32), Unit(
        source=number,
        start_s=_LEAD_S - 0.005,
        vowel_s=vowel_s,
        stable_s=vowel_s + 0.07,
        release_s=total_s - 0.12,
        end_s=total_s - 0.02,
        marks_s=marks_s,
        periods_s=1 / np.interp(marks_s, time_s, curve_hz),
        f0_hz=f0_hz,
        level=0.1,
        colour=bands - bands.mean(),
    )


def _pulses(phase: Signal, rng: np.random.Generator, *, opening: float, back: float) -> Signal:
    """Return the derivative of the flow through the vocal folds, a pulse per turn of `phase`."""
    turn = phase % 1.0
    grow = np.exp(3.0 * (turn / opening - 1))
    rising = grow * np.sin(1.35 * np.pi * turn / opening)
    cut = np.sin(1.35 * np.pi)
    falling = cut * np.exp(-(turn - opening) / back)
    shimmer = 1 + 0.05 * rng.standard_normal(int(phase[-1]) + 2)
    flow = np.where(turn < opening, rising, falling) * shimmer[phase.astype(int)]
    return np.asarray(flow - flow.mean())


def _tract(source: Signal, formants_hz: Signal) -> Signal:
    """Filter with resonators in cascade, 1 at 0 Hz each. Shape: `[T]`, `[K]`."""
    from scipy.signal import sosfilt

    formants_hz = formants_hz[formants_hz < 0.49 * UNIT_RATE]
    widths_hz = 60 + 0.00001 * formants_hz**2 + 0.02 * formants_hz
    radius = np.exp(-np.pi * widths_hz / UNIT_RATE)
    a1 = -2 * radius * np.cos(2 * np.pi * formants_hz / UNIT_RATE)
    a2 = radius**2
    ones, none = np.ones_like(a1), np.zeros_like(a1)
    return np.asarray(sosfilt(np.stack([1 + a1 + a2, none, none, ones, a1, a2], axis=1), source))


def _hiss(rng: np.random.Generator, band_hz: Sequence[float], length_s: float) -> Signal:
    """Return the noise of a consonant, of unit level: short ones burst, long ones swell."""
    count = int(length_s * UNIT_RATE)
    hz = np.fft.rfftfreq(count, 1 / UNIT_RATE)
    shape = 1 / (1 + (band_hz[0] / np.maximum(hz, 1)) ** 6) / (1 + (hz / band_hz[1]) ** 6)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape, count)
    x = np.linspace(0, 1, count)
    envelope = np.sin(np.pi * x) if length_s > 0.06 else np.clip(x * 20, 0, 1) * (1 - x)
    return np.asarray(envelope * noise / np.sqrt(np.mean(noise**2) + 1e-12))
