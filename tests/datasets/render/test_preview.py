"""The listening page, on files that are written here."""

import base64
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from numpy.typing import NDArray

from desmezcla.datasets.render.preview import write_preview
from desmezcla.datasets.render.preview_images import spectrogram_png
from desmezcla.errors import DatasetError

RATE = 16000
FACTS = {
    "seed": 3,
    "style": "pop <loud>",
    "tempo_bpm": 120.0,
    "tonic": "F#",
    "mode": "minor",
    "duration_s": 1.0,
    "peak_dbfs": -0.5,
    "loudness_lufs": {"mixture": -14.2, "vocals": -120.0},
    "sections": [{"kind": "verse", "duration_s": 1.0}],
    "parts": [{"name": "lead", "instrument": "voice", "events": 3}],
}


def write_songs(folder: Path, names: list[str]) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for name in names:
        (folder / "train" / name).mkdir(parents=True)
        for stem in ("mixture", "vocals"):
            soundfile.write(folder / "train" / name / f"{stem}.wav", tone, RATE)
        (folder / "train" / name / "song.yaml").write_text(yaml.safe_dump(FACTS))


def test_the_page_has_a_player_and_a_picture_for_each_file(tmp_path: Path) -> None:
    write_songs(tmp_path, ["song 1"])
    page = write_preview(tmp_path, tmp_path / "preview.html")
    text = page.read_text(encoding="utf-8")
    sources = re.findall(r'<audio[^>]* src="([^"]+)"', text)
    assert sources == [f"preview_files/song%201/{stem}.mp3" for stem in ("mixture", "vocals")]
    audio, rate = soundfile.read(tmp_path / "preview_files" / "song 1" / "vocals.mp3")
    assert rate == RATE
    assert abs(len(audio) - RATE) < 3000
    images = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(images) == 2
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)


def test_the_page_tells_the_facts_and_needs_no_other_host(tmp_path: Path) -> None:
    write_songs(tmp_path, ["one"])
    text = write_preview(tmp_path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "pop &lt;loud&gt; · 120 bpm · F# minor · 0:01" in text
    assert "-14.2 LUFS" in text
    assert "-120" not in text
    assert "lead (voice)" in text
    assert "http" not in text
    assert text.count("{") == text.count("}")


def test_many_songs_are_thinned_out_and_all_are_counted(tmp_path: Path) -> None:
    write_songs(tmp_path, [f"song{i}" for i in range(5)])
    seen: list[tuple[str, int, int]] = []
    page = write_preview(
        tmp_path, tmp_path / "page.html", most=2, progress=lambda *now: seen.append(now)
    )
    assert seen == [("song0", 1, 2), ("song3", 2, 2)]
    assert "2 of 5 songs" in page.read_text(encoding="utf-8")


def test_songs_without_facts_are_shown_too(tmp_path: Path) -> None:
    write_songs(tmp_path, ["one"])
    (tmp_path / "train" / "one" / "song.yaml").unlink()
    text = write_preview(tmp_path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<audio") == 2


def test_a_folder_without_songs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no songs"):
        write_preview(tmp_path, tmp_path / "page.html")


def pixels(png: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Read back a picture with one byte per pixel and unfiltered rows."""
    start = png.index(b"IDAT") + 4
    length = int.from_bytes(png[start - 8 : start - 4], "big")
    rows = np.frombuffer(zlib.decompress(png[start : start + length]), np.uint8)
    return rows.reshape(height, width + 1)[:, 1:]


def test_a_tone_is_a_line_at_its_pitch() -> None:
    time_s = np.arange(2 * RATE) / RATE
    audio = np.sin(2 * np.pi * 1000 * time_s)[None].astype(np.float32)
    image = pixels(spectrogram_png(audio, RATE, width=50, height=80), 50, 80)
    row = 79 - int(80 * np.log(1000 / 40) / np.log(8000 / 40))
    brightest = image[:, 10:40].argmax(axis=0)
    assert np.abs(brightest - row).max() <= 1
    assert image[:, 10:40].max() > 230
    assert image[5, 10:40].max() < 60


def test_silence_is_dark() -> None:
    image = pixels(spectrogram_png(np.zeros((2, 100), np.float32), RATE, width=9, height=7), 9, 7)
    assert not image.any()
