from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 44100

ROOT = Path(__file__).parents[2]

WriteSongs = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes find what tests have them do."""
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def write_songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteSongs:
    """Return what writes short songs of noise to `music/`; and keep temporary files apart."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def write(number: int, *, seconds: float = 0.3) -> list[Path]:
        folder = tmp_path / "music"
        folder.mkdir(exist_ok=True)
        paths = [folder / f"song{index}.wav" for index in range(number)]
        for seed, path in enumerate(paths):
            rng = np.random.default_rng(seed)
            audio = rng.uniform(-0.5, 0.5, (int(seconds * RATE), 2))
            soundfile.write(path, audio, RATE, subtype="PCM_16")
        return paths

    return write


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of all files that a batch leaves, but for its ledger."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "ledger"
    }
