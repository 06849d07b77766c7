"""What a client may order: releases, formats and stems, checked before anything is stored."""

from dataclasses import dataclass

from desmezcla.audio.formats import FORMATS, check_output, find_format, writable_rate
from desmezcla.errors import ParameterError
from desmezcla.inference.outputs import StemMix, output_options
from desmezcla.releases.store import ReleaseInfo, list_releases
from desmezcla.studio.probe import Song
from desmezcla.web.app import RequestError

DEFAULT_MODEL = "default"
DEFAULT_FORMAT = "wav"
# Of a sample in a file and of one in the preview, at most.
_BYTES_PER_SAMPLE = 4 + 2


@dataclass(frozen=True)
class Order:
    """What is to be made of a song.

    Attributes:
        stems: Those to write; empty for all.
    """

    model: str
    format: str
    stems: tuple[str, ...]
    of_model: tuple[str, ...]

    def fits(self, song: Song) -> None:
        """Check that the format can hold the stems of a song.

        Errors:
            ParameterError: names what does not fit, and what would.
        """
        check_output(self.format, writable_rate(self.format, song.sample_rate), song.channels)


def estimated_bytes(samples: float, stems: int) -> int:
    """Return what stems and their previews need on the disk, at most.

    Args:
        samples: Of all channels of the song.
        stems: How many are written.
    """
    return int(samples * stems * _BYTES_PER_SAMPLE)


def offered() -> list[ReleaseInfo]:
    """Return the releases that are on this machine."""
    return [info for info in list_releases() if info.installed]


def offered_formats() -> list[str]:
    """Return the names of the formats."""
    return list(FORMATS)


def read_order(fields: dict[str, str]) -> Order:
    """Read the fields of a form.

    Errors:
        RequestError: if a field is unknown, or its value is not offered.
    """
    unknown = sorted(set(fields) - {"model", "format", "stems"})
    if unknown:
        raise RequestError(
            422, f"the field {unknown[0][:40]!r} is unknown; there are file, model, format, stems"
        )
    info = _find(fields.get("model") or DEFAULT_MODEL)
    stems = tuple(dict.fromkeys(s.strip() for s in fields.get("stems", "").split(",") if s.strip()))
    try:
        file_format = find_format(fields.get("format") or DEFAULT_FORMAT).name
        options = output_options(stems=stems or None, format=file_format)
        StemMix(info.stems, options)
    except ParameterError as error:
        raise RequestError(422, str(error)) from error
    return Order(info.name, file_format, stems, info.stems)


def _find(name: str) -> ReleaseInfo:
    # Only by name: elsewhere a release may also be given as a folder.
    releases = list_releases()
    for info in releases:
        if name == info.name or name in info.aliases:
            if info.installed:
                return info
            raise RequestError(
                422,
                f"release {name!r} is not on this server; whoever runs it can fetch it with: "
                f"desmezcla models download {info.name}",
            )
    known = ", ".join(info.name for info in releases if info.installed)
    raise RequestError(422, f"release {name[:64]!r} does not exist; choose from {known}")
