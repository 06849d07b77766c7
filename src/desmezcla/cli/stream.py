"""`desmezcla stream`: raw PCM on standard input to raw PCM on standard output."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from desmezcla.cli.causal import (
    Engine,
    EngineOption,
    LivePrecision,
    LivePrecisionOption,
    causal_release,
    read_gains,
)
from desmezcla.cli.options import QuietOption, VerboseOption, read_names
from desmezcla.errors import AudioFileError, ParameterError

if TYPE_CHECKING:  # at run time they would slow down `desmezcla --help`
    from desmezcla.inference.realtime import StreamSeparator
    from desmezcla.live.pcm import PcmFormat
    from desmezcla.live.pipe import PipeStatistics

_EXAMPLE = (
    "ffmpeg -i song.mp3 -f f32le -ar 44100 -ac 2 - | desmezcla stream --stem vocals | "
    "ffmpeg -f f32le -ar 44100 -ac 2 -i - vocals.flac"
)


def stream(
    model: Annotated[
        str, typer.Option("-m", "--model", help="Causal release; see `desmezcla models list`.")
    ] = "realtime",
    rate: Annotated[int, typer.Option(min=1, help="Of input and output, in Hz.")] = 44100,
    channels: Annotated[int, typer.Option(min=1, max=8, help="Of the input, 1 to 8.")] = 2,
    pcm_format: Annotated[
        str, typer.Option("--format", help="Of the samples: u8, s16le, s24le, s32le, f32le, …")
    ] = "f32le",
    output_format: Annotated[
        str | None, typer.Option(help="Of the output; as the input if not given.")
    ] = None,
    stem: Annotated[str | None, typer.Option(help="Write this stem alone.")] = None,
    stems: Annotated[
        str | None, typer.Option(help="Stems to write, as in vocals,drums; all if not given.")
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(metavar="STEM=GAIN,...", help="Write the stems mixed to one signal."),
    ] = None,
    block: Annotated[
        int, typer.Option(metavar="SAMPLES", min=1, help="Largest piece that is read.")
    ] = 16384,
    engine: EngineOption = Engine.auto,
    precision: LivePrecisionOption = LivePrecision.auto,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores for the model.")] = 1,
    json_lines: Annotated[
        bool,
        typer.Option("--json", help="Print events on standard error, one JSON object a line."),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Separate raw PCM from standard input, and write raw PCM to standard output.

    It has no header, so both programs must be told rate, channels and format. Stems stand side by
    side as channels: those of the first stem, those of the second, and so on.
    """
    chosen, gains = _chosen(stem, stems, mix)
    _check_ends()
    # Deferred: they take longer to import than the rest of a short command.
    from rich.console import Console

    from desmezcla.cli.report import log_to
    from desmezcla.inference.device import set_torch_threads
    from desmezcla.inference.realtime import StreamSeparator
    from desmezcla.live.mixer import Mixer
    from desmezcla.live.pcm import PcmDecoder, PcmEncoder, find_pcm_format
    from desmezcla.live.pipe import PcmPipe, read_from, side_by_side, write_to

    taken = find_pcm_format(pcm_format)
    given = find_pcm_format(output_format or pcm_format)
    with log_to(Console(stderr=True), quiet=quiet or json_lines, verbose=verbose):
        release = causal_release(model, quiet=quiet or json_lines)
        separator = StreamSeparator(
            release.folder,
            sample_rate=rate,
            channels=channels,
            engine=engine.value,
            precision=precision.value,
            threads=threads,
        )
        set_torch_threads(separator.engine, threads)
        if gains is None:
            names = separator.stems if chosen is None else chosen
            arrange = side_by_side(separator.stems, names)
        else:
            names, arrange = ("mix",), Mixer(separator.stems, rate, gains).mix
        start = _start_event(release.name, separator, names, taken, given)
        if json_lines:
            _print_event(start)
        elif not quiet:
            typer.echo(_layout_text(start), err=True)
        pipe = PcmPipe(
            separator, arrange, PcmDecoder(taken, channels), PcmEncoder(given), block_samples=block
        )
        statistics = pipe.run(read_from(sys.stdin.fileno()), write_to(sys.stdout.fileno()))
        if json_lines:
            _print_event({"event": "done", "input": "-", **asdict(statistics)})
        elif verbose:
            typer.echo(_statistics_text(statistics, rate), err=True)


def _chosen(
    stem: str | None, stems: str | None, mix: str | None
) -> tuple[tuple[str, ...] | None, dict[str, float] | None]:
    """Return the stems to write, or the gains to mix them with."""
    options = {"--stem": stem, "--stems": stems, "--mix": mix}
    given = [option for option, text in options.items() if text is not None]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} exclude each other; leave one out")
    if mix is None:
        return (stem,) if stem is not None else read_names(stems), None
    return None, read_gains("mix", mix.split(","))


def _check_ends() -> None:
    """Refuse to read from a terminal or to write to one, or where there is nothing."""
    for name, end, verb in (("input", sys.stdin, "come"), ("output", sys.stdout, "go")):
        if end is None:
            raise AudioFileError(f"standard {name} is closed; leave it open: {_EXAMPLE}")
        if end.isatty():
            raise ParameterError(
                f"standard {name} is a terminal, but raw samples {verb} through it; use a pipe or "
                f"a file, as in: {_EXAMPLE}"
            )


def _start_event(
    model: str,
    stream: "StreamSeparator",
    names: tuple[str, ...],
    taken: "PcmFormat",
    given: "PcmFormat",
) -> dict[str, Any]:
    return {
        "event": "start",
        "input": "-",
        "model": model,
        "engine": stream.engine,
        "sample_rate": stream.sample_rate,
        "input_format": taken.name,
        "input_channels": stream.channels,
        "output_format": given.name,
        "output_channels": stream.channels * len(names),
        "stems": names,
        "latency_samples": stream.latency_samples,
    }


def _layout_text(start: dict[str, Any]) -> str:
    """Say what goes in and out, as ffmpeg is told it."""
    rate, latency, each = start["sample_rate"], start["latency_samples"], start["input_channels"]
    places = [
        f"{each * index + 1}{f'-{each * index + each}' if each > 1 else ''} {stem}"
        for index, stem in enumerate(start["stems"])
    ]
    return (
        f"{start['model']} ({start['engine']}): "
        f"latency {latency} samples ({1000 * latency / rate:.1f} ms)\n"
        f"input:  -f {start['input_format']} -ar {rate} -ac {each}\n"
        f"output: -f {start['output_format']} -ar {rate} -ac {start['output_channels']}"
        f"  (channels {', '.join(places)})"
    )


def _statistics_text(statistics: "PipeStatistics", rate: int) -> str:
    seconds = statistics.samples_in / rate
    share = f", {100 * statistics.compute_s / seconds:.1f} % of that" if seconds else ""
    return (
        f"{statistics.samples_in} samples in ({seconds:.3f} s), {statistics.samples_out} out; "
        f"computed for {statistics.compute_s:.3f} s{share}"
    )


def _print_event(event: dict[str, Any]) -> None:
    typer.echo(json.dumps(event), err=True)
