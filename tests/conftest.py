import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from numpy.typing import NDArray

from desmezcla.datasets.demo import render_song

# A busy machine is slow, which is no fault of what is tested.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

REAL_SONG = Path(__file__).parents[2] / "shared/real/Clara Berry and Wooldog - Air Traffic"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the program of a real browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and find_spec("playwright") is not None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as starting:
            path = Path(starting.chromium.executable_path)
        found = str(path) if path.exists() else None
    if found is None:
        pytest.skip("no Chromium is installed; .ci/run installs one where it may")
    return found


@pytest.fixture(scope="session")
def true_stems() -> dict[str, NDArray[np.float32]]:
    """Return six seconds of a song's stems, `[2, T]` at 44.1 kHz; of a real one where there is."""
    if not REAL_SONG.is_dir():
        return render_song(seed=3, duration_s=6.0)
    place = slice(12 * 44100, 18 * 44100)
    return {
        stem: soundfile.read(REAL_SONG / f"{stem}.flac", dtype="float32")[0][place].T
        for stem in ("vocals", "drums", "bass", "other")
    }
