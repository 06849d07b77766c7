"""The MIDI folder of the material: drummers' grooves, traditional tunes, chord progressions.

Grooves are those of the Groove MIDI Dataset (Gillick et al., "Learning to Groove with Inverse
Sequence Transformations", ICML 2019, https://arxiv.org/abs/1905.06118). Archives are read in
memory, nothing is unpacked to disk.
"""

import csv
import io
import json
import lzma
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from desmezcla.datasets.render.composer.harmony import parse_progression
from desmezcla.datasets.render.composer.plan import SCALES
from desmezcla.errors import DatasetError, DesmezclaError

GROOVE_FILE = "groove/groove_midi.tar.xz"
NOTTINGHAM_FILE = "nottingham/nottingham_trad_midi.tar.xz"
CHORDS_FILE = "chords/chord_progressions.json"

# The real archives unpack to 4 MB.
_LARGEST_BYTES = 64_000_000
_PIECES = {
    35: "kick", 36: "kick", 37: "rim", 38: "snare", 39: "clap", 40: "snare", 41: "tom_low",
    42: "hihat_closed", 22: "hihat_closed", 43: "tom_low", 44: "hihat_pedal", 45: "tom_mid",
    46: "hihat_open", 26: "hihat_open", 47: "tom_mid", 48: "tom_high", 49: "crash",
    50: "tom_high", 51: "ride", 52: "crash", 53: "ride_bell", 54: "tambourine", 55: "crash",
    56: "cowbell", 57: "crash", 58: "tom_low", 59: "ride",
}  # fmt: skip


@dataclass(frozen=True)
class Groove:
    """A recorded drum take: its member of the archive, style, tempo, kind and metre."""

    file: str
    style: str
    tempo_bpm: float
    kind: str
    metre: str


@dataclass(frozen=True)
class Melody:
    """A traditional tune: melody notes and chords, with starts and lengths in quarter notes.

    Attributes:
        metre: Such as "6/8".
        notes: Start, length and pitch of the melody.
        chords: Start, length and pitches of the chords.
    """

    metre: str
    notes: tuple[tuple[float, float, int], ...]
    chords: tuple[tuple[float, float, tuple[int, ...]], ...]


class MidiLibrary:
    """An index of the MIDI folder; files are parsed when a song needs them.

    Args:
        folder: The folder `midi` of a material folder.
        nottingham: Whether its traditional tunes (GPL) may be used.

    Errors:
        DatasetError: if an archive or its index is missing or damaged, or mido is not installed.
    """

    def __init__(self, folder: Path, *, nottingham: bool = True) -> None:
        _mido()
        self.folder = folder
        self._groove_members = _members(folder / GROOVE_FILE)
        self.grooves = _read_grooves(folder / GROOVE_FILE, self._groove_members)
        self._tune_members = _members(folder / NOTTINGHAM_FILE) if nottingham else {}
        self.tunes = tuple(sorted(name for name in self._tune_members if name.endswith(".mid")))
        self.progressions = _read_progressions(folder / CHORDS_FILE)
        self._strokes = lru_cache(maxsize=64)(self._parse_strokes)
        self._melody = lru_cache(maxsize=64)(self._parse_melody)

    def select(self, styles: tuple[str, ...], *, kind: str, metre: str) -> tuple[Groove, ...]:
        """Return the takes of some styles; kind is "beat" or "fill"."""
        return tuple(
            groove
            for groove in self.grooves
            if groove.style in styles and groove.kind == kind and groove.metre == metre
        )

    def strokes(self, groove: Groove) -> tuple[tuple[float, str, float], ...]:
        """Return start in quarter notes, piece and velocity of each stroke of a take.

        Errors:
            DatasetError: if the file is not a MIDI file.
        """
        return self._strokes(groove)

    def melody(self, name: str) -> Melody:
        """Return a traditional tune, one of `tunes`.

        Errors:
            DatasetError: if the file is not a MIDI file of a melody and chords.
        """
        return self._melody(name)

    def _parse_strokes(self, groove: Groove) -> tuple[tuple[float, str, float], ...]:
        archive = self.folder / GROOVE_FILE
        tracks, _ = _parse(archive, groove.file, self._groove_members[groove.file])
        return tuple(
            (start, _PIECES[pitch], velocity)
            for start, _, pitch, velocity in sorted(note for track in tracks for note in track)
            if pitch in _PIECES
        )

    def _parse_melody(self, name: str) -> Melody:
        archive = self.folder / NOTTINGHAM_FILE
        tracks, metre = _parse(archive, name, self._tune_members[name])
        tracks = [track for track in tracks if track]
        if len(tracks) < 2:
            raise DatasetError(f"{name} of {archive} must have a melody and a track of chords")
        chords: dict[tuple[float, float], list[int]] = {}
        for start, length, pitch, _ in tracks[1]:
            chords.setdefault((start, length), []).append(pitch)
        return Melody(
            metre=metre,
            notes=tuple((start, length, pitch) for start, length, pitch, _ in tracks[0]),
            chords=tuple((*key, tuple(sorted(chords[key]))) for key in sorted(chords)),
        )


def _mido() -> Any:
    """Return the class that reads MIDI files; mido is needed for the library only."""
    try:
        from mido import MidiFile
    except ImportError as error:
        raise DesmezclaError(
            "mido, which reads MIDI files, is not installed; pip install 'desmezcla[render]'"
        ) from error
    return MidiFile


def _members(archive: Path) -> dict[str, bytes]:
    """Return the files of a `.tar.xz`, by their path below its first folder."""
    try:
        with lzma.open(archive) as stream:
            data = stream.read(_LARGEST_BYTES + 1)
        if len(data) > _LARGEST_BYTES:
            raise DatasetError(
                f"{archive} unpacks to more than {_LARGEST_BYTES} bytes; take the file of the "
                "material folder"
            )
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            return {member.name.partition("/")[2]: _content(tar, member) for member in files}
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise DatasetError(
            f"{archive} cannot be read ({error}); copy the material folder again, or go without it"
        ) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None, "the member is a regular file"
    return stream.read()


def _read_grooves(archive: Path, members: dict[str, bytes]) -> tuple[Groove, ...]:
    tables = sorted(name for name in members if name.endswith(".csv"))
    try:
        rows = csv.DictReader(members[tables[0]].decode().splitlines())
        return tuple(
            Groove(
                file=row["midi_filename"],
                style=row["style"].partition("/")[0],
                tempo_bpm=float(row["bpm"]),
                kind=row["beat_type"],
                metre=row["time_signature"].replace("-", "/"),
            )
            for row in rows
            if row["midi_filename"] in members
        )
    except (IndexError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{archive} has no table of its takes ({error!r}); it needs a CSV file with the "
            "columns midi_filename, style, bpm, beat_type and time_signature"
        ) from error


def _read_progressions(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the progressions with a major third in their first scale, with a minor one."""
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        texts = {
            "major": [line.partition("=")[0].strip() for line in lists["prog_maj"]],
            "minor": [line.partition("=")[0].strip() for line in lists["prog_min"]],
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error!r}); it is a JSON object with the lists prog_maj and "
            "prog_min"
        ) from error
    return {mode: tuple(text for text in found if _readable(text)) for mode, found in texts.items()}


def _readable(text: str) -> bool:
    try:
        return bool(parse_progression(text, degrees=SCALES["major"]))
    except DatasetError:
        return False


def _parse(
    archive: Path, name: str, data: bytes
) -> tuple[list[list[tuple[float, float, int, float]]], str]:
    """Return start, length, pitch and velocity of the notes of each track, and the metre."""
    try:
        midi = _mido()(file=io.BytesIO(data), clip=True)
        tracks = [_track_notes(track, midi.ticks_per_beat) for track in midi.tracks]
    except (OSError, EOFError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise DatasetError(
            f"{name} of {archive} is not a MIDI file ({error}); copy the material folder again"
        ) from error
    metres = [
        f"{message.numerator}/{message.denominator}"
        for track in midi.tracks
        for message in track
        if message.type == "time_signature"
    ]
    return tracks, metres[0] if metres else "4/4"


def _track_notes(track: Iterable[Any], ticks: int) -> list[tuple[float, float, int, float]]:
    """Return start and length in quarter notes, pitch and velocity of the notes of a track."""
    notes: list[tuple[float, float, int, float]] = []
    sounding: dict[int, tuple[int, int]] = {}
    now = 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        if message.note in sounding:
            start, velocity = sounding.pop(message.note)
            notes.append(
                (start / ticks, (now - start) / ticks, message.note, max(1, velocity) / 127)
            )
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.note] = (now, message.velocity)
    return sorted(notes)
