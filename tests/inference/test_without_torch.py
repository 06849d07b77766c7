"""What works where PyTorch is not installed, and what the rest says then."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from desmezcla.exporting.model import export_model
from desmezcla.exporting.stream import export_stream
from desmezcla.inference.offline import Separator
from desmezcla.models import build_model
from desmezcla.models.hs_tasnet import TINY
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

# An entry that is None makes an import fail as if the package were not there.
HIDE = "import sys; sys.modules['torch'] = None\n"
RATE = 44100


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home folder with a release that has all files, and a song."""
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("home")
    model = build_model("hs_tasnet", **TINY)
    release = save_release(model, home / "releases" / "live", About(name="live"))
    save_release(model, home / "releases" / "bare", About(name="bare"))
    model = load_model(release)
    export_model(model, release.folder / "model.onnx", release=release)
    export_stream(model, release.folder / "stream.onnx", release=release)
    audio = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
    soundfile.write(home / "song.wav", audio, RATE, subtype="FLOAT")
    return home


def python(home: Path, code: str, *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {"DESMEZCLA_HOME": str(home), "DESMEZCLA_OFFLINE": "1", "PATH": ""}
    environment["PYTHONPATH"] = ":".join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", HIDE + code],
        input=stdin,
        capture_output=True,
        cwd=home,
        env=environment,
    )


def command(home: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    code = f"sys.argv = ['desmezcla', *{list(arguments)!r}]\n"
    return python(home, code + "from desmezcla.cli import main; main()", stdin=stdin)


def test_a_song_is_separated(home: Path) -> None:
    done = command(home, "separate", "song.wav", "-m", "live", "-v")
    assert done.returncode == 0, done.stderr.decode()
    assert b"PyTorch is not installed: the model runs with ONNX Runtime" in done.stderr
    mix, rate = soundfile.read(home / "song.wav", dtype="float32", always_2d=True)
    expected = Separator(home / "releases" / "live", engine="torch").separate(mix.T, rate)
    for stem, audio in expected.items():
        got, _ = soundfile.read(home / f"separated/live/song/{stem}.wav", dtype="float32")
        np.testing.assert_allclose(got.T, audio, rtol=0, atol=1e-4 * np.abs(audio).max())
    record = json.loads((home / "separated/live/song/separation.json").read_text())
    assert record["options"]["engine"] == "onnx"


def test_two_songs_are_separated_side_by_side(home: Path) -> None:
    (home / "other.wav").write_bytes((home / "song.wav").read_bytes())
    done = command(home, "separate", "song.wav", "other.wav", "-m", "live", "-j", "2", "-o", "two")
    assert done.returncode == 0, done.stderr.decode()
    assert len(list((home / "two").rglob("*.wav"))) == 8


def test_a_stream_is_separated(home: Path) -> None:
    pcm = np.zeros((5000, 2), "<i2").tobytes()
    done = command(home, "stream", "-m", "live", "--stem", "vocals", stdin=pcm)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == pcm


@pytest.mark.parametrize("arguments", [["list"], ["show", "live"], ["verify", "live"]])
def test_releases_are_looked_at(home: Path, arguments: list[str]) -> None:
    done = command(home, "models", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert b"live" in done.stdout


def test_the_public_names_are_there(home: Path) -> None:
    code = """
import numpy as np, desmezcla
separator = desmezcla.Separator("live")
stems = separator.separate(np.zeros((2, 3000), np.float32), 44100)
live = desmezcla.StreamSeparator("live")
print(sorted(stems), live.engine, live.process(np.zeros((2, 3000), np.float32)).shape[:2])
print("torch" in {name for name, module in sys.modules.items() if module})
"""
    done = python(home, code)
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "['bass', 'drums', 'other', 'vocals'] onnx (4, 2)",
        "False",
    ]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["separate", "song.wav", "-m", "bare"], "has no model.onnx"),
        (["separate", "song.wav", "-m", "live", "--engine", "torch"], "needs PyTorch"),
        (["stream", "-m", "bare", "--stem", "vocals"], "needs PyTorch"),
        (["export", "live"], "needs PyTorch"),
        (["models", "import", "song.wav", "--name", "x"], "needs PyTorch"),
    ],
)
def test_what_needs_torch_says_so(home: Path, arguments: list[str], rule: str) -> None:
    done = command(home, *arguments)
    text = done.stderr.decode()
    assert done.returncode in (1, 2)
    assert rule in text
    assert "Traceback" not in text


def test_what_needs_torch_says_so_in_python(home: Path) -> None:
    done = python(
        home,
        "import desmezcla\ntry:\n    desmezcla.load_model('live')\n"
        "except desmezcla.DesmezclaError as error:\n    print(error)",
    )
    assert done.stdout.decode().strip() == (
        "desmezcla.load_model needs PyTorch, which is not installed; "
        "install it with: pip install desmezcla"
    )
