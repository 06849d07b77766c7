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
    float16 = "float16"
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
        FilePrecision,
        typer.Option(help="float16 and int8 make smaller files; float16 is not for --stream."),
    ] = FilePrecision.float32,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="The release's folder if not given, where separate, live and stream look.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written on standard output, as JSON.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a release as an ONNX file, and compare what it gives with PyTorch.

    The file goes into the release's folder, where `separate --engine onnx` finds it, or with
    --stream `live` and `stream`. Where more is done around the network than such a file can say
    (a Wiener filter), it has the network alone, and is written to RELEASE.onnx.
    """
    if precision is FilePrecision.float16 and stream:
        raise ParameterError("--precision float16 is not for --stream; take float32 or int8")
    from rich.filesize import decimal

    from desmezcla.cli.report import fetched_release

    find = causal_release if stream else fetched_release
    found = find(release, quiet=quiet)
    path, agreement = _write(found, out, stream=stream, precision=precision)
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
    release: "Release", out: Path | None, *, stream: bool, precision: FilePrecision
) -> "tuple[Path, Agreement]":
    """Write the file and return where it is."""
    # Deferred: they import torch, which takes longer than the rest of a short command.
    from desmezcla.exporting.model import export_model
    from desmezcla.exporting.stream import export_stream
    from desmezcla.inference.model_file import MODEL_FILES
    from desmezcla.inference.stream_file import STREAM_FILES
    from desmezcla.models import Core
    from desmezcla.releases.checkpoint import load_model

    model = load_model(release)
    if stream:
        assert precision is not FilePrecision.float16
        path = out or release.folder / STREAM_FILES[precision.value]
        return path, export_stream(model, path, precision=precision.value, release=release)
    core = model.core()
    if core is None and model.stream_core() is not None:
        raise ParameterError(
            f"release {release.name!r} can be exported for streams only; add --stream"
        )
    whole = isinstance(core, Core)
    default = release.folder / MODEL_FILES[precision.value] if whole else None
    path = out or default or Path(f"{release.name}.onnx")
    return path, export_model(model, path, precision=precision.value, release=release)
