"""Run `desmezcla live` between two sinks of PulseAudio, and compare what came out with offline.

    python scripts/live_between_null_sinks.py --release FOLDER --song FILE [--seconds 600]

A PulseAudio daemon of its own is started, which touches nobody's settings, with two null sinks. A
song is played into the first, over and over; `desmezcla live` hears that sink and plays into the
second, through PortAudio; and what passes through both sinks is recorded to the bit. Then the
model separates the first recording offline, and the second must be the same: zero deadline misses
reported, no gap, and a difference at least 40 dB below the music.

Without --release, the session runs with a stream that only delays the sound, to test the machine.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import desmezcla
from desmezcla.audio.reader import read_audio
from desmezcla.audio.resample import resample
from desmezcla.live.devices import choose_device, list_devices
from desmezcla.live.mixer import Mixer
from desmezcla.live.portaudio import PortAudioBackend
from desmezcla.live.recording import StemRecorder
from desmezcla.live.round_trip import find_delay
from desmezcla.live.session import LiveSession

Audio = NDArray[np.float32]

RATE = 44100
CHANNELS = 2
FIRST, SECOND = "desmezcla_first", "desmezcla_second"
SPEC = f"format=float32le rate={RATE} channels={CHANNELS}"
RAW = ["--raw", "--format=float32le", f"--rate={RATE}", f"--channels={CHANNELS}"]
GAINS = {"vocals": 0.0, "drums": 1.5}
ENOUGH_DB = 40.0
SEGMENT_S = 60.0
MEMORY_S = 10.0  # the context of the release must be as long
PIECE = 4410  # a tenth of a second
# Everything is compared that is louder than this; below, a difference is no gap.
AUDIBLE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", type=Path, help="folder of a causal release")
    parser.add_argument("--song", type=Path, help="audio file; noise if not given")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to play")
    parser.add_argument("--block", type=int, default=512, help="samples of a block")
    parser.add_argument("--handoff", type=int, default=12, help="blocks that the model may take")
    parser.add_argument("--latency", default="0.1", help="of the devices: low, high or seconds")
    parser.add_argument(
        "--offline",
        choices=("track", "segments", "stream"),
        default="track",
        help="the whole recording in one piece; in segments of which what the model remembers is "
        "thrown away; or by StreamSeparator. The last two need less memory",
    )
    parser.add_argument("--keep", type=Path, help="folder for the recordings, which is kept")
    parser.add_argument("--passthrough", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.passthrough:
        run_passthrough(options)
        return 0
    with tempfile.TemporaryDirectory(prefix="desmezcla-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report, good = judge(perform(options, folder), offline(options))
    for line in report:
        print(line)
    return 0 if good else 1


class PulseServer:
    """A PulseAudio daemon with two null sinks, in a folder of its own.

    Attributes:
        environment: For programs that shall use it.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="desmezcla-pulse-")
        root = Path(self._folder.name)
        self._socket = root / "native"
        (root / "client.conf").touch()
        # One device for each end, so that they are chosen by their names.
        (root / "asound.conf").write_text(
            "<confdir:alsa.conf>\n"
            + "".join(
                f'pcm.{name} {{ type pulse device "{device}" hint.description "{name}" }}\n'
                for name, device in ((FIRST, f"{FIRST}.monitor"), (SECOND, SECOND))
            )
        )
        self.environment = {
            **os.environ,
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_RUNTIME_PATH": str(root / "run"),
            "PULSE_COOKIE": str(root / "cookie"),
            "PULSE_CLIENTCONFIG": str(root / "client.conf"),
            "ALSA_CONFIG_PATH": str(root / "asound.conf"),
        }
        self._log = (root / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PulseServer":
        modules = [f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"]
        modules += [null_sink(name) for name in (FIRST, SECOND)]
        self._process = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
            # With shared memory it now and then breaks off a recorder: PulseAudio's issue 824.
            + ["--log-target=stderr", "--disable-shm"]
            + [f"--load={module}" for module in modules],
            env={
                **{k: v for k, v in self.environment.items() if k != "PULSE_SERVER"},
                **dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"), self._folder.name),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        end = time.monotonic() + 20
        while self.control("info").returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
                self.__exit__(None, None, None)
                raise SystemExit(f"PulseAudio does not start:\n{text}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            stop(self._process)
        self._log.close()
        self._folder.cleanup()

    def control(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run pactl."""
        return subprocess.run(
            ["pactl", *words], env=self.environment, capture_output=True, text=True, check=False
        )


def null_sink(name: str) -> str:
    """Return the module and its arguments. Without rewinds, a sink renders just what is due."""
    return f"module-null-sink sink_name={name} {SPEC} norewinds=1"


class Tape:
    """Records a source of PulseAudio into a file, and notes when its samples came."""

    def __init__(self, server: PulseServer, source: str, path: Path) -> None:
        self.path = path
        self.start_s = (
            math.inf
        )  # when its first sample was heard, were all as quick as the quickest
        self._process = subprocess.Popen(
            ["parec", *RAW, f"--device={source}", "--latency-msec=20"],
            env=server.environment,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        assert self._process.stdout is not None
        samples = 0
        with self.path.open("wb") as file:
            # `read1` waits for something, and no longer.
            while data := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                file.write(data)
                samples += len(data) // (4 * CHANNELS)
                self.start_s = min(self.start_s, time.monotonic() - samples / RATE)

    def stop(self) -> None:
        stop(self._process)
        self._thread.join()

    def audio(self) -> Audio:
        """Return what was recorded. Shape: `[C, n]`."""
        samples = np.fromfile(self.path, np.float32)
        return np.ascontiguousarray(samples.reshape(-1, CHANNELS).T)


@contextlib.contextmanager
def playing(server: PulseServer, sink: str, frames: NDArray[np.float32]) -> Iterator[None]:
    """Play over and over, frames `[n, C]`, after a second of silence and one of noise.

    The noise comes once, so that no repetition can be taken for another.
    """
    process = subprocess.Popen(
        ["pacat", "--playback", *RAW, f"--device={sink}", "--latency-msec=200"],
        env=server.environment,
        stdin=subprocess.PIPE,
    )

    def feed(pipe: IO[bytes]) -> None:
        pieces = (frames[start : start + RATE] for start in range(0, len(frames), RATE))
        silence = np.zeros((RATE, CHANNELS), np.float32)
        noise = np.random.default_rng(1).uniform(-0.25, 0.25, silence.shape).astype(np.float32)
        with contextlib.suppress(BrokenPipeError, ValueError):
            for piece in itertools.chain([silence, noise], itertools.cycle(list(pieces))):
                pipe.write(piece.tobytes())

    assert process.stdin is not None
    thread = threading.Thread(target=feed, args=(process.stdin,))
    thread.start()
    try:
        yield
    finally:
        stop(process)
        thread.join()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def stop(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclasses.dataclass(frozen=True)
class Performance:
    """What was played, heard and said during a run.

    Attributes:
        start: The event with which `desmezcla live` began.
        end: The event with which it ended.
        first: What passed through the first sink. Shape: `[C, n]`.
        second: What passed through the second one. Shape: `[C, n]`.
        later_s: How much later than the first the second recording began.
        played: What `desmezcla live` recorded of its output, in step with its input. `[C, n]`
    """

    start: dict[str, Any]
    end: dict[str, Any]
    first: Audio
    second: Audio
    later_s: float
    played: Audio


def perform(options: argparse.Namespace, folder: Path) -> Performance:
    """Let it play."""
    frames = song(options.song)
    take = Path(tempfile.mkdtemp(prefix="take-", dir=folder))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PulseServer())
        tapes = [
            Tape(server, f"{sink}.monitor", folder / f"{sink}.f32") for sink in (FIRST, SECOND)
        ]
        for tape in tapes:
            stack.callback(tape.stop)
        live = subprocess.Popen(
            live_command(options, take),
            env=server.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(stop, live)
        assert live.stdout is not None
        lines = [live.stdout.readline()]
        # It has begun to hear, so it will hear all of the song.
        stack.enter_context(playing(server, FIRST, frames))
        lines += live.stdout.readlines()
        if live.wait():
            raise SystemExit(f"desmezcla live has failed with exit code {live.returncode}")
    events = [json.loads(line) for line in lines]
    return Performance(
        start=events[0],
        end=events[-1],
        first=tapes[0].audio(),
        second=tapes[1].audio(),
        later_s=tapes[1].start_s - tapes[0].start_s,
        played=soundfile.read(take / "output.wav", dtype="float32")[0].T,
    )


def song(path: Path | None) -> NDArray[np.float32]:
    """Return what is played. Shape: returns `[n, C]`."""
    if path is None:
        rng = np.random.default_rng(0)
        return rng.uniform(-0.25, 0.25, (60 * RATE, CHANNELS)).astype(np.float32)
    audio, rate = read_audio(path)
    audio = resample(audio, rate, RATE)
    return np.ascontiguousarray(np.resize(audio, (CHANNELS, audio.shape[1])).T)


def live_command(options: argparse.Namespace, take: Path) -> list[str]:
    """Return the command that plays from the first sink to the second and records to `take`."""
    common = [f"--block={options.block}", f"--handoff={options.handoff}"]
    common += [f"--latency={options.latency}"]
    if options.release is None:
        script = str(Path(__file__).resolve())
        own = ["--passthrough", f"--seconds={options.seconds}", f"--keep={take}"]
        return [sys.executable, script, *own, *common]
    gains = [f"--gain={stem}={gain}" for stem, gain in GAINS.items()]
    return [
        *(sys.executable, "-m", "desmezcla", "live", "--model", str(options.release)),
        *("--input", FIRST, "--output", SECOND, "--sample-rate", str(RATE)),
        *("--duration", str(options.seconds), "--json"),
        *("--record", str(take), "--record-mix", "--bit-depth", "32f"),
        *gains,
        *common,
    ]


def offline(options: argparse.Namespace) -> Callable[[Audio], Audio]:
    """Return what makes the expected output of an input, both `[C, n]`, without a device."""
    if options.release is None:
        return lambda audio: audio

    def mixed(stems: dict[str, Audio]) -> Audio:
        total: Audio = sum((GAINS.get(s, 1.0) * a for s, a in stems.items()), np.float32(0))
        return total

    def by_track(audio: Audio) -> Audio:
        separator = desmezcla.Separator(options.release, device="cpu", segment="track")
        return mixed(separator.separate(audio, RATE))

    def by_segments(audio: Audio) -> Audio:
        separator = desmezcla.Separator(
            options.release, device="cpu", segment=SEGMENT_S, overlap=2 * MEMORY_S / SEGMENT_S
        )
        return mixed(separator.separate(audio, RATE))

    def by_stream(audio: Audio) -> Audio:
        separator = desmezcla.StreamSeparator(options.release, sample_rate=RATE, channels=CHANNELS)
        pieces = [separator.process(audio[:, k : k + RATE]) for k in range(0, audio.shape[1], RATE)]
        stems = np.concatenate([*pieces, separator.flush()], axis=2)
        return mixed(dict(zip(separator.stems, stems, strict=True)))

    return {"track": by_track, "segments": by_segments, "stream": by_stream}[options.offline]


def judge(run: Performance, separate: Callable[[Audio], Audio]) -> tuple[list[str], bool]:
    """Compare what was played with what should have been, and return a report and the verdict."""
    length = round(run.end["played_s"] * RATE)
    heard = find_input(run, separate)
    expected = separate(run.first[:, heard : heard + length])
    # What was still in the device's buffers was not played.
    expected = expected[:, : -run.start["latency_samples"] - RATE]
    came = align(expected, run.second)
    gaps, error = find_gaps(expected, run.second, came)
    agreement_db = decibels(energy(expected), energy(error))
    largest_db = decibels(float(np.abs(error).max()) ** 2, 1.0)
    latency_s = run.later_s + (came - heard) / RATE
    device_s = run.start["device_latency_s"]
    stated_s = run.start["latency_s"] + sum(device_s.values())
    faults = {
        name: run.end[name]
        for name in ("deadline_misses", "input_overruns", "skipped_samples", "xruns")
    } | {"device_losses": run.end["device_losses"]}
    report = [
        f"played {run.end['played_s']:.1f} s in {run.end['blocks']} blocks",
        "reported: " + ", ".join(f"{name} {count}" for name, count in faults.items()),
        f"load: mean {run.end['load_mean']:.1%}, 99.9 % of blocks {run.end['load_p999']:.1%}, "
        f"largest {run.end['load_max']:.1%}; priority: {run.start['priority']}",
        f"agreement over {expected.shape[1] / RATE:.1f} s: {agreement_db:.1f} dB, "
        f"largest difference {largest_db:.1f} dB of full scale",
        f"gaps: {len(gaps)}",
        *gaps,
        f"latency: {1000 * latency_s:.1f} ms by alignment, {1000 * stated_s:.1f} ms stated "
        f"({1000 * run.start['latency_s']:.1f} ms of the session, the rest of the devices)",
    ]
    good = not any(faults.values()) and not gaps and agreement_db >= ENOUGH_DB
    return [*report, "good" if good else "NOT GOOD"], good


def find_input(run: Performance, separate: Callable[[Audio], Audio]) -> int:
    """Return at which sample of the first recording the session began to hear.

    Its own recording is in step with its input, so their correlation tells, but for a sample or
    two that a filter can make. Models work on a grid of samples, so only the right one of these
    gives the same result.
    """
    length = min(run.played.shape[1], 12 * RATE)
    about = align(run.played[:, :length], run.first)

    def difference(start: int) -> float:
        made = separate(run.first[:, start : start + length])
        return energy(made - run.played[:, :length])

    if difference(about) == 0:
        return about
    return min(range(max(0, about - 3), about + 4), key=difference)


def align(wanted: Audio, recorded: Audio) -> int:
    """Return at which sample of a recording something begins. Shape: `[C, n]`, `[C, m]`."""
    if not np.abs(wanted).max() > AUDIBLE:
        raise SystemExit("there is only silence; was anything played?")
    # Differences from sample to sample: what is low or constant in music tells little of time.
    excerpt = np.diff(wanted[0, : 4 * RATE])
    found = find_delay(excerpt, np.diff(recorded[:1, : 30 * RATE]))
    if found is None:
        raise SystemExit("what was played is not in the recording")
    return round(found.samples)


def find_gaps(expected: Audio, recorded: Audio, came: int) -> tuple[list[str], Audio]:
    """Return the places where a recording is not what it should be, and the difference.

    Args:
        expected: What should be there.
        recorded: What is there.
        came: At which sample of the recording it begins.

    Shape:
        expected: `[C, n]`; recorded: `[C, m]`; returns a difference `[C, n]` or shorter.
    """
    length = min(expected.shape[1], recorded.shape[1] - came)
    error = recorded[:, came : came + length] - expected[:, :length]
    gaps, shift = [], 0
    for start in range(0, length - PIECE, PIECE):
        wanted = expected[:, start : start + PIECE]
        there = recorded[:, came + shift + start :][:, :PIECE]
        wrong = energy(there - wanted[:, : there.shape[1]])
        if wrong <= max(energy(wanted) * 10 ** (-ENOUGH_DB / 10), wanted.size * AUDIBLE**2):
            continue
        # Is what follows there, but earlier or later?
        around = max(0, came + shift + start + PIECE - RATE // 2)
        found = find_delay(
            np.diff(expected[0, start + PIECE :][: RATE // 2]),
            np.diff(recorded[:1, around:][:, : 3 * RATE // 2]),
        )
        before = shift
        if found is not None:
            shift = around + round(found.samples) - came - start - PIECE
        gaps.append(f"  {start / RATE:.1f} s: {shift - before:+d} samples")
    return gaps, error


def energy(audio: Audio) -> float:
    return float(np.square(audio, dtype=np.float64).sum())


def decibels(energy: float, reference: float) -> float:
    if energy == 0 or reference == 0:
        return -math.inf if energy == 0 else math.inf
    return 10 * math.log10(energy / reference)


class Delay:
    """A stream that only holds its sound back, and gives half of it to each of two stems."""

    stems = ("one half", "other half")
    sample_rate = RATE
    channels = CHANNELS
    latency_samples = 1024

    def __init__(self) -> None:
        self._held = np.zeros((CHANNELS, 0), np.float32)

    def process(self, block: Audio) -> Audio:
        held = np.concatenate([self._held, block], axis=1)
        ready = max(0, held.shape[1] - self.latency_samples)
        self._held = held[:, ready:]
        return np.stack([held[:, :ready] / 2] * 2)

    def flush(self) -> Audio:
        held, self._held = self._held, self._held[:, :0]
        return np.stack([held / 2] * 2)

    def reset(self) -> None:
        self._held = self._held[:, :0]


def run_passthrough(options: argparse.Namespace) -> None:
    """Do as `desmezcla live` does, without a model."""
    devices = list_devices()
    latency = options.latency if options.latency in ("low", "high") else float(options.latency)
    backend = PortAudioBackend(
        choose_device(devices, SECOND, "output"),
        choose_device(devices, FIRST, "input"),
        sample_rate=RATE,
        channels=CHANNELS,
        block_samples=options.block,
        latency=latency,
    )
    stream = Delay()
    mixer = Mixer(stream.stems, RATE)
    with StemRecorder(options.keep, ["output"], RATE, CHANNELS, bit_depth="32f") as recorder:

        class Sink:
            def write(self, stems: Audio) -> None:
                recorder.write(stems.sum(axis=0, keepdims=True))

        with LiveSession(
            stream, mixer, backend, handoff_blocks=options.handoff, recorder=Sink()
        ) as live:
            heard_s, played_s = live.device_latency_s
            start = {
                "latency_samples": live.latency_samples,
                "latency_s": live.latency_s,
                "device_latency_s": {"input": heard_s, "output": played_s},
                "priority": live.priority,
            }
            print(json.dumps(start), flush=True)
            while live.statistics().played_s < options.seconds:
                live.wait(0.1)
            end = dataclasses.asdict(live.statistics())
    print(json.dumps(end))


if __name__ == "__main__":
    sys.exit(main())
