"""Who may play in the bands of the styles."""

from desmezcla.datasets.render.composer.styles import player

_SYNTHS = "synth_pluck synth_lead supersaw fm_bell"
_RISER = player("riser", "riser", "noise_riser", 0.5, 0.1)

POP = (
    player("rhythm_guitar", "strum", "guitar_acoustic guitar_clean", 0.55, 0.4, double=0.5),
    player("clean_guitar", "pick", "guitar_clean guitar_nylon", 0.35, 0.3),
    player("keys", "comp", "piano electric_piano", 0.65, 0.3),
    player("pad", "pad", "synth_pad strings", 0.6, 0.35),
    player("synth_hook", "hook", "synth_lead synth_pluck fm_bell mallet", 0.45, 0.5),
    player("strings", "counter", "strings violin", 0.25, 0.65),
    player("drive_guitar", "power", "guitar_crunch", 0.2, 0.75, double=0.6),
    player("lead_guitar", "solo", "guitar_lead guitar_clean", 0.35, 0.4),
    player("arpeggio", "arpeggio", "synth_pluck mallet", 0.3, 0.5),
    player("brass", "stabs", "brass synth_brass", 0.12, 0.7),
    player("riser", "riser", "noise_riser", 0.2, 0.1),
)
ROCK_BAND = (
    player("rhythm_guitar", "power", "guitar_crunch guitar_distorted", 0.95, 0.4, double=0.8),
    player("clean_guitar", "pick", "guitar_clean", 0.35, 0.25),
    player("acoustic_guitar", "strum", "guitar_acoustic", 0.3, 0.3),
    player("lead_guitar", "solo", "guitar_lead", 0.75, 0.4),
    player("riff_guitar", "riff", "guitar_crunch guitar_distorted", 0.45, 0.4),
    player("fill_guitar", "fills", "guitar_lead guitar_crunch", 0.3, 0.5),
    player("organ", "pad", "organ", 0.3, 0.5),
    player("piano", "comp", "piano", 0.2, 0.4),
)
INDIE = (
    player("clean_guitar", "pick", "guitar_clean", 0.7, 0.25, double=0.2),
    player(
        "rhythm_guitar", "strum", "guitar_clean guitar_crunch guitar_acoustic", 0.8, 0.4, double=0.6
    ),
    player("lead_guitar", "hook", "guitar_lead guitar_clean", 0.6, 0.45),
    player("synth", "pad", "synth_pad organ", 0.5, 0.4),
    player("bells", "arpeggio", "mallet fm_bell synth_pluck", 0.3, 0.5),
    player("trumpet", "counter", "trumpet violin", 0.15, 0.6),
    player("piano", "block", "piano", 0.25, 0.3),
)
METAL = (
    player("rhythm_guitar", "power", "guitar_distorted", 1.0, 0.3, double=1.0),
    player("riff_guitar", "riff", "guitar_distorted", 0.7, 0.35),
    player("tremolo_guitar", "tremolo", "guitar_distorted", 0.4, 0.6),
    player("lead_guitar", "solo", "guitar_lead", 0.85, 0.4),
    player("clean_guitar", "pick", "guitar_clean", 0.35, 0.15),
    player("strings", "pad", "strings synth_pad", 0.2, 0.6),
)
FUNK = (
    player("funk_guitar", "chop", "guitar_clean", 0.9, 0.35),
    player("clavinet", "chop", "clavinet", 0.45, 0.45),
    player("electric_piano", "comp", "electric_piano organ", 0.6, 0.35),
    player("brass", "stabs", "brass", 0.7, 0.55),
    player("saxophone", "solo", "saxophone trumpet", 0.5, 0.4),
    player("strings", "counter", "strings", 0.25, 0.6),
    player("riff_guitar", "riff", "guitar_clean guitar_crunch", 0.3, 0.4),
)
SOUL = (
    player("electric_piano", "comp", "electric_piano piano", 0.85, 0.25),
    player("organ", "pad", "organ", 0.55, 0.35),
    player("guitar", "skank", "guitar_clean", 0.45, 0.4),
    player("pick_guitar", "pick", "guitar_clean", 0.35, 0.3),
    player("brass", "stabs", "brass", 0.55, 0.55),
    player("strings", "counter", "strings", 0.45, 0.55),
    player("saxophone", "fills", "saxophone flute", 0.3, 0.5),
)
CLUB = (
    player("chords", "stabs", "supersaw synth_pluck synth_brass piano", 0.7, 0.4),
    player("pad", "pad", "synth_pad strings", 0.7, 0.2),
    player("arpeggio", "arpeggio", "synth_pluck synth_lead", 0.7, 0.35),
    player("lead", "hook", _SYNTHS, 0.75, 0.55),
    player("second_lead", "counter", "synth_lead strings", 0.2, 0.7),
    player("drone", "drone", "synth_pad", 0.15, 0.1),
    _RISER,
)
HOUSE = (
    player("piano", "stabs", "piano electric_piano organ", 0.65, 0.4),
    player("disco_guitar", "chop", "guitar_clean", 0.25, 0.5),
    *CLUB[1:],
)
RAP = (
    player("keys", "block", "electric_piano piano", 0.6, 0.2),
    player("loop", "riff", "synth_pluck mallet fm_bell guitar_nylon flute", 0.75, 0.25),
    player("pad", "pad", "synth_pad strings", 0.55, 0.3),
    player("strings", "counter", "strings cello pizzicato", 0.3, 0.55),
    player("brass", "stabs", "brass synth_brass", 0.25, 0.6),
    player("guitar", "pick", "guitar_clean guitar_nylon", 0.35, 0.3),
    player("riser", "riser", "noise_riser", 0.2, 0.1),
)
FOLK = (
    player("guitar", "strum", "guitar_acoustic", 0.75, 0.2, double=0.2),
    player("picked_guitar", "pick", "guitar_acoustic guitar_nylon", 0.7, 0.15),
    player("fiddle", "tune", "violin accordion flute harmonica", 0.7, 0.4),
    player("banjo", "pick", "banjo harp", 0.3, 0.5),
    player("accordion", "pad", "accordion", 0.3, 0.4),
    player("second_tune", "counter", "cello flute clarinet", 0.25, 0.55),
    player("piano", "block", "piano", 0.2, 0.4),
)
COUNTRY = (
    player("acoustic_guitar", "strum", "guitar_acoustic", 0.95, 0.25, double=0.4),
    player("lead_guitar", "fills", "guitar_clean guitar_lead", 0.75, 0.35),
    player("fiddle", "tune", "violin harmonica", 0.5, 0.45),
    player("banjo", "pick", "banjo", 0.4, 0.5),
    player("piano", "comp", "piano organ", 0.4, 0.4),
    player("solo_guitar", "solo", "guitar_clean guitar_crunch", 0.5, 0.5),
)
SINGER = (
    player("picked_guitar", "pick", "guitar_acoustic guitar_nylon", 0.6, 0.1),
    player("piano", "block", "piano electric_piano", 0.65, 0.1),
    player("strummed_guitar", "strum", "guitar_acoustic", 0.5, 0.4, double=0.5),
    player("strings", "counter", "strings cello", 0.5, 0.55),
    player("pad", "pad", "synth_pad strings organ", 0.45, 0.45),
    player("lead", "fills", "guitar_clean harmonica violin", 0.35, 0.45),
    player("solo", "solo", "guitar_lead piano cello", 0.25, 0.5),
    player("drive_guitar", "power", "guitar_crunch", 0.12, 0.8, double=0.7),
)
JAZZ = (
    player("piano", "jazz", "piano", 0.8, 0.15),
    player("guitar", "jazz", "guitar_clean", 0.4, 0.35),
    player("horn", "solo", "saxophone trumpet clarinet flute", 0.9, 0.25),
    player("second_horn", "fills", "trumpet saxophone", 0.4, 0.5),
    player("vibraphone", "hook", "mallet", 0.25, 0.5),
    player("brass", "stabs", "brass", 0.25, 0.65),
)
BLUES = (
    player("rhythm_guitar", "comp", "guitar_crunch guitar_clean", 0.85, 0.3),
    player("lead_guitar", "fills", "guitar_lead guitar_crunch", 0.8, 0.3),
    player("solo_guitar", "solo", "guitar_lead harmonica saxophone", 0.8, 0.4),
    player("piano", "comp", "piano", 0.5, 0.35),
    player("organ", "pad", "organ", 0.45, 0.45),
    player("brass", "stabs", "brass saxophone", 0.2, 0.65),
)
LATIN = (
    player("piano", "montuno", "piano electric_piano", 0.75, 0.3),
    player("nylon_guitar", "pick", "guitar_nylon", 0.7, 0.2),
    player("brass", "stabs", "brass trumpet", 0.6, 0.5),
    player("flute", "fills", "flute trumpet saxophone", 0.5, 0.4),
    player("solo", "solo", "trumpet flute piano guitar_nylon", 0.5, 0.45),
    player("strings", "counter", "strings", 0.2, 0.6),
)
REGGAE = (
    player("skank_guitar", "skank", "guitar_clean", 1.0, 0.25),
    player("organ", "skank", "organ", 0.7, 0.35),
    player("keys", "comp", "piano electric_piano clavinet", 0.4, 0.4),
    player("brass", "stabs", "brass", 0.4, 0.5),
    player("lead", "fills", "guitar_clean saxophone synth_lead harmonica", 0.45, 0.4),
    player("pad", "pad", "synth_pad", 0.2, 0.5),
)
SYNTHPOP = (
    player("arpeggio", "arpeggio", "synth_pluck synth_lead", 0.8, 0.3),
    player("pad", "pad", "synth_pad", 0.85, 0.25),
    player("lead", "hook", "synth_lead synth_brass fm_bell", 0.75, 0.5),
    player("brass", "stabs", "synth_brass supersaw", 0.5, 0.55),
    player("guitar", "chop", "guitar_clean", 0.25, 0.55),
    player("bells", "riff", "fm_bell mallet", 0.35, 0.4),
    player("riser", "riser", "noise_riser", 0.25, 0.1),
)
AMBIENT = (
    player("pad", "pad", "synth_pad", 1.0, 0.0),
    player("drone", "drone", "synth_pad strings", 0.5, 0.0),
    player("bells", "arpeggio", "fm_bell mallet harp", 0.65, 0.25),
    player("piano", "block", "piano electric_piano", 0.5, 0.25),
    player("lead", "hook", "synth_lead sitar cello violin", 0.4, 0.5),
    player("strings", "counter", "strings pizzicato", 0.35, 0.5),
    _RISER,
)
