"""All who sing in a song: lead, doubles, harmonies and backing, part by part."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import Part, Song, Syllable
from desmezcla.datasets.render.singing.cast import (
    FURTHEST,
    Sources,
    draw_oohs,
    draw_words,
    middle_pitch,
    translate,
)
from desmezcla.datasets.render.singing.character import Character, draw_character
from desmezcla.datasets.render.singing.performance import perform
from desmezcla.datasets.render.singing.units import Voice, hz_to_midi

# Level of a part while it sings.
_LEVEL_DB = -20.0


@dataclass(frozen=True)
class _Singer:
    voice: Voice
    character: Character
    words: dict[int, int]
    oohs: dict[int, int]


def sing(
    song: Song,
    *,
    rng: np.random.Generator,
    material: Material | None,
    sample_rate: int,
    samples: int,
    cache_dir: Path | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Sing the vocal parts of a song.

    The result depends on the generator, the material and whether `espeakng-loader` is installed.

    Shape:
        Returns `[1, samples]` for each part of the stem "vocals", by its name.

    Args:
        song: What is sung.
        rng: Who sings, and how.
        material: Where recorded voices lie, or None.
        sample_rate: Of the result, in Hz.
        samples: Its length.
        cache_dir: Folder in which the analysis of recordings is kept between processes.
    """
    parts = [part for part in song.parts if part.stem == "vocals"]
    sung = [part for part in parts if part.events]
    out = {part.name: np.zeros((1, samples), np.float32) for part in parts}
    if not sung or samples == 0:
        return out
    seeds = rng.integers(2**63, size=len(parts) + 1)
    sources = Sources(material, cache_dir)
    leads = [part for part in sung if part.role == "lead"] or sung[:1]
    first = _draw(sources, song, leads[0], np.random.default_rng(seeds[0]))
    for part, seed in zip(sung, seeds[1:], strict=False):
        mine = np.random.default_rng(seed)
        singers = _singers_of(part, first, leads, sources, song, mine)
        total = np.zeros(samples, np.float32)
        for singer in singers:
            total += _sing_part(part, singer, mine, sample_rate, samples)
        out[part.name] = _levelled(total, sample_rate)[None]
    return out


def _notes(part: Part) -> list[Syllable]:
    return sorted(cast("tuple[Syllable, ...]", part.events), key=lambda note: note.start_s)


def _draw(sources: Sources, song: Song, part: Part, rng: np.random.Generator) -> _Singer:
    """Draw a singer for a part, and the words of the song for them."""
    notes = _notes(part)
    pitch = middle_pitch(notes)
    sings = sum(note.manner in ("sung", "ooh") for note in notes) > len(notes) / 2
    voice = sources.draw(pitch, sings=sings, rng=rng)
    character = draw_character(rng, style=song.style)
    # Of what is not sung, a little is whispered.
    character = replace(character, whispers=not sings and rng.random() < 0.08)
    everything = [note for p in song.parts if p.stem == "vocals" for note in _notes(p)]
    words = sorted({note.word for note in everything})
    return _Singer(
        voice=voice,
        character=character,
        words=draw_words(words, voice, pitch, rng),
        oohs=draw_oohs(words, voice, pitch, rng),
    )


def _singers_of(
    part: Part,
    first: _Singer,
    leads: list[Part],
    sources: Sources,
    song: Song,
    rng: np.random.Generator,
) -> list[_Singer]:
    """Return who sings a part; the singer of the first lead may sing all of them."""
    if part is leads[0]:
        return [first]
    if part.role == "lead":
        return [_other(part, first, sources, song, rng)] if rng.random() < 0.5 else [first]
    if part.role == "double":
        return [_again(first, rng, loose=1.0)]
    if part.role == "harmony":
        same = rng.random() < 0.6
        return [_again(first if same else _other(part, first, sources, song, rng), rng, loose=1.5)]
    group = [first, _other(part, first, sources, song, rng)]
    count = int(rng.integers(2, 4))
    return [_again(group[int(rng.integers(2))], rng, loose=2.5) for _ in range(count)]


def _again(singer: _Singer, rng: np.random.Generator, *, loose: float) -> _Singer:
    return replace(singer, character=singer.character.beside(rng, loose=loose))


def _other(
    part: Part, first: _Singer, sources: Sources, song: Song, rng: np.random.Generator
) -> _Singer:
    """Draw somebody else, who sings the same words."""
    other = _draw(sources, song, part, rng)
    return replace(other, words=translate(first.words, first.voice, other.voice))


def _sing_part(
    part: Part, singer: _Singer, rng: np.random.Generator, sample_rate: int, samples: int
) -> NDArray[np.float32]:
    notes = _reachable(_notes(part), singer.voice)
    numbers = [(singer.oohs if n.manner == "ooh" else singer.words)[n.word] for n in notes]
    return perform(
        notes,
        numbers,
        singer.voice,
        singer.character,
        rng=rng,
        sample_rate=sample_rate,
        samples=samples,
    )


def _reachable(notes: list[Syllable], voice: Voice) -> list[Syllable]:
    """Move all notes by octaves if they are out of the reach of a voice."""
    away = middle_pitch(notes) - float(hz_to_midi(voice.natural_hz))
    octaves = round(away / 12) if abs(away) > FURTHEST else 0
    return [replace(note, pitch=note.pitch - 12 * octaves) for note in notes]


def _levelled(sound: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Bring a part to its level while it sings; pauses do not count."""
    width = max(sample_rate // 20, 1)
    power = np.add.reduceat(sound.astype(np.float64) ** 2, np.arange(0, len(sound), width)) / width
    loud = power[power > 1e-3 * power.max()] if power.max() > 0 else np.ones(1)
    # A voice with rare high peaks stays a little softer rather than pass full scale.
    gain = min(10 ** (_LEVEL_DB / 20) / np.sqrt(loud.mean()), 0.98 / max(np.abs(sound).max(), 1e-9))
    return np.asarray(sound * gain, np.float32)
