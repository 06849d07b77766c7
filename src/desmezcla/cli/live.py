"""`desmezcla live`: from an audio input to an output while it plays, with a gain for each stem."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from desmezcla.cli.causal import (
    Engine,
    EngineOption,
    LivePrecision,
    LivePrecisionOption,
    read_gains,
)
from desmezcla.cli.options import BitDepth, JsonOption, QuietOption, VerboseOption, read_number
from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time they would slow down `desmezcla --help`
    from desmezcla.cli.live_run import RecordOptions
    from desmezcla.live.portaudio import Latency


def live(
    model: Annotated[
        str, typer.Option("-m", "--model", help="Causal release; see `desmezcla models list`.")
    ] = "realtime",
    input_name: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="DEVICE|FILE",
            help="Number or name of the input device, or a file; the default device if not given.",
        ),
    ] = None,
    output_name: Annotated[
        str | None, typer.Option("--output", metavar="DEVICE", help="The same for the output.")
    ] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEM=VALUE", help="As in vocals=0, drums=1.5 or bass=-6dB; can be repeated."
        ),
    ] = None,
    block: Annotated[
        int, typer.Option(metavar="SAMPLES", min=16, max=65536, help="Samples of a block.")
    ] = 512,
    handoff: Annotated[
        int,
        typer.Option(metavar="BLOCKS", min=1, help="How many blocks the model may take its time."),
    ] = 4,
    latency: Annotated[
        str, typer.Option(metavar="low|high|SECONDS", help="What is asked of the devices.")
    ] = "high",
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ", min=1, help="Of the devices; the model's if they have it, if not given."
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Record the stems to files there.")
    ] = None,
    record_format: Annotated[
        str, typer.Option(help="Of the recording: wav, flac, mp3, ogg, opus, m4a or alac.")
    ] = "wav",
    bit_depth: Annotated[
        BitDepth | None, typer.Option(help="Of a recording without loss; 24 if not given.")
    ] = None,
    record_mix: Annotated[
        bool, typer.Option("--record-mix", help="Record also what is played, as output.")
    ] = False,
    duration: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="End after that; by Ctrl-C or q if not given."),
    ] = None,
    osc: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Follow OSC messages; from this machine only."),
    ] = None,
    midi: Annotated[
        str | None, typer.Option(metavar="PORT", help="Follow a MIDI controller.")
    ] = None,
    midi_map: Annotated[
        str | None,
        typer.Option(metavar="STEM=CONTROL,...", help="Its faders, as in vocals=7,drums=8."),
    ] = None,
    engine: EngineOption = Engine.auto,
    precision: LivePrecisionOption = LivePrecision.auto,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores for the model.")] = 1,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the audio devices and end.")
    ] = False,
    measure_latency: Annotated[
        bool,
        typer.Option(
            "--measure-latency", help="Measure the devices with a cable from output to input."
        ),
    ] = False,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Separate music while it plays, and hear each stem as loud as you like.

    The input is an audio device or a file. Gains are changed by keys, OSC or MIDI while it runs.
    It ends with the file, after --duration, or by Ctrl-C or q.
    """
    from desmezcla.cli.live_devices import show_devices, show_round_trip

    if list_devices:
        show_devices(as_json=json_lines)
        return
    asked_latency = _latency(latency)
    if measure_latency:
        show_round_trip(
            input_name, output_name, sample_rate, block, asked_latency, as_json=json_lines
        )
        return
    # Deferred: it imports torch, which takes longer than all of the above.
    from desmezcla.cli.live_run import LiveOptions, run_live
    from desmezcla.live.controls.midi import read_map
    from desmezcla.live.controls.osc import read_address

    if duration is not None and not 0 < duration < math.inf:
        raise ParameterError(f"--duration={duration} must be more than 0")
    if (midi is None) != (midi_map is None):
        raise ParameterError(
            "--midi and --midi-map need each other: a port, and its controls as in vocals=7,drums=8"
        )
    options = LiveOptions(
        model=model,
        input=input_name,
        output=output_name,
        gains=read_gains("gain", gain or []),
        block_samples=block,
        handoff_blocks=handoff,
        latency=asked_latency,
        sample_rate=sample_rate,
        record=_record(record, record_format, bit_depth, mix=record_mix),
        duration_s=duration,
        osc=None if osc is None else read_address(osc),
        midi=None if midi is None or midi_map is None else (midi, read_map(midi_map)),
        engine=engine.value,
        precision=precision.value,
        threads=threads,
    )
    code = run_live(options, as_json=json_lines, quiet=quiet, verbose=verbose)
    if code:
        raise typer.Exit(code)


def _latency(text: str) -> "Latency":
    if text == "low":
        return "low"
    if text == "high":
        return "high"
    return read_number("latency", text, "low, high, or seconds as in 0.05")


def _record(
    folder: Path | None, format: str, bit_depth: BitDepth | None, *, mix: bool
) -> "RecordOptions | None":
    from desmezcla.cli.live_run import RecordOptions

    if folder is not None:
        return RecordOptions(folder, format, bit_depth.value if bit_depth else None, mix)
    if (format, bit_depth, mix) != ("wav", None, False):
        raise ParameterError("--record-format, --record-mix and --bit-depth need --record FOLDER")
    return None
