"""Which recordings make which pieces of which kits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Recordings of one piece.

    Attributes:
        pattern: Regular expression of the paths below `drums/`.
        tags: Kinds of sound that it is: "acoustic", "machine" (808, 909) or "electronic".
        single: One of the files is chosen; otherwise they are layers of velocity.
    """

    pattern: str
    tags: tuple[str, ...]
    single: bool = False


@dataclass(frozen=True)
class Kit:
    """A kind of kit.

    Attributes:
        sources: Tags of the groups that it takes its pieces from.
        synths: Styles of the synthesised pieces.
        synthetic: Share of the pieces that are synthesised although there are recordings.
        layered: Share of kicks and snares with a synthesised stroke under the recorded one.
        tuning: Deviation of the tuning, in semitones.
        room: Range of the level of the room.
        room_s: Range of its decay.
        width: Range of the width of the stage.
        lofi: It sounds as from a worn record.
    """

    sources: frozenset[str]
    synths: tuple[str, ...]
    synthetic: float
    layered: float
    tuning: float
    room: tuple[float, float]
    room_s: tuple[float, float]
    width: tuple[float, float]
    lofi: bool = False


_REAL, _MACHINE, _ELECTRONIC = ("acoustic",), ("machine",), ("electronic",)
_MACHINES = frozenset(("machine",))
_OSD = "open-source-drumkit/"
_MERCURY = "mercury-freesound/"

KITS = {
    "kit_acoustic": Kit(
        frozenset(_REAL), ("acoustic",), 0.08, 0.15, 1.0, (0.05, 0.35), (0.12, 0.35), (0.4, 1.0)
    ),
    "kit_rock": Kit(
        frozenset(_REAL), ("acoustic",), 0.08, 0.4, 1.0, (0.15, 0.6), (0.2, 0.6), (0.6, 1.2)
    ),
    "kit_jazz": Kit(
        frozenset(_REAL), ("acoustic",), 0.05, 0.0, 1.5, (0.15, 0.5), (0.2, 0.5), (0.5, 1.1)
    ),
    "kit_electronic": Kit(
        frozenset(("electronic", "machine")), ("808", "909"), 0.25, 0.3, 1.5, (0.0, 0.08),
        (0.08, 0.25), (0.2, 0.9),
    ),
    "kit_808": Kit(_MACHINES, ("808",), 0.4, 0.2, 1.0, (0.0, 0.04), (0.08, 0.2), (0.2, 0.8)),
    "kit_house": Kit(
        frozenset(("electronic", "machine")), ("909",), 0.3, 0.3, 1.0, (0.0, 0.1), (0.08, 0.3),
        (0.2, 0.9),
    ),
    "kit_lofi": Kit(
        frozenset(("acoustic", "electronic")), ("acoustic", "808"), 0.15, 0.2, 1.5, (0.02, 0.2),
        (0.1, 0.3), (0.1, 0.6), lofi=True,
    ),
    "percussion": Kit(
        frozenset(("acoustic", "machine", "electronic")), ("acoustic", "808"), 0.2, 0.0, 1.0,
        (0.03, 0.3), (0.12, 0.4), (0.5, 1.2),
    ),
}  # fmt: skip

PATTERNS: dict[str, tuple[Group, ...]] = {
    "kick": (
        Group(_OSD + "kick/", _REAL),
        Group("sonic-pi/kick/drum_bass_", _REAL),
        Group("sonic-pi/kick/(drum_heavy_kick|bd_jazz)", _REAL, True),
        Group("freepats/kick/", _REAL, True),
        Group(_MERCURY + "kick/kick_(808|909)", _MACHINE, True),
        Group("sonic-pi/kick/bd_808", _MACHINE, True),
        Group(_MERCURY + "kick/kick_(deep|dub|house|min|nord|ua|vintage)", _ELECTRONIC, True),
        Group("sonic-pi/kick/bd_(ada|fat|gas|haus|klub|pure)", _ELECTRONIC, True),
        Group("sonic-pi/kick/(bd_(sone|tek|zome|zum)|elec_)", _ELECTRONIC, True),
        Group("uzu-drumkit/kick/bd_1[0-6]", _ELECTRONIC, True),
    ),
    "snare": (
        Group(_OSD + "snare/snare-top_", _REAL),
        Group(_OSD + "snare/rimshot_", _REAL),
        Group(_OSD + "snare/snare-top-buttend_", _REAL),
        Group("sonic-pi/snare/drum_snare_", _REAL),
        Group("freepats/snare/Snare_[12]", _REAL, True),
        Group("sonic-pi/snare/sn_(generic|dolf|zome)", _REAL + _ELECTRONIC, True),
        Group(_MERCURY + "snare/snare_(808|909)", _MACHINE, True),
        Group(_MERCURY + "snare/snare_(dnb|dub|hvy|min|nord|step)", _ELECTRONIC, True),
        Group("sonic-pi/snare/elec_(hi|lo|mid)?_?snare", _ELECTRONIC, True),
        Group("uzu-drumkit/snare/", _ELECTRONIC, True),
    ),
    "rim": (
        Group(_OSD + "rim/", _REAL),
        Group("freepats/percussion/Stick_Rim", _REAL),
        Group("uzu-drumkit/rim/", _ELECTRONIC + _MACHINE, True),
    ),
    "hihat_closed": (
        Group(_OSD + "hihat/chh_", _REAL),
        Group("sonic-pi/hihat/drum_cymbal_closed", _REAL),
        Group("freepats/hihat/Hi-Hat_Closed", _REAL),
        Group(_MERCURY + "hihat/hat_(808|909|909_short)\\.", _MACHINE, True),
        Group(_MERCURY + "hihat/hat_(click|dub|min|nord)\\.", _ELECTRONIC, True),
        Group("sonic-pi/hihat/hat_(bdu|cab|gem|hier|raw|sci)", _ELECTRONIC, True),
        Group("sonic-pi/hihat/hat_(snap|star|tap|yosh|zan|zap)", _ELECTRONIC, True),
        Group("uzu-drumkit/hihat/hh_1[0-3]", _ELECTRONIC, True),
    ),
    "hihat_open": (
        Group(_OSD + "hihat/hohh_", _REAL),
        Group(_OSD + "hihat/hchh_", _REAL),
        Group("sonic-pi/hihat/drum_cymbal_open", _REAL),
        Group("freepats/hihat/Hi-Hat_Open", _REAL),
        Group(_MERCURY + "hihat/hat_(808|909)_open", _MACHINE, True),
        Group(_MERCURY + "hihat/hat_(min|nord)_open", _ELECTRONIC, True),
        Group("uzu-drumkit/hihat/oh_", _ELECTRONIC, True),
    ),
    "hihat_pedal": (
        Group(_OSD + "hihat/fhh_", _REAL),
        Group("sonic-pi/hihat/drum_cymbal_pedal", _REAL),
        Group("freepats/hihat/Hi-Hat_Pedal", _REAL),
        Group(_MERCURY + "hihat/hat_(808|909_short)\\.", _MACHINE + _ELECTRONIC, True),
    ),
    "ride": (
        Group(_OSD + "ride/ride-mid-in_v0[3-8]", _REAL),
        Group(_OSD + "ride/ride-mid-out_", _REAL),
        Group("freepats/ride/Cymbal_Ride_1", _REAL + _ELECTRONIC),
        Group("uzu-drumkit/ride/", _ELECTRONIC + _MACHINE),
    ),
    "ride_bell": (
        Group(_OSD + "ride/ride-bell_", _REAL),
        Group("freepats/ride/Cymbal_Ride_Bell", _REAL + _ELECTRONIC),
    ),
    "crash": (
        Group(_OSD + "crash/crash_v(0[6-9]|10)", _REAL),
        Group(_OSD + "crash/crash-edge_", _REAL),
        Group("sonic-pi/crash/drum_cymbal_", _REAL),
        Group("sonic-pi/crash/drum_splash_", _REAL),
        Group("freepats/crash/", _REAL + _ELECTRONIC, True),
        Group(_MERCURY + "crash/cymbal_808", _MACHINE),
        Group("(uzu-drumkit/crash/|sonic-pi/crash/elec)", _ELECTRONIC, True),
    ),
    "tom_high": (
        Group(_OSD + "tom/small-tom_v(0[3-9]|1)", _REAL),
        Group("sonic-pi/tom/drum_tom_hi_", _REAL),
        Group("freepats/tom/Tom_High", _REAL),
        Group(_MERCURY + "tom/tom_nord_hi|uzu-drumkit/tom/ht", _ELECTRONIC, True),
        Group(_MERCURY + "tom/tom_808", _MACHINE),
    ),
    "tom_mid": (
        Group(_OSD + "tom/medium-tom_v(0[3-9]|1)", _REAL),
        Group("sonic-pi/tom/drum_tom_mid_", _REAL),
        Group("freepats/tom/Tom_Mid", _REAL),
        Group("uzu-drumkit/tom/mt", _ELECTRONIC),
    ),
    "tom_low": (
        Group(_OSD + "tom/large-tom_v(0[3-9]|1)", _REAL),
        Group("sonic-pi/tom/drum_tom_lo_", _REAL),
        Group("freepats/tom/Tom_Low", _REAL),
        Group(_MERCURY + "tom/tom_nord_lo|uzu-drumkit/tom/lt", _ELECTRONIC, True),
    ),
    "clap": (
        Group("body-percussion/clap/handclap_vl2", _REAL, True),
        Group("freepats/clap/", _REAL),
        Group(_MERCURY + "clap/clap_(808|909)", _MACHINE, True),
        Group(_MERCURY + "clap/clap_(min|nord)|uzu-drumkit/clap/", _ELECTRONIC, True),
    ),
    "snap": (
        Group("freepats/percussion/Snap", _REAL + _ELECTRONIC),
        Group("sonic-pi/percussion/perc_snap", _REAL + _ELECTRONIC + _MACHINE, True),
    ),
    "tambourine": (
        Group("freepats/percussion/Tombourine", _REAL + _ELECTRONIC),
        Group("uzu-drumkit/percussion/tb_", _REAL + _ELECTRONIC + _MACHINE),
    ),
    "shaker": (
        Group("freepats/percussion/(Shaker|Maracas|Cabasa)", _REAL + _ELECTRONIC, True),
        Group("uzu-drumkit/percussion/sh_", _REAL + _ELECTRONIC),
        Group(_MERCURY + "percussion/maracas_808", _MACHINE),
    ),
    "cowbell": (
        Group("(freepats/percussion/Cow_Bell|sonic-pi/percussion/drum_cowbell)", _REAL, True),
        Group(_MERCURY + "percussion/cowbell_808", _MACHINE),
        Group("uzu-drumkit/percussion/cb_", _ELECTRONIC),
    ),
    "conga_high": (
        Group("freepats/percussion/(Conga_High_|Bongo_High)", _REAL + _ELECTRONIC, True),
        Group(_MERCURY + "percussion/(bongo|tabla_hi_short|tabla_mid)\\.", _REAL, True),
    ),
    "conga_low": (
        Group("freepats/percussion/(Conga_Low|Bongo_Low)", _REAL + _ELECTRONIC, True),
        Group(_MERCURY + "percussion/(bongo_lo|tabla_lo)\\.", _REAL, True),
    ),
}  # fmt: skip
