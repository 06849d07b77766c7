"""What a mixing engineer decides for a whole song: balance, spaces, width, loudness of the master.

Levels of the stems, in LU relative to the mixture while they sound, are drawn around what
commercial mixes have. Published: the level of the lead vocal over all the rest has averaged about
+1 dB since 1975, higher in rap, pop and country, around 0 in rock, and negative in metal (Gerdes
and Siedenburg, "Lead-vocal level in recordings of popular music 1946-2020", JASA Express Letters
3(4), 2023). The spread of the others covers three songs of MUSDB18 that were measured (vocals -3.1
to -5.6, drums -5.4 to -8.4, bass -5.2 to -8.9, other -5.6 to -6.3 LU), and goes well beyond it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from desmezcla.datasets.render.effects.reverb import Space
from desmezcla.datasets.render.score import Song, Stem

Family = Literal["pop", "rock", "metal", "electronic", "urban", "acoustic"]
STEMS: tuple[Stem, ...] = ("vocals", "drums", "bass", "other")

# Words in the name of a style that tell its family; any other is "pop".
_FAMILIES: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("metal", ("metal", "hardcore", "djent")),
    ("urban", ("hip", "rap", "trap", "rnb", "lofi", "reggaeton")),
    (
        "electronic",
        ("electro", "house", "techno", "trance", "dance", "synth", "drum_and", "disco"),
    ),
    ("rock", ("rock", "punk", "grunge", "indie")),
    (
        "acoustic",
        ("acoustic", "folk", "jazz", "country", "ballad", "singer", "bossa", "blues"),
    ),
)

# Mean and standard deviation of the loudness of a stem, LU relative to the mixture.
_BALANCE_LU: dict[Stem, tuple[float, float]] = {
    "vocals": (-4.3, 2.3),
    "drums": (-5.4, 2.5),
    "bass": (-7.3, 2.7),
    "other": (-6.7, 2.6),
}
_BALANCE_OF_FAMILY_LU: dict[Family, dict[Stem, float]] = {
    "metal": {"vocals": -2.0, "other": 2.0},
    "rock": {"vocals": -0.7, "other": 1.0},
    "electronic": {"drums": 1.0, "bass": 0.7, "vocals": -0.5},
    "urban": {"vocals": 1.0, "bass": 1.5, "other": -1.5},
    "acoustic": {"vocals": 1.0, "drums": -1.5, "other": 0.7},
}
# How far a stem may go from its mean, in standard deviations.
_OUTLIER = 2.0

# Mean RMS of the master in dBFS, and how much it differs from song to song.
_MASTER_DBFS: dict[Family, tuple[float, float]] = {
    "metal": (-11.5, 2.2),
    "rock": (-13.0, 3.0),
    "electronic": (-12.5, 2.7),
    "urban": (-13.0, 2.7),
    "pop": (-14.0, 3.0),
    "acoustic": (-16.5, 2.7),
}
MASTER_RANGE_DBFS = (-20.0, -9.0)


@dataclass(frozen=True)
class Echo:
    """A delay in time with the song; see `delay.echo_response`."""

    time_s: float
    feedback: float
    ping_pong: bool
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class Plan:
    """Decisions that hold for the whole song.

    Attributes:
        family: What kind of style it is.
        balance_lu: Loudness of each stem relative to the mixture.
        spaces: Reverbs that parts are sent to, and the seed of each response.
        echo: The delay that parts are sent to.
        wet_db: Added to all sends.
        width: Factor of all positions and widths; near 0 the song is mono.
        duck_db: How far the kick pushes the rest down; 0 for not at all.
        energy_db: How much louder a part gets from energy 0 to energy 1.
        master_dbfs: RMS to reach, as far as `drive_db` allows.
        drive_db: How many dB of peaks the limiter may take off.
        ceiling_db: Highest sample.
        low_pass_hz: Of a lo-fi master; None for none.
        tilt_db: High shelf of the master, and half as much less bass.
        fade_s: Length of a fade-out; 0 for none.
    """

    family: Family
    balance_lu: dict[Stem, float]
    spaces: dict[str, tuple[Space, int]]
    echo: Echo
    wet_db: float
    width: float
    duck_db: float
    energy_db: float
    master_dbfs: float
    drive_db: float
    ceiling_db: float
    low_pass_hz: float | None
    tilt_db: float
    fade_s: float


def family_of(style: str) -> Family:
    """Return the family that the name of a style tells."""
    name = style.lower()
    return next((f for f, words in _FAMILIES if any(word in name for word in words)), "pop")


def choose_plan(song: Song, rng: np.random.Generator) -> Plan:
    """Draw the decisions for a song."""
    family = family_of(song.style)
    mean_dbfs, spread_db = _MASTER_DBFS[family]
    mono, lofi, fades = rng.random(3) < (0.06, 0.09, 0.2)
    ducked = rng.random() < {"electronic": 0.7, "urban": 0.25}.get(family, 0.04)
    return Plan(
        family=family,
        balance_lu=_choose_balance(family, rng),
        spaces=_choose_spaces(family, rng),
        echo=_choose_echo(song, rng),
        wet_db=float(rng.normal(-2.0, 4.0)),
        width=float(rng.uniform(0.0, 0.2) if mono else rng.uniform(0.35, 1.1)),
        duck_db=float(rng.uniform(3.0, 12.0)) if ducked else 0.0,
        energy_db=float(rng.uniform(0.0, 5.0)),
        master_dbfs=float(np.clip(rng.normal(mean_dbfs, spread_db), *MASTER_RANGE_DBFS)),
        drive_db=float(rng.uniform(5.0, 12.0)),
        ceiling_db=float(-rng.uniform(0.1, 1.0)),
        low_pass_hz=float(rng.uniform(10000, 16000)) if lofi else None,
        tilt_db=float(rng.normal(0.0, 1.2)),
        fade_s=float(rng.uniform(0.03, 0.08) * song.duration_s) if fades else 0.0,
    )


def _choose_balance(family: Family, rng: np.random.Generator) -> dict[Stem, float]:
    offsets = _BALANCE_OF_FAMILY_LU.get(family, {})
    draws = np.clip(rng.standard_normal(len(STEMS)), -_OUTLIER, _OUTLIER)
    return {
        stem: _BALANCE_LU[stem][0] + offsets.get(stem, 0.0) + _BALANCE_LU[stem][1] * float(draw)
        for stem, draw in zip(STEMS, draws, strict=True)
    }


def _choose_spaces(family: Family, rng: np.random.Generator) -> dict[str, tuple[Space, int]]:
    near: tuple[Literal["room", "plate", "spring"], ...] = ("room", "room", "plate")
    if family in ("rock", "acoustic"):
        near = ("room", "room", "plate", "spring")
    long_s = {"urban": 1.5, "metal": 1.5, "acoustic": 2.0, "electronic": 2.2}.get(family, 1.9)
    kinds: tuple[Literal["hall", "plate"], ...] = ("hall", "plate")
    return {
        "near": (
            Space(
                near[rng.integers(len(near))],
                decay_s=float(rng.uniform(0.25, 0.9)),
                predelay_s=float(rng.uniform(0.0, 0.015)),
                treble=float(rng.uniform(0.35, 0.8)),
                width=float(rng.uniform(0.0, 1.1)),
            ),
            int(rng.integers(2**31)),
        ),
        "far": (
            Space(
                kinds[rng.integers(len(kinds))],
                decay_s=float(np.clip(long_s * np.exp(0.35 * rng.standard_normal()), 0.8, 4.0)),
                predelay_s=float(rng.uniform(0.01, 0.08)),
                bass=float(rng.uniform(0.8, 1.3)),
                treble=float(rng.uniform(0.2, 0.6)),
                width=float(rng.uniform(0.3, 1.2)),
            ),
            int(rng.integers(2**31)),
        ),
    }


def _choose_echo(song: Song, rng: np.random.Generator) -> Echo:
    beat_s = 60.0 / song.tempo_bpm
    # Eighths, dotted eighths, quarters, triplets; or a slap that is not in time.
    slap = rng.random() < 0.35
    time_s = rng.uniform(0.08, 0.14) if slap else beat_s * rng.choice((0.5, 0.75, 1.0, 2 / 3))
    return Echo(
        time_s=float(time_s),
        feedback=0.0 if slap else float(rng.uniform(0.15, 0.5)),
        ping_pong=bool(not slap and rng.random() < 0.5),
        low_hz=float(rng.uniform(150, 500)),
        high_hz=float(rng.uniform(2500, 7000)),
    )
