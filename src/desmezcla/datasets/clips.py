"""Random access to the sources of a dataset: by seeking in their files, or in the cache."""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioReader
from desmezcla.audio.resample import resampled_length
from desmezcla.datasets.cache import (
    BadSourceError,
    default_cache,
    entry_bytes,
    entry_path,
    existing_entry,
    make_entry,
)
from desmezcla.datasets.disk import check_space
from desmezcla.datasets.reading import stem_sources
from desmezcla.datasets.track import Dataset, Source
from desmezcla.errors import DatasetError, DesmezclaError, ParameterError

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]
Progress = Callable[[int, int], None]

# libsndfile's names of formats in which any sample is found at once.
_SOUGHT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"})
_SOUGHT_CODINGS = ("PCM_", "FLOAT", "DOUBLE")


class Clip(Protocol):
    """One source, at one sample rate and number of channels."""

    @property
    def length_samples(self) -> int:
        """Its length."""

    def read(self, start_samples: int, out: Audio) -> None:
        """Fill `out`, `[C, n]`, with a part that lies within the clip."""


@dataclass(frozen=True)
class FileClip:
    """A source that is read from its own file, only as much as is wanted.

    Attributes:
        source: Where it lies.
        length_samples: Its length.
        is_16_bit: Whether its samples are 16-bit integers.
    """

    source: Source
    length_samples: int
    is_16_bit: bool

    def read(self, start_samples: int, out: Audio) -> None:
        """Fill `out` with a part that lies within the clip.

        Shape:
            out: `[C, n]`.

        Errors:
            BadSourceError: if the file has vanished, is damaged or holds what is not a number.
        """
        frames = self._frames(start_samples, out.shape[1]).T  # [channels of the file, n]
        if self.source.channel is not None:
            frames = frames[self.source.channel : self.source.channel + 1]
        if len(frames) > len(out):
            frames = frames.mean(axis=0, keepdims=True)
        if self.is_16_bit:
            np.multiply(frames, np.float32(1 / 32768), out=out, dtype=np.float32)
        else:
            out[:] = frames

    def _frames(self, start: int, samples: int) -> NDArray[Any]:
        name = repr(str(self.source.path))
        # Measured: libsndfile takes ten times as long for floats as for the integers themselves.
        dtype = "int16" if self.is_16_bit else "float32"
        try:
            with soundfile.SoundFile(self.source.path) as file:
                file.seek(start)
                frames: NDArray[Any] = file.read(samples, dtype=dtype, always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise BadSourceError(
                f"{name} cannot be read ({error}); bring it back, or leave its track out"
            ) from error
        if len(frames) != samples:
            raise BadSourceError(
                f"{name} ends at sample {start + len(frames)}, but its header promises "
                f"{self.length_samples}; export it again, or leave its track out"
            )
        if not self.is_16_bit and not np.isfinite(frames).all():
            raise BadSourceError(
                f"{name} holds a value that is not a number or not finite after sample {start}; "
                "export it again, or leave its track out"
            )
        return frames


@dataclass(frozen=True)
class TrackClips:
    """The stems of one track, ready to be read from anywhere.

    Attributes:
        name: The track's name.
        stems: Name of a stem -> the clips that are added; none for a stem that it does not have.
    """

    name: str
    stems: Mapping[str, tuple[Clip, ...]]

    def length_samples(self, stem: str | None = None) -> int:
        """Return the length of a stem, or of the longest one."""
        chosen = self.stems.values() if stem is None else [self.stems[stem]]
        return max((clip.length_samples for clips in chosen for clip in clips), default=0)


def prepare(
    dataset: Dataset,
    *,
    stems: tuple[str, ...],
    sample_rate: int,
    channels: int,
    cache: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    skip_bad: bool = False,
) -> tuple[TrackClips, ...]:
    """Make every track ready for random access, and fill the cache where files need it.

    Uncompressed files and FLAC at the rate wanted stay where they are; all others are decoded once.

    Args:
        dataset: The tracks.
        stems: Which stems.
        sample_rate: In Hz.
        channels: 1 or 2.
        cache: Folder of the cache; None for `default_cache()`.
        jobs: Files that are decoded at once, each in a thread and wholly in memory.
        progress: Called with the number of files that are done and their number in all.
        skip_bad: Leave tracks with a bad file out, with a warning, instead of raising.

    Errors:
        DatasetError: if a file is bad, no track is left, no track has one of the stems, or the
            cache does not fit on its disk.
        ParameterError: if an argument is out of range.
    """
    if channels not in (1, 2) or sample_rate < 1 or jobs < 1:
        raise ParameterError(
            f"channels={channels} must be 1 or 2, sample_rate={sample_rate} and jobs={jobs} "
            "must be positive"
        )
    if not stems or len(set(stems)) != len(stems):
        raise ParameterError(f"stems={stems!r} must name at least one stem, each once")
    wanted = {
        track.name: {stem: stem_sources(track, stem) for stem in stems} for track in dataset.tracks
    }
    every = dict.fromkeys(s for parts in wanted.values() for some in parts.values() for s in some)
    opener = _Opener(cache or default_cache(), sample_rate, channels)
    clips, bad = opener.open(every, jobs, progress)
    if bad and not skip_bad:
        raise next(iter(bad.values()))
    tracks = []
    for name, parts in wanted.items():
        if problem := next((bad[s] for some in parts.values() for s in some if s in bad), None):
            _log.warning("track %r is left out: %s", name, problem)
            continue
        of_stems = {stem: tuple(clips[s] for s in some) for stem, some in parts.items()}
        tracks.append(TrackClips(name, of_stems))
    tracks = [track for track in tracks if track.length_samples()]
    for stem in stems:
        if not any(track.stems[stem] for track in tracks):
            known = ", ".join(dataset.stems) or "none"
            raise DatasetError(
                f"no readable track of {str(dataset.root)!r} has the stem {stem!r}; the dataset's "
                f"stems are: {known}"
            )
    return tuple(tracks)


class _Opener:
    """Turns sources into clips."""

    def __init__(self, cache: Path, sample_rate: int, channels: int) -> None:
        self.cache, self.sample_rate, self.channels = cache, sample_rate, channels

    def open(
        self, sources: Iterable[Source], jobs: int, progress: Progress | None
    ) -> tuple[dict[Source, Clip], dict[Source, BadSourceError]]:
        """Return the clip of every source that can be read, and what is wrong with the others."""
        clips: dict[Source, Clip] = {}
        bad: dict[Source, BadSourceError] = {}
        missing: dict[Source, int] = {}
        for source in sources:
            try:
                if clip := self.file_clip(source) or existing_entry(self.path(source)):
                    clips[source] = clip
                else:
                    missing[source] = self.estimated_bytes(source)
            except BadSourceError as error:
                bad[source] = error
        if missing:
            _log.info("decoding %d files into %s", len(missing), self.cache)
            check_space(self.cache, sum(missing.values()))
        count = len(clips) + len(missing)
        with ThreadPoolExecutor(jobs) as pool:
            for source, made in zip(missing, pool.map(self.decoded, missing), strict=True):
                if isinstance(made, BadSourceError):
                    bad[source] = made
                else:
                    clips[source] = made
                if progress:
                    progress(len(clips), count)
        return clips, bad

    def file_clip(self, source: Source) -> FileClip | None:
        """Return a clip that seeks in the file itself, if that can be done."""
        try:
            info = soundfile.info(str(source.path))
        except (OSError, soundfile.LibsndfileError):
            return None  # compressed, or damaged: the decoder will tell
        fits = (
            source.stream == 0
            and info.format in _SOUGHT_FORMATS
            and info.subtype.startswith(_SOUGHT_CODINGS)
            and info.samplerate == self.sample_rate
            and info.frames > 0
            and (source.channel or 0) < info.channels <= 2
        )
        return FileClip(source, info.frames, info.subtype == "PCM_16") if fits else None

    def path(self, source: Source) -> Path:
        """Return where the cache has the source."""
        return entry_path(self.cache, source, sample_rate=self.sample_rate, channels=self.channels)

    def estimated_bytes(self, source: Source) -> int:
        """Return how large the entry will be, as far as the file's header tells."""
        try:
            with AudioReader(source.path, stream=source.stream) as reader:
                length, rate = reader.length_samples, reader.sample_rate
        except DesmezclaError as error:
            raise BadSourceError(str(error)) from error
        return entry_bytes(resampled_length(length or 0, rate, self.sample_rate), self.channels)

    def decoded(self, source: Source) -> Clip | BadSourceError:
        """Decode a source into the cache, or return what is wrong with it."""
        try:
            return make_entry(
                self.path(source), source, sample_rate=self.sample_rate, channels=self.channels
            )
        except BadSourceError as error:
            return error
