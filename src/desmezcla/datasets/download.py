"""MUSDB18 from its official records: fetched, checked and unpacked."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from desmezcla.datasets.archives import remove_unfinished, unpack
from desmezcla.datasets.disk import check_space
from desmezcla.errors import DatasetError, ParameterError, ReleaseError
from desmezcla.releases.download import download, locked
from desmezcla.releases.release import file_digest

Progress = Callable[[str, int, int | None], None]
"""Called with "download" or "unpack", the bytes so far and the bytes in all, None if not known."""

# Says, inside a dataset's folder, that it is complete and where it is from.
RECORD_FILE = ".desmezcla-dataset.json"

_TERMS = (
    "MUSDB18 is for research and education, not for commercial use; each track has its own "
    "licence, listed at https://sigsep.github.io/datasets/musdb.html"
)


@dataclass(frozen=True)
class DatasetArchive:
    """A dataset as its authors published it, in one zip archive.

    Attributes:
        name: What it is called here.
        description: One line about it.
        url: Address of the archive.
        md5: Its checksum, of the kind that Zenodo publishes: it finds damage, but not somebody who
            forges an archive.
        size_bytes: Its size.
        terms: What it may be used for, to be shown to whoever fetches it.
    """

    name: str
    description: str
    url: str
    md5: str
    size_bytes: int
    terms: str = _TERMS

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    def mismatch(self, path: Path) -> str | None:
        """Return how a file differs from the published one, None if it does not."""
        if (size := path.stat().st_size) != self.size_bytes:
            return f"expected {self.size_bytes} bytes, got {size}"
        if (md5 := file_digest(path, "md5")) != self.md5:
            return f"expected md5 {self.md5}, got {md5}"
        return None


ARCHIVES = {
    archive.name: archive
    for archive in (
        DatasetArchive(
            name="musdb18hq",
            description="150 songs with 4 stems, uncompressed",
            url="https://zenodo.org/records/3338373/files/musdb18hq.zip",
            # Size and md5 as several projects took them from Zenodo's record 3338373, all alike.
            md5="12d4f2ecd55245a4688754dd76363103",
            size_bytes=22_656_664_047,
        ),
        DatasetArchive(
            name="musdb18",
            description="150 songs with 4 stems, AAC at 256 kbit/s, up to 16 kHz",
            url="https://zenodo.org/records/1117372/files/musdb18.zip",
            # Size and md5: https://zenodo.org/records/1117372/export/json
            md5="af06762477334799bfc5abf237648207",
            size_bytes=4_684_228_845,
        ),
        DatasetArchive(
            name="musdb18-sample",
            description="7 seconds of each song of MUSDB18, AAC",
            url="https://zenodo.org/records/3270814/files/MUSDB18-7-STEMS.zip",
            # Size and md5 as one project took them from Zenodo's record 3270814; the copy that
            # the musdb package fetches from GitHub is known to have the same size.
            md5="dc2bdfac5b46ce742bd60009866758a5",
            size_bytes=147_209_385,
        ),
    )
}


def dataset_archive(name: str) -> DatasetArchive:
    """Return what is known of a dataset that can be fetched.

    Errors:
        ParameterError: if there is none of that name.
    """
    if name not in ARCHIVES:
        raise ParameterError(f"dataset={name!r} must be one of {', '.join(ARCHIVES)}")
    return ARCHIVES[name]


def download_dataset(
    name: str,
    folder: Path,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
    keep_archive: bool = False,
) -> Path:
    """Fetch a dataset and unpack it to a folder, which appears when it is complete.

    The archive lies beside the folder until it is unpacked. An interrupted call leaves what it has,
    and the next one continues. An archive that is there before the call is used, and stays.

    Args:
        name: "musdb18hq", "musdb18" or "musdb18-sample".
        folder: The dataset's own folder; it must not exist or be empty, unless it is what an
            earlier call has made.
        mirror: Address that has the archive instead of the official one, as `{mirror}/{filename}`;
            goes before `$DESMEZCLA_MIRROR`.
        progress: See `Progress`.
        keep_archive: Leave the archive there.

    Errors:
        DatasetError: if the archive cannot be fetched, has a wrong checksum or an unsafe content,
            or the disk has too little room.
        ParameterError: if there is no dataset of that name.
    """
    archive = dataset_archive(name)
    folder = folder.expanduser().absolute()
    file = folder.with_name(archive.filename)
    mirror = mirror or os.environ.get("DESMEZCLA_MIRROR")
    with locked(folder):
        if _is_complete(folder, archive):
            return folder
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DatasetError(
                f"folder={str(folder)!r} holds something else than {name}; give a new folder"
            )
        if not (was_there := file.exists()):
            _check_space(archive, file)
        try:
            download(
                archive,
                file,
                url=f"{mirror.rstrip('/')}/{archive.filename}" if mirror else None,
                progress=progress and (lambda done, total: progress("download", done, total)),
                other_way=f"get the archive by other means and put it at {str(file)!r}",
            )
        except ReleaseError as error:
            raise DatasetError(str(error)) from error
        record = {"name": name, "url": archive.url, "md5": archive.md5, "terms": archive.terms}
        unpack(
            file,
            folder,
            extra={RECORD_FILE: json.dumps(record, indent=2) + "\n"},
            progress=progress and (lambda done, total: progress("unpack", done, total)),
        )
        remove_unfinished(folder)
        if not (keep_archive or was_there):
            file.unlink()
    return folder


def _is_complete(folder: Path, archive: DatasetArchive) -> bool:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("md5") == archive.md5


def _check_space(archive: DatasetArchive, file: Path) -> None:
    """Raise if there is no room for the rest of the archive and for its content.

    How large the content is shows only in the archive, but audio is no smaller than its zip.
    """
    part = file.with_name(f"{file.name}.part")
    have = part.stat().st_size if part.exists() else 0
    check_space(file.parent, 2 * archive.size_bytes - have)
