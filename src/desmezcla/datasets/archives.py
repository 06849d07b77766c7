"""Unpacking zip archives of others: nothing outside the folder, nothing half, nothing twice."""

import contextlib
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath

from desmezcla.datasets.disk import check_space
from desmezcla.errors import DatasetError

_BLOCK_BYTES = 1 << 20
# Audio never shrinks more than this; what claims to is made to fill the disk.
_MAX_RATIO = 10
# What zipfile raises where the content of an archive is not what it should be.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # a method of compression, or a version of the format, that it does not know
)


def unpack(
    archive: Path,
    target: Path,
    *,
    max_bytes: int | None = None,
    extra: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Unpack a zip archive to a new folder, which appears when it is complete.

    The files are gathered in a hidden folder beside it. What an interrupted call has unpacked is
    kept there, and the next call continues after checking it.

    Args:
        archive: The archive.
        target: A folder that does not exist or is empty.
        max_bytes: Largest size of all files together; None for 10 times that of the archive.
        extra: Text files to add, by their names.
        progress: Called with the bytes unpacked so far and in all.

    Errors:
        DatasetError: if the archive is damaged or would write elsewhere than into the folder, holds
            links, is larger than it may be, or cannot be written.
    """
    limit = archive.stat().st_size * _MAX_RATIO if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(archive) as content:
            members = _checked_members(archive, content, limit)
            temporary = target.with_name(f".{target.name}.{_identity(members)}.unpacking")
            _Unpacking(content, temporary, members, progress).run()
        for name, text in (extra or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        temporary.replace(target)
    except _DAMAGE as error:
        raise DatasetError(
            f"{str(archive)!r} is damaged ({error}); remove it and fetch it again"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{str(archive)!r} cannot be unpacked to {str(target)!r} ({error}); free some space or "
            "choose another folder, and call again to go on"
        ) from error


class _Unpacking:
    """Brings the files of an archive to a folder, except those that are there already."""

    def __init__(
        self,
        content: zipfile.ZipFile,
        folder: Path,
        members: list[zipfile.ZipInfo],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.content, self.folder, self.members = content, folder, members
        self.progress = progress
        self.done = 0
        self.total = sum(member.file_size for member in members)

    def run(self) -> None:
        """Unpack everything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = []
        for member in self.members:
            if self.is_there(member):
                self.tell(member.file_size)
            else:
                missing.append(member)
        check_space(self.folder, sum(member.file_size for member in missing))
        for member in missing:
            self.write(member)

    def is_there(self, member: zipfile.ZipInfo) -> bool:
        """Return whether an earlier call has unpacked a file."""
        path = self.folder / member.filename
        if not path.is_file() or path.stat().st_size != member.file_size:
            return False
        checksum = 0
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                checksum = zlib.crc32(block, checksum)
        return checksum == member.CRC

    def write(self, member: zipfile.ZipInfo) -> None:
        """Unpack a file; zipfile reads no more than its stated size, and compares its checksum."""
        path = self.folder / member.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            with self.content.open(member) as source, part.open("wb") as out:
                while block := source.read(_BLOCK_BYTES):
                    out.write(block)
                    self.tell(len(block))
            part.replace(path)
        except OSError:
            # On a full disk every byte counts.
            part.unlink(missing_ok=True)
            raise

    def tell(self, more: int) -> None:
        """Report bytes that are done."""
        self.done += more
        if self.progress:
            self.progress(self.done, self.total)


def remove_unfinished(target: Path) -> None:
    """Remove what calls for `target` have unpacked and not finished."""
    for folder in target.parent.glob(f".{target.name}.*.unpacking"):
        shutil.rmtree(folder, ignore_errors=True)


def _checked_members(archive: Path, content: zipfile.ZipFile, limit: int) -> list[zipfile.ZipInfo]:
    """Return the files of an archive if every one of them may be written."""
    members = [
        member
        for member in content.infolist()
        # macOS adds a shadow of each file.
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    seen: set[str] = set()
    for member in members:
        problem = _problem(member)
        if member.filename.casefold() in seen:
            problem = "comes twice, at least where case does not count"
        if problem:
            raise DatasetError(
                f"{str(archive)!r} is refused: its file {member.filename!r} {problem}; get the "
                "archive from its official record"
            )
        seen.add(member.filename.casefold())
    total = sum(member.file_size for member in members)
    if not members or total > limit:
        raise DatasetError(
            f"{str(archive)!r} is refused: its {len(members)} files have {total} bytes, and must "
            f"have between 1 and {limit}; get the archive from its official record"
        )
    return members


def _problem(member: zipfile.ZipInfo) -> str | None:
    """Return why a file may not be written, None if it may."""
    name = member.filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.anchor or ".." in windows.parts:
        return "lies outside its folder"
    if "\\" in name or not name.isprintable():
        return "has a name with characters that file systems take for others"
    return None


def _identity(members: list[zipfile.ZipInfo]) -> str:
    """Return digits that tell archives of different content apart."""
    content = [(member.filename, member.file_size, member.CRC) for member in members]
    return sha256(repr(content).encode()).hexdigest()[:8]
