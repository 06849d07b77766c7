import itertools
import math

import numpy as np
import pytest

from desmezcla.audio import live_resample
from desmezcla.audio.live_resample import LiveResampler
from desmezcla.audio.resample import resample, resampled_length

PAIRS = [
    *itertools.permutations([44100, 48000], 2),
    *itertools.permutations([44100, 96000], 2),
    *itertools.permutations([44100, 16000], 2),
    *itertools.permutations([44100, 8000], 2),
    *itertools.permutations([44100, 44101], 2),
]


def whole(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    stream = LiveResampler(rate_in, rate_out, audio.shape[0])
    return np.concatenate([stream.process(audio), stream.flush()], axis=1)


def inner(audio: np.ndarray, rate: int) -> np.ndarray:
    """Without the 1/16 s at both ends, where the signal sets in and stops."""
    return audio[..., rate // 16 : -(rate // 16)]


def decibels(ratio: float) -> float:
    return 20 * math.log10(max(ratio, 1e-10))


def error_db(reference: np.ndarray, found: np.ndarray) -> float:
    return decibels(float(np.linalg.norm(found - reference) / np.linalg.norm(reference)))


def sine(hz: float, rate: int, length: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(length) / rate + 0.3)


def band_noise(top_hz: float, rate: int) -> np.ndarray:
    """One second of periodic pink noise from 20 Hz up, the same signal at any rate; `[1, T]`."""
    rng = np.random.default_rng(1)
    hz = np.arange(20, int(top_hz))
    spectrum = np.zeros(rate, complex)
    spectrum[hz] = (rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))) / np.sqrt(hz)
    return 0.05 * np.real(np.fft.ifft(spectrum))[None] * rate


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_constant_stays_constant(rate_in: int, rate_out: int) -> None:
    found = whole(np.full((1, rate_in // 4), 0.5, np.float32), rate_in, rate_out)
    np.testing.assert_allclose(inner(found, rate_out), 0.5, atol=2e-7)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("part", [0.01, 0.4, 0.83])
def test_sines_keep_level_and_phase_and_get_no_images(
    rate_in: int, rate_out: int, part: float
) -> None:
    hz = part * min(rate_in, rate_out) / 2  # 0.83: 18.3 kHz at 44.1 kHz
    audio = sine(hz, rate_in, rate_in // 2)[None].astype(np.float32)
    found = inner(whole(audio, rate_in, rate_out)[0], rate_out)
    expected = inner(
        sine(hz, rate_out, resampled_length(rate_in // 2, rate_in, rate_out)), rate_out
    )
    gain = float(found @ expected / (expected @ expected))
    assert abs(decibels(gain)) < 0.011
    assert error_db(gain * expected, found) < -98


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [pair for pair in PAIRS if pair[0] - pair[1] > 1000]
)
def test_what_lies_beyond_the_lower_band_is_removed(rate_in: int, rate_out: int) -> None:
    heard = []
    for part in (1.0005, 1.02, 1.05, 1.2, 1.7, 2.9):
        hz = part * rate_out / 2
        if hz < rate_in / 2:
            audio = sine(hz, rate_in, rate_in // 2)[None].astype(np.float32)
            heard.append(np.abs(inner(whole(audio, rate_in, rate_out), rate_out)).max())
    assert decibels(max(heard)) < -90


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_band_limited_noise_becomes_what_it_is_at_the_other_rate(
    rate_in: int, rate_out: int
) -> None:
    top_hz = 0.4 * min(rate_in, rate_out)
    audio = band_noise(top_hz, rate_in).astype(np.float32)
    found = whole(audio, rate_in, rate_out)
    assert error_db(inner(band_noise(top_hz, rate_out), rate_out), inner(found, rate_out)) < -100
    of_soxr = resample(audio, rate_in, rate_out)
    # Its filter is longer, so the sudden start reaches further into it.
    assert error_db(inner(of_soxr, rate_out), inner(found, rate_out)) < -85
    back = whole(found, rate_out, rate_in)[:, :rate_in]
    assert error_db(inner(audio, rate_in), inner(back, rate_in)) < -95


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 44101), (96000, 44101)])
def test_interpolated_taps_are_those_of_the_formula(
    rate_in: int, rate_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = np.random.default_rng(0).standard_normal((1, rate_in // 2)).astype(np.float32)
    found = whole(audio, rate_in, rate_out)
    monkeypatch.setattr(live_resample, "_FINEST", 10**6)
    exact = whole(audio, rate_in, rate_out)
    assert not np.array_equal(found, exact)
    assert error_db(exact, found) < -135
    assert decibels(float(np.abs(found - exact).max() / np.abs(exact).max())) < -105
