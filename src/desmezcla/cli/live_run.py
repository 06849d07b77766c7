"""A run of `desmezcla live`: the parts are put together, started, looked after and ended."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from desmezcla.audio.formats import BitDepth
from desmezcla.cli.causal import causal_release
from desmezcla.cli.live_devices import CHANNELS, Ends, find_ends
from desmezcla.cli.live_text import Running
from desmezcla.cli.live_view import View, open_view
from desmezcla.cli.report import log_to
from desmezcla.inference.device import set_torch_threads
from desmezcla.inference.realtime import LivePrecision, StreamSeparator
from desmezcla.inference.runner import EngineName
from desmezcla.live.controls.keys import KeyControl, listening_to_keys
from desmezcla.live.controls.midi import MidiControl
from desmezcla.live.controls.osc import OscControl
from desmezcla.live.file_input import FileSource
from desmezcla.live.mixer import OUTPUT, Mixer
from desmezcla.live.portaudio import Latency
from desmezcla.live.recording import MixRecorder, StemRecorder
from desmezcla.live.session import LiveSession

# How often a session is looked after, and the meters are drawn.
_UPDATE_S = 0.1


@dataclass(frozen=True)
class RecordOptions:
    """What to record; `mix` for the output besides the stems."""

    folder: Path
    format: str
    bit_depth: BitDepth | None
    mix: bool


@dataclass(frozen=True)
class LiveOptions:
    """The options of `desmezcla live`, checked as far as they can be without a model."""

    model: str
    input: str | None
    output: str | None
    gains: Mapping[str, float]
    block_samples: int
    handoff_blocks: int
    latency: Latency
    sample_rate: int | None
    record: RecordOptions | None
    duration_s: float | None
    osc: tuple[str, int] | None
    midi: tuple[str, Mapping[str, int]] | None
    engine: EngineName
    precision: LivePrecision
    threads: int


def run_live(options: LiveOptions, *, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Play until it ends, and return the exit code.

    Errors:
        DesmezclaError: if it cannot begin or cannot go on; everything is closed then, and what has
            been recorded is complete.
    """
    console = Console(stderr=True)
    stop = _Stop()
    with log_to(console, quiet=quiet, verbose=verbose), contextlib.ExitStack() as stack:
        ends = find_ends(options.input, options.output)
        release = causal_release(options.model, quiet=quiet)
        rate = options.sample_rate or ends.rate(release.info.sample_rate)
        stream = StreamSeparator(
            release.folder,
            sample_rate=rate,
            channels=CHANNELS,
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
        )
        set_torch_threads(stream.engine, options.threads)
        mixer = Mixer(stream.stems, rate, options.gains)
        keys = KeyControl(mixer, stop.set)
        controls = _start_controls(stack, options, mixer)
        recorder = _recorder(options.record, mixer, rate)
        if recorder is not None:
            stack.enter_context(recorder)
        session = _session(options, ends, stream, mixer, recorder)
        there = stack.enter_context(listening_to_keys(keys.press))
        running = Running(
            model=release.name,
            engine=stream.engine,
            input=ends.input_name,
            output=str(ends.output),
            session=session,
            mixer=mixer,
            sample_rate=rate,
            recorder=recorder,
            keys=keys if there else None,
            controls=controls,
        )
        view = stack.enter_context(open_view(running, console, as_json=as_json, quiet=quiet))
        _play(running, view, stop, options.duration_s)
    # Without --duration, Ctrl-C is the usual way to end it.
    usual = stop.signal == signal.SIGINT and options.duration_s is None
    if stop.signal is not None and not usual:
        return 128 + stop.signal
    return 1 if recorder is not None and recorder.error is not None else 0


class _Stop(threading.Event):
    """Set when the session is to end; `signal` is the one that asked for it, if one did."""

    signal: int | None = None


@contextlib.contextmanager
def _heeding_signals(stop: _Stop) -> Iterator[None]:
    """Let Ctrl-C and its like end the session in good order; a second one ends everything."""

    def heed(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.signal = number
        stop.set()

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is not known to Windows
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may change that
    before = {number: signal.signal(number, heed) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _play(running: Running, view: View, stop: _Stop, duration_s: float | None) -> None:
    """Let the session run to its end, whatever that is, and complete the recording."""
    session, recorder = running.session, running.recorder
    begun, ended_by = False, "error"
    with _heeding_signals(stop):
        try:
            with session:
                begun = True
                view.start()
                ended_by = _look_after(session, view, stop, duration_s)
        finally:
            if recorder is not None:
                recorder.close()
            if begun:
                view.end(ended_by)


def _look_after(session: LiveSession, view: View, stop: _Stop, duration_s: float | None) -> str:
    """Return what has ended the session: "user", "input" or "duration"."""
    rest_s = _UPDATE_S
    while not stop.is_set():
        if duration_s is not None:
            rest_s = min(_UPDATE_S, duration_s - session.statistics().played_s)
            if rest_s <= 0:
                return "duration"
        if session.wait(rest_s):
            return "input"
        view.update()
    return "user"


def _start_controls(
    stack: contextlib.ExitStack, options: LiveOptions, mixer: Mixer
) -> tuple[str, ...]:
    """Start what else changes gains, and return what to say of it."""
    controls = []
    if options.osc is not None:
        host, port = options.osc
        osc = stack.enter_context(OscControl(mixer, host, port))
        controls.append(f"OSC at {host}:{osc.port}")
    if options.midi is not None:
        midi = stack.enter_context(MidiControl(mixer, *options.midi))
        controls.append(f"MIDI from {midi.port}")
    return tuple(controls)


def _recorder(options: RecordOptions | None, mixer: Mixer, rate: int) -> StemRecorder | None:
    if options is None:
        return None
    return StemRecorder(
        options.folder,
        (*mixer.stems, OUTPUT) if options.mix else mixer.stems,
        rate,
        CHANNELS,
        format=options.format,
        bit_depth=options.bit_depth,
    )


def _session(
    options: LiveOptions,
    ends: Ends,
    stream: StreamSeparator,
    mixer: Mixer,
    recorder: StemRecorder | None,
) -> LiveSession:
    source = None
    if ends.file is not None:
        source = FileSource(ends.file, sample_rate=stream.sample_rate, channels=stream.channels)
    mix = recorder is not None and options.record is not None and options.record.mix
    return LiveSession(
        stream,
        MixRecorder(mixer, recorder) if recorder is not None and mix else mixer,
        ends.backend(stream.sample_rate, options.block_samples, options.latency),
        handoff_blocks=options.handoff_blocks,
        recorder=None if mix else recorder,
        source=source,
    )
