"""Demucs: packages (`.th`), the safetensors files of version 4.1, and bags of either (YAML).

A bag is a YAML file that names models beside it, and what each counts for each stem; it becomes a
bag of releases NAME-1, NAME-2, ... A bag of one model becomes a release like any other. What a
model's file holds is read by `releases.demucs_file`.
"""

import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from desmezcla.errors import ReleaseError
from desmezcla.releases.catalog import CatalogEntry, SourceFile, known_entry
from desmezcla.releases.checkpoint import save_release, write_release_file
from desmezcla.releases.demucs_arguments import NETWORKS
from desmezcla.releases.demucs_file import broken_rules, read_header, read_network
from desmezcla.releases.release import (
    CARD_FILE,
    About,
    Frozen,
    Member,
    Release,
    ReleaseFile,
    about_of,
    card_text,
    file_digest,
    read_release,
    read_yaml,
)
from desmezcla.releases.store import check_name, new_folder

SUFFIXES = (".th", ".safetensors")
CHECKSUM = re.compile(r"(.+)-([0-9a-f]{8,64})")


class _Bag(Frozen):
    """The YAML file of a bag, or what the catalog says of one.

    Attributes:
        models: Signatures: the names of the files without the checksum.
        weights: By model and by stem, the stems in the order of the models.
        segment: Seconds that each model is given at once, instead of its own.
    """

    models: tuple[str, ...] = Field(min_length=1)
    weights: tuple[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], ...] | None = (
        None
    )
    segment: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def recognises(path: Path) -> bool:
    """Return whether the path is a package, a bag, or a folder with either."""
    if path.is_dir():
        return any(path.glob("*.th")) or any(map(_is_bag, path.glob("*.yaml")))
    if path.suffix == ".safetensors":
        return read_header(path).get("klass") in NETWORKS
    return path.suffix == ".th" or (path.suffix == ".yaml" and _is_bag(path))


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Turn a file, a bag or a folder of Demucs into a release folder, or one for each model.

    Errors:
        ReleaseError: if a file is missing, cannot be read, holds anything but a network, or does
            not fit. Nothing is installed then.
    """
    bag, files = _find(path)
    about = About(name=name, description="Imported from Demucs.")
    if entry := known_entry(files):
        about = about_of(entry, name=name)
        if len(files) < len(entry.files):
            about = about.model_copy(update={"scores": ()})
    return _install(bag, files, about, target, replace=replace)


def convert(
    files: Sequence[tuple[SourceFile, Path]],
    entry: CatalogEntry,
    target: Path,
    *,
    replace: bool,
) -> Release:
    """Turn the files of a catalog entry into a release folder, or one for each model.

    Errors:
        ReleaseError: as `read`.
    """
    paths = [path for _, path in files]
    bag = _Bag(models=tuple(path.stem for path in paths), **entry.settings)
    return _install(bag, paths, about_of(entry), target, replace=replace)


def _find(path: Path) -> tuple[_Bag, list[Path]]:
    """Return the bag at a path and the files of its models; a single model is a bag of its own."""
    if path.is_dir():
        bags = [file for file in sorted(path.glob("*.yaml")) if _is_bag(file)]
        found = bags or [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ReleaseError(
                f"{path} must hold one bag (.yaml) or one model ({' or '.join(SUFFIXES)}), but "
                f"holds {names}; give the path of the file that you mean"
            )
        path = found[0]
    if path.suffix != ".yaml":
        return _Bag(models=(path.stem,)), [_checked(path)]
    try:
        bag = _Bag.model_validate(_yaml_content(path))
    except ValidationError as error:
        raise ReleaseError(
            f"{path} is no bag of demucs ({broken_rules(error)}); correct it"
        ) from error
    return bag, [_checked(_model_file(path.parent, signature)) for signature in bag.models]


def _model_file(folder: Path, signature: str) -> Path:
    found = []
    for file in sorted(folder.iterdir()):
        match = CHECKSUM.fullmatch(file.stem)
        if file.suffix in SUFFIXES and signature in (file.stem, match[1] if match else None):
            found.append(file)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ReleaseError(
            f"{folder} must hold one file {signature}.th, {signature}-CHECKSUM.th or "
            f"{signature}.safetensors, but holds {names}; put the models beside the bag"
        )
    return found[0]


def _checked(path: Path) -> Path:
    """Return a path if the file has the checksum that its name says."""
    match = CHECKSUM.fullmatch(path.stem)
    if match and path.suffix == ".th" and not (got := file_digest(path)).startswith(match[2]):
        raise ReleaseError(
            f"{path} has the sha256 {got}, but its name says that it begins with {match[2]}; the "
            "file is damaged, so fetch it again"
        )
    return path


def _is_bag(path: Path) -> bool:
    try:
        content = _yaml_content(path)
    except ReleaseError:
        return False
    return isinstance(content, dict) and "models" in content


def _yaml_content(path: Path) -> object:
    try:
        return read_yaml(path)
    except RecursionError as error:
        raise ReleaseError(f"{path} was refused: it is nested too deeply") from error


def _install(
    bag: _Bag, files: Sequence[Path], about: About, target: Path, *, replace: bool
) -> Release:
    """Install the models of a bag and the bag itself, or nothing."""
    unique = list(dict.fromkeys(files))
    names = [check_name(f"{about.name}-{number}") for number, _ in enumerate(unique, 1)]
    old: tuple[Member, ...] = ()
    with suppress(ReleaseError):  # what is there may be damaged, and is replaced
        old = read_release(target).info.members
    if len(files) == 1:
        names = []
        network = read_network(files[0], segment_s=bag.segment)
        save_release(network.model, target, about, replace=replace)
    else:
        with ExitStack() as stack:
            # The folder of the bag is entered first, so that it appears last.
            folder, *works = (
                stack.enter_context(new_folder(target.with_name(name), replace=replace))
                for name in (target.name, *names)
            )
            parts = []
            for name, work, file in zip(names, works, unique, strict=True):
                network = read_network(file, segment_s=bag.segment)
                text = f"Part of {about.name}, which is a bag of {len(unique)} models."
                own = about.model_copy(update={"name": name, "description": text, "scores": ()})
                release = save_release(network.model, work, own, replace=True)
                parts.append((release.info, network.sources))
            models = [unique.index(file) for file in files]
            _write_bag(folder, about, parts[0][0], _members(bag, models, parts))
    for member in old:  # of a bag that was replaced by one with fewer models
        if member.release.startswith(f"{target.name}-") and member.release not in names:
            shutil.rmtree(target.with_name(member.release), ignore_errors=True)
    return read_release(target)


def _members(
    bag: _Bag, models: Sequence[int], parts: Sequence[tuple[ReleaseFile, tuple[str, ...]]]
) -> tuple[Member, ...]:
    """Return what each release counts for each stem.

    Args:
        bag: The bag.
        models: For each of its models, the position of its release; a model may come twice.
        parts: The releases, and the order of the stems that the rows of weights have.
    """
    first, stems = parts[0]
    for info, sources in parts:
        mine = (sources, info.sample_rate, info.channels)
        if mine != (stems, first.sample_rate, first.channels):
            raise ReleaseError(
                f"the models of a bag must be alike, but {info.name} gives {', '.join(sources)} "
                f"at {info.sample_rate} Hz with {info.channels} channels, and {first.name} "
                f"{', '.join(stems)} at {first.sample_rate} Hz with {first.channels}"
            )
    rows = bag.weights or ((1.0,) * len(stems),) * len(models)
    if len(rows) != len(models) or any(len(row) != len(stems) for row in rows):
        raise ReleaseError(
            f"weights={bag.weights} must have one row for each of {len(models)} models, with one "
            f"number for each of {', '.join(stems)}; correct the bag"
        )
    totals = [dict.fromkeys(stems, 0.0) for _ in parts]
    for model, row in zip(models, rows, strict=True):
        for stem, weight in zip(stems, row, strict=True):
            totals[model][stem] += weight
    if lacking := [stem for stem in stems if not any(total[stem] for total in totals)]:
        raise ReleaseError(f"no model of the bag has a weight for {', '.join(lacking)}; correct it")
    return tuple(
        Member(release=info.name, weights={stem: w for stem, w in total.items() if w > 0})
        for (info, _), total in zip(parts, totals, strict=True)
        if any(total.values())
    )


def _write_bag(folder: Path, about: About, first: ReleaseFile, members: tuple[Member, ...]) -> None:
    bag = ReleaseFile(
        **about.model_dump(),
        stems=first.stems,
        sample_rate=first.sample_rate,
        channels=first.channels,
        members=members,
    )
    (folder / CARD_FILE).write_text(card_text(bag), encoding="utf-8", newline="\n")
    write_release_file(folder, bag)
