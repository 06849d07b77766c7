"""`desmezcla export`: a release as an ONNX file."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from desmezcla.cli.causal import causal_release
from desmezcla.cli.options import QuietOption
from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from desmezcla.exporting.checked import Agreement
    from desmezcla.releases.release import Release


class FilePrecision(str, Enum):
    """How exactly the file computes."""

    float32 = "float32"
    int8 = "int8"


def export(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="Name of a release, or path of its folder.")
    ],
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Write one step of a causal release, for live use."),
    ] = False,
    precision: Annotated[
        FilePrecision, typer.Option(help="How exactly the file computes; int8 is for --stream.")
    ] = FilePrecision.float32,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="RELEASE.onnx if not given; with --stream, where live and stream look for it.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written on standard output, as JSON.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a release as an ONNX file, and compare what it gives with PyTorch.

    Without --stream, the file has the network alone; what comes before and after it, such as the
    Fourier transform, is left to the program that runs it.
    """
    if precision is FilePrecision.int8 and not stream:
        raise ParameterError("--precision int8 is for --stream; add it, or take float32")
    from rich.filesize import decimal

    from desmezcla.cli.report import fetched_release
    from desmezcla.inference.stream_file import STREAM_FILES

    find = causal_release if stream else fetched_release
    found = find(release, quiet=quiet)
    default = found.folder / STREAM_FILES[precision.value] if stream else Path(f"{found.name}.onnx")
    path = default if out is None else out
    agreement = _write(found, path, stream=stream, precision=precision)
    size, level_db = path.stat().st_size, agreement.level_db
    if as_json:
        facts = {
            "event": "done",
            "release": found.name,
            "file": str(path),
            "size_bytes": size,
            "precision": precision.value,
            "largest_difference": agreement.difference,
            "agreement_db": level_db if math.isfinite(level_db) else None,
        }
        typer.echo(json.dumps(facts))
    if not quiet:
        typer.echo(f"{found.name} -> {path} ({decimal(size)}, {precision.value})", err=True)
        typer.echo(
            f"it agrees with PyTorch to {level_db:.1f} dB; the largest difference is "
            f"{agreement.difference:.1e} of the largest value",
            err=True,
        )


def _write(
    release: "Release", path: Path, *, stream: bool, precision: FilePrecision
) -> "Agreement":
    # Deferred: they import torch, which takes longer than the rest of a short command.
    from desmezcla.exporting.checked import export_checked_core
    from desmezcla.exporting.stream import export_stream
    from desmezcla.releases.checkpoint import load_model

    model = load_model(release)
    if stream:
        return export_stream(model, path, precision=precision.value, release=release)
    if model.core() is None and model.stream_core() is not None:
        raise ParameterError(
            f"release {release.name!r} can be exported for streams only; add --stream"
        )
    return export_checked_core(model, path)
