"""What an upload is, found out by a process of its own: decoders may crash on what is damaged.

`python -m desmezcla.studio.probe FILE` prints a line of JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from desmezcla.audio.reader import AudioReader
from desmezcla.errors import DesmezclaError
from desmezcla.studio.child import child
from desmezcla.web.app import RequestError

RATES_HZ = (4000, 192_000)
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Song:
    """What a file says of itself.

    Attributes:
        sample_rate: In Hz.
        channels: Number of channels.
        duration_s: None if the file does not say; it can be wrong.
    """

    sample_rate: int
    channels: int
    duration_s: float | None


class Prober:
    """Looks at uploads, a few at a time.

    Args:
        max_duration_s: Longest song.
        at_once: Processes at the same time.
    """

    def __init__(self, *, max_duration_s: float, at_once: int = 2) -> None:
        self._max_duration_s = max_duration_s
        self._turns = asyncio.Semaphore(at_once)

    async def look(self, path: Path, name: str) -> Song:
        """Return what a file is.

        Args:
            path: The file.
            name: What to call it in an error.

        Errors:
            RequestError: if it is no audio, or is too long.
        """
        async with self._turns:
            found = await _run(path)
        if found is None:
            raise RequestError(
                422, f"{name!r} cannot be read: the decoder failed at it; convert it to wav or flac"
            )
        if "error" in found:
            raise RequestError(422, without_path(found["error"], path, name))
        song = Song(**found)
        low, high = RATES_HZ
        if not low <= song.sample_rate <= high:
            raise RequestError(
                422,
                f"{name!r} has {song.sample_rate} Hz, but must have from {low} to {high} Hz; "
                "resample it",
            )
        if song.duration_s is not None and song.duration_s > self._max_duration_s:
            raise too_long(name, song.duration_s, self._max_duration_s)
        return song


def too_long(name: str, duration_s: float, max_duration_s: float) -> RequestError:
    """Return the refusal of a song that is too long."""
    return RequestError(
        422,
        f"{name!r} lasts {duration_s / 60:.1f} minutes, but at most {max_duration_s / 60:g} are "
        "allowed here; cut it",
    )


def without_path(message: str, path: Path, name: str) -> str:
    """Return an error that names the file as its owner does, not where it lies."""
    return message.replace(repr(str(path)), repr(name)).replace(str(path), name)


async def _run(path: Path) -> dict[str, Any] | None:
    pipes = {
        "stdin": asyncio.subprocess.DEVNULL,
        "stdout": asyncio.subprocess.PIPE,
        "stderr": asyncio.subprocess.DEVNULL,
    }
    async with child(__name__, str(path), **pipes) as process:
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
        except asyncio.TimeoutError:
            return None
    if process.returncode != 0:
        return None
    found: dict[str, Any] = json.loads(output)
    return found


def main() -> None:
    """Look at the file that is named on the command line."""
    path = Path(sys.argv[1])
    try:
        with AudioReader(path) as reader:
            length = reader.length_samples
            rate = reader.sample_rate
            song = Song(rate, reader.channels, None if length is None else length / rate)
        found = asdict(song)
    except DesmezclaError as error:
        found = {"error": str(error)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
