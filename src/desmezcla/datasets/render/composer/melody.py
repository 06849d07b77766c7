"""Melody: rhythms of phrases, motifs that come again, contours on a ladder of pitches."""

from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.composer.plan import MINOR_MODES, Plan

# Rhythms of a quarter (4 steps) and of a dotted quarter (6 steps).
_CELLS = {
    4: ((4,), (2, 2), (3, 1), (1, 3), (2, 1, 1), (1, 1, 2), (1, 2, 1), (1, 1, 1, 1)),
    6: ((6,), (4, 2), (2, 4), (2, 2, 2), (3, 3), (2, 2, 1, 1), (2, 1, 1, 2), (1, 1, 1, 1, 1, 1)),
}
# Order of the motifs in the phrases of a section.
SCHEMES = ("AABA", "ABAB", "ABAC", "AAAB", "AABB", "ABCB", "AAAA", "AABC")


@dataclass(frozen=True)
class Motif:
    """A phrase without its harmony.

    Attributes:
        rhythm: Start and length of each note, in steps from the start of the phrase.
        rungs: Steps on the ladder of pitches, from its middle.
    """

    rhythm: tuple[tuple[float, float], ...]
    rungs: tuple[int, ...]


def phrase_rhythm(
    rng: np.random.Generator,
    *,
    steps: int,
    beat_steps: int,
    notes_per_beat: float,
    pickup: float,
    syncopation: float,
) -> tuple[tuple[float, float], ...]:
    """Return a rhythm whose last note is long.

    Args:
        rng: Where chance comes from.
        steps: Length of what sounds.
        beat_steps: 4, or 6 in 6/8.
        notes_per_beat: How dense it is.
        pickup: Where the first note is, from the start; negative before the bar.
        syncopation: Chance that a note on the beat comes half a beat early.
    """
    held = max(2, min(steps // 3, int(rng.choice((4, 6, 8)))))
    onsets: list[float] = []
    beat = 0
    # Two beats of rhythm come again, so that a phrase has a shape.
    cells = [_cell(rng, beat_steps, notes_per_beat) for _ in range(2)]
    while beat < steps - held:
        cell = cells[(beat // beat_steps) % 2]
        if rng.random() < 0.35:
            cell = _cell(rng, beat_steps, notes_per_beat)
        at = beat
        for length in cell:
            if at < steps - held and not (notes_per_beat < 1 and rng.random() > notes_per_beat):
                onsets.append(at)
            at += length
        beat += beat_steps
    onsets.append(steps - held)
    moved = {
        at - 2 if at % beat_steps == 0 and at >= 4 and rng.random() < syncopation else at
        for at in onsets
    }
    starts = sorted(at for at in moved if at >= pickup)
    if pickup < 0:
        starts = sorted({*np.arange(pickup, 0, 2).tolist(), *starts})
    ends = [*starts[1:], float(steps)]
    return tuple((a, b - a) for a, b in zip(starts, ends, strict=True))


def _cell(rng: np.random.Generator, beat_steps: int, notes: float) -> tuple[int, ...]:
    cells = _CELLS[beat_steps]
    weights = np.exp(-2.2 * (np.array([len(cell) for cell in cells]) - max(1.0, notes)) ** 2)
    return cells[int(rng.choice(len(cells), p=weights / weights.sum()))]


def contour(rng: np.random.Generator, count: int, *, reach: int = 4) -> tuple[int, ...]:
    """Return rungs from the middle: an arch, a fall, a rise, a wave or one repeated note."""
    x = np.linspace(0, 1, max(count, 2))
    shapes = (
        np.sin(np.pi * x),
        1 - 1.6 * x,
        1.4 * x - 0.5,
        np.sin(2 * np.pi * x),
        0.15 * np.ones_like(x),
        0.8 - 1.4 * np.abs(x - 0.4),
    )
    shape = shapes[int(rng.choice(len(shapes), p=(0.26, 0.22, 0.14, 0.16, 0.1, 0.12)))]
    steps = rng.choice((-2, -1, 0, 0, 1, 2), size=len(x), p=(0.1, 0.24, 0.16, 0.16, 0.24, 0.1))
    drift = np.cumsum(steps) * 0.5
    drift -= np.linspace(0, drift[-1], len(x))
    line = np.rint(reach * shape * rng.uniform(0.4, 1.0) + drift)
    return tuple(int(rung) for rung in line[:count])


def ladder(plan: Plan, low: float, high: float, *, pentatonic: bool) -> list[int]:
    """Return the pitches of the scale in a range; a pentatonic one leaves two of seven out."""
    left_out = (1, 5) if plan.mode in MINOR_MODES else (3, 6)
    scale = [s for i, s in enumerate(plan.scale) if not (pentatonic and i in left_out)]
    return [p for p in range(int(low), int(high) + 1) if (p - plan.tonic) % 12 in scale]


def pitches(
    plan: Plan, motif: Motif, *, start: float, rungs: list[int], lift: int = 0
) -> list[int]:
    """Return the pitches of a motif at a step of the song, drawn to the harmony when long.

    Args:
        plan: The song.
        motif: Rhythm and contour.
        start: Step at which the phrase begins.
        rungs: The ladder of pitches.
        lift: Rungs by which the middle is raised.
    """
    middle = len(rungs) // 2 + lift
    found = []
    for (at, length), rung in zip(motif.rhythm, motif.rungs, strict=True):
        place = _reflected(middle + rung, len(rungs))
        pitch = rungs[place]
        strong = (start + at) % plan.clock.beat_steps == 0 or length >= 4
        if strong:
            classes = plan.chord(start + at).classes
            near = [p for p in range(pitch - 3, pitch + 4) if p % 12 in classes]
            near = [p for p in near if rungs[0] <= p <= rungs[-1]]
            pitch = min(near, key=lambda p: (abs(p - pitch), p), default=pitch)
        found.append(pitch)
    return found


def _reflected(place: int, count: int) -> int:
    """Return a place inside a ladder: what goes over an end comes back."""
    last = count - 1
    if last <= 0:
        return 0
    place = abs(place) % (2 * last)
    return place if place <= last else 2 * last - place


def make_motif(
    rng: np.random.Generator,
    plan: Plan,
    *,
    steps: int,
    notes_per_beat: float,
    pickup: float = 0.0,
    syncopation: float = 0.25,
    reach: int = 4,
) -> Motif:
    """Return a new motif of a length in steps."""
    rhythm = phrase_rhythm(
        rng,
        steps=steps,
        beat_steps=plan.clock.beat_steps,
        notes_per_beat=notes_per_beat,
        pickup=pickup,
        syncopation=syncopation,
    )
    return Motif(rhythm, contour(rng, len(rhythm), reach=reach))
