"""Options that several commands have, and what is read from them."""

from enum import Enum
from typing import Annotated

import typer

from desmezcla.errors import ParameterError


class Precision(str, Enum):
    """How exactly the model computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


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
