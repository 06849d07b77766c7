"""The files of a rendered song."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from desmezcla.audio.formats import BitDepth
from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.render.mixing_loudness import loudness_lufs
from desmezcla.datasets.render.song import RenderedSong
from desmezcla.errors import AudioFileError

SONG_FILE = "song.yaml"
SCALES: dict[BitDepth, int] = {"16": 2**15, "24": 2**23}
_PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def write_song(folder: Path, song: RenderedSong, *, bit_depth: BitDepth) -> None:
    """Write the stems, their exact sum, and what is known of the song.

    The limiter of the mix leaves more room below full scale than four stems can gain by rounding.
    """
    scale = SCALES[bit_depth]
    levels = {
        str(stem): np.rint(audio * np.float32(scale)).astype(np.int32)
        for stem, audio in song.stems.items()
    }
    levels["mixture"] = np.sum(list(levels.values()), axis=0, dtype=np.int32)
    for name, integers in levels.items():
        with AudioWriter(
            folder / f"{name}.wav",
            sample_rate=song.sample_rate,
            channels=2,
            format="wav",
            bit_depth=bit_depth,
        ) as writer:
            writer.write(integers.astype(np.float32) / np.float32(scale))
    loudness = {
        name: loudness_lufs(integers.astype(np.float32) / np.float32(scale), song.sample_rate)
        for name, integers in levels.items()
    }
    write_yaml(
        folder / SONG_FILE, _facts(song, loudness, int(np.abs(levels["mixture"]).max()) / scale)
    )


def _facts(song: RenderedSong, loudness: dict[str, float], peak: float) -> dict[str, Any]:
    score = song.song
    return {
        "seed": song.seed,
        "style": score.style,
        "tempo_bpm": round(score.tempo_bpm, 2),
        "beats_per_bar": score.beats_per_bar,
        "tonic": _PITCHES[score.tonic],
        "mode": score.mode,
        "duration_s": round(score.duration_s, 3),
        "loudness_lufs": {name: round(value, 1) for name, value in loudness.items()},
        "peak_dbfs": round(20 * math.log10(max(1e-9, peak)), 2),
        "sections": [
            {
                "kind": section.kind,
                "start_s": round(section.start_s, 3),
                "duration_s": round(section.duration_s, 3),
                "energy": round(section.energy, 2),
            }
            for section in score.sections
        ],
        "parts": [
            {
                "name": part.name,
                "stem": part.stem,
                "role": part.role,
                "instrument": part.instrument,
                "events": len(part.events),
            }
            for part in score.parts
        ],
        "sources": list(song.sources),
    }


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a file that appears when it is complete.

    Errors:
        AudioFileError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise AudioFileError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; free some space, or "
            "choose another folder"
        ) from error
