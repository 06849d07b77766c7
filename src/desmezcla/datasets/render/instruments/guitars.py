"""Guitars and basses: strings from recordings or models, through bodies, boxes and amplifiers."""

import numpy as np

from desmezcla.datasets.render.instruments.amplifier import (
    amplified,
    amplifier,
    cabinet_response,
)
from desmezcla.datasets.render.instruments.blocks import convolved, filtered, saturated
from desmezcla.datasets.render.instruments.effects import (
    chorus,
    compressed,
    passing,
    peaking,
    tremolo,
)
from desmezcla.datasets.render.instruments.players import Expression, Sounder, Stroke, strike
from desmezcla.datasets.render.instruments.plucked import Plucked, body
from desmezcla.datasets.render.instruments.recordings import COLLECTIONS
from desmezcla.datasets.render.instruments.sampler import Sampler, covers
from desmezcla.datasets.render.instruments.take import (
    Signal,
    Take,
    active_rms,
    between,
    between_log,
    chance,
    pick,
)


def recorded(take: Take, key: str, *, share: float = 0.75, stereo: bool = False) -> Sampler | None:
    """Return one of the recorded instruments of a key, or None to synthesise it.

    Args:
        take: The part; only collections that reach over its notes are used.
        key: Key of `COLLECTIONS`.
        share: Probability of a recording, where there is one.
        stereo: Keep both channels.
    """
    rng, material, notes = take.rng, take.material, take.notes
    if material is None or not notes or not chance(rng, share):
        return None
    low, high = min(n.pitch for n in notes), max(n.pitch for n in notes)
    fitting = [c for c in COLLECTIONS.get(key, ()) if covers(material, c, low, high)]
    if not fitting:
        return None
    return Sampler(
        material, pick(rng, fitting), sample_rate=take.sample_rate,
        bright=between(rng, 0.3, 0.8), stereo=stereo,
    )  # fmt: skip


def electric_strings(take: Take, *, lead: bool) -> Signal:
    """Play the strings of an electric guitar, all into one cable. Shape: returns `[1, T]`."""
    rng = take.rng
    sounder: Sounder = recorded(take, "guitar_electric") or Plucked(
        "electric", rng, take.sample_rate
    )
    stroke = Stroke(
        release_s=between(rng, 0.03, 0.08), short_s=0.17, level=0.7,
        detune_cents=between(rng, 0.5, 3),
    )  # fmt: skip
    expression = Expression(
        vibrato_hz=between(rng, 4.8, 6.2), vibrato_cents=between(rng, 12, 35),
        vibrato_after_s=between(rng, 0.2, 0.5), slide=between(rng, 0.2, 0.7),
        slide_s=between(rng, 0.04, 0.12), reach=3.2,
    )  # fmt: skip
    return strike(take, sounder, stroke, expression=expression if lead else None)


def electric_guitar(take: Take, voicing: str, *, lead: bool = False) -> Signal:
    """Play an electric guitar through an amplifier. Shape: returns `[1 or 2, T]`."""
    rng, rate = take.rng, take.sample_rate
    settings = amplifier(voicing, rng)
    cabinet = cabinet_response(
        rng, sample_rate=rate, high_hz=6500.0 if voicing == "clean" else 5000.0
    )
    strings = electric_strings(take, lead=lead)
    if voicing == "clean" and chance(rng, 0.6):
        strings = compressed(strings, threshold_db=-22, ratio=between(rng, 2, 5), sample_rate=rate)
    out = amplified(strings, settings, cabinet, sample_rate=rate)
    if voicing != "clean":
        return out
    effect = rng.random()
    if effect < 0.35:
        return chorus(
            out, rate_hz=between(rng, 0.4, 1.2), depth_s=between(rng, 0.001, 0.003),
            mix=between(rng, 0.3, 0.8), sample_rate=rate,
        )  # fmt: skip
    if effect < 0.5:
        return tremolo(
            out, rate_hz=between(rng, 3, 7), depth=between(rng, 0.2, 0.6), sample_rate=rate
        )
    return out


def body_guitar(take: Take, key: str, kind: str) -> Signal:
    """Play an acoustic guitar, a banjo or another box with strings. Shape: returns `[2, T]`."""
    rng, rate = take.rng, take.sample_rate
    stroke = Stroke(release_s=between(rng, 0.06, 0.15), short_s=0.12, level=1.0)
    sampler = recorded(take, key)
    if sampler is not None:
        dry = strike(take, sampler, stroke)
        # Two microphones: the second hears more, or less, of the body.
        nearer = peaking(between_log(rng, 180, 400), between(rng, -2, 4), 0.7, rate)
        return np.concatenate([dry, filtered(dry, nearer)])
    dry = strike(take, Plucked(kind, rng, rate), stroke)
    air_hz, top_hz = {
        "banjo": (between(rng, 180, 260), 7000.0),
        "sitar": (between(rng, 120, 200), 6000.0),
        "harp": (between(rng, 90, 160), 4000.0),
    }.get(kind, (between(rng, 92, 115), 5000.0))
    return body(
        rng, dry, sample_rate=rate, air_hz=air_hz, top_hz=top_hz, wet=between(rng, 0.5, 1.1)
    )


def electric_bass(take: Take, key: str, kind: str) -> Signal:
    """Play an electric bass: the direct signal and an amplifier, mixed. Shape: returns `[1, T]`."""
    rng, rate = take.rng, take.sample_rate
    sounder: Sounder = recorded(take, key, share=0.8) or Plucked(kind, rng, rate)
    short_s = between(rng, 0.1, 0.2) if kind != "fretless" else 0.0
    stroke = Stroke(release_s=between(rng, 0.03, 0.09), short_s=short_s, level=0.9)
    expression = Expression(
        vibrato_hz=between(rng, 4.5, 5.8),
        vibrato_cents=between(rng, 10, 22) if kind == "fretless" else 0.0,
        vibrato_after_s=0.3,
        slide=0.6 if kind == "fretless" else 0.08,
        slide_s=between(rng, 0.05, 0.12),
    )
    direct = strike(take, sounder, stroke, expression=expression)
    direct = compressed(
        direct, threshold_db=between(rng, -20, -10), ratio=between(rng, 1.5, 6), sample_rate=rate
    )
    level = active_rms(direct, rate)
    if level == 0:
        return direct
    direct = direct * np.float32(0.15 / level)
    drive = between_log(rng, 0.5, 8.0) if kind in ("pick", "finger") else between_log(rng, 0.4, 2.0)
    cabinet = cabinet_response(rng, sample_rate=rate, low_hz=45, high_hz=between(rng, 2500, 5000))
    sections = [
        passing("highpass", 30.0, rate),
        peaking(90.0, between(rng, -2, 5), 0.8, rate),
        peaking(between_log(rng, 400, 1000), between(rng, -5, 4), 0.8, rate),
    ]
    driven = saturated(filtered(direct, np.concatenate(sections)), 4 * drive, bias=0.1)
    box = convolved(driven, cabinet[None])
    share = between(rng, 0.2, 0.9)
    box *= np.float32(0.15 / max(active_rms(box, rate), 1e-9))
    return np.asarray((1 - share) * direct + share * box, np.float32)


def upright_bass(take: Take) -> Signal:
    """Play a double bass, plucked. Shape: returns `[1 or 2, T]`."""
    rng, rate = take.rng, take.sample_rate
    stroke = Stroke(release_s=between(rng, 0.07, 0.16), level=1.0, detune_cents=4.0)
    expression = Expression(vibrato_cents=between(rng, 0, 12), slide=0.12, slide_s=0.06)
    sampler = recorded(take, "bass_upright", share=0.85)
    if sampler is not None:
        return strike(take, sampler, stroke, expression=expression)
    dry = strike(take, Plucked("upright", rng, rate), stroke, expression=expression)
    return body(rng, dry, sample_rate=rate, air_hz=between(rng, 58, 72), top_hz=2500.0, wet=0.9)
