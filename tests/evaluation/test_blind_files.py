"""What becomes of a blind report, and where its audio comes from."""

import csv
import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desmezcla import Separator
from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.errors import AudioFileError, EvaluationError
from desmezcla.evaluation.blind import (
    BlindReport,
    blind_from_files,
    blind_from_separator,
    blind_html,
    blind_report,
    csv_text,
    text,
    write_blind,
)
from desmezcla.evaluation.blind.page import page as page_of
from desmezcla.evaluation.signals import ArraySignals

Audio = NDArray[np.float32]

RATE = 8000


def noise(seed: int, duration_s: float = 4.0, *, rate: int = RATE, channels: int = 2) -> Audio:
    """Return white noise of -20 dBFS."""
    rng = np.random.default_rng(seed)
    audio: Audio = 0.1 * rng.standard_normal((channels, round(duration_s * rate)), np.float32)
    return audio


def report_of(
    stems: dict[str, Audio], mixture: Audio | None = None, rate: int = RATE
) -> BlindReport:
    """Report on stems whose sum is the song, unless that is given."""
    song = np.sum(list(stems.values()), axis=0) if mixture is None else mixture
    return blind_report(
        ArraySignals(("mixture",), (song,)),
        ArraySignals(tuple(stems), tuple(stems.values())),
        rate,
        song="song.wav",
        system="test",
    )


def kinds(report: BlindReport, severity: str | None = None) -> set[tuple[str, str]]:
    """Return what was found: kind and stem."""
    return {
        (finding.kind, finding.stem)
        for finding in report.findings
        if severity in (None, finding.severity)
    }


def assert_alike(one: Any, other: Any) -> None:
    """Compare nested values: numbers nearly, as sums may be added in another order."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    else:
        assert one == (pytest.approx(other, abs=1e-6) if isinstance(one, float) else other)


def two_stems() -> dict[str, Audio]:
    return {"a": noise(1), "b": noise(2)}


class Texts(HTMLParser):
    """Gathers tags and texts, and fails on what a page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_every_stem_and_finding_and_escapes_names() -> None:
    hostile = '<img src="x">'
    report = report_of({hostile: noise(1), "b": np.zeros_like(noise(1))})
    page = Texts()
    page.feed(page_of(report))
    assert "img" not in page.tags
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3  # two stems and the sum
    assert hostile in page.text
    for finding in report.findings:
        assert finding.text in page.text


def test_the_text_has_a_row_for_each_signal_and_all_findings() -> None:
    report = report_of({"vocals": noise(1), "drums": 1e-5 * noise(2)})
    lines = text(report).splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["mixture", "vocals", "drums"]
    assert "song.wav" in lines[0]
    for finding in report.findings:
        assert f"{finding.severity}: {finding.text}" in lines


def test_the_files_hold_the_report(tmp_path: Path) -> None:
    report = report_of(two_stems())
    paths = write_blind(report, tmp_path / "new" / "folder")
    assert {name: path.name for name, path in paths.items()} == {
        "json": "blind.json",
        "html": "blind.html",
        "csv": "blind.csv",
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        path.name for path in paths.values()
    )
    content = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert content["stems"]["a"]["level_dbfs"] == pytest.approx(-20, abs=0.1)
    assert content["window_s"] == 0.5
    rows = list(csv.DictReader(paths["csv"].read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["time_s", "mixture_dbfs", "a_dbfs", "b_dbfs", "reconstruction_db"]
    assert [float(row["time_s"]) for row in rows] == list(report.times_s)
    levels = [float(row["b_dbfs"]) for row in rows]
    assert levels == pytest.approx(report.stems["b"].levels_dbfs, abs=0.006)
    assert paths["csv"].read_text(encoding="utf-8") == csv_text(report)
    blind_html(report, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == paths["html"].read_bytes()


def test_no_file_is_left_where_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "blind.csv").mkdir()
    with pytest.raises(AudioFileError, match=r"blind\.csv"):
        write_blind(report_of(two_stems()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["blind.csv"]


def write(path: Path, audio: Audio, rate: int = RATE) -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype="FLOAT")


def test_a_folder_of_stems_is_read_without_the_song_and_sums(tmp_path: Path) -> None:
    stems = {"Vocals": noise(1), "drums": noise(2)}
    song = stems["Vocals"] + stems["drums"]
    folder = tmp_path / "stems"
    for name, audio in {**stems, "mixture": song, "no_vocals": stems["drums"]}.items():
        write(folder / f"{name}.wav", audio)
    write(folder / "My Song.wav", song)
    (folder / "cover.jpg").write_bytes(b"none")
    report = blind_from_files(folder / "My Song.wav", folder)
    assert sorted(report.stems) == ["drums", "vocals"]
    assert report.song == "My Song.wav"
    assert kinds(report) == {("sum", ""), ("left out", "no_vocals")}
    direct = report_of({"drums": stems["drums"], "vocals": stems["Vocals"]}, song)
    assert_alike(asdict(report)["stems"], asdict(direct)["stems"])


def test_stems_at_another_rate_and_in_mono_are_adapted_and_told(tmp_path: Path) -> None:
    t = np.arange(32000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)[None].astype(np.float32)
    write(tmp_path / "song.wav", np.repeat(tone[:, ::2], 2, axis=0))
    write(tmp_path / "stems" / "a.wav", tone, 16000)
    report = blind_from_files(tmp_path / "song.wav", tmp_path / "stems")
    assert {("rate", "a"), ("channels", "a")} <= kinds(report, "info")
    assert report.sample_rate == RATE
    assert report.stems["a"].length_samples == 16000
    assert report.sum.reconstruction_db > 30


def test_folders_without_stems_and_unfit_channels_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "song.wav", noise(1))
    with pytest.raises(EvaluationError, match="but the song itself"):
        blind_from_files(tmp_path / "song.wav", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no stems"):
        blind_from_files(tmp_path / "song.wav", tmp_path / "empty")
    with pytest.raises(EvaluationError, match="nowhere"):
        blind_from_files(tmp_path / "song.wav", tmp_path / "nowhere")
    with pytest.raises(AudioFileError, match="absent"):
        blind_from_files(tmp_path / "absent.wav", tmp_path)
    write(tmp_path / "six" / "a.wav", noise(1, channels=6))
    with pytest.raises(EvaluationError, match="6 channels"):
        blind_from_files(tmp_path / "song.wav", tmp_path / "six")


def test_a_song_is_separated_and_reported_as_its_written_stems_are(tmp_path: Path) -> None:
    write(tmp_path / "song.wav", noise(1, 2.0, rate=44100), 44100)
    separator = Separator("baseline")
    fractions: list[float] = []
    report = blind_from_separator(
        separator, tmp_path / "song.wav", progress=lambda now: fractions.append(now.fraction)
    )
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)
    assert (report.song, report.system) == ("song.wav", "baseline")
    assert tuple(report.stems) == separator.stems
    assert report.sum.reconstruction_db > 100
    done = separator.separate_file(tmp_path / "song.wav", tmp_path, bit_depth="32f")
    folder = next(iter(done.paths.values())).parent
    written = blind_from_files(tmp_path / "song.wav", folder)
    assert_alike(asdict(written)["stems"], asdict(report)["stems"])


def test_a_stem_file_is_its_own_folder(tmp_path: Path) -> None:
    stems = {"vocals": noise(1, 2.0, rate=44100), "drums": noise(2, 2.0, rate=44100)}
    both = np.stack(list(stems.values()))
    path = tmp_path / "Song.stem.mp4"
    with StemMp4Writer(path, tuple(stems), sample_rate=44100, channels=2) as writer:
        writer.write(both, both.sum(axis=0))
    report = blind_from_files(path, path)
    assert list(report.stems) == ["vocals", "drums"]
    assert report.sum.lag_samples == 0
    assert report.sum.reconstruction_db > 5
