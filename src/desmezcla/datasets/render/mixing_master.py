"""The master: what happens to the sum, done to all stems alike, so that they still add up to it."""

import numpy as np

from desmezcla.datasets.render.effects import dynamics
from desmezcla.datasets.render.effects.convolution import Audio
from desmezcla.datasets.render.effects.eq import Band, equalise
from desmezcla.datasets.render.mixing_plan import Plan
from desmezcla.datasets.render.score import Stem

Stems = dict[Stem, Audio]

# How often the gain in front of the limiter is corrected; it converges by a factor of 3 or more.
_ROUNDS = 8
# Share of the hops in which the limiter may take off more than `Plan.drive_db`.
_DRIVEN_SHARE = 0.02


def master(stems: Stems, plan: Plan, sample_rate: int) -> Stems:
    """Compress and limit a song, and fade it out.

    The gains of compressor and limiter are computed from the sum, and multiplied into each stem.
    The limiter heeds the stems, too: one may peak above the sum, where another cancels it, and none
    of them may clip.

    Shape:
        stems: each `[2, T]`; returns the same.
    """
    mixture = sum(stems.values(), np.zeros((2, 1), np.float32))
    level = dynamics.levels(mixture)
    if not level.any():
        return stems
    rms_db = 10 * np.log10(np.mean(level**2))
    gain = dynamics.compressor_gain(
        level, sample_rate, threshold_db=rms_db + 2.0, ratio=1.8, attack_s=0.02, release_s=0.2
    )
    peak = np.max([dynamics.peaks(audio) for audio in (mixture, *stems.values())], axis=0)
    gain = _limited(level, peak, gain, plan, sample_rate)
    gain = gain * _fade(len(gain), plan.fade_s * sample_rate / dynamics.HOP)
    return {stem: dynamics.apply_gain(audio, gain) for stem, audio in stems.items()}


def tone(audio: Audio, plan: Plan, sample_rate: int) -> Audio:
    """Return a stem through the equaliser of the master, which is linear: each stem may have it.

    Shape:
        audio: `[2, T]`; returns `[2, T]`.
    """
    bands = [
        Band("high_shelf", 5000.0, plan.tilt_db, 0.5),
        Band("low_shelf", 150.0, -0.5 * plan.tilt_db, 0.5),
    ]
    if plan.low_pass_hz:
        # Two with these qualities are a Butterworth filter of fourth order.
        bands += [Band("low_pass", plan.low_pass_hz, q=q) for q in (0.5412, 1.3066)]
    return equalise(audio, bands, sample_rate)


def _limited(
    level: dynamics.Curve,
    peak: dynamics.Curve,
    gain: dynamics.Curve,
    plan: Plan,
    sample_rate: int,
) -> dynamics.Curve:
    """Return a gain times what brings the mixture to its loudness, times the limiter's."""
    # The gain of a hop lies between those of its borders; for its peak, the higher one counts.
    level = level * 0.5 * (gain[:-1] + gain[1:])
    peak = peak * np.maximum(gain[:-1], gain[1:])
    high = np.quantile(peak[peak > 0], 1 - _DRIVEN_SHARE)
    most = 10 ** ((plan.ceiling_db + plan.drive_db) / 20) / high
    target = 10 ** (plan.master_dbfs / 20)
    make_up = min(most, target / np.sqrt(np.mean(level**2)))
    for _ in range(_ROUNDS):
        limiter = dynamics.limiter_gain(
            make_up * peak, sample_rate, ceiling_db=plan.ceiling_db, release_s=0.06
        )
        reached = make_up * np.sqrt(np.mean((level * 0.5 * (limiter[:-1] + limiter[1:])) ** 2))
        if abs(np.log(target / reached)) < 0.01 or make_up >= most:
            break
        make_up = min(most, make_up * target / reached)
    limiter = dynamics.limiter_gain(
        make_up * peak, sample_rate, ceiling_db=plan.ceiling_db, release_s=0.06
    )
    return np.asarray(gain * make_up * limiter)


def _fade(points: int, length: float) -> dynamics.Curve:
    if length <= 0:
        return np.ones(points)
    return np.asarray(np.clip((points - 1 - np.arange(points)) / length, 0.0, 1.0) ** 1.5)
