"""Drum kits: pieces of several collections and synthesised ones, in a room."""

import re
from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.instruments.blocks import convolved, filtered, stretched
from desmezcla.datasets.render.instruments.drums_synth import DrumSynth, room_response
from desmezcla.datasets.render.instruments.effects import crushed, passing
from desmezcla.datasets.render.instruments.modal import band_noise
from desmezcla.datasets.render.instruments.patterns import KITS, PATTERNS, Kit
from desmezcla.datasets.render.instruments.sampler import softened, transposed, trimmed
from desmezcla.datasets.render.instruments.take import (
    Signal,
    Take,
    add_at,
    between,
    chance,
    half_cosine,
    pick,
)
from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import PIECES

# Level of each piece, after its peak is brought to 1, in dB; and its place on the stage.
_STAGE = {
    "kick": (0.0, 0.0), "snare": (-2.0, 0.05), "rim": (-5.0, 0.08),
    "hihat_closed": (-13.0, -0.45), "hihat_open": (-13.0, -0.45), "hihat_pedal": (-15.0, -0.45),
    "ride": (-13.0, 0.5), "ride_bell": (-12.0, 0.5), "crash": (-8.0, -0.35),
    "tom_high": (-3.0, -0.3), "tom_mid": (-3.0, 0.1), "tom_low": (-2.5, 0.5),
    "clap": (-5.0, 0.0), "snap": (-6.0, 0.0), "tambourine": (-11.0, 0.3), "shaker": (-14.0, -0.4),
    "cowbell": (-9.0, 0.25), "conga_high": (-5.0, -0.25), "conga_low": (-5.0, 0.3),
}  # fmt: skip
_HATS = ("hihat_closed", "hihat_open", "hihat_pedal")
_CHOKE_S = 0.035


@dataclass
class _Piece:
    """A piece of a kit: strokes from soft to loud, each with a peak of 1."""

    layers: list[Signal]
    gain: float
    pan: float
    last: int = -1


def play_kit(take: Take, name: str) -> Signal:
    """Play the strokes of a take on a kit. Shape: returns `[2, samples]`."""
    rng, kit = take.rng, KITS[name]
    pieces = _assembled(take, kit)
    bus = take.bus(2)
    chokes = _chokes(take)
    strokes: dict[tuple[str, int, int, int], Signal] = {}
    # A machine repeats itself; a drummer hits another place of the skin each time.
    places = 3 if "acoustic" in kit.sources else 1
    for index, hit in enumerate(take.hits):
        piece = pieces[hit.piece]
        layer = _layer(piece, hit.velocity, rng)
        softness = min(3, int(4 * hit.velocity))
        few = len(piece.layers) < 4
        key = (hit.piece, layer, softness, int(rng.integers(places)) if few else 0)
        if key not in strokes:
            strokes[key] = _varied(take, piece.layers[layer], key) if few else piece.layers[layer]
        sound = strokes[key]
        if index in chokes:
            sound = _choked(sound, take.count(chokes[index] - hit.start_s), take.count(_CHOKE_S))
        loud = piece.gain * hit.velocity**1.5 * 10 ** (rng.normal(0, 0.5) / 20)
        add_at(bus, sound, take.count(hit.start_s), gain=float(loud), pan=piece.pan)
    bus = _in_room(take, kit, bus)
    return _lofi(take, bus) if kit.lofi else bus


def _varied(take: Take, sound: Signal, key: tuple[str, int, int, int]) -> Signal:
    """Make a soft stroke of a hard one, a few cents higher or lower."""
    _, _, softness, place = key
    tuned = transposed(sound, 2 ** (0.15 * (2 * place - 3) / 12)) if place else sound
    return softened(tuned, 0.62 + 0.13 * softness, take.sample_rate)


def _layer(piece: _Piece, velocity: float, rng: np.random.Generator) -> int:
    """Choose a layer for a velocity, rather not the one that sounded last."""
    top = len(piece.layers) - 1
    wanted = (0.12 + 0.88 * velocity) * top + rng.uniform(-0.9, 0.9)
    layer = int(np.clip(round(wanted), 0, top))
    if layer == piece.last and top > 2:
        layer = layer - 1 if layer == top else layer + 1
    piece.last = layer
    return layer


def _chokes(take: Take) -> dict[int, float]:
    """Return when each open hi-hat is stopped by the next stroke on the hi-hat, in seconds."""
    stops: dict[int, float] = {}
    opened: int | None = None
    for index, hit in enumerate(take.hits):
        if hit.piece in _HATS:
            if opened is not None:
                stops[opened] = hit.start_s
            opened = index if hit.piece == "hihat_open" else None
    return stops


def _choked(sound: Signal, samples: int, fade: int) -> Signal:
    out = np.array(sound[:, : samples + fade])
    tail = out.shape[1] - samples
    if tail > 0:
        out[:, samples:] *= half_cosine(fade)[::-1][:tail]
    return out


def _assembled(take: Take, kit: Kit) -> dict[str, _Piece]:
    """Build the pieces that a take needs."""
    rng, rate = take.rng, take.sample_rate
    synth = DrumSynth(pick(rng, kit.synths), rng, rate)
    width, mirror = between(rng, *kit.width), -1.0 if chance(rng, 0.3) else 1.0
    used = {hit.piece for hit in take.hits}
    pieces = {}
    for name in PIECES:
        if name not in used:
            continue
        level_db, pan = _STAGE[name][0] + rng.normal(0, 1.5), _STAGE[name][1] + rng.normal(0, 0.06)
        recorded = _recorded(take, kit, name)
        layers = recorded or [synth.stroke(name, v) for v in (0.3, 0.45, 0.6, 0.7, 0.85, 1.0)]
        if recorded and name in ("kick", "snare") and chance(rng, kit.layered):
            layers = [_layered(layer, synth.stroke(name, 0.8), rng) for layer in recorded]
        pan = float(np.clip(mirror * width * pan, -0.9, 0.9))
        pieces[name] = _Piece(layers, float(10 ** (level_db / 20)), pan)
    return pieces


def _layered(recorded: Signal, made: Signal, rng: np.random.Generator) -> Signal:
    """Put a synthesised stroke under a recorded one."""
    channels, length = recorded.shape[0], max(recorded.shape[1], made.shape[1])
    out = np.zeros((channels, length), np.float32)
    out[:, : recorded.shape[1]] = recorded
    out[:, : made.shape[1]] += np.float32(between(rng, 0.2, 0.6)) * made
    return np.asarray(out / max(float(np.abs(out).max()), 1e-9))


def _recorded(take: Take, kit: Kit, name: str) -> list[Signal]:
    """Return recorded strokes of a piece from soft to loud, or nothing."""
    rng, material = take.rng, take.material
    if material is None or chance(rng, kit.synthetic):
        return []
    groups = [group for group in PATTERNS[name] if kit.sources & set(group.tags)]
    found = [
        (files, group.single) for group in groups if (files := _matching(material, group.pattern))
    ]
    if not found:
        return []
    files, single = pick(rng, found)
    if single:
        files = (files[int(rng.integers(len(files)))],)
    ratio = 2 ** (rng.normal(0, kit.tuning) / 12)
    by_file = {sample.file: sample for sample in material.samples}
    layers = []
    for file in files:
        audio = trimmed(material.audio(by_file[file], take.sample_rate), take.sample_rate)
        layers.append(transposed(audio / max(float(np.abs(audio).max()), 1e-9), ratio))
    return layers


def _matching(material: Material, pattern: str) -> tuple[str, ...]:
    """Return the files of a group from the quietest to the loudest."""
    matches = [s for s in material.select("drums/") if re.match(f"drums/(?:{pattern})", s.file)]
    return tuple(s.file for s in sorted(matches, key=lambda s: (s.rms_db, s.file)))


def _in_room(take: Take, kit: Kit, bus: Signal) -> Signal:
    """Add what the microphones above and before the kit hear of the room."""
    level = between(take.rng, *kit.room)
    decay_s = between(take.rng, *kit.room_s)
    if level < 0.02:
        return bus
    response = room_response(take.rng, decay_s=decay_s, sample_rate=take.sample_rate)
    # Each microphone hears its own side more.
    room = convolved(0.75 * bus + 0.25 * bus[::-1], response)
    return np.asarray(bus + np.float32(level) * room, np.float32)


def _lofi(take: Take, bus: Signal) -> Signal:
    """Make a kit sound as from an old sampler and a worn record, which crackles while it plays."""
    rng, rate = take.rng, take.sample_rate
    hold = int(rng.choice((1, 2, 2, 3))) if rate >= 32000 else 1
    out = crushed(bus, bits=int(rng.integers(8, 13)), hold=hold)
    sections = [
        passing("lowpass", between(rng, 4000, 9000), rate),
        passing("highpass", between(rng, 30, 80), rate),
    ]
    out = filtered(out, np.concatenate(sections))
    playing = _playing(bus, rate)
    size = min(bus.shape[1], 20 * rate)
    hiss = band_noise(rng, size, low_hz=1500, high_hz=6000, sample_rate=rate)
    clicks = np.zeros((1, size), np.float32)
    count = int(size / rate * between(rng, 2, 12))
    clicks[0, rng.integers(0, size, count)] = rng.normal(0, 6, count)
    surface = filtered(hiss + clicks, passing("lowpass", 5000.0, rate))
    level = between(rng, 0.001, 0.006) * float(np.abs(out).max())
    rounds = -(-bus.shape[1] // size)
    worn = np.tile(surface, rounds)[:, : bus.shape[1]] * playing
    return np.asarray(out + np.float32(level) * worn, np.float32)


def _playing(bus: Signal, sample_rate: int) -> Signal:
    """Return 1 where something sounds or did a second ago, 0 elsewhere, with soft edges."""
    frame = max(1, sample_rate // 20)
    frames = -(-bus.shape[1] // frame)
    peak = np.zeros(frames * frame, np.float32)
    peak[: bus.shape[1]] = np.abs(bus).max(axis=0)
    loud = (peak.reshape(frames, frame).max(axis=1) > 1e-3 * peak.max()).astype(float)
    spread = np.minimum(np.convolve(loud, np.ones(20))[:frames], 1.0)
    return stretched(np.append(spread, spread[-1]), frame, bus.shape[1])
