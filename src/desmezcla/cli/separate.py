"""`desmezcla separate`: files and folders to stems."""

from pathlib import Path
from typing import Annotated

import typer

from desmezcla.cli.causal import Engine, EngineOption
from desmezcla.cli.options import (
    BatchSizeOption,
    BitDepthOption,
    BitrateOption,
    DeviceOption,
    DurationOption,
    ExactSumOption,
    FilenameOption,
    FlacOption,
    FormatOption,
    JsonOption,
    ModelOption,
    Mp3Option,
    OverlapOption,
    Precision,
    PrecisionOption,
    QuietOption,
    ResidualOption,
    SampleRateOption,
    SeedOption,
    SegmentOption,
    ShiftsOption,
    StartOption,
    StemsOption,
    TwoStemsOption,
    VerboseOption,
    read_output,
    read_separator,
)


def separate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Audio or video files, folders, or patterns such as '*.mp3'."
        ),
    ],
    model: ModelOption = "default",
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("separated"),
    device: DeviceOption = "auto",
    stems: StemsOption = None,
    two_stems: TwoStemsOption = None,
    filename: FilenameOption = "{model}/{track}/{stem}.{ext}",
    file_format: FormatOption = "wav",
    flac: FlacOption = False,
    mp3: Mp3Option = False,
    bit_depth: BitDepthOption = None,
    bitrate: BitrateOption = None,
    sample_rate: SampleRateOption = "source",
    overlap: OverlapOption = 0.25,
    segment: SegmentOption = None,
    shifts: ShiftsOption = 0,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = 1,
    precision: PrecisionOption = Precision.auto,
    engine: EngineOption = Engine.auto,
    start: StartOption = 0.0,
    duration: DurationOption = None,
    residual: ResidualOption = False,
    exact_sum: ExactSumOption = False,
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
    from desmezcla.batch.separating import Job, run_tasks
    from desmezcla.cli.report import fetched_release, reporter

    with reporter(as_json=json_lines, quiet=quiet, verbose=verbose) as report:
        running = read_separator(
            segment=segment,
            overlap=overlap,
            shifts=shifts,
            seed=seed,
            precision=precision,
            batch_size=batch_size,
        )
        output = read_output(
            stems=stems,
            two_stems=two_stems,
            residual=residual,
            exact_sum=exact_sum,
            filename=filename,
            file_format=file_format,
            flac=flac,
            mp3=mp3,
            bit_depth=bit_depth,
            bitrate=bitrate,
            sample_rate=sample_rate,
            start_s=start,
            duration_s=duration,
            skip_existing=skip_existing,
        )
        job = Job(
            model=model,
            out=out,
            separator={"device": device, "engine": engine.value, **running},
            output=output,
        )
        if not quiet:
            fetched_release(model, quiet=False)
        tasks = collect_inputs(inputs, leave_out=out)
        done, failed = run_tasks(job, tasks, report, jobs=jobs)
        report({"event": "done", "input": None, "done": done, "failed": failed})
    if failed:
        raise typer.Exit(1)
