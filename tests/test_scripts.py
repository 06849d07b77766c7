"""The scripts that make the demo song and the picture in the README."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.image import imread

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(script: str, *arguments: str | Path) -> None:
    words = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_demo_song_is_the_sum_of_its_stems_and_can_be_drawn(tmp_path: Path) -> None:
    song, stems, picture = tmp_path / "song.wav", tmp_path / "stems", tmp_path / "picture.png"
    run("render_demo.py", song, "--seconds", "2", "--seed", "4", "--stems-dir", stems)

    mixture, rate = soundfile.read(song)
    parts = [soundfile.read(path)[0] for path in sorted(stems.iterdir())]
    assert rate == 44100
    assert mixture.shape == (88200, 2)
    assert len(parts) == 4
    # Each of the five files rounds to 16 bits, by half a step at most.
    np.testing.assert_allclose(np.sum(parts, axis=0), mixture, atol=2.5 * 2**-15)

    run("stems_picture.py", stems, picture, "--mixture", song)
    height, width = imread(picture).shape[:2]
    assert width > 800
    assert 300 < height < width

    run("stems_picture.py", stems, picture, "--beside", stems, "--start", "0.5", "--seconds", "1")
    assert imread(picture).shape[1] > 800
