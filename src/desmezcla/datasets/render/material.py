"""The folder of raw sound that songs are rendered from: its index, and its audio."""

import csv
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import read_audio
from desmezcla.audio.resample import resample
from desmezcla.errors import DatasetError

INDEX_FILE = "index.tsv"
# Decoded sounds that are kept, as samples; a song uses a few hundred short ones.
_KEPT_SAMPLES = 100_000_000


@dataclass(frozen=True)
class Sample:
    """A file of the material.

    Attributes:
        file: Path below the folder, with slashes.
        source: Name of the collection that it comes from.
        licence: As its author states it.
        author: Who is to be named.
        seconds: Length.
        midi: MIDI number of its note, or None.
        f0_hz: Measured fundamental, or None.
        rms_db: Level, dB below full scale.
    """

    file: str
    source: str
    licence: str
    author: str
    seconds: float
    midi: float | None
    f0_hz: float | None
    rms_db: float


class Material:
    """An index of sounds, and the sounds, decoded when they are first needed.

    Args:
        folder: A folder with `index.tsv`, whose columns are at least file, source, licence,
            author, seconds, midi, f0 and rms_db.

    Errors:
        DatasetError: if the index is missing or not what it should be, or names a missing file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / INDEX_FILE
        try:
            text = index.read_text(encoding="utf-8")
            rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
            self.samples = tuple(_sample(row) for row in rows)
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{index} cannot be read ({error}); name a material folder, which has one"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{index} is not an index of sounds ({error!r}); its columns are file, source, "
                "licence, author, seconds, midi, f0 and rms_db"
            ) from error
        missing = [s.file for s in self.samples if not (folder / s.file).is_file()]
        if missing:
            raise DatasetError(
                f"{len(missing)} files of {index} are missing, the first is {missing[0]!r}; "
                "copy the whole folder"
            )
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self._kept: OrderedDict[tuple[str, int], NDArray[np.float32]] = OrderedDict()
        self._kept_samples = 0

    def select(self, prefix: str) -> tuple[Sample, ...]:
        """Return the sounds whose path starts with a prefix, such as "drums/sonic-pi/kick"."""
        return tuple(sample for sample in self.samples if sample.file.startswith(prefix))

    def path(self, sample: Sample) -> Path:
        """Return where a sound lies."""
        return self.folder / sample.file

    def audio(self, sample: Sample, sample_rate: int) -> NDArray[np.float32]:
        """Return a sound at a sample rate; it must not be modified.

        Shape:
            Returns `[C, T]`.
        """
        key = (sample.file, sample_rate)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        audio, rate = read_audio(self.path(sample))
        audio = resample(audio, rate, sample_rate)
        audio.setflags(write=False)
        self._kept[key] = audio
        self._kept_samples += audio.size
        while self._kept_samples > _KEPT_SAMPLES and len(self._kept) > 1:
            self._kept_samples -= self._kept.popitem(last=False)[1].size
        return audio


def _sample(row: dict[str, str]) -> Sample:
    return Sample(
        file=row["file"],
        source=row["source"],
        licence=row["licence"],
        author=row["author"],
        seconds=float(row["seconds"]),
        midi=_number(row["midi"]),
        f0_hz=_number(row["f0"]),
        rms_db=float(row["rms_db"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text.strip() else None
