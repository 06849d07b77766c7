"""The instruments by name: which player plays which key, and what the dice decide."""

from collections.abc import Callable
from functools import partial

import numpy as np

from desmezcla.datasets.render.instruments.blocks import filtered
from desmezcla.datasets.render.instruments.bowed import wind
from desmezcla.datasets.render.instruments.effects import chorus, passing, peaking, tremolo
from desmezcla.datasets.render.instruments.fm import Fm
from desmezcla.datasets.render.instruments.guitars import (
    body_guitar,
    electric_bass,
    electric_guitar,
    recorded,
    upright_bass,
)
from desmezcla.datasets.render.instruments.keys import BARS, Clavinet, Mallet, Piano, Tine
from desmezcla.datasets.render.instruments.kits import play_kit
from desmezcla.datasets.render.instruments.organ import organ, through_speaker
from desmezcla.datasets.render.instruments.patterns import KITS
from desmezcla.datasets.render.instruments.players import Expression, Sounder, Stroke, strike
from desmezcla.datasets.render.instruments.plucked import Plucked, body
from desmezcla.datasets.render.instruments.synths import (
    noise_riser,
    string_ensemble,
    sub_bass,
    supersaw,
    synth_bass,
    synth_brass,
    synth_lead,
    synth_pad,
    synth_pluck,
)
from desmezcla.datasets.render.instruments.take import (
    EDGE_S,
    Signal,
    Take,
    active_rms,
    between,
    between_log,
    chance,
    half_cosine,
    pick,
)

Player = Callable[[Take], Signal]
# RMS of a part while it plays, at a velocity of 0.7, in dB of full scale.
LEVEL_DB = -20.0
# Nothing lower is sound.
_LOWEST_HZ = 14.0


def _piano(take: Take) -> Signal:
    rng = take.rng
    sounder: Sounder = recorded(take, "piano", share=0.85, stereo=True) or Piano(
        rng, take.sample_rate
    )
    stroke = Stroke(
        release_s=between(rng, 0.08, 0.2), ring_s=between(rng, 0.0, 0.15),
        level=between(rng, 0.9, 1.3), detune_cents=0.0, pan_per_octave=between(rng, 0.0, 0.18),
    )  # fmt: skip
    dry = strike(take, sounder, stroke, channels=2)
    return filtered(dry, peaking(3000, between(rng, -5, 5), 0.5, take.sample_rate))


def _electric_piano(take: Take) -> Signal:
    rng, rate = take.rng, take.sample_rate
    sounder: Sounder | None = recorded(take, "electric_piano", share=0.25)
    if sounder is None:
        sounder = Tine(rng, rate) if chance(rng, 0.6) else Fm(("electric_piano",), rng, rate)
    stroke = Stroke(release_s=between(rng, 0.06, 0.2), level=1.0, detune_cents=0.0)
    dry = strike(take, sounder, stroke, channels=2)
    effect = rng.random()
    if effect < 0.4:
        return tremolo(
            dry, rate_hz=between(rng, 2, 6), depth=between(rng, 0.3, 0.9), sample_rate=rate
        )
    if effect < 0.7:
        return chorus(
            dry, rate_hz=between(rng, 0.4, 1.3), depth_s=between(rng, 0.0008, 0.003),
            mix=between(rng, 0.3, 0.8), sample_rate=rate,
        )  # fmt: skip
    return dry


def _clavinet(take: Take) -> Signal:
    rng, rate = take.rng, take.sample_rate
    sounder: Sounder | None = recorded(take, "clavinet", share=0.4)
    if sounder is None:
        sounder = Clavinet(rng, rate) if chance(rng, 0.7) else Fm(("clav",), rng, rate)
    stroke = Stroke(release_s=between(rng, 0.015, 0.05), level=0.8)
    dry = strike(take, sounder, stroke)
    return filtered(dry, peaking(between_log(rng, 700, 2500), between(rng, 0, 9), 1.5, rate))


def _organ(take: Take) -> Signal:
    sampler = recorded(take, "organ", share=0.2)
    if sampler is None:
        return organ(take)
    stroke = Stroke(release_s=0.06, level=0.2, detune_cents=0.0, attack_s=0.004)
    dry = strike(take, sampler, stroke)
    return through_speaker(take, dry) if chance(take.rng, 0.5) else dry


def _mallet(take: Take) -> Signal:
    rng = take.rng
    sounder: Sounder = recorded(take, "mallet", share=0.6) or Mallet(
        pick(rng, tuple(BARS)), rng, take.sample_rate
    )
    stroke = Stroke(
        release_s=between(rng, 0.2, 0.6), ring_s=between(rng, 0.1, 1.0), level=1.0,
        detune_cents=0.0, pan_per_octave=between(rng, 0.0, 0.3),
    )  # fmt: skip
    return strike(take, sounder, stroke, channels=2)


def _fm_bell(take: Take) -> Signal:
    rng, rate = take.rng, take.sample_rate
    sounder: Sounder = recorded(take, "bell", share=0.15) or Fm(
        ("bell", "glass", "tubular"), rng, rate
    )
    stroke = Stroke(release_s=0.6, ring_s=between(rng, 0.2, 1.2), detune_cents=0.0)
    return strike(take, sounder, stroke, channels=2)


def _fm_bass(take: Take) -> Signal:
    rng = take.rng
    stroke = Stroke(release_s=0.04, level=0.8, detune_cents=0.0, attack_s=0.002)
    return strike(take, Fm(("bass", "hard_bass"), rng, take.sample_rate), stroke, channels=2)


def _harp(take: Take) -> Signal:
    rng, rate = take.rng, take.sample_rate
    stroke = Stroke(
        release_s=0.5,
        ring_s=between(rng, 0.4, 1.5),
        level=1.0,
        pan_per_octave=between(rng, 0, 0.25),
    )
    sampler = recorded(take, "harp", share=0.6)
    if sampler is not None:
        return strike(take, sampler, stroke, channels=2)
    dry = strike(take, Plucked("harp", rng, rate), stroke)
    return body(rng, dry, sample_rate=rate, air_hz=between(rng, 90, 160), top_hz=4000.0, wet=0.5)


def _pizzicato(take: Take) -> Signal:
    rng, rate = take.rng, take.sample_rate
    stroke = Stroke(release_s=0.25, ring_s=0.3, level=1.0, detune_cents=4.0, pan_per_octave=0.12)
    sampler = recorded(take, "pizzicato", stereo=True)
    if sampler is not None:
        return strike(take, sampler, stroke, channels=2)
    dry = strike(take, Plucked("pizzicato", rng, rate), stroke)
    return body(rng, dry, sample_rate=rate, air_hz=between(rng, 200, 290), wet=0.9)


def _sustained(take: Take, key: str, made: Player, *, share: float, vibrato_cents: float) -> Signal:
    """Play a recorded instrument that can hold its notes, or the synthesised one."""
    rng = take.rng
    sampler = recorded(take, key, share=share, stereo=True)
    if sampler is None:
        return made(take)
    stroke = Stroke(
        release_s=between(rng, 0.06, 0.2), level=0.9, detune_cents=3.0,
        attack_s=between_log(rng, 0.004, 0.03),
    )  # fmt: skip
    expression = Expression(
        vibrato_hz=between(rng, 4.8, 6.0),
        vibrato_cents=vibrato_cents * between(rng, 0.5, 1.4),
        vibrato_after_s=between(rng, 0.15, 0.4),
        slide=0.5 if vibrato_cents else 0.0,
        slide_s=between(rng, 0.03, 0.07),
        bound_skip_s=between(rng, 0.02, 0.06) if vibrato_cents else 0.0,
    )
    return strike(take, sampler, stroke, channels=2, expression=expression)


def _line(key: str, share: float, vibrato_cents: float, made: Player | None = None) -> Player:
    made = made or partial(wind, kind=key)
    return partial(_sustained, key=key, made=made, share=share, vibrato_cents=vibrato_cents)


PLAYERS: dict[str, Player] = {
    **{name: partial(play_kit, name=name) for name in KITS},
    "bass_finger": partial(electric_bass, key="bass_finger", kind="finger"),
    "bass_pick": partial(electric_bass, key="bass_pick", kind="pick"),
    "bass_slap": partial(electric_bass, key="bass_slap", kind="slap"),
    "bass_fretless": partial(electric_bass, key="bass_fretless", kind="fretless"),
    "bass_upright": upright_bass,
    "synth_bass": _line("synth_bass", 0.2, 0.0, synth_bass),
    "sub_bass": sub_bass,
    "fm_bass": _fm_bass,
    "piano": _piano,
    "electric_piano": _electric_piano,
    "organ": _organ,
    "clavinet": _clavinet,
    "guitar_acoustic": partial(body_guitar, key="guitar_acoustic", kind="acoustic"),
    "guitar_nylon": partial(body_guitar, key="guitar_nylon", kind="nylon"),
    "guitar_clean": partial(electric_guitar, voicing="clean"),
    "guitar_crunch": partial(electric_guitar, voicing="crunch"),
    "guitar_distorted": partial(electric_guitar, voicing="high_gain"),
    "guitar_lead": partial(electric_guitar, voicing="lead", lead=True),
    "strings": _line("strings", 0.5, 0.0, string_ensemble),
    "pizzicato": _pizzicato,
    "violin": _line("violin", 0.5, 14.0),
    "cello": _line("cello", 0.6, 12.0),
    "brass": _line("brass", 0.6, 3.0),
    "trumpet": _line("trumpet", 0.6, 6.0),
    "saxophone": _line("saxophone", 0.8, 10.0),
    "flute": _line("flute", 0.6, 7.0),
    "clarinet": _line("clarinet", 0.6, 3.0),
    "synth_pad": _line("synth_pad", 0.15, 0.0, synth_pad),
    "synth_lead": _line("synth_lead", 0.15, 8.0, synth_lead),
    "synth_pluck": synth_pluck,
    "synth_brass": synth_brass,
    "supersaw": supersaw,
    "fm_bell": _fm_bell,
    "mallet": _mallet,
    "accordion": _line("accordion", 0.5, 0.0),
    "harmonica": partial(wind, kind="harmonica"),
    "sitar": partial(body_guitar, key="sitar", kind="sitar"),
    "banjo": partial(body_guitar, key="banjo", kind="banjo"),
    "harp": _harp,
    "noise_riser": noise_riser,
}


def finished(take: Take, sound: Signal) -> Signal:
    """Return a part in stereo at its level, ending softly where the song ends.

    Shape:
        sound: `[1 or 2, T]`; returns `[2, T]`.
    """
    out = filtered(sound, passing("highpass", _LOWEST_HZ, take.sample_rate))
    level = active_rms(out, take.sample_rate)
    if level == 0:
        return np.zeros((2, take.samples), np.float32)
    events = take.notes or take.hits
    mean = float(np.mean([event.velocity for event in events]))
    wanted_db = LEVEL_DB + np.clip(10 * np.log10(mean / 0.7), -4, 2)
    out *= np.float32(10 ** (wanted_db / 20) / level)
    edge = min(take.count(EDGE_S), take.samples)
    out[:, take.samples - edge :] *= half_cosine(edge)[::-1]
    return np.repeat(out, 2, axis=0) if out.shape[0] == 1 else out
