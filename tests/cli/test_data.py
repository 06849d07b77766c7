"""`desmezcla data`: what it prints, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

SHORT = ("--duration", 3, "--sample-rate", 16000, "--style", "techno", "--jobs", 1)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_render_writes_songs_and_tells_each(desmezcla: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "songs"
    done = desmezcla("data", "render", out, "--songs", 2, "--seed", 4, "--preview", *SHORT)
    assert done.code == 0, done.err
    assert done.out == ""
    assert len(list(out.glob("train/*/mixture.wav"))) == 2
    assert (out / "preview.html").is_file()
    assert "rendered-4-00001" in done.err

    again = desmezcla("data", "render", out, "--songs", 2, "--seed", 4, "--json", *SHORT)
    assert again.code == 0
    told = events(again.out)
    assert [event["event"] for event in told] == [
        *("start", "file", "progress", "file", "progress", "done"),
    ]
    assert [event["skipped"] for event in told if event["event"] == "file"] == [True, True]
    assert told[-1] == {"event": "done", "input": None, "done": 2, "failed": 0}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--songs", 0), "--songs"),
        ((), "--songs"),
        (("--songs", 1, "--material", "nowhere"), "nowhere"),
        (("--songs", 1, "--style", "nothing"), "nothing"),
        (("--songs", 1, "--duration", 0), "duration"),
        (("--songs", 1, "--valid", 1), "valid"),
        (("--songs", 1, "--jobs", 0), "--jobs"),
        (("--songs", 1, "--bit-depth", 8), "--bit-depth"),
    ],
)
def test_wrong_options_are_wrong_usage(
    options: tuple[object, ...], named: str, desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    done = desmezcla("data", "render", tmp_path / "songs", *options)
    assert done.code == 2
    assert named in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "songs").exists()


def test_a_folder_that_cannot_be_written_fails(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = desmezcla("data", "render", tmp_path / "file" / "songs", "--songs", 1, *SHORT)
    assert done.code == 1
    assert "cannot be written" in done.err


def write_track(folder: Path, *, broken: bool = False) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(folder.name))
    stems = rng.uniform(-0.2, 0.2, (2, 2 * 16000, 2))
    for name, audio in zip(("vocals", "drums"), stems, strict=True):
        soundfile.write(folder / f"{name}.wav", audio, 16000, subtype="FLOAT")
    soundfile.write(folder / "mixture.wav", stems.sum(axis=0), 16000, subtype="FLOAT")
    if broken:
        (folder / "drums.wav").write_bytes(b"no audio")


def test_check_passes_a_sound_dataset(desmezcla: Callable[..., Any], tmp_path: Path) -> None:
    write_track(tmp_path / "songs" / "one")
    done = desmezcla("data", "check", tmp_path / "songs")
    assert done.code == 0, done.err
    assert "one: 2.0 s" in done.out
    assert "1 tracks, no errors" in done.err


def test_check_names_what_is_wrong_and_exits_with_1(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    write_track(tmp_path / "songs" / "good")
    write_track(tmp_path / "songs" / "damaged", broken=True)
    done = desmezcla("data", "check", tmp_path / "songs", "--json", "--kind", "folder")
    assert done.code == 1
    reports = {report["track"]: report for report in events(done.out)}
    assert reports["good"]["ok"]
    assert not reports["damaged"]["ok"]
    assert "drums" in json.dumps(reports["damaged"]["findings"])


def test_check_refuses_what_is_no_dataset(desmezcla: Callable[..., Any], tmp_path: Path) -> None:
    assert desmezcla("data", "check", tmp_path / "nowhere").code == 1
    wrong = desmezcla("data", "check", tmp_path, "--kind", "nothing")
    assert wrong.code == 2
    assert "kind='nothing'" in wrong.err


def test_download_of_an_unknown_name_is_wrong_usage(desmezcla: Callable[..., Any]) -> None:
    done = desmezcla("data", "download", "musdb99")
    assert done.code == 2
    assert "musdb18hq" in done.err


def test_download_without_a_network_fails_with_a_remedy(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    done = desmezcla("data", "download", "musdb18-sample", "--out", tmp_path / "musdb")
    assert done.code == 1
    assert "MUSDB18-7-STEMS.zip" in done.err
    assert "Traceback" not in done.err
