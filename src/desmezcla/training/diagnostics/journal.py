"""Files to which a run appends, one JSON object a line, and that a kill cannot spoil.

A line that a kill cut off is not there for the reader. What comes from steps that a resumed run
does again is removed when it begins.
"""

import json
import math
from pathlib import Path
from typing import Any

from desmezcla.errors import DesmezclaError
from desmezcla.training.checkpoint import write_durably

Line = dict[str, Any]


class DiagnosticsError(DesmezclaError):
    """What a run has written about itself cannot be written or read."""


class Journal:
    """Objects with a `step`, one a line.

    Args:
        path: Of the file; it and its folder are made when the first line comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: Line) -> None:
        """Add a line.

        Errors:
            DiagnosticsError: if it cannot be written.
        """
        text = json.dumps(_plain(line), ensure_ascii=False, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(f"{text}\n".encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self) -> list[Line]:
        """Return all lines that are complete; none if there is no file.

        Errors:
            DiagnosticsError: if a complete line is not what was written, or none can be read.
        """
        try:
            *complete, _ = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DiagnosticsError(
                f"{self.path} cannot be read ({error.strerror or error}); check its permissions"
            ) from error
        return [self._parsed(number, text) for number, text in enumerate(complete, 1)]

    def keep_before(self, step: int) -> None:
        """Remove lines of a step and those after it, and a line that was cut off.

        Errors:
            DiagnosticsError: as `read`, or if the file cannot be written.
        """
        kept = [line for line in self.read() if line["step"] < step]
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in kept)
        try:
            if self.path.exists():
                write_durably(self.path, text.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DiagnosticsError:
        return DiagnosticsError(
            f"{self.path} cannot be written ({error.strerror or error}); free some space, then go "
            "on with --resume"
        )

    def _parsed(self, number: int, text: bytes) -> Line:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            raise DiagnosticsError(
                f"line {number} of {self.path} is damaged: it must be a JSON object with a step; "
                "remove the line, or the file"
            )
        return line


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: four digits, and None for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
