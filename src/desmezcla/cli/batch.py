"""`desmezcla batch`: thousands of tracks to stems, on this machine or a cluster."""

from typing import Annotated

import typer

from desmezcla.cli.options import (
    AddressOption,
    BatchSizeOption,
    BitDepthOption,
    BitrateOption,
    DurationOption,
    EngineKind,
    EngineKindOption,
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
    read_names,
    read_output,
    read_separator,
)
from desmezcla.errors import ParameterError


def batch(
    manifest: Annotated[
        str,
        typer.Argument(
            metavar="MANIFEST",
            help="CSV or Parquet file with the column path (and track), folder, or pattern.",
        ),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", help="Output folder, here or as in s3://bucket/stems.")
    ],
    model: ModelOption = "default",
    engine: EngineKindOption = EngineKind.local,
    address: AddressOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            help="Workers; one for each device, or as many as the cluster has room for.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option("-d", "--device", help="As in separate; or several, as in cuda:0,cuda:1."),
    ] = "auto",
    attempts: Annotated[
        int, typer.Option(min=1, help="Workers that a track may take along before it has failed.")
    ] = 3,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what has failed in an earlier run.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long a storage may be out of reach."),
    ] = 300.0,
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
    start: StartOption = 0.0,
    duration: DurationOption = None,
    residual: ResidualOption = False,
    exact_sum: ExactSumOption = False,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Separate thousands of songs, on this machine or on a Ray cluster.

    What became of each track stands in the ledger, Parquet files in the output folder. The same
    command started again does what is missing.
    """
    # Deferred: they import torch, which takes longer than the rest of a short command.
    from desmezcla.batch.batching import run_batch
    from desmezcla.batch.engines import Engine
    from desmezcla.batch.track import BatchJob
    from desmezcla.cli.report import fetched_release, reporter

    devices = read_names(device)
    if not devices:
        raise ParameterError(f"--device={device!r} must name a device, or several")
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
        )
        job = BatchJob(model, out, running, devices, output, patience)
        workers = Engine(engine.value, jobs, address, devices)
        fetched_release(model, quiet=quiet)
        done, failed = run_batch(
            job, manifest, report, engine=workers, attempts=attempts, retry_failed=retry_failed
        )
        report({"event": "done", "input": None, "done": done, "failed": failed})
    if failed:
        raise typer.Exit(1)
