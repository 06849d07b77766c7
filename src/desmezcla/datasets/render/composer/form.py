"""The form: which sections follow each other, how long they are, how full, and who sings."""

from dataclasses import replace

import numpy as np

from desmezcla.datasets.render.composer.plan import Clock, Manner, Passage
from desmezcla.datasets.render.composer.styles import Style

# i intro, v verse, p prechorus, c chorus, b bridge, s solo, x break, o outro.
_KINDS = {
    "i": "intro",
    "v": "verse",
    "p": "prechorus",
    "c": "chorus",
    "b": "bridge",
    "s": "solo",
    "x": "break",
    "o": "outro",
}
_SONG_FORMS = (
    "ivcvcbco", "ivpcvpcbcco", "ivvcvcsco", "ivpcvpcsbcco", "icvcvcxcco", "vcvcbcco", "ivcvcxbcco",
    "ivpcxvpcsco", "cvcvcbco", "ivvcvvcsvcco", "vvcvcsco", "ivcsvcbco", "xvpcvpcbxco",
    "ivvcvvcsvcbcco", "ivpcvpcsvpcxbcco", "icvcvcsvcbccco", "ivpcivpcsbvpcco", "ivvpcvpcbscxcco",
    "icvvcsvcxvcbcco", "ivpcvpcbvpcsco",
)  # fmt: skip
_CLUB_FORMS = (
    "ivpcsxvpcso",
    "ixvpcsvpcxco",
    "ivcsxvcso",
    "ipcsvpcxso",
    "vpcsxvpcso",
    "ivpcsxvpcsxvpcso",
    "ixvcsvpcsxbpcso",
)
_TUNE_FORMS = (
    "ivsvbvso",
    "ivvbvssvbvo",
    "svvsvvso",
    "ivvsvbvo",
    "svcsvcsvco",
    "isvvbvssvbvvbvo",
    "ivcvcssvcbvcso",
)
_CLUB_STYLES = ("house", "techno", "trance", "drum_and_bass", "electronica")
_TUNE_STYLES = ("jazz", "blues", "latin", "folk")

# Length of a section, as a share of a verse.
_LENGTHS = {"i": (0.25, 0.5), "v": (1.0,), "p": (0.5,), "c": (1.0,), "b": (0.5, 1.0),
            "s": (0.5, 1.0), "x": (0.25,), "o": (0.5,)}  # fmt: skip
_ENERGY = {"i": 0.4, "v": 0.52, "p": 0.64, "c": 0.86, "b": 0.58, "s": 0.74, "x": 0.18, "o": 0.55}
_SUNG = {"i": 0.06, "v": 1.0, "p": 1.0, "c": 1.0, "b": 0.85, "s": 0.08, "x": 0.35, "o": 0.35}
# Where the voice is asked for last.
_SILENT = ("outro", "solo", "intro", "break")
# Verses last about this long, in seconds.
_VERSE_S = (14.0, 27.0)


def plan_passages(
    rng: np.random.Generator, style: Style, clock: Clock, bars: int, *, voice: bool
) -> tuple[Passage, ...]:
    """Return passages that fill a number of bars exactly."""
    verse = _verse_bars(rng, clock, bars, twelve=style.name == "blues" and bars >= 24)
    layout = _layout(rng, style, verse, bars)
    passages: list[Passage] = []
    turns: dict[str, int] = {}
    start = 0
    mood = rng.uniform(-0.08, 0.08)
    for letter, count in layout:
        turn = turns.get(letter, 0)
        turns[letter] = turn + 1
        energy = _ENERGY[letter] + mood + 0.06 * turn + rng.uniform(-0.07, 0.07)
        if letter == "o" and rng.random() < 0.4:
            energy = 0.25
        passages.append(
            Passage(
                kind=_KINDS[letter],
                start_bar=start,
                bars=count,
                energy=float(np.clip(energy, 0.08, 1.0)),
                turn=turn,
                manner=_manner(rng, style, letter) if voice else "",
                index=len(passages),
            )
        )
        start += count
    return tuple(_sung_enough(passages, style)) if voice else tuple(passages)


def _verse_bars(rng: np.random.Generator, clock: Clock, bars: int, *, twelve: bool) -> int:
    if twelve:
        return 12
    song_s = bars * clock.bar_s
    # A song has room for half a dozen verses and refrains, and not for very many.
    target_s = min(max(rng.uniform(*_VERSE_S), song_s / 14), song_s / 6)
    return min((2, 4, 8, 16, 32), key=lambda count: abs(np.log(count * clock.bar_s / target_s)))


def _layout(rng: np.random.Generator, style: Style, verse: int, bars: int) -> list[tuple[str, int]]:
    """Return letters and lengths: the form nearest in length, then cut or prolonged to fit."""
    forms: tuple[str, ...] = _SONG_FORMS
    if style.name in _CLUB_STYLES:
        forms = _CLUB_FORMS
    elif style.name in _TUNE_STYLES and rng.random() < 0.7:
        forms = _TUNE_FORMS
    drafts = [[(letter, _length(rng, letter, verse)) for letter in form] for form in forms]
    # Near enough is good: the nearest would always be the same few forms.
    near = sorted(drafts, key=lambda d: max(bars - _total(d), 2 * (_total(d) - bars)))
    draft = near[int(rng.integers(min(3, len(near))))]
    while len(draft) > 1 and _total(draft) > bars:
        draft.pop(_least_missed(draft))
    while _total(draft) + verse <= bars:
        # Before the last refrain, what the form has not had last.
        place = max(0, len(draft) - 2)
        before = draft[place - 1][0] if place else "c"
        letter = {"v": "c", "p": "c", "c": "v"}.get(before, str(rng.choice(["v", "c"])))
        draft.insert(place, (letter, verse))
    return _stretched(draft, bars)


def _length(rng: np.random.Generator, letter: str, verse: int) -> int:
    share = float(rng.choice(_LENGTHS[letter]))
    return max(1, round(share * verse))


def _total(draft: list[tuple[str, int]]) -> int:
    return sum(count for _, count in draft)


def _least_missed(draft: list[tuple[str, int]]) -> int:
    """Return the place of the section that is the first to go when time is short."""
    letters = [letter for letter, _ in draft]
    # One of two verses or refrains, before the only intro.
    spare = [letter for letter in "vc" if letters.count(letter) > 1]
    for letter in ["p", "b", "x", "s", *spare, "o", "i"]:
        if letter in letters:
            return len(letters) - 1 - letters[::-1].index(letter)
    return len(letters) - 1


def _stretched(draft: list[tuple[str, int]], bars: int) -> list[tuple[str, int]]:
    """Return the draft with its last section longer or shorter, so that the lengths add up."""
    missing = bars - _total(draft)
    letter, count = draft[-1]
    if missing > 4 and len(draft) > 1 and letter == "o":
        draft.insert(len(draft) - 1, ("c", missing))
        return draft
    return [*draft[:-1], (letter, count + missing)]


def _manner(rng: np.random.Generator, style: Style, letter: str) -> Manner:
    if letter in "ixb" and rng.random() < style.speech:
        return "speech"
    if rng.random() > _SUNG[letter]:
        return ""
    if letter in "vb" and rng.random() < style.rap:
        return "rap"
    if letter in "vb" and rng.random() < 0.4 * style.speech:
        return "speech"
    return "sung"


def _sung_enough(passages: list[Passage], style: Style) -> list[Passage]:
    """Let the voice into instrumental sections where it would sing for too little of the song."""
    bars = sum(p.bars for p in passages)
    wanted = (style.share[0] + style.share[1]) / 2 * 1.25 * bars
    order = sorted(passages, key=lambda p: _SILENT.index(p.kind) if p.kind in _SILENT else -1)
    sung = sum(p.bars for p in passages if p.manner)
    chosen = {p.index for p in passages if p.manner}
    for passage in order:
        if sung < wanted and passage.index not in chosen:
            chosen.add(passage.index)
            sung += passage.bars
    return [p if p.manner or p.index not in chosen else replace(p, manner="sung") for p in passages]
