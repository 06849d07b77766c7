"""Where releases are on this machine, and how a name finds one.

A name is looked up in this order: the path of a release folder, the user's releases, those that
come with the package, the catalog (fetched on first use). The user's are in the folder `releases`
of `$DESMEZCLA_HOME`, or of the platform's data folder. An alias of the catalog, such as `spleeter`,
stands for a name; a user's release that is called like the alias goes before it.
"""

import contextlib
import difflib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.releases.catalog import CatalogEntry, aliases, catalog
from desmezcla.releases.release import (
    NAME_PATTERN,
    RELEASE_FILE,
    Release,
    Scores,
    Summary,
    file_digest,
    read_release,
)

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).with_name("bundled")


@dataclass(frozen=True)
class ReleaseInfo:
    """What a list shows of one release.

    Attributes:
        model: Key of the architecture, or "bag".
        saw_musdb18_test: Whether MUSDB18's test tracks were training data, None if unknown.
        size_bytes: Of its files; for what is not installed, approximately.
        installed: Whether it is on this machine, bundled or fetched.
        aliases: Other names that stand for it.
    """

    name: str
    model: str
    stems: tuple[str, ...]
    sample_rate: int
    license: str
    trained_on: str
    saw_musdb18_test: bool | None
    scores: tuple[Scores, ...]
    description: str
    size_bytes: int
    bundled: bool
    installed: bool
    causal: bool
    aliases: tuple[str, ...]


def home_folder() -> Path:
    """Return the folder of everything that desmezcla keeps for the user."""
    home = os.environ.get("DESMEZCLA_HOME")
    return Path(home).expanduser() if home else platformdirs.user_data_path("desmezcla", False)


def user_folder() -> Path:
    """Return the folder of the user's releases."""
    return home_folder() / "releases"


def check_name(name: str) -> str:
    """Return the name if a release may be called so.

    Errors:
        ParameterError: if it may not.
    """
    if not re.fullmatch(NAME_PATTERN, name) or name.endswith("."):
        raise ParameterError(
            f"name={name!r} must be 1 to 64 of a-z, 0-9, '_', '.' and '-', must begin with a "
            "letter or digit and not end with a dot; choose another"
        )
    return name


def find_release(
    name: str | Path,
    *,
    download: bool = True,
    progress: Callable[[int, int | None], None] | None = None,
) -> Release:
    """Return the release that a name, or the path of a release folder, stands for.

    Args:
        name: Its name, an alias, or a path.
        download: Fetch it if the catalog has it and it is not installed.
        progress: Called with the bytes so far and the bytes in all (None if not known) of the
            file being fetched.

    Errors:
        ReleaseError: if there is no such release, or it cannot be read or fetched.
    """
    found = locate_release(name)
    if isinstance(found, Release):
        return found
    if not download:
        raise ReleaseError(
            f"release {found.name!r} is not installed; fetch it with: "
            f"desmezcla models download {found.name}"
        )
    # Deferred because it imports httpx and torch, which a look-up does not need.
    from desmezcla.releases.fetch import fetch_release

    return fetch_release(found, progress=progress)


def locate_release(name: str | Path) -> Release | CatalogEntry:
    """Return what a name or a path stands for: a release, or an entry that can be fetched.

    Errors:
        ReleaseError: if there is no such release, or its `release.yaml` cannot be read.
    """
    folder = Path(name)
    with contextlib.suppress(OSError, RuntimeError):  # a name too long for a path, a user unknown
        folder = folder.expanduser()
        if (folder / RELEASE_FILE).is_file():
            return read_release(folder)
    name = str(name)
    if "/" in name or "\\" in name or name.startswith(("~", ".")):
        raise ReleaseError(
            f"{name} is not a release folder: it has no {RELEASE_FILE}; for a checkpoint of "
            "another program use: desmezcla models import PATH --name NAME"
        )
    real_name = aliases().get(name, name)
    return installed_release(name) or installed_release(real_name) or catalog_entry(real_name)


def installed_release(name: str) -> Release | None:
    """Return a release of the user or of the package by its own name, None if there is none."""
    if not re.fullmatch(NAME_PATTERN, name):
        return None
    for folder in (user_folder(), BUNDLED):
        if (folder / name / RELEASE_FILE).is_file():
            return _read_own(folder / name)
    return None


def _read_own(folder: Path) -> Release:
    """Read a release that is found by the name of its folder."""
    release = read_release(folder, bundled=folder.parent == BUNDLED)
    if release.name != folder.name:
        raise ReleaseError(
            f"{folder} holds the release {release.name!r}, but a release must be in a folder of "
            "its own name; rename the folder back, or import it under another name"
        )
    return release


def catalog_entry(name: str) -> CatalogEntry:
    """Return an entry of the catalog.

    Errors:
        ReleaseError: if there is none; it names what is spelt alike.
    """
    if entry := catalog().get(name):
        return entry
    known = sorted({*(info.name for info in list_releases()), *aliases()})
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    raise ReleaseError(f"release {name!r} does not exist; {hint}")


def list_releases() -> list[ReleaseInfo]:
    """Return all releases, installed or only in the catalog, by name. Imports no torch."""
    infos = {name: release_info(entry) for name, entry in catalog().items()}
    for folder in (BUNDLED, user_folder()):
        for path in sorted(folder.glob(f"[!.]*/{RELEASE_FILE}")):
            try:
                release = _read_own(path.parent)
            except ReleaseError as error:
                logger.warning("left out of the list: %s", error)
            else:
                infos[release.name] = release_info(release)
    return [infos[name] for name in sorted(infos)]


def release_info(found: Release | CatalogEntry) -> ReleaseInfo:
    """Return what a list shows of a release or of an entry of the catalog."""
    about: Summary = found.info if isinstance(found, Release) else found
    seen = about.saw_musdb18_test
    return ReleaseInfo(
        name=about.name,
        model=about.model or "bag",
        stems=about.stems,
        sample_rate=about.sample_rate,
        license=about.license,
        trained_on=about.trained_on,
        saw_musdb18_test=seen if isinstance(seen, bool) else None,
        scores=about.scores,
        description=about.description,
        size_bytes=found.size_bytes,
        bundled=isinstance(found, Release) and found.bundled,
        installed=isinstance(found, Release),
        causal=about.causal,
        aliases=tuple(alias for alias, name in aliases().items() if name == about.name),
    )


def verify_release(release: Release) -> tuple[str, ...]:
    """Recompute the checksum of every file of a release, and return the names of the files.

    Errors:
        ReleaseError: if a file is missing or is not what `release.yaml` says.
    """
    for file, expected in release.info.sha256.items():
        path = release.folder / file
        got = file_digest(path)
        if got != expected:
            raise ReleaseError(
                f"{path} has the sha256 {got}, but release {release.name!r} was made with "
                f"{expected}; the file is damaged or was changed, so install the release again"
            )
    return tuple(release.info.sha256)


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` when the block ends without an error.

    The folder appears under its final name only when it is complete. Where it replaces another,
    that one is moved away first and deleted last.

    Errors:
        ReleaseError: if `target` exists and is not to be replaced, or cannot be written.
    """
    _check_free(target, replace=replace)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name with a dot in front, because lists pass over such folders.
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        work, old = temporary / "new", temporary / "old"
        work.mkdir()
        yield work
        _check_free(target, replace=replace)
        if target.exists():
            target.rename(old)
        work.rename(target)
    except OSError as error:
        raise ReleaseError(
            f"{target} cannot be written ({error}); free space, or set DESMEZCLA_HOME to a "
            "folder that can be written"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_free(target: Path, *, replace: bool) -> None:
    if target.exists() and not replace:
        raise ReleaseError(
            f"{target} exists; choose another name, or replace it with --force (replace=True)"
        )
