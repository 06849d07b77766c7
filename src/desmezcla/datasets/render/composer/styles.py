"""What a style is, and which players it knows."""

from dataclasses import dataclass

Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Player:
    """Somebody who may be in the band.

    Attributes:
        name: Of the part.
        manner: What is played, a key of `band.MANNERS`.
        instruments: One of which is taken.
        role: As in `score.Part`.
        chance: That the player is there.
        floor: Energy of a passage below which the player rests.
        double: Chance that a second take of the same is recorded.
    """

    name: str
    manner: str
    instruments: tuple[str, ...]
    role: str
    chance: float
    floor: float
    double: float = 0.0


def player(
    name: str,
    manner: str,
    instruments: str,
    chance: float = 0.5,
    floor: float = 0.4,
    *,
    double: float = 0.0,
) -> Player:
    """Return a player; the role follows from the manner, instruments are parted by spaces."""
    role = ROLES[manner]
    return Player(name, manner, tuple(instruments.split()), role, chance, floor, double)


ROLES = {
    "strum": "rhythm",
    "power": "rhythm",
    "tremolo": "rhythm",
    "skank": "rhythm",
    "chop": "rhythm",
    "pick": "arpeggio",
    "comp": "comp",
    "block": "comp",
    "jazz": "comp",
    "montuno": "comp",
    "arpeggio": "arpeggio",
    "pad": "pad",
    "drone": "pad",
    "counter": "pad",
    "stabs": "fill",
    "riff": "melody",
    "hook": "melody",
    "tune": "melody",
    "solo": "melody",
    "fills": "fill",
    "riser": "fill",
}


@dataclass(frozen=True)
class Style:
    """How a kind of music is made.

    Attributes:
        name: Key of the style.
        weight: How often it is chosen.
        tempo_bpm: Lowest and highest tempo, of quarter notes.
        modes: Modes and their weights.
        pools: Written progressions, keys of `harmony.POOLS`.
        grooves: Styles of the Groove MIDI Dataset that fit.
        beats: Written drum patterns, keys of `patterns.BEATS`.
        kits: Kits, one of which is taken.
        basses: Instruments of the bass.
        lines: Bass lines, keys of `bassline.LINES`.
        band: Who may play.
        metres: Metres and their weights.
        swing: Lowest and highest share of a swung pair's first half.
        swing_steps: What is swung, in steps.
        groove_share: How often a recorded groove is taken where there is one.
        percussion: Chance of percussion beside the kit.
        rate_hz: Lowest and highest number of syllables per second of singing.
        rap: Chance that verses are rapped.
        speech: Chance that something is spoken.
        backing: How much the singers are doubled, harmonised and backed.
        share: Lowest and highest share of the song's time in which somebody sings.
        pentatonic: Chance that melodies avoid the half-tone steps.
        loose_s: Deviation of the players' timing.
        slow: How often a chord lasts two bars, rather than one.
        drumless: Chance that nobody drums.
        bassless: Chance that there is no bass.
        instrumental: Chance that nobody sings.
    """

    name: str
    weight: float
    tempo_bpm: tuple[int, int]
    modes: Weights
    pools: tuple[str, ...]
    grooves: tuple[str, ...]
    beats: tuple[str, ...]
    kits: tuple[str, ...]
    basses: tuple[str, ...]
    lines: tuple[str, ...]
    band: tuple[Player, ...]
    metres: Weights = (("4/4", 1.0),)
    swing: tuple[float, float] = (0.5, 0.5)
    swing_steps: int = 2
    groove_share: float = 0.0
    percussion: float = 0.2
    rate_hz: tuple[float, float] = (2.2, 3.6)
    rap: float = 0.0
    speech: float = 0.02
    backing: float = 0.5
    share: tuple[float, float] = (0.44, 0.66)
    pentatonic: float = 0.4
    loose_s: float = 0.007
    slow: float = 0.1
    drumless: float = 0.01
    bassless: float = 0.01
    instrumental: float = 0.01
