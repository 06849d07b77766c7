"""The commands of the page about `stream` are run, between programs that are there or carried."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from desmezcla.datasets.demo import render_song
from desmezcla.models import build_model
from desmezcla.models.open_unmix import TINY
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

PAGE = Path(__file__).parents[2] / "docs" / "stream.md"
STEMS = ("vocals", "drums", "bass", "other")
RATE = 44100


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home folder in which the release `realtime` is small."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    model = build_model("open_unmix", **TINY, unidirectional=True, wiener_iterations=0)
    save_release(model, home / "releases" / "realtime", About(name="realtime", license="MIT"))
    return home


def page_commands() -> list[tuple[str, str]]:
    """Return the mark and the text of each fence with commands."""
    return re.findall(r"^```bash([^\n]*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def bash(tmp_path: Path, home: Path) -> Callable[[str], bytes]:
    """Return what runs commands in a folder with songs, where they find the programs."""
    song = np.sum(list(render_song(seed=0, duration_s=1.0).values()), axis=0)
    for name in ("song.mp3", "song.wav"):
        soundfile.write(tmp_path / name, song.T, RATE)
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "desmezcla"
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m desmezcla \"$@\"\n")
    command.chmod(0o755)
    if shutil.which("ffmpeg") is None:
        carried = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
        (programs / "ffmpeg").symlink_to(carried)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "DESMEZCLA_HOME": str(home),
        "DESMEZCLA_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def run(text: str) -> bytes:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def separated(home: Path, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stems of the whole song at once: `[C, n] -> [S, C, n]`."""
    model = load_model(home / "releases" / "realtime")
    with torch.no_grad():
        stems: NDArray[np.float32] = model(torch.from_numpy(audio.copy())[None])[0].numpy()
    return stems


@pytest.mark.parametrize(("mark", "command"), page_commands())
def test_the_commands_of_the_page_do_what_it_says(
    bash: Callable[[str], bytes],
    home: Path,
    tmp_path: Path,
    mark: str,
    command: str,
) -> None:
    if mark:
        pytest.skip(f"needs a {mark.strip()}, as its fence says")
    if command.startswith("sox") and not shutil.which("sox"):
        pytest.skip("sox is not installed")
    there = set(tmp_path.iterdir())
    bash(command)
    (name,) = set(re.findall(r"song\.\w+", command))
    song = bash(f"ffmpeg -v error -i {name} -f f32le -ar {RATE} -ac 2 -")
    stems = separated(home, np.frombuffer(song, "<f4").reshape(-1, 2).T)
    expected = dict(zip(STEMS, stems, strict=True)) | {"karaoke": stems[1:].sum(axis=0)}
    written = set(tmp_path.iterdir()) - there
    assert len(written) == len(re.findall(r"\w+\.(?:wav|flac)", command.replace(name, "")))
    for path in written:
        audio, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE
        assert audio.T.shape == stems[0].shape
        # Some files have 16 bits, and so has the input of one command.
        limited = expected[path.stem].clip(-1, 1)
        np.testing.assert_allclose(audio.T, limited, atol=4 * 2.0**-15)
        assert np.abs(limited).max() > 0.1
