"""A whole dataset of rendered songs, in MUSDB18-HQ's layout."""

import importlib.util
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from desmezcla.audio.formats import BitDepth
from desmezcla.datasets.disk import check_space
from desmezcla.datasets.render.library_files import SCALES, write_song, write_yaml
from desmezcla.datasets.render.library_workers import in_processes
from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.seeds import song_seed
from desmezcla.datasets.render.song import check_song_options, render_song
from desmezcla.datasets.render.sources import credits, open_material, open_midi
from desmezcla.datasets.track import Split
from desmezcla.errors import AudioFileError, DatasetError, ParameterError
from desmezcla.releases.store import home_folder
from desmezcla.version import VERSION

DATASET_FILE = "dataset.yaml"
# Length of a song where the composer chooses it, to ask for room on the disk.
_USUAL_S = 150.0


@dataclass(frozen=True)
class SongDone:
    """A song of the dataset that is complete.

    Attributes:
        name: Of the song.
        folder: Where its files lie.
        skipped: It was there already.
        done: How many are complete now.
        songs: How many there will be.
        eta_s: Seconds that are left; None as long as nothing can be told.
    """

    name: str
    folder: Path
    skipped: bool
    done: int
    songs: int
    eta_s: float | None


@dataclass(frozen=True)
class Settings:
    """What decides the samples of a dataset; a song is the same wherever these are.

    Attributes:
        seed: Of the dataset; song i has a seed of its own.
        style: Of all songs; None for any.
        duration_s: Of each song; None for whole ones.
        sample_rate: In Hz.
        bit_depth: "16" or "24".
        valid_share: Part of the songs that is for validation.
        exclude_licences: What the material may not be under; see `sources.is_excluded`.
        exclude_files: Patterns of what is not used of it; see `sources.open_material`.
        material: Checksum of the material's index; None for none.
        speech_synthesis: Whether voices of speech synthesis could be used.
        version: Of desmezcla.
    """

    seed: int
    style: str | None
    duration_s: float | None
    sample_rate: int
    bit_depth: BitDepth
    valid_share: float
    exclude_licences: tuple[str, ...]
    exclude_files: tuple[str, ...]
    material: str | None
    speech_synthesis: bool
    version: str = VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as YAML takes them."""
        return asdict(self) | {
            "exclude_licences": list(self.exclude_licences),
            "exclude_files": list(self.exclude_files),
        }


def render_dataset(
    folder: Path,
    *,
    songs: int,
    seed: int = 0,
    material: Path | None = None,
    jobs: int | None = None,
    style: str | None = None,
    duration_s: float | None = None,
    sample_rate: int = 44100,
    bit_depth: BitDepth = "16",
    valid_share: float = 0.0,
    exclude_licences: Sequence[str] = (),
    exclude_files: Sequence[str] = (),
    progress: Callable[[SongDone], None] | None = None,
) -> list[Path]:
    """Render songs to `{train,valid}/SONG/{mixture,vocals,drums,bass,other}.wav`.

    Integers of the mixture are the sums of those of the stems. Song i is the same however many
    songs there are, and whatever their number of processes: with more songs, a dataset grows, and
    an interrupted call continues where it was.

    Args:
        folder: Of the dataset.
        songs: How many.
        seed: Of the dataset, from 0.
        material: A folder of recorded sounds; None to synthesise everything.
        jobs: Processes; None for one for each core.
        style: Of all songs; None for any.
        duration_s: Of each song; None for whole songs.
        sample_rate: In Hz.
        bit_depth: Of the files, "16" or "24".
        valid_share: Part of the songs that goes to `valid/`, spread evenly.
        exclude_licences: Leave out sounds whose licence contains one of these, such as "GPL".
        exclude_files: Leave out files of the material that fit one of these patterns, such as
            "voices/gcompris/ro/*".
        progress: Called for each song.

    Returns:
        The folders of the songs.

    Errors:
        ParameterError: if an argument is out of range.
        DatasetError: if the folder holds something else, a file of the material cannot be read, or
            there is not enough room on the disk.
        AudioFileError: if a file cannot be written.
    """
    _check(songs, jobs, valid_share, bit_depth, material)
    check_song_options(seed=seed, style=style, duration_s=duration_s, sample_rate=sample_rate)
    excluded = tuple(exclude_licences), tuple(exclude_files)
    studio = Studio(material, *excluded)
    settings = Settings(
        seed=seed,
        style=style,
        duration_s=duration_s,
        sample_rate=sample_rate,
        bit_depth=bit_depth,
        valid_share=valid_share,
        exclude_licences=excluded[0],
        exclude_files=excluded[1],
        material=studio.material.digest if studio.material else None,
        speech_synthesis=importlib.util.find_spec("espeakng_loader") is not None,
    )
    _claim(folder, settings, songs, studio)
    tasks = [Task(folder, index, settings) for index in range(songs)]
    missing = [task for task in tasks if not task.folder.is_dir()]
    _check_room(folder, len(missing), settings)
    report = _Report(progress, songs, len(missing))
    for task in tasks:
        if task.folder.is_dir():
            report(task, skipped=True)
    jobs = min(jobs or os.cpu_count() or 1, len(missing))
    if jobs <= 1:
        for task in missing:
            studio.record(task)
            report(task)
    else:
        for index in in_processes(Studio, (material, *excluded), missing, jobs=jobs):
            report(missing[index])
    return [task.folder for task in tasks]


@dataclass(frozen=True)
class Task:
    """One song of a dataset: where it goes, and what decides it."""

    root: Path
    index: int
    settings: Settings

    @property
    def name(self) -> str:
        """The song's name; two datasets of different seeds have different ones."""
        return f"rendered-{self.settings.seed}-{self.index:05d}"

    @property
    def split(self) -> Split:
        """Where it belongs, which does not depend on how many songs follow."""
        share = self.settings.valid_share
        # The rounding keeps 0.1 * 10 from falling short of 1.
        before, after = (math.floor(round(share * i, 6)) for i in (self.index, self.index + 1))
        return "valid" if after > before else "train"

    @property
    def folder(self) -> Path:
        """Where its files lie when it is complete."""
        return self.root / self.split / self.name


class Studio:
    """What renders songs to files, one after the other.

    Args:
        material: A material folder, or None.
        exclude_licences: What may not be used of it.
        exclude_files: Patterns of files that may not be used of it.
    """

    def __init__(
        self,
        material: Path | None,
        exclude_licences: Sequence[str],
        exclude_files: Sequence[str],
    ) -> None:
        self.material: Material | None = None
        self.midi = None
        if material is not None:
            self.material = open_material(
                material, exclude_licences=exclude_licences, exclude_files=exclude_files
            )
            self.midi = open_midi(material, exclude_licences=exclude_licences)

    def record(self, task: Task) -> None:
        """Render a song and write its folder, which appears when it is complete."""
        settings = task.settings
        song = render_song(
            seed=song_seed(settings.seed, task.index),
            style=settings.style,
            duration_s=settings.duration_s,
            material=self.material,
            midi=self.midi,
            sample_rate=settings.sample_rate,
            cache_dir=home_folder() / "cache" / "voices",
        )
        try:
            task.folder.parent.mkdir(parents=True, exist_ok=True)
            for left in task.folder.parent.glob(f".{task.name}-*"):
                shutil.rmtree(left)  # of a call that was killed
            with tempfile.TemporaryDirectory(
                prefix=f".{task.name}-", dir=task.folder.parent, ignore_cleanup_errors=True
            ) as temporary:
                work = Path(temporary) / "song"
                write_song(work, song, bit_depth=settings.bit_depth)
                work.rename(task.folder)
        except OSError as error:
            raise AudioFileError(
                f"{str(task.folder)!r} cannot be written: {error.strerror or error}; free some "
                "space, or choose another folder"
            ) from error


class _Report:
    """Tells what is done, and how long the rest may take."""

    def __init__(
        self, progress: Callable[[SongDone], None] | None, songs: int, missing: int
    ) -> None:
        self._progress = progress
        self._songs = songs
        self._left = missing
        self._missing = missing
        self._start_s = time.monotonic()
        self._done = 0

    def __call__(self, task: Task, *, skipped: bool = False) -> None:
        self._done += 1
        self._left -= not skipped
        if self._progress is None:
            return
        rendered = self._missing - self._left
        passed_s = time.monotonic() - self._start_s
        eta_s = passed_s / rendered * self._left if rendered else None
        self._progress(SongDone(task.name, task.folder, skipped, self._done, self._songs, eta_s))


def _check(
    songs: int,
    jobs: int | None,
    valid_share: float,
    bit_depth: BitDepth,
    material: Path | None,
) -> None:
    if songs < 1:
        raise ParameterError(f"songs={songs} must be 1 or more")
    if jobs is not None and jobs < 1:
        raise ParameterError(f"jobs={jobs} must be 1 or more")
    if not 0 <= valid_share < 1:
        raise ParameterError(f"valid_share={valid_share} must be at least 0 and less than 1")
    if bit_depth not in SCALES:
        raise ParameterError(f"bit_depth={bit_depth!r} must be one of {', '.join(SCALES)}")
    if material is not None and not material.is_dir():
        raise ParameterError(
            f"material={str(material)!r} must be a folder; check the path, or leave it out to "
            "synthesise everything"
        )


def _claim(folder: Path, settings: Settings, songs: int, studio: Studio) -> None:
    """Write what the dataset is, or find that the folder holds this very one already."""
    path = folder / DATASET_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        if there is None and any(folder.iterdir()):
            raise DatasetError(
                f"folder={str(folder)!r} holds something else than a rendered dataset; choose "
                "another one"
            )
    except OSError as error:
        raise AudioFileError(
            f"{str(folder)!r} cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    except yaml.YAMLError as error:
        raise DatasetError(f"{str(path)!r} is damaged ({error}); choose another folder") from error
    wanted = settings.as_dict()
    if there is not None:
        old = there.get("settings", {}) if isinstance(there, dict) else {}
        changed = [key for key in wanted if old.get(key) != wanted[key]]
        if changed:
            now = ", ".join(f"{key}={wanted[key]!r}, not {old.get(key)!r}" for key in changed)
            raise DatasetError(
                f"folder={str(folder)!r} holds a dataset of other settings ({now}); give the same "
                "ones to continue it, or choose another folder"
            )
        songs = max(songs, int(there.get("songs", 0)))
    write_yaml(
        path,
        {
            "generator": "desmezcla data render",
            "songs": songs,
            "settings": wanted,
            "sources": credits(studio.material, studio.midi),
        },
    )


def _check_room(folder: Path, songs: int, settings: Settings) -> None:
    seconds = settings.duration_s or _USUAL_S
    song_bytes = 5 * 2 * int(settings.bit_depth) // 8 * settings.sample_rate * seconds
    if songs:
        check_space(folder, round(songs * song_bytes))
