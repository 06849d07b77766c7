"""Files that appear under their final name only when they are complete."""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from desmezcla.errors import AudioFileError

# The longest name that common file systems take, in bytes.
_MAX_NAME_BYTES = 255

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file would be larger than the system or the disk's format allows; "
    "choose a smaller format (flac, mp3) or another disk",
    errno.EACCES: "you may not write there; choose another folder or change its permissions",
    errno.EPERM: "you may not write there; choose another folder or change its permissions",
    errno.EROFS: "the folder can only be read; choose another one",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another path",
}


def write_error(path: Path, error: OSError) -> AudioFileError:
    """Return the error, with its remedy, for a failure of the system while writing a file."""
    reason = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
    return AudioFileError(f"{str(path)!r} cannot be written: {reason}")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:  # the name is too long, or a part of the path is a file
        raise write_error(path, error) from error


class PendingFile:
    """A binary file under a hidden temporary name in the folder of its final one.

    It is what FFmpeg and libsndfile write to. Both lose the reason of a failed write on their way
    back, so the first one is kept in `error`.

    Args:
        path: The final name. Missing parent folders are made.

    Errors:
        AudioFileError: if the folder cannot be made or written, or the name is a folder's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.error: OSError | None = None
        if _is_folder(self.path):
            raise AudioFileError(
                f"{str(self.path)!r} cannot be written: it is a folder; choose a file name"
            )
        suffix = f".{os.getpid()}-{secrets.token_hex(4)}.part"
        # Characters of one name can take several bytes, and a name need not be valid UTF-8.
        stem = os.fsencode(self.path.name)[: _MAX_NAME_BYTES - 1 - len(suffix)]
        self.temporary = self.path.with_name("." + os.fsdecode(stem) + suffix)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.temporary.open("x+b")
        except OSError as error:
            raise write_error(self.path, error) from error

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written; FFmpeg's muxers then leave out their trailer."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Append bytes at the current position."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def read(self, size: int = -1) -> bytes:
        """Read bytes from the current position."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the current position; what is buffered is written first, so this can fail too."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = self.error or error
            raise

    def tell(self) -> int:
        """Return the current position in bytes."""
        return self._file.tell()

    def finish(self) -> None:
        """Write out what is buffered and close the file, which keeps its temporary name.

        Errors:
            AudioFileError: if that, or a write before it, failed.
        """
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error
        if self.error:
            raise write_error(self.path, self.error) from self.error

    def publish(self) -> None:
        """Give the finished file its final name, in the place of any older file.

        Errors:
            AudioFileError: if the system refuses.
        """
        try:
            self.temporary.replace(self.path)
        except OSError as error:
            raise write_error(self.path, error) from error

    def discard(self) -> None:
        """Close and remove the temporary file; after `publish` this does nothing."""
        # A full disk makes closing fail too, and the file must go all the more.
        with contextlib.suppress(OSError):
            self._file.close()
        self.temporary.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that appears only when it is complete, in the place of any older one.

    Errors:
        AudioFileError: if it cannot be written.
    """
    file = PendingFile(path)
    try:
        file.write(content)
        file.finish()
        file.publish()
    except OSError as error:
        raise write_error(file.path, error) from error
    finally:
        file.discard()
