"""Releases that others published and that can be fetched, as checked records.

Each file of the folder `catalog_files` has the releases of one program.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from desmezcla.errors import ReleaseError
from desmezcla.releases.release import (
    Frozen,
    Name,
    Sha256,
    StemName,
    Summary,
    explain,
    file_digest,
    read_yaml,
)

CATALOG = Path(__file__).with_name("catalog_files")


class SourceFile(Frozen):
    """One file as its authors published it.

    Attributes:
        stem: What the file separates, for formats with a file per stem.
        sha256: Its complete checksum.
        sha256_prefix: The first digits of it, where no more is published (torch hub puts eight
            into the file's name). That finds damage, but not somebody who forges a file.
        sha512: The complete checksum of the other kind, published by packagers.
        size_bytes: Its size, where it is known.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^?#]+/[A-Za-z0-9._-]+$")]
    stem: StemName | None = None
    sha256: Sha256 | None = None
    sha256_prefix: Annotated[str, Field(pattern=r"^[0-9a-f]{8,63}$")] | None = None
    sha512: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")] | None = None
    size_bytes: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "SourceFile":
        if self.sha256 is None and self.sha256_prefix is None:
            raise ValueError("a file needs its sha256 or at least the first 8 digits of it")
        return self

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def digits(self) -> dict[str, str]:
        """What digests of the file begin with, by algorithm."""
        known = {"sha256": self.sha256 or self.sha256_prefix, "sha512": self.sha512}
        return {algorithm: digits for algorithm, digits in known.items() if digits}

    def mismatch(self, path: Path) -> str | None:
        """Return how a file differs from the published one, None if it does not."""
        for algorithm, digits in self.digits.items():
            got = file_digest(path, algorithm)
            if not got.startswith(digits):
                begin = "" if len(got) == len(digits) else "beginning with "
                return f"expected {algorithm} {begin}{digits}, got {got}"
        return None


class CatalogEntry(Summary):
    """A release that can be fetched.

    Attributes:
        format: Key of the importer that turns the files into a release.
        settings: Fields of the model's configuration that the files do not tell.
        size_bytes: Size when installed, approximately.
        files: What to fetch.
    """

    format: str
    settings: dict[str, Any] = Field(default_factory=dict)
    size_bytes: int = Field(gt=0)
    files: tuple[SourceFile, ...] = Field(min_length=1)


class _Catalog(Frozen):
    aliases: dict[Name, Name] = Field(default_factory=dict)
    releases: tuple[CatalogEntry, ...] = ()


@cache
def _content() -> _Catalog:
    parts = [_read_part(path) for path in sorted(CATALOG.glob("*.yaml"))]
    return _Catalog(
        aliases={alias: name for part in parts for alias, name in part.aliases.items()},
        releases=tuple(entry for part in parts for entry in part.releases),
    )


def _read_part(path: Path) -> _Catalog:
    try:
        return _Catalog.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ReleaseError(
            f"{path} is damaged: {explain(error)}; install desmezcla again"
        ) from error


def catalog() -> dict[str, CatalogEntry]:
    """Return the entries by name."""
    return {entry.name: entry for entry in _content().releases}


def aliases() -> dict[str, str]:
    """Return the names that stand for another."""
    return dict(_content().aliases)


def known_entry(files: Iterable[Path]) -> CatalogEntry | None:
    """Return the entry that all the files belong to, by their names and checksums.

    Errors:
        ReleaseError: if a file has the name of one of the catalog, but not its content.
    """
    entries = []
    for path in files:
        found = None
        for entry in catalog().values():
            for source in entry.files:
                if source.filename == path.name:
                    if difference := source.mismatch(path):
                        raise ReleaseError(
                            f"{path} is not the file of {entry.name} that its name says: "
                            f"{difference}; fetch it again from {source.url}, or rename it"
                        )
                    found = entry
        entries.append(found)
    return entries[0] if all(entry == entries[0] for entry in entries) else None
