"""Making the folder of a test: excerpts are chosen, cut, brought to one loudness and written."""

import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.resample import resampled_length
from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.reading import MIXTURE, read_stem, track_info
from desmezcla.datasets.track import Track
from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.listening.design import (
    ANCHOR,
    AUDIO_FOLDER,
    REFERENCE,
    Calibration,
    Condition,
    Excerpt,
    ListeningTest,
    Song,
    Stimulus,
    audio_path,
    new_audio_name,
    write_design,
)
from desmezcla.listening.excerpts import most_active, step_energies
from desmezcla.listening.loudness import TARGET_LUFS, levelled
from desmezcla.listening.material import SongMaterial, channels_of, find_material, sample_rate_of
from desmezcla.listening.shaping import damaged, faded, low_passed

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]

_SHORTEST_S, _LONGEST_S = 1.0, 60.0


@dataclass(frozen=True)
class CreateOptions:
    """What a test is made of.

    Attributes:
        systems: Folders of results by what the systems are called.
        reference: A dataset with the true stems: they become the hidden reference.
        anchor: Whether the true stems, low-passed, are a condition too.
        songs: Patterns of the names of songs; none for all.
        stems: Names of stems; none for all that every system has.
        starts_s: Where excerpts begin, by song; others are chosen.
        excerpt_s: How long they are.
        repeats: How many trials each listener hears twice.
        mushra: Whether MUSHRA pages follow.
        target_lufs: The loudness of all excerpts.
        min_played: Share of an excerpt that must be heard before it can be rated.
        organiser: Who answers for the test, for the text of consent.
        seed: Of all that is drawn.
    """

    systems: Mapping[str, Path]
    reference: Path | None = None
    anchor: bool = False
    songs: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    starts_s: Mapping[str, float] = field(default_factory=dict)
    excerpt_s: float = 8.0
    repeats: int = 0
    mushra: bool = False
    target_lufs: float = TARGET_LUFS
    min_played: float = 0.8
    organiser: str = ""
    seed: int = 0


def create_test(folder: Path | str, options: CreateOptions) -> ListeningTest:
    """Make a listening test; its folder appears when it is complete.

    Args:
        folder: The folder, which must not exist; its name is the test's.
        options: What it is made of.

    Errors:
        ParameterError: if the folder exists, or an option is not possible.
        DesmezclaError: if no excerpt is left, or a file cannot be read or written.
    """
    out = Path(folder)
    _check(out, options)
    songs = find_material(
        options.systems, reference=options.reference, songs=options.songs, stems=options.stems
    )
    unknown = sorted(set(options.starts_s) - {song.name for song in songs})
    if unknown:
        raise ParameterError(
            f"--start {unknown[0]}=…: the songs are {', '.join(song.name for song in songs)}"
        )
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        (part / AUDIO_FOLDER).mkdir(parents=True)
        design = _Creation(part, options, sample_rate_of(songs)).make(out.resolve().name, songs)
        write_design(design, part)
        part.rename(out)
    except OSError as error:
        raise DesmezclaError(f"{str(out)!r} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return design


def _check(out: Path, options: CreateOptions) -> None:
    if out.exists():
        raise ParameterError(f"{str(out)!r} is there already; choose another name, or remove it")
    if not _SHORTEST_S <= options.excerpt_s <= _LONGEST_S:
        raise ParameterError(
            f"--excerpt-s {options.excerpt_s:g} must be from {_SHORTEST_S:g} to {_LONGEST_S:g}"
        )
    if not -50 <= options.target_lufs <= -10:
        raise ParameterError(
            f"--lufs {options.target_lufs:g} must be from -50 to -10; -23 is usual"
        )
    for name, wanted in (("--anchor", options.anchor), ("--mushra", options.mushra)):
        if wanted and options.reference is None:
            raise ParameterError(f"{name} needs the true stems; add --reference FOLDER")
    if len(options.systems) + (options.reference is not None) < 2:
        raise ParameterError("there is one condition only; add a --system, or a --reference")


class _Creation:
    """Makes the parts of a test in a folder.

    Args:
        root: The folder.
        options: What it is made of.
        sample_rate: Of all files, in Hz.
    """

    def __init__(self, root: Path, options: CreateOptions, sample_rate: int) -> None:
        self.root = root
        self.options = options
        self.rate = sample_rate
        self.conditions = tuple(
            [Condition(name=name) for name in options.systems]
            + ([Condition(name=REFERENCE, role="reference")] if options.reference else [])
            + ([Condition(name=ANCHOR, role="anchor")] if options.anchor else [])
        )

    def make(self, name: str, materials: tuple[SongMaterial, ...]) -> ListeningTest:
        """Write all files, and return the design."""
        excerpts: list[Excerpt] = []
        songs: list[Song] = []
        calibration: tuple[Calibration, ...] = ()
        for material in materials:
            made = []
            for stem in material.stems:
                starts_s = self._starts_s(material, stem)
                excerpt = self._excerpt(material, stem, starts_s[0])
                if excerpt is None:
                    continue
                made.append(excerpt)
                # Of a part that is no trial, where the song is long enough.
                calibration = calibration or self._calibration(material, stem, starts_s[-1])
            if made:
                songs.append(self._song(material, made[0].start_s))
                excerpts += made
        if not excerpts:
            raise ParameterError("all excerpts are silent; choose other songs or --start")
        try:
            return ListeningTest(
                name=name[:100],
                organiser=self.options.organiser,
                seed=self.options.seed,
                sample_rate=self.rate,
                conditions=self.conditions,
                songs=tuple(songs),
                excerpts=tuple(excerpts),
                calibration=calibration,
                repeats=self.options.repeats,
                mushra=self.options.mushra,
                min_played=self.options.min_played,
            )
        except ValueError as error:
            raise ParameterError(f"the test is not possible: {error}") from error

    def _length_samples(self, material: SongMaterial) -> int:
        infos = [track_info(track) for track in material.versions.values()]
        lengths = [resampled_length(i.length_samples, i.sample_rate, self.rate) for i in infos]
        return max(lengths)

    def _starts_s(self, material: SongMaterial, stem: str) -> tuple[float, ...]:
        """Return where the excerpt begins, and another part of the stem if there is one."""
        length = self._length_samples(material)
        if material.name in self.options.starts_s:
            start_s = self.options.starts_s[material.name]
            if not 0 <= start_s * self.rate <= length - self.rate * _SHORTEST_S:
                raise ParameterError(
                    f"--start {material.name}={start_s:g} must lie in the song, at least "
                    f"{_SHORTEST_S:g} s before its end at {length / self.rate:.2f} s"
                )
            return (start_s,)
        energies = step_energies(
            material.versions, stem, sample_rate=self.rate, length_samples=length
        )
        return most_active(energies, duration_s=self.options.excerpt_s)

    def _cut(self, material: SongMaterial, track: Track, stem: str, start_s: float) -> Audio:
        start = round(start_s * self.rate)
        left = self._length_samples(material) - start
        return read_stem(
            track,
            stem,
            sample_rate=self.rate,
            channels=channels_of(material),
            start_samples=start,
            samples=max(1, min(round(self.options.excerpt_s * self.rate), left)),
        )

    def _excerpt(self, material: SongMaterial, stem: str, start_s: float) -> Excerpt | None:
        """Write all versions of an excerpt; None if there is nothing to hear in it."""
        cut = {
            name: self._cut(material, track, stem, start_s)
            for name, track in material.versions.items()
        }
        if self.options.anchor:
            cut[ANCHOR] = low_passed(cut[REFERENCE], self.rate)
        shaped = {name: faded(audio, self.rate) for name, audio in cut.items()}
        versions = levelled(shaped, self.rate, target_lufs=self.options.target_lufs)
        silent = [name for name, lufs in versions.lufs.items() if lufs is None]
        if REFERENCE in silent or len(silent) == len(versions.lufs):
            _log.warning("%s, %s is left out: it is silent", material.name, stem)
            return None
        for name in silent:
            _log.warning("%s, %s: %s is silent, and stays so", material.name, stem, name)
        stimuli = [
            Stimulus(
                file=self._write(versions.audio[condition.name]),
                condition=condition.name,
                lufs=_rounded(versions.lufs[condition.name]),
                gain_db=round(versions.gains_db[condition.name], 3),
            )
            for condition in self.conditions
        ]
        return Excerpt(
            song=material.name,
            stem=stem,
            start_s=start_s,
            duration_s=next(iter(cut.values())).shape[1] / self.rate,
            level_lufs=round(versions.level_lufs, 3),
            stimuli=tuple(stimuli),
            open_reference=(
                self._write(versions.audio[REFERENCE]) if self.options.mushra else None
            ),
        )

    def _song(self, material: SongMaterial, start_s: float) -> Song:
        if material.mixture is None:
            return Song(name=material.name)
        audio = self._cut(material, material.mixture, MIXTURE, start_s)
        return Song(name=material.name, mixture=self._write_alone({"song": audio})["song"])

    def _calibration(
        self, material: SongMaterial, stem: str, start_s: float
    ) -> tuple[Calibration, ...]:
        """Write the extreme examples that can be made of what there is."""
        examples: dict[str, Audio] = {}
        if REFERENCE in material.versions:
            examples["clean"] = self._cut(material, material.versions[REFERENCE], stem, start_s)
        if material.mixture is not None:
            examples["contaminated"] = self._cut(material, material.mixture, MIXTURE, start_s)
        source = examples.get("clean", examples.get("contaminated"))
        if source is None or not source.any():
            return ()
        examples["damaged"] = damaged(source, self.rate, seed=self.options.seed)
        files = self._write_alone(examples)
        return tuple(
            Calibration.model_validate({"file": file, "kind": kind, "stem": stem})
            for kind, file in files.items()
        )

    def _write_alone(self, versions: Mapping[str, Audio]) -> dict[str, str]:
        """Write what is no trial, at one loudness too."""
        shaped = {name: faded(audio, self.rate) for name, audio in versions.items()}
        made = levelled(shaped, self.rate, target_lufs=self.options.target_lufs)
        return {name: self._write(audio) for name, audio in made.audio.items()}

    def _write(self, audio: Audio) -> str:
        name = new_audio_name()
        path = audio_path(self.root, name)
        with AudioWriter(
            path, sample_rate=self.rate, channels=len(audio), format="flac", bit_depth="16"
        ) as writer:
            writer.write(audio)
        return name


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
