"""Voices of speech synthesis: eSpeak NG, where the package `espeakng-loader` is installed.

It carries the library and the data of about a hundred languages for every platform. eSpeak NG is
GPL-3.0: it is no dependency, it is not shipped, and it is only loaded where the user has put it.
"""

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import resample
from desmezcla.datasets.render.singing import speak
from desmezcla.datasets.render.singing.analysis import cut_syllables
from desmezcla.datasets.render.singing.units import UNIT_RATE, Unit, Voice
from desmezcla.errors import DesmezclaError

_LANGUAGES = (
    "en-us", "en", "es", "fr", "de", "it", "pt-br", "sv", "pl", "tr", "fi", "hu", "ro",
    "nl", "cs", "el", "id", "sw", "hi", "ru", "nb", "da",
)  # fmt: skip
# Variants of a voice: what the tract and the vocal folds are like.
_LOW = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt4", "Mario", "max", "Andy")
_HIGH = ("f1", "f2", "f3", "f4", "f5", "linda", "Annie", "steph", "anika", "belinda")
_CONSONANTS = (*"bdfghklmnprstvz", "st", "tr", "pl", "")
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "o")


def speech_is_installed() -> bool:
    """Return whether `espeakng-loader` is there."""
    return find_spec("espeakng_loader") is not None


def speech_voice(rng: np.random.Generator, *, f0_hz: float) -> Voice:
    """Return a voice of eSpeak NG that speaks words which no language has.

    Args:
        rng: Who it is, and what it says.
        f0_hz: Around which pitch it is to speak.

    Errors:
        DesmezclaError: if `espeakng-loader` is not installed.
    """
    language = str(rng.choice(_LANGUAGES))
    variant = str(rng.choice(_LOW if f0_hz < 190 else _HIGH))
    lines = [" ".join(_word(rng) for _ in range(5)) for _ in range(9)]
    # eSpeak's pitch 50 is about 110 Hz for a man and 190 for a woman; 100 is twice that of 0.
    base_hz = 110.0 if f0_hz < 190 else 190.0
    pitch = int(np.clip(50 + 60 * np.log2(f0_hz / base_hz), 0, 99))
    sources = _say(lines, f"{language}+{variant}", pitch)
    units: list[Unit] = []
    for number, source in enumerate(sources):
        units += cut_syllables(source, source=number)
    return Voice(f"espeak/{language}+{variant}", False, tuple(units), sources.__getitem__)


def _word(rng: np.random.Generator) -> str:
    return "".join(
        str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS)) for _ in range(rng.integers(1, 4))
    )


def _say(lines: list[str], voice: str, pitch: int) -> list[NDArray[np.float32]]:
    """Return lines spoken slowly and evenly. Shape: `[T]` each, at `UNIT_RATE`."""
    try:
        loader = import_module("espeakng_loader")
    except ImportError as error:
        raise DesmezclaError(
            "voices of speech synthesis need espeakng-loader (GPL-3.0), which is not installed; "
            "run: pip install espeakng-loader"
        ) from error
    request = {
        "library": str(loader.get_library_path()),
        "data": str(loader.get_data_path()),
        "voice": voice,
        "rate": 110,
        "pitch": pitch,
        "range": 25,
        "lines": lines,
    }
    # Isolated, and without site packages: it starts at once and runs nothing but this file.
    done = subprocess.run(
        [sys.executable, "-I", "-S", speak.__file__],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DesmezclaError(
            f"eSpeak NG cannot speak as {voice!r} ({' '.join(words) or done.returncode}); "
            "install espeakng-loader 0.2.4 or newer, or uninstall it"
        )
    return _sounds(done.stdout)


def _sounds(told: bytes) -> list[NDArray[np.float32]]:
    """Return the lines of what `speak` writes."""
    rate, place = int.from_bytes(told[:4], "little"), 4
    sounds = []
    while place < len(told):
        begin = place + 4
        place = begin + int.from_bytes(told[place:begin], "little")
        sound = np.frombuffer(told[begin:place], np.int16).astype(np.float32)[None]
        sounds.append(resample(sound / np.float32(32768), rate, UNIT_RATE)[0])
    return sounds
