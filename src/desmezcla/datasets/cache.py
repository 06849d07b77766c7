"""Decoded audio on disk, mapped into memory: any place of a compressed file without decoding it.

An entry holds one source at one sample rate and number of channels, as 16-bit integers of which
the largest is the source's own peak: its error is below half a step, 96 dB under the peak. The name
of an entry is made of the path, size and time of the file, so a file that changes gets a new one.
Entries are written under a temporary name, and several processes may want the same one at once.
The folder may be deleted whenever no training uses it.
"""

import json
import os
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.files import PendingFile, write_error
from desmezcla.datasets.disk import check_space
from desmezcla.datasets.reading import read_source
from desmezcla.datasets.track import Source
from desmezcla.errors import AudioFileError, DatasetError, DesmezclaError
from desmezcla.releases.download import locked
from desmezcla.releases.store import home_folder

Audio = NDArray[np.float32]

_MAGIC = b"DSMZAUD1"
# Magic, size of a step, channels, samples; the data begins where a cache line does.
_HEADER = struct.Struct("<8sdqq")
_DATA_OFFSET = 64
_BYTES_PER_SAMPLE = 2
_LARGEST = 32767


def default_cache() -> Path:
    """Return the folder of the cache where none is named: `cache` in desmezcla's own folder."""
    return home_folder() / "cache"


class BadSourceError(DatasetError):
    """A file of a dataset cannot be read; its track can be left out."""


class CachedClip:
    """One source that lies decoded in the cache.

    Args:
        path: The entry.

    Errors:
        DatasetError: if there is no such entry, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                header = stream.read(_HEADER.size)
                size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise self._lost(str(error)) from error
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            raise self._lost("it is no entry of the cache")
        _, self._step, self.channels, self.length_samples = _HEADER.unpack(header)
        expected = _DATA_OFFSET + self.channels * self.length_samples * _BYTES_PER_SAMPLE
        if size != expected:
            raise self._lost(f"it has {size} bytes instead of {expected}")
        self._mapped: NDArray[np.int16] | None = None

    def read(self, start_samples: int, out: Audio) -> None:
        """Fill `out` with a part that lies within the clip.

        Shape:
            out: `[C, n]`.

        Errors:
            DatasetError: if the entry was removed.
        """
        if self._mapped is None:
            shape = (self.channels, self.length_samples)
            try:
                self._mapped = np.memmap(
                    self.path, np.int16, mode="r", offset=_DATA_OFFSET, shape=shape
                )
            except (OSError, ValueError) as error:
                raise self._lost(str(error)) from error
        part = self._mapped[:, start_samples : start_samples + out.shape[1]]
        np.multiply(part, self._step, out=out, dtype=np.float32)

    def __getstate__(self) -> dict[str, object]:
        # A process maps the file itself; sent to another one, the map would become a copy.
        return self.__dict__ | {"_mapped": None}

    def _lost(self, reason: str) -> DatasetError:
        return DatasetError(
            f"{str(self.path)!r} of the cache cannot be used ({reason}); start again, and it is "
            "made anew"
        )


def entry_path(folder: Path, source: Source, *, sample_rate: int, channels: int) -> Path:
    """Return where the entry of a source lies, or will.

    Errors:
        BadSourceError: if the source's file does not exist.
    """
    try:
        path = source.path.resolve(strict=True)
        status = path.stat()
    except OSError as error:
        raise BadSourceError(
            f"{str(source.path)!r} cannot be read ({error.strerror}); bring it back, or leave its "
            "track out"
        ) from error
    file = [str(path), status.st_size, status.st_mtime_ns, source.stream, source.channel]
    key = sha256(json.dumps([*file, sample_rate, channels]).encode()).hexdigest()[:32]
    return folder / f"{key}.audio"


def existing_entry(path: Path) -> CachedClip | None:
    """Return an entry if it is there and whole."""
    try:
        return CachedClip(path)
    except DatasetError:
        return None


def make_entry(path: Path, source: Source, *, sample_rate: int, channels: int) -> CachedClip:
    """Decode a source into the cache, unless another process has done so meanwhile.

    Errors:
        BadSourceError: if the source cannot be read.
        DatasetError: if the entry cannot be written, for instance because the disk is full.
    """
    # A bucket of entries shares a lock, so that thousands of entries leave few lock files.
    with locked(path.with_name(path.name[:2])):
        if entry := existing_entry(path):
            return entry
        for stale in path.parent.glob(f".{path.name}.*.part"):
            stale.unlink(missing_ok=True)  # its process was killed, or it would hold the lock
        audio = _decoded(source, sample_rate, channels)
        check_space(path.parent, entry_bytes(audio.shape[1], channels))
        try:
            _write(path, audio)
        except AudioFileError as error:
            raise DatasetError(str(error)) from error
    return CachedClip(path)


def entry_bytes(length_samples: int, channels: int) -> int:
    """Return how large an entry is."""
    return _DATA_OFFSET + length_samples * channels * _BYTES_PER_SAMPLE


def _decoded(source: Source, sample_rate: int, channels: int) -> Audio:
    try:
        audio = read_source(source, sample_rate=sample_rate, channels=channels)
    except DesmezclaError as error:
        raise BadSourceError(str(error)) from error
    if audio.shape[1] == 0:
        raise BadSourceError(f"{str(source.path)!r} holds no sound; leave its track out")
    return audio


def _write(path: Path, audio: Audio) -> None:
    peak = float(np.abs(audio).max())
    step = peak / _LARGEST if peak else 1.0
    header = _HEADER.pack(_MAGIC, step, *audio.shape).ljust(_DATA_OFFSET, b"\0")
    file = PendingFile(path)
    try:
        file.write(header)
        for channel in audio:
            file.write(np.rint(channel / step).astype(np.int16).tobytes())
        file.finish()
        file.publish()
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        file.discard()
