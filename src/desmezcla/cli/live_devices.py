"""The audio devices of `desmezcla live`: finding, listing and measuring them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from desmezcla.errors import ParameterError
from desmezcla.live.devices import AudioDevice, choose_device, choose_rate, list_devices
from desmezcla.live.portaudio import Latency, PortAudioBackend
from desmezcla.live.round_trip import measure_round_trip

# Two ears: a mono input goes to both, and a model for mono hears their mean.
CHANNELS = 2


@dataclass(frozen=True)
class Ends:
    """Where the sound comes from, a device or a file, and where it goes."""

    output: AudioDevice
    input: AudioDevice | None
    file: Path | None

    @property
    def input_name(self) -> str:
        """What to call the input."""
        return str(self.input or self.file)

    def backend(self, sample_rate: int, block_samples: int, latency: Latency) -> PortAudioBackend:
        """Return the devices, not yet open."""
        return PortAudioBackend(
            self.output,
            self.input,
            sample_rate=sample_rate,
            channels=CHANNELS,
            block_samples=block_samples,
            latency=latency,
        )

    def rate(self, preferred_hz: int) -> int:
        """Return a sample rate at which the devices work, the preferred one if they do at that."""
        return choose_rate(self.output, self.input, channels=CHANNELS, preferred_hz=preferred_hz)


def find_ends(input_name: str | None, output_name: str | None, *, file: bool = True) -> Ends:
    """Find the devices that are meant, or the file.

    Args:
        input_name: Number or name of a device, or path of a file; None for the default device.
        output_name: Number or name of a device; None for the default one.
        file: Whether the input may be a file.

    Errors:
        ParameterError: if none or more than one is meant.
    """
    devices = list_devices()
    output = choose_device(devices, output_name, "output")
    if file and input_name is not None and Path(input_name).is_file():
        return Ends(output, None, Path(input_name))
    try:
        return Ends(output, choose_device(devices, input_name, "input"), None)
    except ParameterError as error:
        hint = "; nor is there a file of that name" if input_name else "; or give a file, --input"
        raise ParameterError(f"{error}{hint if file else ''}") from None


def show_devices(*, as_json: bool) -> None:
    """Print the devices that there are, one JSON object a line if wanted."""
    devices = list_devices()
    if as_json:
        for device in devices:
            typer.echo(json.dumps(asdict(device)))
        return
    table = Table("number", "name", "system", "in", "out", "rate", "default for")
    for device in devices:
        defaults = {"input": device.is_default_input, "output": device.is_default_output}
        table.add_row(
            str(device.index),
            device.name,
            device.host_api,
            str(device.inputs),
            str(device.outputs),
            f"{device.default_rate_hz} Hz",
            ", ".join(kind for kind, default in defaults.items() if default),
        )
    if devices:
        Console().print(table)
    else:
        typer.echo("there is no audio device; connect one, or start the sound server", err=True)


def show_round_trip(
    input_name: str | None,
    output_name: str | None,
    sample_rate: int | None,
    block_samples: int,
    latency: Latency,
    *,
    as_json: bool,
) -> None:
    """Measure and print how long sound takes through the devices, by a cable between them."""
    ends = find_ends(input_name, output_name, file=False)
    rate = sample_rate or ends.rate(ends.output.default_rate_hz)
    measured = measure_round_trip(ends.backend(rate, block_samples, latency))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "event": "round_trip",
                    "input": ends.input_name,
                    "output": str(ends.output),
                    "sample_rate": rate,
                    "block_samples": block_samples,
                    **asdict(measured),
                }
            )
        )
        return
    typer.echo(
        f"round trip {1000 * measured.median_s:.2f} ms ({measured.median_s * rate:.1f} samples at "
        f"{rate} Hz), heard {len(measured.delays_s)} of {measured.repetitions} times, "
        f"{1000 * measured.spread_s:.2f} ms from shortest to longest"
    )
    if measured.inverted:
        typer.echo("the polarity comes back turned round", err=True)
    if measured.xruns:
        typer.echo(
            f"the driver lost something {measured.xruns} times; try --latency high", err=True
        )
