"""Who sings a song: the voice of each part, and which syllables of it are the words."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import Syllable
from desmezcla.datasets.render.singing.formant_singer import formant_voice
from desmezcla.datasets.render.singing.speech import speech_is_installed, speech_voice
from desmezcla.datasets.render.singing.units import Signal, Voice, hz_to_midi, midi_to_hz
from desmezcla.datasets.render.singing.voices import Speaker, list_speakers, load_voice

logger = logging.getLogger(__name__)

# How many semitones above their speech, or above their recorded notes, people like to sing.
_ABOVE_SPEECH, _ABOVE_SONG = 4.0, 0.0
_REACH = 4.0
# Syllables of a made voice; a song has some hundred words, which may sound alike at times.
_MADE_UNITS = 40
# Further from the recorded pitch than this a voice no longer sounds like one.
FURTHEST = 15.0


@dataclass(frozen=True)
class Sources:
    """Where voices come from."""

    material: Material | None
    cache_dir: Path | None

    def draw(self, pitch: float, *, sings: bool, rng: np.random.Generator) -> Voice:
        """Return a voice that reaches a pitch.

        Args:
            pitch: The middle of what is to be sung, as a MIDI number.
            sings: It is sung, not rapped or spoken.
            rng: Who it is.
        """
        kinds = {"material": 0.72, "speech": 0.14, "formants": 0.14}
        people = list_speakers(self.material) if self.material is not None else []
        weights = np.array([_fit(person, pitch, sings=sings) for person in people])
        if not people or weights.max() < 0.02:
            kinds["material"] = 0.0
        if not speech_is_installed():
            logger.info("espeakng-loader is not installed: no voices of speech synthesis")
            kinds["speech"] = 0.0
        odds = np.array(list(kinds.values()))
        kind = str(rng.choice(list(kinds), p=odds / odds.sum()))
        if kind == "material" and self.material is not None:
            for number in rng.choice(len(people), 3, p=weights / weights.sum()):
                voice = load_voice(self.material, people[number], cache_dir=self.cache_dir)
                if voice is not None:
                    return voice
        if kind == "speech":
            voice = speech_voice(rng, f0_hz=float(midi_to_hz(pitch - _ABOVE_SPEECH)))
            if len(voice.units) >= 12:
                return voice
        return formant_voice(rng, f0_hz=float(midi_to_hz(pitch)), count=_MADE_UNITS)


def _fit(person: Speaker, pitch: float, *, sings: bool) -> float:
    """Return how well a pitch suits a person."""
    above = _ABOVE_SPEECH if sings and not person.sung else _ABOVE_SONG
    away = pitch - above - float(hz_to_midi(person.natural_hz))
    # There are few sung recordings: each is worth several spoken ones, for singing.
    worth = 3.0 if person.sung and sings else 0.2 if person.sung else 1.0
    worth *= min(1.0, sum(sample.seconds for sample in person.samples) / 40)
    return worth * float(np.exp(-0.5 * (away / _REACH) ** 2))


def middle_pitch(notes: Iterable[Syllable]) -> float:
    """Return the pitch that half of the time of notes lies below."""
    ordered = sorted(notes, key=lambda note: note.pitch)
    times = np.cumsum([note.duration_s for note in ordered])
    return ordered[int(np.searchsorted(times, times[-1] / 2))].pitch


def draw_words(
    words: Sequence[int], voice: Voice, pitch: float, rng: np.random.Generator
) -> dict[int, int]:
    """Choose the unit of each word: neighbours in the song are neighbours in the recording.

    Args:
        words: The numbers of the words.
        voice: Whose units.
        pitch: Around which they are sung; units recorded near it sound best.
        rng: What the words are.
    """
    usable = _near(voice, pitch)
    chosen: dict[int, int] = {}
    place = left = 0
    for word in words:
        if left == 0:
            place, left = int(rng.integers(len(usable))), int(rng.integers(2, 8))
        chosen[word] = int(usable[place % len(usable)])
        place, left = place + 1, left - 1
    return chosen


def draw_oohs(
    words: Sequence[int], voice: Voice, pitch: float, rng: np.random.Generator
) -> dict[int, int]:
    """Choose long dark vowels for oohs and aahs."""
    usable = _near(voice, pitch)
    length = np.array([voice.units[n].release_s - voice.units[n].stable_s for n in usable])
    dark = np.array([np.dot(voice.units[n].colour, np.linspace(1, -1, 20)) for n in usable])
    good = usable[np.argsort(-(np.minimum(length, 0.4) / 0.4 + 0.004 * dark))][:6]
    return {word: int(rng.choice(good)) for word in words}


def _near(voice: Voice, pitch: float) -> NDArray[np.intp]:
    """Return the better half of the units for a pitch, in the order of the recordings."""
    units = voice.units
    away = np.array([abs(float(hz_to_midi(unit.f0_hz)) - pitch) for unit in units])
    length = np.array([unit.release_s - unit.stable_s for unit in units])
    level_db = 20 * np.log10([unit.level for unit in units])
    dark = np.array([np.dot(unit.colour, np.linspace(1, -1, len(unit.colour))) for unit in units])
    # Nasals and murmurs are cut out as vowels too, but nobody holds them for long.
    murmur = (dark - np.median(dark)) / (np.std(dark) + 1e-9) - 0.7
    faint = np.median(level_db) - level_db - 6
    cost = away / 4 - np.minimum(length, 0.3) / 0.1
    cost += 3 * np.maximum(murmur, 0) + 0.5 * np.maximum(faint, 0)
    keep = max(min(len(cost), 40), len(cost) // 2)
    return np.sort(np.argsort(cost, kind="stable")[:keep])


def translate(words: dict[int, int], voice: Voice, other: Voice) -> dict[int, int]:
    """Choose units of another voice that sound like those of the first.

    The colours are compared after the mean of each voice is taken away.
    """
    if voice is other:
        return words
    mine, theirs = (_colours(v) for v in (voice, other))
    return {
        word: int(np.argmin(np.sum((theirs - mine[unit]) ** 2, axis=1)))
        for word, unit in words.items()
    }


def _colours(voice: Voice) -> Signal:
    colours = np.array([unit.colour for unit in voice.units])
    return np.asarray(colours - colours.mean(axis=0))
