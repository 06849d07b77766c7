import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from desmezcla.cli import _run
from desmezcla.models import build_model
from desmezcla.models.open_unmix import TINY
from desmezcla.releases.checkpoint import save_release
from desmezcla.releases.release import About

RATE = 44100


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


Desmezcla = Callable[..., Finished]
MakeSong = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home folder with the release `tiny`: four stems, and quick."""
    home = tmp_path_factory.mktemp("home")
    model = build_model("open_unmix", **TINY | {"segment_s": 0.5})
    save_release(model, home / "releases" / "tiny", About(name="tiny", license="MIT"))
    return home


@pytest.fixture
def desmezcla(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Desmezcla:
    """Return what runs the command line in this process."""
    monkeypatch.setenv("DESMEZCLA_HOME", str(tiny_home))
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["desmezcla", *map(str, arguments)])
        capfd.readouterr()
        code = _run()
        captured = capfd.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture
def song(tmp_path: Path) -> MakeSong:
    """Return what writes a song of noise."""

    def make(
        name: str = "song.wav",
        *,
        samples: int = 30_000,
        channels: int = 2,
        rate: int = RATE,
        subtype: str = "PCM_16",
        seed: int = 0,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels))
        kind = "FLAC" if name.endswith(".flac") else "WAV"
        soundfile.write(path, audio, rate, subtype=subtype, format=kind)
        return path

    return make
