"""What the lead sings: phrases with a rhythm, pitches and words, in steps."""

from dataclasses import dataclass, replace

import numpy as np

from desmezcla.datasets.render.composer.melody import SCHEMES, Motif, ladder, make_motif, pitches
from desmezcla.datasets.render.composer.plan import Passage, Plan

LOWEST, HIGHEST = 48, 76
# A phrase lasts about this long, in seconds: a breath's worth.
_PHRASE_S = 4.2
_BREATH_S = 0.28
# Sections whose words are the same each time.
_REFRAINS = ("chorus", "prechorus", "outro")


@dataclass(frozen=True)
class Line:
    """A phrase as it is sung: where it is, its syllables in steps, and its pitches and words."""

    passage: Passage
    start: float
    steps: float
    motif: Motif
    pitches: tuple[float, ...]
    words: tuple[int, ...]
    singer: int

    @property
    def end(self) -> float:
        """The step after the last syllable."""
        at, length = self.motif.rhythm[-1]
        return self.start + at + length


def _ranges(plan: Plan) -> list[tuple[int, int]]:
    """Return the range of each singer of leads; the second one sings a verse in a duet."""
    rng = plan.rng("singers")
    low = [int(v) for v in rng.integers((48, 56), (53, 61))]
    if rng.random() < 0.5:
        low.reverse()
    return [(start, min(HIGHEST, start + int(rng.integers(13, 17)))) for start in low]


def write_lines(plan: Plan, fill: float) -> list[Line]:
    """Return the lines of the song; `fill` is the share of each phrase that sounds."""
    ranges = _ranges(plan)
    duet = plan.rng("duet").random() < 0.12
    pentatonic = plan.rng("singers", "scale").random() < plan.style.pentatonic
    words: dict[tuple[str | int, ...], tuple[int, ...]] = {}
    lines: list[Line] = []
    for passage in plan.passages:
        if not passage.manner:
            continue
        singer = 1 if duet and passage.kind in ("verse", "bridge") and passage.turn % 2 else 0
        rungs = ladder(plan, *ranges[singer], pentatonic=pentatonic)
        lines += _passage_lines(plan, passage, fill, rungs, singer, words)
    return lines


def _passage_lines(
    plan: Plan,
    passage: Passage,
    fill: float,
    rungs: list[int],
    singer: int,
    words: dict[tuple[str | int, ...], tuple[int, ...]],
) -> list[Line]:
    clock = plan.clock
    rng = plan.rng("theme", passage.kind, passage.manner)
    bars = min((1, 2, 4), key=lambda count: abs(np.log(count * clock.bar_s / _PHRASE_S)))
    scheme = str(rng.choice(SCHEMES))
    hook = rng.random() < 0.5
    lift = {"chorus": 2, "prechorus": 1, "bridge": 1}.get(passage.kind, -1)
    starts = plan.bar_starts(passage)[::bars]
    lines = []
    motifs: dict[tuple[str, int], Motif] = {}
    for index, start in enumerate(starts):
        steps = min(bars, passage.start_bar + passage.bars - start // clock.bar_steps)
        length = steps * clock.bar_steps
        letter = scheme[index % 4]
        if (letter, length) not in motifs:
            motifs[letter, length] = _motif(plan, passage, letter, fill, length)
        motif = motifs[letter, length]
        if not motif.rhythm:
            continue
        if passage.manner == "sung":
            motif = _ornamented(plan, passage, index, motif)
            tones = [float(p) for p in pitches(plan, motif, start=start, rungs=rungs, lift=lift)]
        else:
            tones = _spoken(plan.rng("talk", passage.index, index), motif, rungs[0])
        verse = 0 if passage.kind in _REFRAINS else passage.turn
        key = (passage.kind, verse, letter if hook else index)
        lines.append(
            Line(
                passage=passage,
                start=start,
                steps=length,
                motif=motif,
                pitches=tuple(tones),
                words=_words(words, key, motif),
                singer=singer,
            )
        )
    return lines


def _motif(plan: Plan, passage: Passage, letter: str, fill: float, length: int) -> Motif:
    """Return the motif of a letter; the passages of a kind share it."""
    clock = plan.clock
    rng = plan.rng("motif", passage.kind, passage.manner, letter)
    style = plan.style
    own = fill * rng.uniform(0.9, 1.1)
    longest = length - _BREATH_S / clock.step_s
    steps = max(4, int(min(own * length, longest)))
    rate_hz = rng.uniform(*style.rate_hz) * (0.85 if passage.kind == "chorus" else 1.0)
    pickup = float(rng.choice((-4, -2, 0, 0, 0, 2, 4)))
    if passage.manner == "rap":
        rate_hz, pickup = rng.uniform(4.0, 6.2), min(pickup, 0.0)
    elif passage.manner == "speech":
        rate_hz = rng.uniform(3.2, 4.6)
    if passage.start_bar == 0:
        pickup = max(0.0, pickup)
    return make_motif(
        rng,
        plan,
        steps=steps,
        notes_per_beat=rate_hz * clock.beat_steps * clock.step_s,
        pickup=pickup if steps > 8 else 0.0,
        syncopation=rng.uniform(0.05, 0.5),
        reach=int(rng.integers(2, 5)),
    )


def _ornamented(plan: Plan, passage: Passage, index: int, motif: Motif) -> Motif:
    """Return the motif with another last tone at times, when it comes again."""
    rng = plan.rng("ornament", passage.index, index)
    if passage.turn == 0 or rng.random() > 0.3:
        return motif
    rungs = (*motif.rungs[:-1], motif.rungs[-1] + int(rng.choice((-2, -1, 1, 2))))
    return replace(motif, rungs=rungs)


def _spoken(rng: np.random.Generator, motif: Motif, lowest: int) -> list[float]:
    """Return pitches around which a speaking voice hovers, falling to the end of the phrase."""
    count = len(motif.rhythm)
    fall = np.linspace(1.5, -1.5, count)
    tones = lowest + 3 + fall + np.cumsum(rng.normal(0, 0.5, count)) * 0.4
    return [float(v) for v in np.clip(tones, LOWEST, HIGHEST)]


def _words(
    words: dict[tuple[str | int, ...], tuple[int, ...]], key: tuple[str | int, ...], motif: Motif
) -> tuple[int, ...]:
    """Return the words of a phrase, new ones where it has none yet."""
    known = words.get(key, ())
    missing = len(motif.rhythm) - len(known)
    if missing > 0:
        first = 1 + max((word for line in words.values() for word in line), default=0)
        known = (*known, *range(first, first + missing))
        words[key] = known
    return known[: len(motif.rhythm)]
