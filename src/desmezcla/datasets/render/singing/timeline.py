"""From the notes of a part to what the mouth does: when each syllable begins, holds and ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desmezcla.datasets.render.score import Syllable
from desmezcla.datasets.render.singing.character import Character
from desmezcla.datasets.render.singing.units import Unit

# Notes closer than this are sung without letting the voice go.
_LEGATO_S = 0.08
_CROSSFADE_S = 0.025


@dataclass(frozen=True)
class Event:
    """A syllable in time; all times in seconds of the song.

    Attributes:
        unit: Number of the unit in its voice.
        spoken: The whole unit is fitted to the note, and keeps its intonation.
        open: Only the vowel, as in an ooh.
        onset_s: Where the consonant begins.
        vowel_s: Where the vowel begins: the start of the note.
        end_s: Where the syllable has ended.
        fade_in_s: Time in which it comes in.
        fade_out_s: Time in which it goes, before `end_s`.
        coda: The recorded end of the syllable is sung.
    """

    unit: int
    spoken: bool
    open: bool
    onset_s: float
    vowel_s: float
    end_s: float
    fade_in_s: float
    fade_out_s: float
    coda: bool


def plan_events(
    notes: Sequence[Syllable],
    numbers: Sequence[int],
    units: Sequence[Unit],
    character: Character,
    *,
    rng: np.random.Generator,
) -> list[Event]:
    """Lay the syllables of notes, in the order of their starts, into time.

    Args:
        notes: What is sung; notes of one word that touch are one syllable.
        numbers: The number of the unit of each note.
        units: The units of the voice.
        character: Who sings.
        rng: Of the performance.
    """
    groups = _syllables(notes, numbers)
    onsets_s = [0.0] * len(groups)
    for index, (first, _, number) in enumerate(groups):
        unit, room_s = units[number], first.start_s
        if index > 0:
            before, last, _ = groups[index - 1]
            spare_s = first.start_s - last.end_s - 0.02
            room_s = max(0.4 * (first.start_s - before.start_s), spare_s)
        lead_s = (unit.vowel_s - unit.start_s) * character.consonants
        onsets_s[index] = first.start_s - (0 if first.manner == "ooh" else min(lead_s, room_s))
    events = []
    for index, (first, last, number) in enumerate(groups):
        later = index + 1 < len(groups)
        next_s = onsets_s[index + 1] if later else np.inf
        touches = later and groups[index + 1][0].start_s - last.end_s < _LEGATO_S
        follows = index > 0 and first.start_s - groups[index - 1][1].end_s < _LEGATO_S
        spoken = first.manner in ("rap", "speech")
        end_s = next_s if touches else min(last.end_s + 0.05, next_s)
        if spoken and not touches:
            unit = units[number]
            end_s = min(end_s, first.start_s + 1.6 * (unit.end_s - unit.vowel_s))
        slow_s = float(rng.uniform(0.06, 0.16))
        bare = units[number].vowel_s - units[number].start_s < 0.02 or first.manner == "ooh"
        events.append(
            Event(
                unit=number,
                spoken=spoken,
                open=first.manner == "ooh",
                onset_s=onsets_s[index] - (_CROSSFADE_S / 2 if follows else 0),
                vowel_s=first.start_s,
                end_s=end_s + (_CROSSFADE_S / 2 if touches else 0),
                fade_in_s=_CROSSFADE_S if follows or not bare else slow_s / 2,
                fade_out_s=_CROSSFADE_S if touches else min(slow_s, 0.4 * (end_s - first.start_s)),
                coda=spoken or (first.manner == "sung" and (not touches or rng.random() < 0.5)),
            )
        )
    return events


def _syllables(
    notes: Sequence[Syllable], numbers: Sequence[int]
) -> list[tuple[Syllable, Syllable, int]]:
    """Return first note, last note and unit of each syllable: a melisma has several notes."""
    groups: list[tuple[Syllable, Syllable, int]] = []
    for note, number in zip(notes, numbers, strict=True):
        if groups:
            first, last, _ = groups[-1]
            alike = last.word == note.word and last.manner == note.manner
            if alike and note.manner in ("sung", "ooh") and note.start_s - last.end_s < 0.03:
                groups[-1] = (first, note, number)
                continue
        groups.append((note, note, number))
    return groups
