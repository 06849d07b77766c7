"""The voices of the material folder: speakers, and the syllables that they left."""

import hashlib
import logging
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.material import Material, Sample
from desmezcla.datasets.render.singing.analysis import cut_syllables
from desmezcla.datasets.render.singing.units import UNIT_RATE, Unit, Voice

logger = logging.getLogger(__name__)

# To be raised whenever `cut_syllables` finds other syllables than before.
_ANALYSIS_VERSION = 1
# Enough of a speaker for a song; more only costs time.
_LONGEST_S = 240.0
_FEWEST_UNITS = 12
# Collections that are sung; the others are spoken.
_SUNG = ("alys", "utau", "erithacus", "singing", "soprano", "vignesh")
# Sounds of several people at once: there is no one fundamental in them.
_ENSEMBLES = ("freepats", "mercury-freesound", "sonic-pi")

_analysed: dict[str, tuple[Unit, ...]] = {}


@dataclass(frozen=True)
class Speaker:
    """Recordings of one person.

    Attributes:
        name: Folder and name, for instance "gcompris/ro/ro_horia-pelle".
        sung: They sing.
        natural_hz: Roughly the middle of the pitches.
        samples: The recordings.
    """

    name: str
    sung: bool
    natural_hz: float
    samples: tuple[Sample, ...]


def list_speakers(material: Material) -> list[Speaker]:
    """Return the people whose voices are in a material folder, by name."""
    people: dict[str, list[Sample]] = {}
    for sample in material.select("voices/"):
        folder, _, file = sample.file.removeprefix("voices/").rpartition("/")
        if folder.split("/")[0] in _ENSEMBLES or sample.f0_hz is None:
            continue
        # gcompris: one folder per language, files numbered per speaker.
        who = re.sub(r"[_-]\d+$", "", Path(file).stem) if "/" in folder else ""
        who = Path(file).stem if folder == "sms-tools" else who
        people.setdefault(f"{folder}/{who}".rstrip("/"), []).append(sample)
    speakers = []
    for name in sorted(people):
        samples = sorted(people[name], key=lambda sample: sample.file)
        if sum(sample.seconds for sample in samples) < 5:
            continue
        middle_hz = float(np.median([s.f0_hz for s in samples if s.f0_hz is not None]))
        sung = any(word in name for word in _SUNG)
        speakers.append(Speaker(name, sung, middle_hz, _at_most(samples, _LONGEST_S)))
    return speakers


def _at_most(samples: list[Sample], longest_s: float) -> tuple[Sample, ...]:
    """Return samples spread over all of them, of at most a length together."""
    step = max(1, int(np.ceil(sum(sample.seconds for sample in samples) / longest_s)))
    return tuple(samples[::step])


def load_voice(material: Material, speaker: Speaker, *, cache_dir: Path | None) -> Voice | None:
    """Return a speaker as a voice, or None if too few syllables of them are usable.

    Args:
        material: Where the recordings lie.
        speaker: Whose.
        cache_dir: Where what was found is kept between processes; None to keep it in memory only.
    """
    key = _key(material, speaker)
    if key not in _analysed:
        _analysed[key] = _cached(material, speaker, cache_dir)
    units = _analysed[key]
    if len(units) < _FEWEST_UNITS:
        logger.info("%s has only %d usable syllables", speaker.name, len(units))
        return None

    def recording(source: int) -> NDArray[np.float32]:
        return _mono(material, speaker.samples[source])

    return Voice(speaker.name, speaker.sung, units, recording)


def _key(material: Material, speaker: Speaker) -> str:
    """Return what the analysis of a speaker depends on, as a name for a file."""
    files = "\n".join(sample.file for sample in speaker.samples)
    text = f"{_ANALYSIS_VERSION}\n{material.digest}\n{speaker.name}\n{files}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _mono(material: Material, sample: Sample) -> NDArray[np.float32]:
    audio = material.audio(sample, UNIT_RATE)
    return np.asarray(audio[0] if len(audio) == 1 else audio.mean(axis=0), np.float32)


def _analyse(material: Material, speaker: Speaker) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for source, sample in enumerate(speaker.samples):
        units += cut_syllables(_mono(material, sample), source=source)
    if not units:
        return ()
    # Far from the speaker's other pitches a fundamental is a mistake of the octave as a rule.
    middle_hz = np.median([unit.f0_hz for unit in units])
    return tuple(unit for unit in units if 0.6 < unit.f0_hz / middle_hz < 1.7)


def _cached(material: Material, speaker: Speaker, cache_dir: Path | None) -> tuple[Unit, ...]:
    if cache_dir is None:
        return _analyse(material, speaker)
    path = cache_dir / f"voice-{_key(material, speaker)}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s) and is made anew", path, error)
    units = _analyse(material, speaker)
    _write(path, units)
    return units


_NUMBERS = [f.name for f in fields(Unit) if f.name not in ("marks_s", "periods_s", "colour")]


def _write(path: Path, units: tuple[Unit, ...]) -> None:
    """Write units so that another process sees all of the file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    nothing = [np.zeros(0)]
    with os.fdopen(handle, "wb") as file:
        np.savez(
            file,
            numbers=np.array([[getattr(u, name) for name in _NUMBERS] for u in units], float),
            counts=np.array([len(u.marks_s) for u in units], int),
            marks_s=np.concatenate([u.marks_s for u in units] or nothing),
            periods_s=np.concatenate([u.periods_s for u in units] or nothing),
            colours=np.array([u.colour for u in units]),
        )
    Path(name).replace(path)


def _read(path: Path) -> tuple[Unit, ...]:
    # Opened here: numpy leaves the file open if it is no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        edges = np.cumsum(data["counts"])[:-1]
        marks_s = np.split(data["marks_s"], edges)
        periods_s = np.split(data["periods_s"], edges)
        numbers, colours = data["numbers"], data["colours"]
    units = []
    for row, marks, periods, colour in zip(numbers, marks_s, periods_s, colours, strict=True):
        values = dict(zip(_NUMBERS, (float(x) for x in row), strict=True))
        source = int(values.pop("source"))
        units.append(Unit(source=source, marks_s=marks, periods_s=periods, colour=colour, **values))
    return tuple(units)
