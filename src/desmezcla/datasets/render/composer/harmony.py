"""Chord progressions: Roman numerals to roots and tones, and chords to pitches."""

import re

import numpy as np

from desmezcla.datasets.render.composer.plan import MINOR_MODES, SCALES, Span
from desmezcla.errors import DatasetError

# Root above the tonic and tones above the root of each chord.
Progression = list[tuple[int, tuple[int, ...]]]
_NUMERAL = re.compile(r"([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(.*)")
_DEGREES = ("i", "ii", "iii", "iv", "v", "vi", "vii")
_SUFFIXES = {
    "5": (0, 7),
    "M": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "M-5": (0, 4, 6),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7sus4": (0, 5, 7, 10),
    "dom7": (0, 4, 7, 10),
    "dom9": (0, 4, 7, 10, 14),
    "M7": (0, 4, 7, 11),
    "M9": (0, 4, 7, 11, 14),
    "M6": (0, 4, 7, 9),
    "m7": (0, 3, 7, 10),
    "m9": (0, 3, 7, 10, 14),
    "m6": (0, 3, 7, 9),
    "madd9": (0, 3, 7, 14),
    "m7b5": (0, 3, 6, 10),
    "69": (0, 4, 7, 9, 14),
}
# What a suffix means on an upper and on a lower numeral.
_BY_CASE = {
    "": ((0, 4, 7), (0, 3, 7)),
    "6": ((0, 4, 7, 9), (0, 3, 7, 9)),
    "7": ((0, 4, 7, 11), (0, 3, 7, 10)),
    "9": ((0, 4, 7, 11, 14), (0, 3, 7, 10, 14)),
    "add9": ((0, 4, 7, 14), (0, 3, 7, 14)),
}
_BLUES = "Idom7 Idom7 Idom7 Idom7 IVdom7 IVdom7 Idom7 Idom7 Vdom7 IVdom7 Idom7 Vdom7"
_QUICK = "Idom7 IVdom7 Idom7 Idom7 IVdom7 IVdom7 Idom7 Idom7 Vdom7 IVdom7 Idom7 Vdom7"
_MINOR_BLUES = "im7 im7 im7 im7 ivm7 ivm7 im7 im7 bVIdom7 Vdom7 im7 Vdom7"

# Pool -> progressions for the modes with a major third, and for those with a minor one.
# Numerals count the major scale, whatever the mode; a chord lasts a bar.
POOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pop": (
        ("I V vi IV", "vi IV I V", "I vi IV V", "IV I V vi", "I IV vi V", "I iii IV V",
         "IV V vi I", "I V IV IV", "I Vsus4 vi IV", "I V ii IV", "IV iv I I", "I iii vi IV",
         "ii IV I V", "Iadd9 IVM7 vi7 Vsus4", "I I IV V", "vi V IV V"),
        ("i bVI bIII bVII", "i bVII bVI bVII", "i iv bVI V", "i bIII bVII iv", "bVI bVII i i",
         "i v bVI bVII", "i bVI iv bVII", "bVI bIII bVII i", "i i bVI bVII", "iv bVI i bVII"),
    ),
    "rock": (
        ("I bVII IV I", "I IV bVII IV", "I I IV V", "I V bVII IV", "I bIII IV I", "I IV I V",
         "I5 I5 bVII5 IV5", "I bVII bVI bVII", "IV I V V"),
        ("i bVII bVI bVI", "i i bIII bVII", "i bVI i bVII", "i iv i V", "i5 bIII5 iv5 bVI5",
         "i bIII IV bVI", "i5 i5 bVII5 iv5", "bVI bVII i v", "i bVII IV IV"),
    ),
    "metal": (
        ("I5 bVII5 IV5 I5",),
        ("i5 i5 bII5 i5", "i5 bVI5 bVII5 i5", "i5 i5 bIII5 bII5", "i5 bVI5 iv5 V5",
         "i5 bVII5 bVI5 bVII5", "i5 i5 i5 bVI5", "i5 #IV5 iv5 bIII5", "i5 bIII5 bVI5 bVII5"),
    ),
    "funk": (
        ("Idom9", "Idom9 Idom9 IVdom9 IVdom9", "Idom7 bVIIM IVdom7 Idom7",
         "Idom9 bIIIM IVdom9 V7sus4"),
        ("im7", "im7 IVdom7", "im9 IVdom9", "im7 im7 bIIIM7 IVdom7", "im7 bVIIM IVdom7 im7",
         "im7 vm7", "ivm7 im7"),
    ),
    "soul": (
        ("IM7 vi7 ii7 Vdom7", "IVM7 iii7 vi7 IM7", "ii9 V7sus4 IM7 vi7", "IM7 iii7 IVM7 ivm6",
         "I IIIdom7 IV iv", "IM7 ii7 iii7 ii7", "vi7 ii7 Vdom7 IM7", "IV IV I I"),
        ("im7 ivm7 bVIIdom7 bIIIM7", "im9 bVIM7 ivm9 Vdom7", "bVIM7 Vdom7 im7 im7",
         "im7 bVIIM bVIM7 vm7", "im7 IVdom9", "im9 iim7b5 Vdom7 im9"),
    ),
    "edm": (
        ("vi IV I V", "IV I V vi", "I V vi IV", "IV V vi iii"),
        ("i bVI bIII bVII", "i i bVI bVII", "i bVII iv bVI", "bVI bVII i bIII", "i bIII bVII bVI",
         "iv bVI i bVII", "i v bVI iv"),
    ),
    "techno": (("I", "I bVII"), ("i", "i i i bVI", "im7 bVIIM", "i bII", "im7 im7 ivm7 im7")),
    "hiphop": (
        ("IM7 IVM7", "ii7 Vdom9 IM7 vi7", "IM7 iii7"),
        ("im7 bVIM7", "im7 ivm7", "i bVI v i", "im9 ivm9 vm7 im9", "i bII", "i bVI bVII i",
         "im7 iim7b5 Vdom7 im7", "i i iv bVI"),
    ),
    "reggae": (
        ("I IV", "I V vi IV", "I ii", "I IV I V", "I iii IV V", "I bVII IV I"),
        ("i iv", "i bVII", "im7 ivm7 im7 vm7", "i bVI bVII i", "i bVII bVI bVII"),
    ),
    "folk": (
        ("I IV I V", "I V vi IV", "I I IV V", "I bVII IV I", "I vi IV V", "I IV V I",
         "I iii IV I", "I V IV I", "IV I IV V", "I I V V IV IV I V"),
        ("i bVII i v", "i bVI bVII i", "i iv i V", "i bIII bVII i", "i bVII bVI v"),
    ),
    "jazz": (
        ("IM7 vi7 ii7 Vdom7", "ii7 Vdom7 IM7 VIdom7", "IM7 IM7 ii7 Vdom7 iii7 VIdom7 ii7 Vdom7",
         "IM7 Idom7 IVM7 ivm6 iii7 VIdom7 ii7 Vdom7", "IM7 IIdom9 ii7 Vdom9"),
        ("im7 iim7b5 Vdom7 im7", "im7 ivm7 bVIIdom7 bIIIM7 bVIM7 iim7b5 Vdom7 im7",
         "im6 bVIdom7 Vdom7 im6", "im7 im7 ivm7 Vdom7"),
    ),
    "blues": ((_BLUES, _QUICK), (_MINOR_BLUES,)),
    "latin": (
        ("IM7 VIdom7 ii7 Vdom7", "IM7 IIdom7 ii7 Vdom7", "I IV V IV", "ii7 Vdom7 IM7 IM7"),
        ("im7 ivm7 Vdom7 im7", "i bVIIM bVIM Vdom7", "im6 iim7b5 Vdom7 im6", "i iv i V"),
    ),
    "ambient": (
        ("IM7 IVM7", "Isus2 vi7 IVM7 IVadd9", "IM9 iii7", "IVM7 IM7 ii9 IM7"),
        ("im9 bVIM7", "isus2 bVIM7 bIIIM7 bVIIsus2", "im7 ivm9", "i bIIIM7"),
    ),
}  # fmt: skip


def parse_progression(text: str, *, degrees: tuple[int, ...] = SCALES["major"]) -> Progression:
    """Return root above the tonic and tones above the root of each numeral.

    Args:
        text: Numerals parted by spaces, such as "I vim7 bVIIM Vsus4".
        degrees: Scale that the numerals count.

    Errors:
        DatasetError: if a numeral cannot be read.
    """
    return [_parse_numeral(numeral, degrees) for numeral in text.split()]


def _parse_numeral(numeral: str, degrees: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    match = _NUMERAL.fullmatch(numeral)
    suffix = match[3] if match else None
    if match is None or (suffix not in _SUFFIXES and suffix not in _BY_CASE):
        raise DatasetError(
            f"the chord {numeral!r} is not a Roman numeral with a known suffix; write for "
            "instance I, vi, bVIIM, Vdom7 or isus4"
        )
    lower = match[2].islower()
    shift = {"": 0, "b": -1, "#": 1}[match[1]]
    root = (degrees[_DEGREES.index(match[2].lower())] + shift) % 12
    if match[3] in _SUFFIXES:
        return root, _SUFFIXES[match[3]]
    return root, _BY_CASE[match[3]][lower]


def choose_progression(
    rng: np.random.Generator, mode: str, pools: tuple[str, ...], more: tuple[str, ...]
) -> Progression:
    """Return a progression of a pool, or at times one of the library's (`more`)."""
    minor = mode in MINOR_MODES
    if more and rng.random() < 0.3:
        degrees = SCALES["minor"] if minor else SCALES["major"]
        return parse_progression(str(rng.choice(more)), degrees=degrees)
    pool = POOLS[str(rng.choice(pools, p=_leaning(len(pools))))]
    return parse_progression(str(rng.choice(pool[minor])))


def _leaning(count: int) -> list[float]:
    """Return weights that favour the first of a few."""
    weights = [2.0] + [1.0] * (count - 1)
    return [weight / sum(weights) for weight in weights]


def voicing(span: Span, *, low: int, high: int, count: int, near: float) -> tuple[int, ...]:
    """Return `count` neighbouring tones of a chord inside a range, with their mean near a pitch."""
    classes = span.classes
    tones = [pitch for pitch in range(low, high + 1) if pitch % 12 in classes]
    count = min(count, len(tones))
    options = [tones[i : i + count] for i in range(len(tones) - count + 1)]
    return tuple(min(options, key=lambda option: abs(sum(option) / count - near)))


def guitar_shape(span: Span, position: int = 0) -> tuple[int, ...]:
    """Return the pitches of a strummed chord, from its root on a low string upwards.

    Args:
        span: The chord.
        position: Fret below which no string is stopped; 0 allows open strings.
    """
    strings = [pitch + position for pitch in (40, 45, 50, 55, 59, 64)]
    classes = span.classes
    first = next(i for i in range(3) if (span.root - strings[i]) % 12 <= 4 or i == 2)
    shape = [strings[first] + (span.root - strings[first]) % 12]
    for string in strings[first + 1 :]:
        pitch = next(p for p in range(string, string + 12) if p % 12 in classes)
        if pitch > shape[-1]:
            shape.append(pitch)
    return tuple(shape)


def fold(pitch: float, low: float, high: float) -> float:
    """Return a pitch an octave or more away, so that it lies in a range of an octave or more."""
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def root_pitch(pitch_class: int, low: int) -> int:
    """Return the lowest pitch of a class from a lowest pitch."""
    return low + (pitch_class - low) % 12
