"""`separation.json`: where stems come from, so that anyone can make them again."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from desmezcla.audio.files import write_file


class Provenance(BaseModel):
    """The content of `separation.json`.

    Attributes:
        version: Version of desmezcla.
        release: Name, model, sha256 of the weights, and licence.
        input: Name of the file, its sha256, sample rate and channels.
        options: Everything that the bytes of the stems depend on.
        stems: Name of each stem's file.
        clipped_samples: How many samples were too loud for an integer format, in all stems.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    release: dict[str, Any]
    input: dict[str, Any]
    options: dict[str, Any]
    stems: dict[str, str]
    clipped_samples: int = 0

    def same_request(self, other: "Provenance") -> bool:
        """Whether two separations do the same, apart from what happened to be clipped."""
        unknown = {"clipped_samples"}
        return self.model_dump(exclude=unknown) == other.model_dump(exclude=unknown)

    def write(self, path: Path) -> None:
        """Write as JSON; the file appears only when it is complete.

        Errors:
            AudioFileError: if it cannot be written.
        """
        write_file(path, (json.dumps(self.model_dump(), indent=2) + "\n").encode())


def read_provenance(path: Path) -> Provenance | None:
    """Read `separation.json`; None if it is not there or not readable as such."""
    try:
        return parse_provenance(path.read_bytes())
    except OSError:
        return None


def parse_provenance(content: bytes) -> Provenance | None:
    """Read the content of `separation.json`; None if it is not readable as such."""
    try:
        return Provenance.model_validate_json(content)
    except ValidationError:
        return None
