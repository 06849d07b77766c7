"""What happens to the sound of a voice after its grains are laid: tilt, breath, and air."""

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from desmezcla.datasets.render.singing.bank import Bank
from desmezcla.datasets.render.singing.character import Character
from desmezcla.datasets.render.singing.psola import Grains, overlap_add

Sound = NDArray[np.float32]

# Spectrum of sung vocals recorded closely: density at some frequencies, in dB relative to that
# from 3 to 6 kHz. What falls short of it by more than `_DULL_DB` is filled up.
_AIR_HZ = (6500.0, 8500.0, 12_000.0, 15_000.0, 18_000.0)
_AIR_DB = (-5.0, -9.0, -14.0, -20.0, -28.0)
_DULL_DB = 8.0
# How far the band from 3 to 6 kHz is moved to stand in for what is missing, and how much of the
# filling is noise instead.
_SHIFTS_HZ = (3500.0, 7000.0, 10_500.0)
_AIR_NOISE = 0.3
_FRAME = 1024


def tilted(sound: Sound, effort: Sound, character: Character, sample_rate: int) -> Sound:
    """Tilt the spectrum: as the singer is, and the more the louder the voice.

    Shape:
        sound, effort: `[T]`; returns `[T]`.

    Args:
        sound: The voice.
        effort: Its gain over time, about 1.
        character: Who sings.
        sample_rate: In Hz.
    """
    amount = np.clip(character.bright + 0.5 * (effort - 1), -0.7, 1.5).astype(np.float32)
    return np.asarray(sound + amount * _high(sound, 2200.0, sample_rate), np.float32)


def aspiration(
    bank: Bank,
    grains: Grains,
    character: Character,
    rng: np.random.Generator,
    *,
    sample_rate: int,
    samples: int,
) -> Sound:
    """Return the noise of breath in the voice: its own grains with random signs and instants.

    Shape:
        Returns `[samples]`.
    """
    if character.breath < 0.02:
        return np.zeros(samples, np.float32)
    airy = whispered(grains, rng)
    airy = replace(airy, gain=character.breath * airy.gain)
    noise = overlap_add(bank.audio, airy, sample_rate=sample_rate, samples=samples)
    return 1.2 * _high(_high(noise, 2500.0, sample_rate), 2500.0, sample_rate)


def whispered(grains: Grains, rng: np.random.Generator) -> Grains:
    """Return grains that have lost their pitch and kept their formants."""
    return replace(
        grains,
        time_s=grains.time_s + rng.uniform(-0.5, 0.5, len(grains)) * grains.half_s,
        gain=grains.gain * rng.choice([-1.0, 1.0], len(grains)),
    )


def with_air(sound: Sound, rng: np.random.Generator, sample_rate: int) -> Sound:
    """Fill the top of a voice whose recording has less there than voices have.

    Many spoken recordings, and speech synthesis, end at 7 to 10 kHz; a network would learn that
    voices do. What is added is the band from 3 to 6 kHz, moved up (as in spectral band
    replication, Dietz et al., 2002), and noise that follows its level.

    Shape:
        sound: `[T]`; returns `[T]`.
    """
    from scipy.signal import butter, firwin2, lfilter, oaconvolve, sosfilt

    if sample_rate < 40_000 or len(sound) < _FRAME or not sound.any():
        return sound
    hz, density = _density(sound, sample_rate)
    middle = density[(hz > 3000) & (hz < 6000)].mean()
    levels = np.array([density[np.abs(hz - centre) < 700].mean() for centre in _AIR_HZ])
    wanted = 10 ** (np.array(_AIR_DB) / 10) * middle
    missing = np.where(levels < wanted * 10 ** (-_DULL_DB / 10), wanted, 0)
    if not missing.any():
        return sound
    band = sosfilt(butter(2, (3000, 6000), "band", fs=sample_rate, output="sos"), sound)
    slow = np.exp(-1 / (0.004 * sample_rate))
    noise = lfilter([1 - slow], [1, -slow], np.abs(band)) * rng.standard_normal(len(sound))
    # Moved up by some kHz, the partials of the band stay as far apart as those of the voice.
    place_s = np.arange(len(sound)) / sample_rate
    moved = band * sum(np.cos(2 * np.pi * hz * place_s) for hz in _SHIFTS_HZ)
    air = _AIR_NOISE * _of_unit_power(noise) + (1 - _AIR_NOISE) * _of_unit_power(moved)
    # White noise of variance v has the one-sided density 2 v / rate.
    air = (air * np.sqrt(sample_rate / 2)).astype(np.float32)
    knots = [0, 5500, *_AIR_HZ, sample_rate / 2]
    shape = firwin2(129, knots, [0, 0, *np.sqrt(missing), 0], fs=sample_rate)
    return np.asarray(sound + oaconvolve(air, shape, "same"), np.float32)


def _of_unit_power(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a sound whose mean square is one."""
    return np.asarray(sound / np.sqrt(np.mean(sound**2)))


def _density(sound: Sound, sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies in Hz, and the mean one-sided power density there (Welch 1967)."""
    window = np.hanning(_FRAME)
    # Two thousand frames spread over a song are plenty for a mean.
    step = max(_FRAME // 2, len(sound) // 2000)
    frames = sliding_window_view(sound, _FRAME)[::step] * window
    power = np.asarray(np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0), np.float64)
    hz = np.arange(len(power), dtype=np.float64) * (sample_rate / _FRAME)
    return hz, np.asarray(2 * power / (sample_rate * np.sum(window**2)))


def _high(sound: Sound, cutoff_hz: float, sample_rate: int) -> Sound:
    from scipy.signal import butter, lfilter

    b, a = butter(1, cutoff_hz, "high", fs=sample_rate)
    # In single precision it is twice as fast, and one pole does not need more.
    return np.asarray(lfilter(b.astype(np.float32), a.astype(np.float32), sound), np.float32)
