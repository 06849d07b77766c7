"""Importers: one file per foreign format, and the file's name is the format's key.

A format's quirks live here and nowhere else. Nothing from a file is ever run: weights are read by
readers that know tensors and plain values only. Each importer has

- `recognises(path)`: whether the path looks like its format, without reading weights,
- `read(path, name, target, replace=...)`: turn what is at the path into a release folder,
- `convert(files, entry, target, replace=...)`, if the catalog has releases of the format: the
  same for the fetched files of an entry.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.releases.catalog import CatalogEntry, SourceFile
from desmezcla.releases.release import Release
from desmezcla.releases.store import check_name, user_folder


class Importer(Protocol):
    """What a module of this folder offers."""

    def recognises(self, path: Path) -> bool:
        """Return whether the path looks like the format."""

    def read(self, path: Path, name: str, target: Path, *, replace: bool) -> Release:
        """Turn what is at the path into the release folder `target`."""

    def convert(
        self,
        files: Sequence[tuple[SourceFile, Path]],
        entry: CatalogEntry,
        target: Path,
        *,
        replace: bool,
    ) -> Release:
        """Turn the files of a catalog entry into the release folder `target`."""


def list_formats() -> list[str]:
    """Return the keys of all formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def importer(key: str) -> Importer:
    """Return the importer of a format.

    Errors:
        ParameterError: if there is none.
    """
    if key not in list_formats():
        raise ParameterError(
            f"format={key!r} is not known; choose one of auto, {', '.join(list_formats())}"
        )
    return cast(Importer, importlib.import_module(f"{__name__}.{key}"))


def import_release(
    path: str | Path, name: str, *, format: str = "auto", replace: bool = False
) -> Release:
    """Bring in a checkpoint of another program as a release of the user.

    Args:
        path: File or folder.
        name: What to call the release.
        format: Key of the format, or "auto" to tell by the looks of the path.
        replace: Replace the user's release of that name.

    Errors:
        ParameterError: if the name or the format is not allowed.
        ReleaseError: if the path is missing, is of no known format or does not hold what it
            should, or the name is taken.
    """
    source, target = Path(path).expanduser(), user_folder() / check_name(name)
    if format != "auto":
        chosen = importer(format)
    if not source.exists():
        raise ReleaseError(f"{source} does not exist; give the path of a checkpoint or a folder")
    if target.exists() and not replace:
        raise ReleaseError(
            f"the release {name!r} exists in {target}; choose another name, or replace it with "
            "--force (replace=True)"
        )
    if format == "auto":
        chosen = _recognise(source)
    return chosen.read(source, name, target, replace=replace)


def _recognise(path: Path) -> Importer:
    keys = [key for key in list_formats() if importer(key).recognises(path)]
    if len(keys) != 1:
        found = f"may be {' or '.join(keys)}" if keys else "is of no known format"
        raise ReleaseError(f"{path} {found}; say which with --format ({', '.join(list_formats())})")
    return importer(keys[0])
