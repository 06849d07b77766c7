"""`desmezcla separate`: files and folders to stems."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from desmezcla.cli.causal import Engine, EngineOption
from desmezcla.cli.options import (
    BatchSizeOption,
    DeviceOption,
    JsonOption,
    OverlapOption,
    Precision,
    PrecisionOption,
    QuietOption,
    SeedOption,
    SegmentOption,
    ShiftsOption,
    VerboseOption,
    read_names,
    read_number,
    read_segment,
)
from desmezcla.errors import ParameterError


class BitDepth(str, Enum):
    """Samples of a lossless file."""

    int16 = "16"
    int24 = "24"
    float32 = "32f"


def separate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Audio or video files, folders, or patterns such as '*.mp3'."
        ),
    ],
    model: Annotated[
        str,
        typer.Option("-m", "--model", "-n", "--name", help="Release; see `desmezcla models list`."),
    ] = "default",
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("separated"),
    device: DeviceOption = "auto",
    stems: Annotated[
        str | None, typer.Option(help="Stems to write, as in vocals,drums; all if not given.")
    ] = None,
    two_stems: Annotated[
        str | None, typer.Option(metavar="STEM", help="Write STEM, and the rest as no_STEM.")
    ] = None,
    filename: Annotated[
        str, typer.Option(help="File names below the output folder.")
    ] = "{model}/{track}/{stem}.{ext}",
    file_format: Annotated[
        str,
        typer.Option("--format", help="wav, flac, mp3, ogg, opus, m4a, alac or stem.mp4."),
    ] = "wav",
    flac: Annotated[bool, typer.Option("--flac", help="The same as --format flac.")] = False,
    mp3: Annotated[bool, typer.Option("--mp3", help="The same as --format mp3.")] = False,
    bit_depth: Annotated[
        BitDepth | None,
        typer.Option(help="Of lossless files; the input's if not given (16 if that is lossy)."),
    ] = None,
    bitrate: Annotated[
        str | None, typer.Option(help="Of lossy files, as in 192k (or 192).")
    ] = None,
    sample_rate: Annotated[str, typer.Option(help="source, model, or in Hz.")] = "source",
    overlap: OverlapOption = 0.25,
    segment: SegmentOption = None,
    shifts: ShiftsOption = 0,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = 1,
    precision: PrecisionOption = Precision.auto,
    engine: EngineOption = Engine.auto,
    start: Annotated[float, typer.Option(metavar="SECONDS", help="Where to begin.")] = 0.0,
    duration: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How much to separate; all if not given."),
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="Write also the mixture less all stems.")
    ] = False,
    exact_sum: Annotated[
        bool, typer.Option("--exact-sum", help="Make the stems add up to the song, to the sample.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave alone what is done already.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="Files to separate at the same time.")
    ] = 1,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Separate songs into stems.

    Each input gets a folder with one file for each stem, at the input's sample rate, channels and
    exact length, and a separation.json that tells how they were made.
    """
    # Deferred: they take longer to import than the rest of a short command.
    from desmezcla.batch.inputs import collect_inputs
    from desmezcla.batch.local import Job, run_tasks
    from desmezcla.cli.report import fetched_release, reporter
    from desmezcla.inference.outputs import output_options

    with reporter(as_json=json_lines, quiet=quiet, verbose=verbose) as report:
        job = Job(
            model=model,
            out=out,
            separator={
                "device": device,
                "segment": read_segment(segment),
                "overlap": overlap,
                "shifts": shifts,
                "seed": seed,
                "precision": precision.value,
                "batch_size": batch_size,
                "engine": engine.value,
            },
            output=output_options(
                stems=read_names(stems),
                two_stems=two_stems,
                residual=residual,
                exact_sum=exact_sum,
                filename=filename,
                format=_format(file_format, flac=flac, mp3=mp3),
                bit_depth=bit_depth and bit_depth.value,
                bitrate=_bitrate(bitrate),
                sample_rate=_sample_rate(sample_rate),
                start_s=start,
                duration_s=duration,
                skip_existing=skip_existing,
            ),
        )
        if not quiet:
            fetched_release(model, quiet=False)
        tasks = collect_inputs(inputs, leave_out=out)
        done, failed = run_tasks(job, tasks, report, jobs=jobs)
        report({"event": "done", "input": None, "done": done, "failed": failed})
    if failed:
        raise typer.Exit(1)


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
