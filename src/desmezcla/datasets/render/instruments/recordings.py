"""The recorded instruments of the material, by what they are played as."""

from desmezcla.datasets.render.instruments.sampler import Collection

_I = "instruments/"
_GROWLY = "bass/growlybass/"
_STRONG = ("_mf\\.", "_f\\.")

COLLECTIONS: dict[str, tuple[Collection, ...]] = {
    "piano": (
        Collection(_I + "piano/salamander_"),
        Collection(_I + "piano/splendid_", ("_mf\\.", "_ff\\.")),
        Collection(_I + "piano/upright_"),
        Collection(_I + "electric-piano/cp80_"),
    ),
    "electric_piano": (Collection(_I + "electric-piano/cp80_"),),
    "clavinet": (
        Collection(_I + "keys/freepats_clavinet"),
        Collection(_I + "keys/freepats_harpsichord"),
    ),
    "organ": (
        Collection(_I + "organ/freepats_hammond", sustained=True),
        Collection(_I + "organ/freepats_church", sustained=True),
    ),
    "accordion": (Collection(_I + "organ/freepats_accordion", sustained=True, reach=13),),
    "guitar_acoustic": (Collection(_I + "guitar-acoustic/martin_"),),
    "guitar_nylon": (Collection(_I + "guitar-acoustic/freepats_nylon"),),
    "guitar_electric": (
        Collection(_I + "guitar-electric/black_", _STRONG, "_stac"),
        Collection(_I + "guitar-electric/green_", _STRONG, "_stac"),
        Collection(_I + "guitar-electric/emily_", ("_mp\\.", "_f\\.")),
        Collection(_I + "guitar-electric/freepats_(clean|jazz)", reach=7),
    ),
    "sitar": (Collection(_I + "world/sitar_"),),
    "harp": (Collection(_I + "strings/merc_harp"),),
    "pizzicato": (Collection(_I + "strings/pizz_"), Collection(_I + "strings/merc_pluck")),
    "strings": (
        Collection(_I + "strings/freepats_string-ensemble", sustained=True),
        Collection(_I + "strings/trem_", sustained=True),
    ),
    "violin": (Collection(_I + "strings/freepats_violin", sustained=True),),
    "cello": (
        Collection("bass/double-bass/.*_arco", sustained=True, reach=10),
        Collection(_I + "strings/freepats_cello", sustained=True, reach=9),
    ),
    "brass": (
        Collection(_I + "brass/freepats_brass-section", sustained=True, reach=10),
        Collection(_I + "brass/freepats_trombone", sustained=True),
        Collection(_I + "brass/freepats_french-horn", sustained=True),
    ),
    "trumpet": (
        Collection(_I + "brass/freepats_trumpet", sustained=True),
        Collection(_I + "brass/freepats_muted-trumpet", sustained=True),
    ),
    "saxophone": (
        Collection(_I + "sax/alto_", ("_p\\.", "_f\\."), sustained=True, reach=7),
        Collection(_I + "sax/freepats_tenor", sustained=True),
        Collection(_I + "sax/freepats_baritone", sustained=True),
    ),
    "flute": (
        Collection(_I + "woodwinds/merc_flute", sustained=True),
        Collection(_I + "woodwinds/freepats_flute", sustained=True),
    ),
    "clarinet": (
        Collection(_I + "woodwinds/merc_clarinet", sustained=True),
        Collection(_I + "woodwinds/merc_oboe", sustained=True, reach=6),
        Collection(_I + "woodwinds/freepats_bassoon", sustained=True, reach=6),
    ),
    "mallet": tuple(
        Collection(_I + "mallets/" + name, reach=12)
        for name in (
            "merc_marimba", "merc_xylo", "merc_kalimba", "merc_box", "merc_glock",
            "freepats_celesta", "freepats_steel",
        )
    ),
    "bell": (
        Collection(_I + "synth/freepats_crystal", reach=19),
        Collection(_I + "mallets/merc_box", reach=12),
    ),
    "synth_lead": (
        Collection(_I + "synth/freepats_charang", sustained=True),
        Collection(_I + "synth/freepats_square", sustained=True, reach=14),
    ),
    "synth_pad": tuple(
        Collection(_I + "pads/freepats_" + name, sustained=True, reach=15)
        for name in ("halo", "new-age", "sweep")
    ),
    "bass_finger": (
        Collection(_GROWLY, ("_sus_p\\.", "_sus_f\\.", "_sus_ff\\."), "_stac"),
        Collection("bass/freepats/.*finger", reach=9),
    ),
    "bass_pick": (
        Collection("bass/killer-bass/", ("_vl2", "_vl5")),
        Collection("bass/freepats/.*pick", reach=13),
    ),
    "bass_slap": (
        Collection("bass/freepats/.*slap-bass", reach=9),
        Collection(_GROWLY, ("_sus_ff\\.",), "_stac"),
    ),
    "bass_fretless": (Collection("bass/freepats/.*fretless", reach=13),),
    "bass_upright": (
        Collection("bass/double-bass/.*_pizz", ("_m\\.", "_f\\.")),
        Collection("bass/meatbass/"),
    ),
    "synth_bass": tuple(
        Collection("bass/" + name, sustained=True, reach=15)
        for name in (
            "sonic-pi/bass_thick", "sonic-pi/bass_trance", "sonic-pi/bass_voxy_c",
            "sonic-pi/bass_woodsy", "sonic-pi/bass_hard", "freepats/.*synth-bass",
        )
    ),
}  # fmt: skip
