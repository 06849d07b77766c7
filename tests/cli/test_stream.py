"""The command `stream`, from bytes to bytes; `test_stream_page.py` has its page."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.cli import _run
from desmezcla.dsp.threads import with_threads
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.live.pcm import PcmDecoder, PcmEncoder, find_pcm_format
from desmezcla.live.stream import Audio
from desmezcla.models import build_model
from desmezcla.models.base import SeparationModel
from desmezcla.models.open_unmix import TINY
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

STEMS = ("vocals", "drums", "bass", "other")
RATE = 44100


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home folder with a causal release `realtime` and an offline one."""
    home = tmp_path_factory.mktemp("home")
    causal = {"unidirectional": True, "wiener_iterations": 0}
    for name, more in {"realtime": causal, "offline": {}}.items():
        torch.manual_seed(0)
        model = build_model("open_unmix", **TINY, **more)
        save_release(model, home / "releases" / name, About(name=name, license="MIT"))
    return home


@pytest.fixture(scope="module")
def model(home: Path) -> SeparationModel[Any]:
    return load_model(home / "releases" / "realtime")


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    settings = {"DESMEZCLA_HOME": str(home), "DESMEZCLA_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **settings}


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: bytes, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def audio(self, channels: int, format: str = "f32le") -> Audio:
        return PcmDecoder(find_pcm_format(format), channels).decode(self.out)


Stream = Callable[..., Ended]


def run_between(stdin: Any, stdout: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as ends:
        ends.setattr(sys, "stdin", stdin)
        ends.setattr(sys, "stdout", stdout)
        return _run()


@pytest.fixture
def stream(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Stream]:
    """Return what runs the command in this process, from a file to a file."""
    monkeypatch.setenv("DESMEZCLA_HOME", str(home))
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")

    def run(*options: object, data: bytes = b"") -> Ended:
        (tmp_path / "in").write_bytes(data)
        monkeypatch.setattr(sys, "argv", ["desmezcla", "stream", *map(str, options)])
        with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
            code = run_between(stdin, stdout, monkeypatch)
        return Ended(code, (tmp_path / "out").read_bytes(), capsys.readouterr().err)

    with with_threads(torch.get_num_threads()):  # whatever the command sets
        yield run


def noise(samples: int, channels: int = 2, seed: int = 0) -> Audio:
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, samples))
    return audio.astype(np.float32)


def raw(audio: Audio, format: str = "f32le") -> bytes:
    return PcmEncoder(find_pcm_format(format)).encode(audio)


def separated(model: SeparationModel[Any], audio: Audio) -> Audio:
    """Return the stems of the whole signal at once: `[S, C, n]`."""
    with torch.no_grad():
        stems: Audio = model(torch.from_numpy(audio)[None])[0].numpy()
    return stems


def test_it_gives_what_the_stream_gives_and_the_model_as_a_whole(
    stream: Stream, home: Path, model: SeparationModel[Any]
) -> None:
    audio = noise(10_000)
    ended = stream("--block", 3000, data=raw(audio))
    assert ended.code == 0, ended.err
    out = ended.audio(8).reshape(4, 2, -1)
    live = StreamSeparator(home / "releases" / "realtime")
    blocks = [live.process(audio[:, start : start + 3000]) for start in range(0, 10_000, 3000)]
    np.testing.assert_array_equal(out, np.concatenate([*blocks, live.flush()], axis=-1))
    np.testing.assert_allclose(out, separated(model, audio), atol=1e-5)


@pytest.mark.parametrize("block", [1, 64, 100_000])
def test_the_size_of_the_pieces_does_not_matter(
    stream: Stream, model: SeparationModel[Any], block: int
) -> None:
    audio = noise(500 if block == 1 else 10_000)
    ended = stream("--block", block, data=raw(audio))
    np.testing.assert_allclose(ended.audio(8).reshape(4, 2, -1), separated(model, audio), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "stems"),
    [
        (["--stem", "drums"], ["drums"]),
        (["--stems", "other,vocals"], ["other", "vocals"]),
        ([], list(STEMS)),
    ],
)
def test_stems_stand_side_by_side(
    stream: Stream, model: SeparationModel[Any], options: list[str], stems: list[str]
) -> None:
    audio = noise(3000)
    out = stream(*options, data=raw(audio)).audio(2 * len(stems))
    expected = separated(model, audio)
    for index, stem in enumerate(stems):
        own = out[2 * index : 2 * index + 2]
        np.testing.assert_allclose(own, expected[STEMS.index(stem)], atol=1e-5)


def test_a_mix_has_gains(stream: Stream, model: SeparationModel[Any]) -> None:
    audio = noise(3000)
    ended = stream("--mix", "vocals=0, drums=1.5, bass=-20dB", data=raw(audio))
    gains = np.array([0, 1.5, 0.1, 1])
    expected = np.tensordot(gains, separated(model, audio), 1)
    np.testing.assert_allclose(ended.audio(2), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("taken", "given"), [("s16le", None), ("s24be", "s16be"), ("f64le", "s32le"), ("u8", "f32le")]
)
def test_formats(
    stream: Stream, model: SeparationModel[Any], taken: str, given: str | None
) -> None:
    data = raw(noise(3000), taken)
    options = ["--output-format", given] if given else []
    ended = stream("--stem", "bass", "--format", taken, *options, data=data)
    assert ended.code == 0, ended.err
    heard = PcmDecoder(find_pcm_format(taken), 2).decode(data)
    step = 2.0 ** (1 - find_pcm_format(given or taken).bits)
    np.testing.assert_allclose(
        ended.audio(2, given or taken), separated(model, heard)[2], atol=1e-5 + step
    )


def test_it_says_what_goes_in_and_out_as_ffmpeg_wants_it_told(stream: Stream) -> None:
    ended = stream("--rate", 48000, "--format", "s16le", "--output-format", "f32le")
    assert "input:  -f s16le -ar 48000 -ac 2\n" in ended.err
    places = "channels 1-2 vocals, 3-4 drums, 5-6 bass, 7-8 other"
    assert f"output: -f f32le -ar 48000 -ac 8  ({places})\n" in ended.err
    ended = stream("--channels", 1, "--stems", "bass,drums")
    assert "output: -f f32le -ar 44100 -ac 2  (channels 1 bass, 2 drums)\n" in ended.err


def test_quiet_says_nothing_and_verbose_how_much(stream: Stream) -> None:
    data = raw(noise(1000)) + b"1"
    assert stream("-q", data=data).err == ""
    assert "1000 samples in (0.023 s), 1000 out; computed for" in stream("-v", data=data).err


def test_json_on_standard_error(stream: Stream) -> None:
    audio = noise(1000) * 40
    audio[1, 3] = np.nan
    options = ("--output-format", "s16le", "--stem", "drums", "--json")
    ended = stream(*options, data=raw(audio) + b"123")
    start, done = map(json.loads, ended.err.splitlines())
    assert start.pop("latency_samples") > 0
    assert start == {
        "event": "start",
        "input": "-",
        "model": "realtime",
        "engine": "torch",
        "sample_rate": RATE,
        "input_format": "f32le",
        "input_channels": 2,
        "output_format": "s16le",
        "output_channels": 2,
        "stems": ["drums"],
    }
    assert done.pop("compute_s") > 0
    assert done.pop("clipped_samples") > 100
    assert done == {
        "event": "done",
        "input": "-",
        "samples_in": 1000,
        "samples_out": 1000,
        "replaced_samples": 1,
        "dropped_bytes": 3,
        "broken_pipe": False,
    }


def test_nothing_in_gives_nothing_out(stream: Stream) -> None:
    ended = stream()
    assert (ended.code, ended.out) == (0, b"")


def test_half_a_frame_at_the_end_is_said(stream: Stream) -> None:
    ended = stream("--stem", "bass", data=raw(noise(100)) + b"\0" * 5)
    assert ended.code == 0
    assert len(ended.out) == 800
    assert "ended in the middle of a frame" in ended.err


def test_samples_of_another_format_end_in_an_error_that_says_so(stream: Stream) -> None:
    ended = stream("--quiet", data=np.random.default_rng(0).bytes(80_000))
    assert ended.code == 1
    assert ended.err == (
        "error: the model gave samples that are no finite numbers after 0.000 s; check that the "
        "format of the input is f32le\n"
    )


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_channels_go_in_pairs_or_alone(stream: Stream, home: Path, channels: int) -> None:
    audio = noise(3000, channels)
    ended = stream("--channels", channels, data=raw(audio))
    assert ended.code == 0, ended.err
    out = ended.audio(4 * channels).reshape(4, channels, -1)
    pairs = {1: [[0]], 3: [[0, 1], [2]], 6: [[0, 1], [2], [3], [4, 5]]}[channels]
    for pair in pairs:
        live = StreamSeparator(home / "releases" / "realtime", channels=len(pair))
        expected = np.concatenate([live.process(audio[pair]), live.flush()], axis=-1)
        np.testing.assert_allclose(out[:, pair], expected, atol=1e-5)


def test_another_rate_than_the_model_has(stream: Stream, home: Path) -> None:
    audio = noise(5000)
    ended = stream("--rate", 48000, data=raw(audio))
    live = StreamSeparator(home / "releases" / "realtime", sample_rate=48000)
    expected = np.concatenate([live.process(audio), live.flush()], axis=-1)
    assert expected.shape[-1] == 5000
    np.testing.assert_allclose(ended.audio(8).reshape(4, 2, -1), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--format", "s16"], 2, "'s16' is not known; choose one of u8, s16le"),
        (["--output-format", "mp3"], 2, "'mp3' is not known"),
        (["--stem", "vocal"], 2, "stem 'vocal' is not made by this release; choose from vocals,"),
        (["--stem", "bass", "--mix", "bass=1"], 2, "--stem and --mix exclude each other"),
        (["--mix", "vocals"], 2, "--mix='' must be a number for vocals"),
        (["--mix", "vocals=1,vocals=2"], 2, "each stem once"),
        (["--mix", "vocals=9999dB"], 2, "of vocals must be from 0 to 4"),
        (["--mix", "piano=1"], 2, "piano"),
        (["--stems", ""], 2, "must name one stem or more"),
        (["--channels", "9"], 2, "--channels"),
        (["--block", "0"], 2, "--block"),
        (["-m", "nothing"], 1, "'nothing' does not exist"),
        (["-m", "offline"], 2, "'offline' is not causal"),
        (["--engine", "onnx"], 1, "'realtime' has no stream.onnx; make it with: desmezcla export"),
        (["--engine", "torch", "--precision", "int8"], 2, "needs ONNX Runtime"),
    ],
)
def test_wrong_use_is_told(stream: Stream, options: list[str], code: int, message: str) -> None:
    ended = stream(*options, data=raw(noise(100)))
    assert ended.code == code, ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == b""


@pytest.mark.parametrize("name", ["input", "output"])
def test_a_terminal_is_refused_with_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(sys, "argv", ["desmezcla", "stream"])
    with os.fdopen(slave, "r+b", buffering=0) as terminal, Path(os.devnull).open("r+b") as other:
        stdin, stdout = (terminal, other) if name == "input" else (other, terminal)
        assert run_between(stdin, stdout, monkeypatch) == 2
    os.close(master)
    err = capsys.readouterr().err
    assert f"standard {name} is a terminal" in err
    assert "as in: ffmpeg -i song.mp3 -f f32le" in err


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return what starts the command in a process of its own, between two pipes."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "desmezcla", "stream", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # Where the tests run in the background of a shell, children inherit a deaf ear.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def test_what_is_there_comes_out_at_once_and_ctrl_c_ends_it(start: Any) -> None:
    process = start("--stem", "vocals", "--json")
    latency = json.loads(process.stderr.readline())["latency_samples"]
    audio = noise(latency + 100)
    process.stdin.write(raw(audio))
    process.stdin.flush()  # and it stays open
    assert len(process.stdout.read(800)) == 800
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == b""


def test_a_reader_that_goes_away_is_no_error(start: Any) -> None:
    process = start("--quiet", "--stem", "vocals")
    data = raw(noise(5000))  # less than what a pipe of the system holds
    process.stdin.write(data)
    received = process.stdout.read(100)
    process.stdout.close()
    with pytest.raises(BrokenPipeError):  # it has gone, and so the one before it stops
        process.stdin.write(1000 * data)
    assert len(received) == 100
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize("end", ["<&-", ">&-"])
def test_ends_that_are_closed_are_told(environment: dict[str, str], end: str) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m desmezcla stream {end}",
        shell=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.search("error: standard (in|out)put is closed; .* ffmpeg -i", done.stderr)
    assert "Traceback" not in done.stderr
