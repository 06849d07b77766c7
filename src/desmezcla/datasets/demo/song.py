"""A whole song with known stems: composed, played and mixed from a seed."""

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.demo.instruments import play_bass, play_drums, play_keys
from desmezcla.datasets.demo.score import compose
from desmezcla.datasets.demo.singer import play_vocals
from desmezcla.datasets.demo.synth import Signal
from desmezcla.errors import ParameterError

STEMS = ("vocals", "drums", "bass", "other")

# Level of each stem, as root mean square in dB relative to the vocals.
LEVELS_DB = {"vocals": 0.0, "drums": 0.5, "bass": -0.5, "other": -2.5}
PEAK_DBFS = -1.0


def render_song(
    *, seed: int = 0, duration_s: float = 20.0, sample_rate: int = 44100
) -> dict[str, NDArray[np.float32]]:
    """Render the stems of a song; their sum is the mixture, with its peak at -1 dBFS.

    The seed decides key, tempo, chords, groove, melody and words. The same arguments give the
    same samples; another sample rate or a longer duration gives the same song.

    Args:
        seed: Number of the song, from 0.
        duration_s: Length; the result has `round(duration_s * sample_rate)` samples.
        sample_rate: In Hz, from 8000.

    Shape:
        Returns vocals, drums, bass and other, in this order, each `[2, T]` float32.

    Errors:
        ParameterError: if an argument is out of range.

    >>> song = render_song(seed=3, duration_s=0.5, sample_rate=22050)
    >>> {stem: audio.shape for stem, audio in song.items()}
    {'vocals': (2, 11025), 'drums': (2, 11025), 'bass': (2, 11025), 'other': (2, 11025)}
    """
    count = _checked_count(seed, duration_s, sample_rate)
    # One generator per part, so that a change to one player leaves the others' takes alone.
    writing, drumming, keying, singing = (
        np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(4)
    )
    score = compose(writing, duration_s=duration_s)
    room = {"count": count, "sample_rate": sample_rate}
    takes = {
        "vocals": play_vocals(score, singing, **room),
        "drums": play_drums(score, drumming, **room),
        "bass": play_bass(score, **room),
        "other": play_keys(score, keying, **room),
    }
    return _mixed(takes, count, sample_rate)


def _checked_count(seed: int, duration_s: float, sample_rate: int) -> int:
    if seed < 0:
        raise ParameterError(f"seed={seed} must be 0 or more")
    if sample_rate < 8000:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be at least 8000")
    if not 0.1 <= duration_s < float("inf"):
        raise ParameterError(f"duration_s={duration_s} must be at least 0.1 and finite")
    return round(duration_s * sample_rate)


def _mixed(
    takes: dict[str, Signal], count: int, sample_rate: int
) -> dict[str, NDArray[np.float32]]:
    """Balance the stems, fade the end, and bring the peak of their sum to `PEAK_DBFS`."""
    # The last twentieth, at most a second and a half, fades out.
    fade = np.clip((count - np.arange(count)) / min(1.5 * sample_rate, 0.05 * count), 0, 1) ** 2
    balanced = {
        stem: 10 ** (LEVELS_DB[stem] / 20) / np.sqrt(np.mean(take**2)) * take * fade
        for stem, take in takes.items()
    }
    mixture = sum(balanced.values(), np.zeros((2, count)))
    # A stem may peak above the mixture where another cancels it; none of them may clip.
    peak = max(np.abs(audio).max() for audio in (mixture, *balanced.values()))
    gain = 10 ** (PEAK_DBFS / 20) / peak
    return {stem: (gain * balanced[stem]).astype(np.float32) for stem in STEMS}
