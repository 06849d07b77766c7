"""Options that several commands have, and what is read from them."""

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from desmezcla.inference.outputs import OutputOptions


class EngineKind(str, Enum):
    """Which workers do the tasks."""

    local = "local"
    ray = "ray"


class BitDepth(str, Enum):
    """Samples of a lossless file."""

    int16 = "16"
    int24 = "24"
    float32 = "32f"


class Precision(str, Enum):
    """How exactly the model computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


ModelOption = Annotated[
    str, typer.Option("-m", "--model", "-n", "--name", help="Release; see `desmezcla models list`.")
]
EngineKindOption = Annotated[
    EngineKind, typer.Option("--engine", help="Processes of this machine, or a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Of the Ray cluster; the one that Ray finds if not given."
    ),
]
DeviceOption = Annotated[
    str, typer.Option("-d", "--device", help="auto, cpu, cuda (or cuda:1, …) or mps.")
]
SegmentOption = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS|track",
        help="Length that the model sees at once; the release's own if not given.",
    ),
]
OverlapOption = Annotated[
    float, typer.Option(help="Part of a segment shared with the next, from 0 to below 1.")
]
ShiftsOption = Annotated[int, typer.Option(help="Average over that many shifted passes.")]
SeedOption = Annotated[int, typer.Option(help="Of the shifts.")]
BatchSizeOption = Annotated[int, typer.Option(help="Segments computed together.")]
PrecisionOption = Annotated[Precision, typer.Option(help="How exactly to compute.")]
StemsOption = Annotated[
    str | None, typer.Option(help="Stems to write, as in vocals,drums; all if not given.")
]
TwoStemsOption = Annotated[
    str | None, typer.Option(metavar="STEM", help="Write STEM, and the rest as no_STEM.")
]
FilenameOption = Annotated[str, typer.Option(help="File names below the output folder.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="wav, flac, mp3, ogg, opus, m4a, alac or stem.mp4.")
]
FlacOption = Annotated[bool, typer.Option("--flac", help="The same as --format flac.")]
Mp3Option = Annotated[bool, typer.Option("--mp3", help="The same as --format mp3.")]
BitDepthOption = Annotated[
    BitDepth | None,
    typer.Option(help="Of lossless files; the input's if not given (16 if that is lossy)."),
]
BitrateOption = Annotated[str | None, typer.Option(help="Of lossy files, as in 192k (or 192).")]
SampleRateOption = Annotated[str, typer.Option(help="source, model, or in Hz.")]
StartOption = Annotated[float, typer.Option(metavar="SECONDS", help="Where to begin.")]
DurationOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How much to separate; all if not given."),
]
ResidualOption = Annotated[
    bool, typer.Option("--residual", help="Write also the mixture less all stems.")
]
ExactSumOption = Annotated[
    bool, typer.Option("--exact-sum", help="Make the stems add up to the song, to the sample.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print events on standard output, one JSON object a line.")
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Print details.")]


def read_names(text: str | None) -> tuple[str, ...] | None:
    """Read names separated by commas."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def read_number(option: str, text: str, rule: str) -> float:
    """Read a number, or say by which rule it must be one."""
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"--{option}={text!r} must be {rule}") from None


def read_segment(text: str | None) -> float | str | None:
    """Read a number of seconds, "track", or nothing."""
    if text is None or text == "track":
        return text
    return read_number("segment", text, "a number of seconds, or track")


def read_separator(
    *,
    segment: str | None,
    overlap: float,
    shifts: int,
    seed: int,
    precision: Precision,
    batch_size: int,
) -> dict[str, Any]:
    """Read the options of `Separator`, but for the device."""
    return {
        "segment": read_segment(segment),
        "overlap": overlap,
        "shifts": shifts,
        "seed": seed,
        "precision": precision.value,
        "batch_size": batch_size,
    }


def read_output(
    *,
    stems: str | None,
    file_format: str,
    flac: bool,
    mp3: bool,
    bit_depth: BitDepth | None,
    bitrate: str | None,
    sample_rate: str,
    **others: Any,
) -> "OutputOptions":
    """Read the options of what is written; `others` are fields of `OutputOptions` as they are."""
    # Deferred: it imports what a short command does not need.
    from desmezcla.inference.outputs import output_options

    return output_options(
        stems=read_names(stems),
        format=_format(file_format, flac=flac, mp3=mp3),
        bit_depth=bit_depth and bit_depth.value,
        bitrate=_bitrate(bitrate),
        sample_rate=_sample_rate(sample_rate),
        **others,
    )


def _format(name: str, *, flac: bool, mp3: bool) -> str:
    named = {name} - {"wav"} | {n for n, wanted in [("flac", flac), ("mp3", mp3)] if wanted}
    if len(named) > 1:
        raise ParameterError(f"only one format can be written, not {', '.join(sorted(named))}")
    return named.pop() if named else name


def _sample_rate(text: str) -> Any:
    if text in ("source", "model"):
        return text
    return int(read_number("sample-rate", text, "Hz, or source"))


def _bitrate(text: str | None) -> int | None:
    """Read 192k, 192000 or, as demucs takes it, 192."""
    if text is None:
        return None
    number = read_number("bitrate", text.lower().removesuffix("k"), "as in 192k")
    return round(number * 1000 if number < 4000 else number)
