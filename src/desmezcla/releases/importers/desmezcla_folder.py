"""Release folders of this project: checked, loaded once to be sure, and copied under a name."""

import shutil
from pathlib import Path

from desmezcla.releases.checkpoint import load_model, write_release_file
from desmezcla.releases.release import RELEASE_FILE, Release, read_release
from desmezcla.releases.store import new_folder, verify_release


def recognises(path: Path) -> bool:
    """Return whether the path is a folder with a `release.yaml`."""
    return (path / RELEASE_FILE).is_file()


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Copy a release folder.

    Errors:
        ReleaseError: if a file is damaged or the weights do not fit the configuration.
    """
    release = read_release(path)
    verify_release(release)
    if release.info.model:
        load_model(release)
    with new_folder(target, replace=replace) as work:
        for file in release.info.sha256:
            shutil.copyfile(path / file, work / file)
        write_release_file(work, release.info.model_copy(update={"name": name}))
    return read_release(target)
