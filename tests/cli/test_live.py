import json
import os
import pty
import re
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mido
import mido.ports
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from pythonosc.osc_message_builder import OscMessageBuilder

from desmezcla.cli import live_devices, live_run, live_view
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.live.backend import DeviceError
from desmezcla.live.controls.osc import OscControl
from desmezcla.live.devices import AudioDevice
from desmezcla.live.portaudio import PortAudioBackend
from desmezcla.live.round_trip import RoundTrip
from desmezcla.live.session import LiveSession
from desmezcla.models import build_model
from desmezcla.models.open_unmix import TINY
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

STEMS = ["vocals", "drums", "bass", "other"]
RATE = 44100
BLOCK = 512
PATIENCE_S = 30.0

MICROPHONE = AudioDevice(
    index=0,
    name="Microphone",
    host_api="ALSA",
    inputs=2,
    outputs=0,
    default_rate_hz=48000,
    low_input_latency_s=0.01,
    low_output_latency_s=0.0,
    is_default_input=True,
    is_default_output=False,
)
SPEAKERS = replace(
    MICROPHONE,
    index=1,
    name="Speakers",
    inputs=0,
    outputs=2,
    is_default_input=False,
    is_default_output=True,
)
CARD = replace(SPEAKERS, index=2, name="Scarlett 2i2", inputs=2, is_default_output=False)


class Devices:
    """Devices without hardware, as quick as the model; they stand in for PortAudio.

    Attributes:
        heard: What the input device hears, over and over.
        at: What is done in the device's thread before a block of that number.
        played: What has been played.
        session, mixer: Of the command that uses them.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.heard = rng.uniform(-0.5, 0.5, (2, 100 * BLOCK)).astype(np.float32)
        self.at: dict[int, Callable[[], None]] = {}
        self.played: list[NDArray[np.float32]] = []
        self.asked: dict[str, Any] = {}
        self.fails: Exception | None = None
        self.session: Any = None
        self.mixer: Any = None

    def make(self, output: AudioDevice, input: AudioDevice | None, **asked: Any) -> "Devices":
        PortAudioBackend(output, input, **asked)  # checks what it is given
        self.asked = {"output": output, "input": input, **asked}
        for name in ("sample_rate", "channels", "block_samples"):
            setattr(self, name, asked[name])
        return self

    latency_s = (0.004, 0.006)

    def unplug(self) -> None:
        self.running = False
        del self.at[20]

    def open(self, callback: Any) -> None:
        if self.fails:
            raise self.fails
        self.running = True
        self._callback = callback
        self._closed = threading.Event()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self, *, drain: bool) -> None:
        if hasattr(self, "_thread"):
            self._closed.set()
            self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._closed.is_set():
            self.at.get(number, lambda: None)()
            play = np.zeros((2, self.asked["block_samples"]), np.float32)
            heard = None
            if self.asked["input"] is not None:
                start = number * play.shape[1] % self.heard.shape[1]
                heard = self.heard[:, start : start + play.shape[1]]
            self._callback(heard, play, 0)
            self.played.append(play)
            number += 1
            # Not in step with a clock, so that a slow machine is none; at the end, when the
            # model does nothing any more, it goes on after a while.
            for _ in range(50):
                if self.session.statistics().blocks >= number:
                    break
                time.sleep(0.001)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    """Put devices in the place of PortAudio's."""
    made = Devices()

    class Session(LiveSession):
        def __init__(self, stream: Any, mixer: Any, *arguments: Any, **more: Any) -> None:
            super().__init__(stream, mixer, *arguments, **more)
            made.session, made.mixer = self, mixer

    monkeypatch.setattr(live_run, "LiveSession", Session)
    monkeypatch.setattr(live_devices, "PortAudioBackend", made.make)
    monkeypatch.setattr(live_devices, "list_devices", lambda: [MICROPHONE, SPEAKERS, CARD])
    monkeypatch.setattr(live_devices, "choose_rate", lambda *_, preferred_hz, **__: preferred_hz)
    monkeypatch.setattr(live_run, "_UPDATE_S", 0.01)
    return made


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a causal release that is quick."""
    model = build_model("open_unmix", **TINY, unidirectional=True, wiener_iterations=0)
    folder = tmp_path_factory.mktemp("causal") / "quick"
    save_release(model, folder, About(name="quick", license="MIT"))
    return folder


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def offline(folder: Path, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    separator = StreamSeparator(folder)
    return np.concatenate([separator.process(audio), separator.flush()], axis=2)


def read(path: Path) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0].T
    return audio


def test_a_file_is_played_and_its_stems_recorded(
    desmezcla: Any, devices: Devices, causal: Path, song: Any, tmp_path: Path
) -> None:
    path, take = song(samples=30_000), tmp_path / "take"
    done = desmezcla(
        *("live", "-m", causal, "--input", path, "--json", "--gain", "vocals=0"),
        *("--gain", "drums=-6dB", "--record", take, "--record-mix", "--bit-depth", "32f"),
    )
    assert done.code == 0, done.err
    start, *_, end = events(done.out)
    assert (start["event"], start["input"], start["model"]) == ("start", str(path), "quick")
    assert start["output"] == "1: Speakers, ALSA"
    assert (start["engine"], start["stems"]) == ("torch", STEMS)
    assert start["handoff_samples"] == 4 * BLOCK
    separator = StreamSeparator(causal)
    assert start["latency_samples"] == separator.latency_samples + 4 * BLOCK
    assert start["latency_s"] == pytest.approx(start["latency_samples"] / RATE)
    assert start["device_latency_s"] == {"input": 0.004, "output": 0.006}
    assert (end["event"], end["ended_by"]) == ("done", "input")
    assert end["recorded"] == {stem: str(take / f"{stem}.wav") for stem in [*STEMS, "output"]}
    wanted = offline(causal, read(path))
    for stem, audio in zip(STEMS, wanted, strict=True):
        recorded = read(take / f"{stem}.wav")
        assert recorded.shape == (2, 30_000)
        np.testing.assert_allclose(recorded, audio, atol=1e-5)
    gains = np.array([0.0, 10 ** (-6 / 20), 1.0, 1.0])
    mix = np.tensordot(gains, wanted, 1)
    np.testing.assert_allclose(read(take / "output.wav"), mix, atol=1e-5)
    if end["deadline_misses"] == 0:
        played = np.concatenate(devices.played, axis=1)[:, start["latency_samples"] :]
        np.testing.assert_allclose(played[:, :30_000], mix, atol=1e-5)


def test_ctrl_c_ends_it_in_good_order(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)  # is ignored where the tests run in the background
    devices.at[20] = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = desmezcla("live", "-m", causal, "--record", tmp_path / "take", "--record-format", "flac")
    assert done.code == 0, done.err
    assert "0: Microphone, ALSA -> quick -> 1: Speakers, ALSA" in done.err
    assert "no deadline was missed" in done.err or "too late" in done.err
    lengths = {soundfile.info(path).frames for path in (tmp_path / "take").iterdir()}
    assert len(list((tmp_path / "take").iterdir())) == 4
    assert len(lengths) == 1
    assert lengths.pop() >= 15 * BLOCK
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("number", "options", "code"),
    [
        (signal.SIGINT, ["--duration", "60"], 130),
        (signal.SIGTERM, [], 143),
        (signal.SIGHUP, [], 129),
    ],
)
def test_a_run_that_was_to_go_on_says_so_by_its_code(
    desmezcla: Any,
    devices: Devices,
    causal: Path,
    tmp_path: Path,
    number: signal.Signals,
    options: list[str],
    code: int,
) -> None:
    devices.at[20] = lambda: os.kill(os.getpid(), number)
    done = desmezcla("live", "-m", causal, "--record", tmp_path / "take", "--json", *options)
    assert done.code == code
    assert events(done.out)[-1]["ended_by"] == "user"
    assert (tmp_path / "take" / "drums.wav").exists()


def test_duration(desmezcla: Any, devices: Devices, causal: Path) -> None:
    done = desmezcla("live", "-m", causal, "--duration", "0.2", "--json")
    assert done.code == 0, done.err
    end = events(done.out)[-1]
    assert end["ended_by"] == "duration"
    assert end["played_s"] >= 0.2


def test_a_level_is_told_once_a_second(
    desmezcla: Any, devices: Devices, causal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_EVENT_S", 0.05)
    done = desmezcla("live", "-m", causal, "--duration", "2", "--json", "--gain", "bass=0")
    levels = [event for event in events(done.out) if event["event"] == "level"]
    assert len(levels) >= 2
    for level in levels:
        assert set(level["levels"]) == {*STEMS, "output"}
        assert level["levels"]["bass"] == {"peak_db": None, "rms_db": None}
        assert level["gains"] == {"vocals": 1.0, "drums": 1.0, "bass": 0.0, "other": 1.0}
        assert (level["muted"], level["solo"], level["device_lost"]) == ([], None, False)
    assert levels[-1]["levels"]["output"]["peak_db"] > -60
    assert levels[-1]["load"] > 0
    times = [level["time_s"] for level in levels]
    assert times == sorted(times)


def test_quiet_is_quiet(desmezcla: Any, devices: Devices, causal: Path) -> None:
    done = desmezcla("live", "-m", causal, "--duration", "0.1", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Make standard input a terminal, and return what presses its keys."""
    keys, screen = pty.openpty()
    with os.fdopen(screen) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda pressed: void(os.write(keys, pressed))
    os.close(keys)


def until(true: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError(f"waited for {PATIENCE_S:g} s")


def void(_: int) -> None:
    """Leave out a result."""


def test_keys_change_gains_and_quit_while_it_plays(
    desmezcla: Any, devices: Devices, causal: Path, keyboard: Any
) -> None:
    def quit() -> None:
        until(lambda: devices.mixer.gains()["drums"] < 1)
        keyboard(b"q")

    devices.at[10] = lambda: keyboard(b"2ms\x1b[B")
    devices.at[20] = quit
    done = desmezcla("live", "-m", causal, "--json")
    assert done.code == 0, done.err
    assert events(done.out)[-1]["ended_by"] == "user"
    mixer = devices.mixer
    assert mixer.gains()["drums"] == pytest.approx(10 ** (-1 / 20))
    assert (mixer.muted, mixer.soloed) == ({"drums"}, "drums")


def test_on_a_terminal_there_are_meters(
    desmezcla: Any,
    devices: Devices,
    causal: Path,
    keyboard: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were one
    monkeypatch.setenv("COLUMNS", "150")
    done = desmezcla(
        *("live", "-m", causal, "--duration", "0.5", "--gain", "drums=0.5"),
        *("--record", tmp_path / "take"),
    )
    assert done.code == 0, done.err
    for text in (*STEMS, "gain", "-6.0 dB", "load", "misses 0", "1-9 stem", "recorded 0."):
        assert text in done.err
    assert "played" in done.err.split("1-9 stem")[-1], "the summary comes after the meters"


def test_a_device_that_disappears_and_comes_back_is_told(
    desmezcla: Any, devices: Devices, causal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_EVENT_S", 0.02)
    devices.at[20] = devices.unplug
    done = desmezcla("live", "-m", causal, "--duration", "0.6", "--json")
    assert done.code == 0, done.err
    assert "has disappeared" in done.err
    assert "is back" in done.err
    *levels, end = events(done.out)[1:]
    assert {level["device_lost"] for level in levels} == {False, True}
    assert end["device_losses"] == 1


def test_osc_changes_gains_while_it_plays(
    desmezcla: Any, devices: Devices, causal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            message = OscMessageBuilder("/desmezcla/vocals/gain")
            message.add_arg(0.25)
            for datagram in (message.build(), OscMessageBuilder("/desmezcla/gains").build()):
                client.sendto(datagram.dgram, ("127.0.0.1", port))
            answers.append(client.recv(4096))

    answers: list[bytes] = []
    devices.at[10] = ask
    done = desmezcla("live", "-m", causal, "--osc", port, "--duration", "0.5")
    assert done.code == 0, done.err
    assert f"OSC at 127.0.0.1:{port}" in done.err
    assert b"vocals" in answers[0]
    assert devices.mixer.gains()["vocals"] == 0.25


def test_devices_are_chosen_by_name_and_number(
    desmezcla: Any, devices: Devices, causal: Path
) -> None:
    done = desmezcla(
        *("live", "-m", causal, "--input", "scarlett", "--output", "2", "--duration", "0.1"),
        *("--block", "256", "--handoff", "2", "--latency", "0.05", "--json"),
    )
    assert done.code == 0, done.err
    assert devices.asked == {
        "output": CARD,
        "input": CARD,
        "sample_rate": RATE,
        "channels": 2,
        "block_samples": 256,
        "latency": 0.05,
    }
    assert events(done.out)[0]["handoff_samples"] == 512


def test_devices_at_another_rate_than_the_models(
    desmezcla: Any, devices: Devices, causal: Path, song: Any, tmp_path: Path
) -> None:
    take = tmp_path / "take"
    done = desmezcla(
        *("live", "-m", causal, "--input", song(samples=22_050), "--sample-rate", "48000"),
        *("--record", take, "--json"),
    )
    assert done.code == 0, done.err
    assert events(done.out)[0]["sample_rate"] == 48000
    info = soundfile.info(take / "bass.wav")
    assert (info.samplerate, info.frames) == (48000, 24_000)


def test_the_devices_are_listed_without_a_model(desmezcla: Any, devices: Devices) -> None:
    done = desmezcla("live", "--list-devices")
    assert done.code == 0
    for device in (MICROPHONE, SPEAKERS, CARD):
        assert device.name in done.out
    listed = events(desmezcla("live", "--list-devices", "--json").out)
    assert [device["index"] for device in listed] == [0, 1, 2]
    assert listed[0]["inputs"] == 2
    assert listed[0]["is_default_input"] is True


def test_the_round_trip_is_measured_without_a_model(
    desmezcla: Any, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = RoundTrip((0.0232, 0.0234), 0.0233, 0.0002, 5, True, 1)
    monkeypatch.setattr(live_devices, "measure_round_trip", lambda backend: measured)
    done = desmezcla("live", "--measure-latency", "--output", "Speakers")
    assert done.code == 0, done.err
    assert "23.30 ms" in done.out
    assert "2 of 5 times" in done.out
    assert "polarity" in done.err
    assert "lost something 1 times" in done.err
    (event,) = events(desmezcla("live", "--measure-latency", "--json").out)
    assert event["median_s"] == 0.0233
    assert event["input"] == "0: Microphone, ALSA"


PAGE = Path(__file__).parents[2] / "docs" / "live.md"
COMMANDS = [
    line
    for block in re.findall(r"^```bash device\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    for line in block.splitlines()
    if line.startswith("desmezcla ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_work(
    desmezcla: Any,
    devices: Devices,
    causal: Path,
    song: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Played on devices without hardware, and with ports that nobody else can have."""
    summary = About(name="realtime", license="MIT")
    save_release(load_model(causal), tmp_path / "home" / "releases" / "realtime", summary)
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    measured = RoundTrip((0.01,), 0.01, 0.0, 1, False, 0)
    monkeypatch.setattr(live_devices, "measure_round_trip", lambda backend: measured)
    monkeypatch.setattr(live_run, "OscControl", lambda mixer, host, _: OscControl(mixer, host, 0))
    monkeypatch.setattr(mido, "get_input_names", lambda: ["nanoKONTROL2 MIDI 1"])
    monkeypatch.setattr(mido, "open_input", lambda name: mido.ports.BaseInput(name))
    song("song.mp3")
    monkeypatch.chdir(tmp_path)
    devices.at[10] = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = desmezcla(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    if "--record" in command:
        assert len(list((tmp_path / "takes").glob("*/*.*"))) == 4 + ("--record-mix" in command)


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gain", "vocals"], "--gain='"),
        (["--gain", "vocals=loud"], "a number for vocals"),
        (["--gain", "vocals=1", "--gain", "vocals=2"], "each stem once"),
        (["--gain", "piano=1"], "vocals, drums, bass, other"),
        (["--gain", "vocals=5"], "from 0 to 4"),
        (["--gain", "vocals=13dB"], "from 0 to 4"),
        (["--gain", "vocals=nan"], "from 0 to 4"),
        (["--duration", "0"], "--duration=0"),
        (["--duration", "nan"], "--duration=nan"),
        (["--latency", "short"], "--latency='short'"),
        (["--latency", "-1"], "latency=-1"),
        (["--block", "1"], "--block"),
        (["--handoff", "0"], "--handoff"),
        (["--threads", "0"], "--threads"),
        (["--osc", "loud"], "osc='loud'"),
        (["--midi", "nano"], "--midi-map"),
        (["--midi-map", "vocals=7"], "--midi"),
        (["--midi", "nano", "--midi-map", "vocals"], "midi-map='vocals'"),
        (["--record-format", "flac"], "--record FOLDER"),
        (["--record-mix"], "--record FOLDER"),
        (["--record", "take", "--record-format", "stem.mp4"], "stem.mp4"),
        (["--record", "take", "--record-format", "flac", "--bit-depth", "32f"], "bit_depth=32f"),
        (["--input", "Turntable"], "nor is there a file of that name"),
        (["--input", "song.mp3"], "nor is there a file of that name"),
        (["--output", "Microphone"], "output='Microphone'"),
        (["--precision", "float8"], "float8"),
        (["--engine", "steam"], "steam"),
        (["--engine", "torch", "--precision", "int8"], "int8"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    desmezcla: Any,
    devices: Devices,
    causal: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = desmezcla("live", "-m", causal, *options)
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_looks_ahead_is_refused(desmezcla: Any, devices: Devices) -> None:
    done = desmezcla("live", "-m", "tiny")
    assert done.code == 2
    assert "model='tiny'" in done.err
    assert "causal" in done.err


def test_an_unknown_release_is_told(desmezcla: Any, devices: Devices) -> None:
    done = desmezcla("live", "-m", "nonesuch")
    assert done.code == 1
    assert "'nonesuch' does not exist" in done.err


def test_without_devices_it_says_so(
    desmezcla: Any, devices: Devices, causal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_devices, "list_devices", list)
    done = desmezcla("live", "-m", causal)
    assert done.code == 2
    assert "there is no audio output device" in done.err
    done = desmezcla("live", "--list-devices")
    assert (done.code, done.out) == (0, "")
    assert "no audio device" in done.err


def test_a_device_that_cannot_be_opened_is_told_and_leaves_no_recording(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path
) -> None:
    devices.fails = DeviceError("the speakers are on fire")
    done = desmezcla("live", "-m", causal, "--record", tmp_path / "take")
    assert done.code == 1
    assert "error: the speakers are on fire" in done.err
    assert "played" not in done.err
    assert not (tmp_path / "take").exists()


def test_what_was_recorded_before_a_failure_is_kept(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path
) -> None:
    def fail() -> None:
        devices.session._worker.error = DeviceError("it broke")

    devices.at[20] = fail
    done = desmezcla("live", "-m", causal, "--record", tmp_path / "take", "--json")
    assert done.code == 1
    assert "error: it broke" in done.err
    assert events(done.out)[-1]["ended_by"] == "error"
    assert soundfile.info(tmp_path / "take" / "bass.wav").frames >= 15 * BLOCK


def test_an_earlier_take_is_not_replaced(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path
) -> None:
    (tmp_path / "bass.wav").write_text("the best take ever")
    done = desmezcla("live", "-m", causal, "--record", tmp_path)
    assert done.code == 2
    assert "never replaced" in done.err
    assert (tmp_path / "bass.wav").read_text() == "the best take ever"


def test_a_recording_that_breaks_off_is_told_by_the_code(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from desmezcla.audio.stems import StemWriter
    from desmezcla.errors import AudioFileError

    def fails(*_: Any) -> None:
        raise AudioFileError("the disk is gone")

    monkeypatch.setattr(StemWriter, "write", fails)
    done = desmezcla("live", "-m", causal, "--record", tmp_path / "take", "--duration", "0.3")
    assert done.code == 1
    assert "the music goes on" in done.err
    assert "played" in done.err


def test_a_damaged_file_is_told(
    desmezcla: Any, devices: Devices, causal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"this is no song" * 100)
    done = desmezcla("live", "-m", causal, "--input", path)
    assert done.code == 1
    assert "song.mp3" in done.err
    assert "Traceback" not in done.err
