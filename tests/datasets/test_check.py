"""What is wrong with a dataset is found, told by name, and can be left out."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.datasets.check import TrackReport, check_dataset, usable
from desmezcla.datasets.meter import Meter
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.track import Dataset, Source
from desmezcla.errors import DatasetError, ParameterError

Audio = NDArray[np.float32]

RATE = 8000
STEMS = ("vocals", "drums", "bass")


def noise(seed: int, samples: int = 12345, channels: int = 2) -> Audio:
    audio = 0.1 * np.random.default_rng(seed).standard_normal((channels, samples))
    return np.clip(audio, -0.5, 0.5).astype(np.float32)


def write(path: Path, audio: Audio, rate: int = RATE, subtype: str = "FLOAT") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype=subtype)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three tracks without fault, each with three stems and their sum."""
    for number, split in enumerate(("train", "train", "test")):
        folder = tmp_path / split / f"Song {number}"
        stems = [noise(10 * number + n) for n in range(len(STEMS))]
        for stem, audio in zip(STEMS, stems, strict=True):
            write(folder / f"{stem}.wav", audio)
        write(folder / "mixture.wav", np.sum(stems, axis=0))
    return tmp_path


def report_of(root: Path, track: str, **options: float) -> TrackReport:
    reports = check_dataset(open_dataset(root), **options)  # type: ignore[arg-type]
    (found,) = (report for report in reports if report.track == track)
    return found


def found(report: TrackReport) -> list[tuple[str, str]]:
    return [(finding.severity, finding.kind) for finding in report.findings]


def test_a_dataset_without_fault_is_measured_exactly(root: Path) -> None:
    done: list[tuple[int, int]] = []
    dataset = open_dataset(root)
    reports = check_dataset(dataset, progress=lambda name, n, of: done.append((n, of)))
    assert [report.track for report in reports] == ["Song 0", "Song 1", "Song 2"]
    assert all(report.ok and not report.findings for report in reports)
    assert sorted(done) == [(1, 3), (2, 3), (3, 3)]
    assert usable(dataset, reports) == dataset
    files = {file.role: file for file in reports[1].files}
    assert set(files) == {*STEMS, "mixture"}
    for number, stem in enumerate(STEMS):
        audio = noise(10 + number)
        assert (files[stem].length_samples, files[stem].sample_rate) == (12345, RATE)
        assert files[stem].peak == np.abs(audio).max()
        assert files[stem].rms == pytest.approx(float(np.sqrt(np.mean(audio**2))))
        assert files[stem].clipped_runs == files[stem].silent_share == 0
    residual_db = reports[1].residual_db
    assert residual_db is not None
    assert residual_db < -120


def test_several_jobs_report_the_same(root: Path) -> None:
    dataset = open_dataset(root)
    assert check_dataset(dataset, jobs=3) == check_dataset(dataset, jobs=1)


Change = Callable[[Path], object]


def truncate(folder: Path) -> None:
    path = folder / "bass.wav"
    path.write_bytes(path.read_bytes()[:40000])


def write_nan(folder: Path) -> None:
    audio = noise(1)
    audio[1, 9000] = np.nan
    write(folder / "bass.wav", audio)


CHANGES: dict[str, tuple[Change, tuple[str, str], str]] = {
    "no audio": (
        lambda f: (f / "bass.wav").write_bytes(b"no audio"),
        ("error", "unreadable"),
        "bass.wav' is not audio",
    ),
    "NaN": (write_nan, ("error", "unreadable"), "not a number or not finite at 1.125 s"),
    "cut": (truncate, ("error", "damaged"), "bass.wav' is cut short or damaged"),
    "shorter": (
        lambda f: write(f / "bass.wav", noise(2, 9000)),
        ("error", "length"),
        r"bass.wav' ends at 1\.125 s, but the track at 1\.543 s",
    ),
    "a little shorter": (
        lambda f: write(f / "bass.wav", noise(2, 12300)),
        ("warning", "length"),
        "bass.wav' ends at",
    ),
    "another rate": (
        lambda f: write(f / "bass.wav", noise(2, 24690), 2 * RATE),
        ("error", "rate"),
        "bass.wav' has 16000 Hz, but the track has 8000 Hz",
    ),
    "mono": (
        lambda f: write(f / "bass.wav", noise(2, channels=1)),
        ("error", "channels"),
        "bass.wav' is mono, but the track is stereo",
    ),
    "surround": (
        lambda f: write(f / "bass.wav", noise(2, channels=4)),
        ("error", "channels"),
        "bass.wav' has 4 channels, more than 2",
    ),
    "silent": (
        lambda f: write(f / "bass.wav", 0 * noise(2)),
        ("warning", "silent"),
        "bass.wav' is silent",
    ),
    "silent mixture": (
        lambda f: write(f / "mixture.wav", 0 * noise(2)),
        ("error", "silent"),
        "mixture.wav' is silent",
    ),
    "clipped": (
        lambda f: write(f / "bass.wav", np.clip(20 * noise(2), -1, 1), subtype="PCM_16"),
        ("warning", "clipped"),
        "bass.wav' is clipped in",
    ),
    "missing": (lambda f: (f / "bass.wav").unlink(), ("warning", "missing"), "has no bass"),
    "another mixture": (
        lambda f: write(f / "mixture.wav", noise(7)),
        ("warning", "sum"),
        "the mixture differs from the sum of the stems by",
    ),
    "the same twice": (
        lambda f: write(f / "bass.wav", noise(10)),
        ("warning", "duplicate"),
        "its vocals and bass are the same|its bass and vocals are the same",
    ),
    "of another track": (
        lambda f: write(f / "bass.wav", noise(0)),
        ("warning", "duplicate"),
        "its bass is that of track 'Song 0'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_fault_of_a_track_is_found_and_told_by_name(name: str, root: Path) -> None:
    change, expected, text = CHANGES[name]
    change(root / "train" / "Song 1")
    report = report_of(root, "Song 1")
    assert expected in found(report)
    line = "\n".join(f.text for f in report.findings if (f.severity, f.kind) == expected)
    assert re.search(text, line), line
    assert f"  {expected[0]}: " in "\n".join(report.lines())
    assert report.ok == all(severity != "error" for severity, _ in found(report))


def test_a_track_in_two_splits_is_an_error(root: Path) -> None:
    for path in (root / "train" / "Song 0").iterdir():
        (root / "test" / "Song 2" / path.name).write_bytes(path.read_bytes())
    report = report_of(root, "Song 2")
    assert found(report) == [("error", "duplicate")]
    assert "of track 'Song 0', which is in the split train" in report.findings[0].text


def test_short_tracks_are_judged_by_the_length_that_is_asked_for(root: Path) -> None:
    assert found(report_of(root, "Song 0", min_s=1.5)) == []
    assert set(found(report_of(root, "Song 0", min_s=2.0))) == {("error", "short")}


def test_tracks_that_differ_from_most_are_warned_of(root: Path) -> None:
    for path in (root / "test" / "Song 2").iterdir():
        audio, _ = soundfile.read(path, dtype="float32")
        write(path, audio[:, :1].T, 2 * RATE)
    report = report_of(root, "Song 2", min_s=0.1)
    assert found(report) == [("warning", "rate"), ("warning", "channels")]


def test_bad_tracks_are_left_out_and_named(root: Path) -> None:
    write_nan(root / "train" / "Song 1")
    dataset = open_dataset(root)
    reports = check_dataset(dataset)
    left = usable(dataset, reports)
    assert [track.name for track in left.tracks] == ["Song 0", "Song 2"]
    assert len(left.problems) == 1
    assert "track 'Song 1': bass: " in left.problems[0]
    assert usable(dataset, reports, tolerate=["unreadable", "length"]).tracks == dataset.tracks
    with pytest.raises(ParameterError, match=r"tolerate=\['nan'\] must be among unreadable"):
        usable(dataset, reports, tolerate=["nan"])
    only_bad = dataset.where(lambda track: track.name == "Song 1")
    with pytest.raises(DatasetError, match="no track without errors; the first is: track 'Song 1'"):
        usable(only_bad, reports)


def test_reports_are_json(root: Path) -> None:
    write(root / "train" / "Song 1" / "mixture.wav", np.zeros((2, 12345), np.float32))
    for report in check_dataset(open_dataset(root)):
        content = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert content["track"] == report.track
        assert content["ok"] is report.ok
        assert [f["kind"] for f in content["findings"]] == [f.kind for f in report.findings]
        assert len(content["files"]) == 4


def test_the_streams_of_a_stem_file_are_measured_apart(tmp_path: Path) -> None:
    stems = np.stack([noise(n) for n in range(4)])
    names = ("drums", "bass", "other", "vocals")
    with StemMp4Writer(
        tmp_path / "Song.stem.mp4", names, sample_rate=RATE, channels=2, bit_depth="24"
    ) as writer:
        writer.write(stems)
    (report,) = check_dataset(open_dataset(tmp_path))
    assert {file.role: file.stream for file in report.files} == {
        "mixture": 0,
        **{name: n for n, name in enumerate(names, 1)},
    }
    assert len({file.digest for file in report.files}) == 5
    assert report.residual_db is not None
    assert report.residual_db < -100


def test_warnings_of_the_reader_go_into_the_report_whatever_is_logged(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(root / "train" / "Song 1")
    log = logging.getLogger("desmezcla.audio")
    before = log.level, log.propagate, list(log.handlers)
    with caplog.at_level(logging.ERROR, "desmezcla"):
        report = report_of(root, "Song 1")
    assert ("error", "damaged") in found(report)
    assert not caplog.records
    assert (log.level, log.propagate, log.handlers) == before


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        ([0.5, 1, 1, 1, 0.5], 1),
        ([0.5, 1, 1, 0.5, 1, 1], 0),
        ([1, 1, 1, 1, 1, -1, -1, -1], 2),
        ([1.2, 1.1, 1.3, 1.2], 0),
        ([0.9, 0.9, 0.9, 0.9], 0),
    ],
)
@pytest.mark.parametrize("before", [0, 7998, 7999, 8000])
def test_clipping_is_three_equal_samples_at_full_scale_wherever_chunks_end(
    parts: list[float], runs: int, before: int, tmp_path: Path
) -> None:
    audio = np.concatenate([np.zeros(before), parts, np.zeros(100)]).astype(np.float32)[None]
    write(tmp_path / "a.wav", audio)
    meter = Meter("vocals", Source(tmp_path / "a.wav"))
    while meter.take().shape[1]:
        pass
    assert meter.report().clipped_runs == runs


def test_the_share_of_silence_is_counted_in_tenths_of_a_second(tmp_path: Path) -> None:
    audio = noise(1, 4 * RATE)
    audio[:, RATE : 2 * RATE] = 0
    write(tmp_path / "a.wav", audio)
    meter = Meter("vocals", Source(tmp_path / "a.wav"))
    while meter.take().shape[1]:
        pass
    assert meter.report().silent_share == 0.25


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"jobs": 0}, "jobs=0 must be 1 or more"),
        ({"min_s": -1.0}, r"min_s=-1\.0 must be 0 or more"),
        ({"min_s": float("nan")}, "min_s=nan must be 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, float], rule: str) -> None:
    with pytest.raises(ParameterError, match=rule):
        check_dataset(Dataset("x", Path(), ()), **option)  # type: ignore[arg-type]
