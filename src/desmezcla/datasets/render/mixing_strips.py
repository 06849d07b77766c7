"""The channel strip of one part: how its settings are chosen, and how it sounds through them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from desmezcla.datasets.render.effects import dynamics, modulation, panning, saturation
from desmezcla.datasets.render.effects.convolution import Audio
from desmezcla.datasets.render.effects.eq import Band, equalise
from desmezcla.datasets.render.mixing_plan import Plan
from desmezcla.datasets.render.score import Part, Stem

# Parts enter the strip at this level while they sound, so that thresholds mean something.
_NOMINAL_DBFS = -18.0
# What is softer than this does not sound, it only rings or hums.
_ACTIVE_DBFS = -55.0


@dataclass(frozen=True)
class _Role:
    """How a role is mixed: ranges to draw from.

    Attributes:
        level_lu: Loudness relative to the leading part of its stem.
        position: How far from the middle; which side, the name or the number of the part tells.
        near_db, far_db, echo_db: Sends to the spaces and to the echo.
    """

    level_lu: tuple[float, float]
    position: tuple[float, float]
    near_db: tuple[float, float]
    far_db: tuple[float, float]
    echo_db: tuple[float, float]


_OFF = (-90.0, -90.0)
_ROLES = {
    "lead": _Role((0, 0), (0, 0), (-34, -14), (-36, -15), (-40, -18)),
    "double": _Role((-18, -7), (0.0, 0.9), (-30, -14), (-30, -16), (-40, -22)),
    "harmony": _Role((-16, -6), (0.0, 0.8), (-28, -12), (-28, -13), (-36, -20)),
    "backing": _Role((-16, -6), (0.0, 0.9), (-26, -11), (-24, -10), (-36, -18)),
    "drums": _Role((0, 0), (0, 0), (-24, -9), (-40, -20), _OFF),
    "percussion": _Role((-12, -5), (0.1, 0.7), (-22, -11), (-30, -16), (-50, -24)),
    "bass": _Role((-2, 0), (0, 0), (-40, -24), _OFF, _OFF),
    "rhythm": _Role((-5, 0), (0.2, 1.0), (-26, -12), (-34, -18), (-60, -30)),
    "comp": _Role((-6, 0), (0.0, 0.6), (-26, -12), (-28, -14), (-50, -22)),
    "pad": _Role((-11, -4), (0.0, 0.2), (-30, -16), (-20, -9), (-50, -24)),
    "arpeggio": _Role((-9, -2), (0.1, 0.8), (-26, -14), (-24, -11), (-30, -11)),
    "melody": _Role((-3, 2), (0.0, 0.35), (-24, -12), (-24, -11), (-32, -12)),
    "fill": _Role((-8, -2), (0.2, 0.8), (-26, -12), (-24, -12), (-36, -14)),
}

Modulation = Literal["none", "chorus", "double", "phaser", "tremolo", "haas"]
# What may colour a part, by stem, and how often.
_MODULATIONS: dict[Stem, tuple[tuple[Modulation, float], ...]] = {
    "vocals": (("double", 0.12), ("chorus", 0.05)),
    "drums": (),
    "bass": (("chorus", 0.14), ("double", 0.06)),
    "other": (
        ("chorus", 0.14),
        ("haas", 0.08),
        ("double", 0.06),
        ("phaser", 0.05),
        ("tremolo", 0.03),
    ),
}


@dataclass(frozen=True)
class Strip:
    """The settings of a channel strip.

    Attributes:
        bands: Equaliser.
        over_db: Threshold of the compressor relative to the nominal level.
        ratio: Of the compressor; 1 for none.
        attack_s: Of the compressor.
        release_s: Of the compressor.
        deess: Whether sharp consonants are softened.
        parallel: Part of a crushed copy that is added, as engineers do with drums.
        drive_db: Of the saturation, relative to the nominal level; None for none.
        drive_kind: How it bends.
        modulation: What colours it.
        position: In the stereo image, from -1 to 1.
        width: Of stereo audio.
        level_lu: Loudness relative to the leading part of the stem.
        sends_db: To the spaces "near" and "far", and to the "echo".
        energy_db: How much it follows the energy of the sections.
        duck_db: How far the kick pushes it down.
    """

    bands: tuple[Band, ...]
    over_db: float
    ratio: float
    attack_s: float
    release_s: float
    deess: bool
    parallel: float
    drive_db: float | None
    drive_kind: Literal["tanh", "valve", "clip"]
    modulation: Modulation
    position: float
    width: float
    level_lu: float
    sends_db: dict[str, float]
    energy_db: float
    duck_db: float


def choose_strip(part: Part, side: float, plan: Plan, rng: np.random.Generator) -> Strip:
    """Draw the settings of a part.

    Args:
        part: What is mixed.
        side: -1 or 1, where it goes if it does not stay in the middle.
        plan: Decisions for the whole song.
        rng: The part's own.
    """
    role, stem = _ROLES[part.role], part.stem
    squash = {"vocals": 5.0, "bass": 5.5, "drums": 3.0, "other": 2.5}[stem]
    driven = rng.random() < {"vocals": 0.35, "drums": 0.4, "bass": 0.5, "other": 0.25}[stem]
    leading = part.role in ("lead", "bass", "drums")
    kinds: tuple[Literal["tanh", "valve", "clip"], ...] = ("tanh", "valve", "clip")
    return Strip(
        bands=_choose_bands(part, rng),
        over_db=float(rng.uniform(-6.0, 6.0)),
        ratio=float(rng.uniform(1.2, squash)) if rng.random() < 0.9 else 1.0,
        attack_s=float(np.exp(rng.uniform(np.log(0.003), np.log(0.03)))),
        release_s=float(np.exp(rng.uniform(np.log(0.05), np.log(0.3)))),
        deess=stem == "vocals" and rng.random() < 0.6,
        parallel=float(rng.uniform(0.1, 0.6)) if stem == "drums" and rng.random() < 0.4 else 0.0,
        drive_db=float(rng.uniform(0.0, 10.0)) if driven else None,
        drive_kind=kinds[rng.integers(len(kinds))],
        modulation=_choose_modulation(stem, rng),
        position=float(np.clip(side * plan.width * rng.uniform(*role.position), -1, 1)),
        width=plan.width * _choose_width(part, rng),
        level_lu=float(rng.uniform(*role.level_lu)),
        sends_db={
            name: plan.wet_db + float(rng.uniform(*span))
            for name, span in (("near", role.near_db), ("far", role.far_db), ("echo", role.echo_db))
        },
        energy_db=plan.energy_db * (0.5 if leading else 1.0),
        duck_db=plan.duck_db * _ducked(part),
    )


def through_strip(
    audio: Audio, strip: Strip, sample_rate: int, *, automation: dynamics.Curve
) -> Audio:
    """Return a part as it leaves its strip, not yet at its level.

    Args:
        audio: What is played, dry.
        strip: The settings.
        sample_rate: In Hz.
        automation: Gain at the borders of the hops; see `dynamics.apply_gain`.

    Shape:
        audio: `[1 or 2, T]`; returns `[2, T]`.
    """
    # A voice, or a stereo file that holds mono, is mixed in half the time.
    if len(audio) == 2 and np.array_equal(audio[0], audio[1]):
        audio = audio[:1]
    audio = equalise(_at_nominal_level(audio), strip.bands, sample_rate)
    if strip.deess:
        audio = dynamics.deess(audio, sample_rate, threshold_db=_NOMINAL_DBFS - 8.0)
    level = dynamics.levels(audio)
    gain = dynamics.compressor_gain(
        level,
        sample_rate,
        threshold_db=_NOMINAL_DBFS + strip.over_db,
        ratio=strip.ratio,
        attack_s=strip.attack_s,
        release_s=strip.release_s,
    )
    if strip.parallel:
        crushed = dynamics.compressor_gain(
            level, sample_rate, threshold_db=_NOMINAL_DBFS - 10, ratio=8.0, release_s=0.15
        )
        gain = gain + 2.0 * strip.parallel * crushed
    audio = dynamics.apply_gain(audio, gain * automation)
    if strip.drive_db is not None:
        audio = saturation.saturate(audio, drive_db=strip.drive_db, kind=strip.drive_kind)
    audio = _modulated(audio, strip.modulation, sample_rate)
    placed = panning.pan(audio, strip.position)
    return placed if len(audio) == 1 else panning.widen(placed, strip.width)


def _at_nominal_level(audio: Audio) -> Audio:
    level = dynamics.levels(audio)
    active = level[level > 10 ** (_ACTIVE_DBFS / 20)]
    if not len(active):
        return audio
    rms_db = 10 * np.log10(np.mean(active**2))
    return np.asarray(audio * np.float32(10 ** ((_NOMINAL_DBFS - rms_db) / 20)))


def _modulated(audio: Audio, kind: Modulation, sample_rate: int) -> Audio:
    if kind == "chorus":
        return modulation.chorus(audio, sample_rate)
    if kind == "double":
        return modulation.double(audio, sample_rate)
    if kind == "phaser":
        return modulation.phaser(audio, sample_rate)
    if kind == "tremolo":
        return modulation.tremolo(audio, sample_rate, rate_hz=4.5, depth=0.5)
    if kind == "haas":
        return panning.haas(audio, sample_rate, delay_s=0.012, gain_db=-2.0)
    return audio


def _choose_modulation(stem: Stem, rng: np.random.Generator) -> Modulation:
    draw = rng.random()
    for kind, share in _MODULATIONS[stem]:
        draw -= share
        if draw < 0:
            return kind
    return "none"


def _choose_width(part: Part, rng: np.random.Generator) -> float:
    if part.stem == "bass":
        return float(rng.uniform(0.0, 1.0)) if rng.random() < 0.5 else 0.0
    if part.role == "pad":
        return float(rng.uniform(0.5, 1.3))
    return float(rng.uniform(0.2, 1.1))


def _ducked(part: Part) -> float:
    if part.stem == "drums":
        return 0.0
    return {"lead": 0.15, "bass": 0.8, "pad": 1.0, "melody": 0.6}.get(part.role, 0.7)


# Kind, range of frequencies in Hz and range of gains in dB of the bands of each stem.
_BANDS: dict[str, tuple[tuple[str, tuple[float, float], tuple[float, float]], ...]] = {
    "vocals": (
        ("high_pass", (70, 130), (0, 0)),
        ("bell", (220, 450), (-4, 0.5)),
        ("bell", (2200, 5000), (-0.5, 4)),
        ("high_shelf", (8000, 12000), (-4, 3)),
    ),
    "drums": (
        ("high_pass", (22, 38), (0, 0)),
        ("bell", (50, 80), (-1, 4)),
        ("bell", (280, 550), (-5, 0)),
        ("bell", (3000, 5500), (-1, 3.5)),
        ("high_shelf", (8000, 11000), (-3, 4)),
    ),
    "percussion": (
        ("high_pass", (90, 250), (0, 0)),
        ("bell", (2000, 6000), (-2, 3)),
        ("high_shelf", (8000, 11000), (-3, 3)),
    ),
    "bass": (
        ("high_pass", (24, 42), (0, 0)),
        ("bell", (60, 120), (-2, 3.5)),
        ("bell", (200, 400), (-4, 1)),
        ("bell", (700, 1500), (-2, 4)),
        ("low_pass", (1500, 9000), (0, 0)),
    ),
    "other": (
        ("high_pass", (60, 190), (0, 0)),
        ("bell", (220, 500), (-4, 1)),
        # Room for the voice.
        ("bell", (1800, 4000), (-4, 1.5)),
        ("high_shelf", (6000, 11000), (-3, 4)),
    ),
}


def _choose_bands(part: Part, rng: np.random.Generator) -> tuple[Band, ...]:
    name = part.role if part.role in _BANDS else part.stem
    bands = []
    for kind, frequencies_hz, gains_db in _BANDS[name]:
        bell = kind == "bell"
        bands.append(
            Band(
                kind,  # type: ignore[arg-type]  # the table holds the kinds of `Band`
                float(np.exp(rng.uniform(*np.log(frequencies_hz)))),
                float(rng.uniform(*gains_db)),
                float(rng.uniform(0.6, 2.0)) if bell else 0.7071,
            )
        )
    if part.stem == "vocals" and rng.random() < 0.02:
        return (Band("high_pass", 450.0), Band("low_pass", 3200.0))  # through a telephone
    return tuple(bands)
