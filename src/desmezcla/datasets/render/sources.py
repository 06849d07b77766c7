"""Where the sounds of a song come from: licences, who is to be named, and what may be used."""

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.composer import MidiLibrary
from desmezcla.datasets.render.material import Material, Sample
from desmezcla.errors import ParameterError

MIDI_FOLDER = "midi"
_GROOVE = {
    "source": "groove-midi",
    "licences": ["CC-BY-4.0"],
    "authors": ["Groove MIDI Dataset, Magenta / Google (Gillick et al. 2019)"],
}
_CHORDS = {"source": "free-midi-chords", "licences": ["MIT"], "authors": ["Ludovic Drolez"]}
_NOTTINGHAM = {
    "source": "nottingham",
    "licences": ["GPL-3.0"],
    "authors": ["Nottingham Music Database, cleaned by Jukedeck"],
}


class HeardMaterial(Material):
    """A material that notes which collections are used.

    Args:
        material: Whose sounds it gives.
    """

    def __init__(self, material: Material) -> None:
        self.folder = material.folder
        self.samples = material.samples
        self.digest = material.digest
        self.sources: set[str] = set()
        self._material = material

    def audio(self, sample: Sample, sample_rate: int) -> NDArray[np.float32]:
        """Return a sound at a sample rate; see `Material.audio`."""
        self.sources.add(sample.source)
        return self._material.audio(sample, sample_rate)


def open_material(
    folder: Path, *, exclude_licences: Sequence[str] = (), exclude_files: Sequence[str] = ()
) -> Material:
    """Open a material folder, without the sounds under some licences and without some files.

    Args:
        folder: The folder.
        exclude_licences: Parts of licences' names, such as "GPL"; see `is_excluded`.
        exclude_files: Patterns of paths below the folder, such as "drums/uzu-drumkit/*".

    Errors:
        DatasetError: if it is no material folder.
        ParameterError: if a pattern fits no file.
    """
    material = Material(folder)
    left_out = _matching(material, exclude_files)
    kept = tuple(
        s
        for s in material.samples
        if s.file not in left_out and not is_excluded(s.licence, exclude_licences)
    )
    if len(kept) < len(material.samples):
        # Another choice of sounds is another material: what was made from all must not be reused.
        files = "\n".join(sample.file for sample in kept)
        material.digest = hashlib.sha256(f"{material.digest}\n{files}".encode()).hexdigest()
        material.samples = kept
    return material


def _matching(material: Material, patterns: Sequence[str]) -> set[str]:
    """Return the files that patterns fit; each must fit one, or it is misspelt."""
    files = [sample.file for sample in material.samples]
    found = {pattern: fnmatch.filter(files, pattern) for pattern in patterns}
    for pattern, matches in found.items():
        if not matches:
            raise ParameterError(
                f"exclude_files={pattern!r} fits no file of {str(material.folder)!r}; give "
                "patterns of paths in its index, such as 'drums/*/kick/*'"
            )
    return {file for matches in found.values() for file in matches}


def open_midi(folder: Path, *, exclude_licences: Sequence[str] = ()) -> MidiLibrary | None:
    """Open the MIDI files of a material folder; None if it has none, or they are excluded.

    Errors:
        DatasetError: if they are damaged.
    """
    needed = (_GROOVE, _CHORDS)
    licences = [licence for source in needed for licence in source["licences"]]
    if any(is_excluded(licence, exclude_licences) for licence in licences):
        return None
    if not (folder / MIDI_FOLDER).is_dir():
        return None
    nottingham = not is_excluded(_NOTTINGHAM["licences"][0], exclude_licences)
    return MidiLibrary(folder / MIDI_FOLDER, nottingham=nottingham)


def is_excluded(licence: str, exclude_licences: Iterable[str]) -> bool:
    """Return whether a licence contains one of some names; case, spaces and hyphens do not count.

    >>> is_excluded("GNU GPL V3+", ["gpl"]), is_excluded("CC0", ["gpl", "CC-BY"])
    (True, False)
    >>> is_excluded("CC BY 4.0", ["cc-by"])
    True
    """
    plain = _plain(licence)
    return any(_plain(name) in plain for name in exclude_licences)


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "", licence).casefold()


def credits(material: Material | None, midi: MidiLibrary | None) -> list[dict[str, Any]]:
    """Return each collection that may be heard, with its licences and whom to name."""
    found: dict[str, dict[str, Any]] = {}
    for sample in material.samples if material else ():
        entry = found.setdefault(
            sample.source, {"source": sample.source, "licences": set(), "authors": set()}
        )
        entry["licences"].add(sample.licence)
        entry["authors"].add(sample.author)
    collections = [
        {key: sorted(value) if isinstance(value, set) else value for key, value in entry.items()}
        for _, entry in sorted(found.items())
    ]
    written = [_GROOVE, _CHORDS, *([_NOTTINGHAM] if midi.tunes else [])] if midi else []
    return collections + written
