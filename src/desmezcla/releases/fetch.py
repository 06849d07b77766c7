"""From an entry of the catalog to an installed release.

Options and environment:
    mirror, `DESMEZCLA_MIRROR`: Address that files are fetched from instead of their own, as
        `{mirror}/{filename}`. Checksums stay those of the catalog.
    from_dir, `DESMEZCLA_OFFLINE_DIR`: Folder that holds the original files; nothing is fetched.
"""

import logging
import os
import shutil
from pathlib import Path

from desmezcla.errors import ReleaseError
from desmezcla.releases.catalog import CatalogEntry, SourceFile
from desmezcla.releases.download import Progress, download, locked
from desmezcla.releases.release import Release
from desmezcla.releases.store import home_folder, installed_release, user_folder

logger = logging.getLogger(__name__)


def fetch_release(
    entry: CatalogEntry,
    *,
    mirror: str | None = None,
    from_dir: Path | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Release:
    """Fetch the files of a catalog entry and install them as a release of the user.

    Two processes that want the same release at once fetch it once.

    Args:
        entry: The entry.
        mirror: See the module's text; goes before the environment.
        from_dir: See the module's text; goes before the environment.
        replace: Fetch it though it is installed, and replace it.
        progress: Called with the bytes so far and the bytes in all of the current file.

    Errors:
        ReleaseError: if a file cannot be fetched, has a wrong checksum or cannot be converted.
    """
    # Deferred because it imports torch, which a download that fails should not wait for.
    from desmezcla.releases.importers import importer

    target = user_folder() / entry.name
    with locked(target):
        if not replace and (release := installed_release(entry.name)):
            return release
        if entry.non_commercial:
            logger.warning("%s is licensed %s: no commercial use", entry.name, entry.license)
        folder = home_folder() / "downloads" / entry.name
        files = [
            (source, obtain(source, folder, mirror=mirror, from_dir=from_dir, progress=progress))
            for source in entry.files
        ]
        release = importer(entry.format).convert(files, entry, target, replace=replace)
        shutil.rmtree(folder, ignore_errors=True)
    return release


def obtain(
    source: SourceFile,
    folder: Path,
    *,
    mirror: str | None = None,
    from_dir: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the path of a file of the catalog, checked: from an offline folder, or downloaded.

    Errors:
        ReleaseError: if it is not to be had, or its checksum is wrong.
    """
    offline_dir = from_dir or os.environ.get("DESMEZCLA_OFFLINE_DIR")
    if offline_dir:
        path = Path(offline_dir).expanduser() / source.filename
        if not path.is_file():
            raise ReleaseError(
                f"{path} does not exist, but the offline folder must hold {source.filename}; "
                f"fetch it from {source.url} on another machine and copy it there"
            )
        if difference := source.mismatch(path):
            raise ReleaseError(
                f"{path} has a wrong checksum: {difference}; fetch it again from {source.url}"
            )
        return path
    mirror = mirror or os.environ.get("DESMEZCLA_MIRROR")
    url = f"{mirror.rstrip('/')}/{source.filename}" if mirror else source.url
    return download(source, folder / source.filename, url=url, progress=progress)
