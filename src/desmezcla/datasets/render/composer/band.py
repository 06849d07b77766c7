"""The band beside singers, drums and bass: who plays, where, and what."""

from collections.abc import Callable

import numpy as np

from desmezcla.datasets.render.composer import guitars, harmony, keys, leads
from desmezcla.datasets.render.composer.plan import Hand, Passage, Plan, Seat
from desmezcla.datasets.render.composer.styles import Player

MANNERS: dict[str, Callable[[Plan, Seat, Passage, Hand], None]] = {
    "strum": guitars.strum,
    "power": guitars.power,
    "tremolo": guitars.tremolo,
    "skank": guitars.skank,
    "chop": guitars.chop,
    "pick": guitars.pick,
    "comp": keys.comp,
    "block": keys.block,
    "jazz": keys.jazz,
    "montuno": keys.montuno,
    "arpeggio": keys.arpeggio,
    "pad": keys.pad,
    "drone": keys.drone,
    "stabs": keys.stabs,
    "riff": leads.riff,
    "hook": leads.hook,
    "tune": leads.tune,
    "solo": leads.solo,
    "fills": leads.fills,
    "counter": leads.counter,
    "riser": leads.riser,
}
# Lowest and highest pitch of each instrument.
RANGES = {
    "piano": (40, 88), "electric_piano": (40, 84), "organ": (43, 84), "clavinet": (48, 79),
    "guitar_acoustic": (40, 80), "guitar_nylon": (40, 80), "guitar_clean": (40, 80),
    "guitar_crunch": (40, 80), "guitar_distorted": (40, 80), "guitar_lead": (52, 86),
    "strings": (48, 88), "pizzicato": (48, 84), "violin": (56, 91), "cello": (40, 69),
    "brass": (48, 79), "trumpet": (55, 82), "saxophone": (50, 80), "flute": (60, 91),
    "clarinet": (52, 84), "synth_pad": (48, 84), "synth_lead": (55, 91), "synth_pluck": (48, 88),
    "synth_brass": (48, 79), "supersaw": (48, 84), "fm_bell": (60, 93), "mallet": (55, 91),
    "accordion": (53, 84), "harmonica": (60, 84), "sitar": (50, 76), "banjo": (50, 81),
    "harp": (45, 91), "noise_riser": (60, 60),
}  # fmt: skip
MOST_PARTS = 7
FEWEST_PARTS = 2
# Instruments that a few singers or players would be, each a part of its own.
_MONOPHONIC = ("riff", "hook", "tune", "solo", "fills")
_HOLDING = ("strum", "power", "pick", "comp", "block", "jazz", "pad", "skank", "stabs", "arpeggio")


def cast(plan: Plan) -> list[Seat]:
    """Return who plays in the song: at least two parts, at most seven."""
    rng = plan.rng("cast")
    chosen = [p for p in plan.style.band if rng.random() < p.chance]
    rest = sorted((p for p in plan.style.band if p not in chosen), key=lambda p: -p.chance)
    while len(chosen) < FEWEST_PARTS or not any(p.manner in _HOLDING for p in chosen):
        if not rest:
            break
        chosen.append(rest.pop(0))
    # The likeliest keep their jobs.
    chosen = sorted(chosen, key=lambda p: -p.chance)[:MOST_PARTS]
    seats: list[Seat] = []
    for index, player in enumerate(chosen):
        seats += _seats(rng, player, room=MOST_PARTS - len(seats) - (len(chosen) - index - 1))
    return seats


def _seats(rng: np.random.Generator, player: Player, *, room: int) -> list[Seat]:
    """Return one seat, or two that play the same on the left and on the right."""
    instrument = str(rng.choice(player.instruments))
    low, high = RANGES[instrument]
    names = [player.name]
    if room > 1 and rng.random() < player.double:
        names = [f"{player.name}_left", f"{player.name}_right"]
    floor = player.floor + float(rng.uniform(-0.1, 0.12))
    return [
        Seat(name, player.name, player.manner, instrument, player.role, low, high, floor)
        for name in names
    ]


def play(plan: Plan, seats: list[Seat]) -> dict[str, Hand]:
    """Return the hand of each seat, by the name of the part, after the song."""
    hands = {}
    for seat in seats:
        rng = plan.rng(seat.name, "hand")
        late_s = float(rng.uniform(-0.3, 1.0)) * plan.style.loose_s
        hands[seat.name] = Hand(plan, rng, loose_s=plan.style.loose_s, late_s=late_s)
    for passage in plan.passages:
        for seat in _playing(plan, seats, passage):
            MANNERS[seat.manner](plan, seat, passage, hands[seat.name])
    _ring_out(plan, seats, hands)
    return hands


def _playing(plan: Plan, seats: list[Seat], passage: Passage) -> list[Seat]:
    """Return who plays in a passage: those whose floor is reached; somebody, except in breaks."""
    rng = plan.rng("playing", passage.index)
    nudge = {seat.take: float(rng.uniform(-0.1, 0.1)) for seat in seats}
    playing = [seat for seat in seats if passage.energy + nudge[seat.take] >= seat.floor]
    if any(seat.manner in _HOLDING for seat in playing):
        return playing
    if passage.kind == "break" and rng.random() < 0.3:
        return playing
    holding = [seat for seat in seats if seat.manner in _HOLDING]
    if not holding:
        return seats
    quietest = min(holding, key=lambda seat: seat.floor)
    return playing + [seat for seat in holding if seat.take == quietest.take]


def _ring_out(plan: Plan, seats: list[Seat], hands: dict[str, Hand]) -> None:
    """Let those who play in the last passage end on one more chord."""
    if plan.rng("ending").random() < 0.3:
        return
    end = plan.bars * plan.clock.bar_steps
    tail = (plan.duration_s - end * plan.clock.step_s) / plan.clock.step_s
    last = [seat for seat in _playing(plan, seats, plan.passages[-1]) if seat.manner in _HOLDING]
    for seat in last:
        if tail > 2:
            ending = Passage("outro", plan.bars, 1, 0.8, 0, "", len(plan.passages))
            _final_chord(plan, seat, ending, hands[seat.name], tail)


def _final_chord(plan: Plan, seat: Seat, ending: Passage, hand: Hand, tail: float) -> None:
    root = harmony.root_pitch(plan.tonic, seat.low)
    third = 3 if 3 in plan.scale else 4
    tones = [root, root + 7, root + 12]
    if seat.manner != "power":
        tones.append(root + 12 + third)
    hand.chord(
        plan.bars * plan.clock.bar_steps,
        tail,
        [tone for tone in tones if tone <= seat.high],
        0.7,
        spread_s=0.008,
    )


def is_monophonic(seat: Seat) -> bool:
    """Whether the player sounds one note at a time."""
    return seat.manner in _MONOPHONIC
