import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

STEMS = ["vocals", "drums", "bass", "other"]


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def folder_of(out: Path, track: str = "song") -> Path:
    return out / "tiny" / track


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_song_becomes_stems_of_its_own_kind(desmezcla: Any, song: Any, out: Path) -> None:
    path = song(samples=31_234, rate=48000, channels=2, subtype="PCM_24")
    done = desmezcla("separate", "-m", "tiny", path, "-o", out)
    assert done.code == 0, done.err
    expected = [f"tiny/song/{stem}.wav" for stem in STEMS] + ["tiny/song/separation.json"]
    assert files_in(out) == sorted(expected)
    for stem in STEMS:
        info = soundfile.info(folder_of(out) / f"{stem}.wav")
        assert (info.samplerate, info.channels, info.frames) == (48000, 2, 31_234)
        assert info.subtype == "PCM_24"


def test_the_record_says_how_the_stems_were_made(desmezcla: Any, song: Any, out: Path) -> None:
    desmezcla("separate", "-m", "tiny", song(), "-o", out, "--overlap", "0.5", "--seed", "3")
    record = json.loads((folder_of(out) / "separation.json").read_text())
    assert record["release"]["name"] == "tiny"
    assert record["release"]["license"] == "MIT"
    assert len(record["release"]["sha256"]) == len(record["input"]["sha256"]) == 64
    assert record["options"]["overlap"] == 0.5
    assert record["options"]["seed"] == 3
    assert record["stems"] == {stem: f"{stem}.wav" for stem in STEMS}


def test_the_same_command_gives_the_same_bytes(desmezcla: Any, song: Any, tmp_path: Path) -> None:
    path = song(rate=22050)
    contents = []
    for name in ("first", "second"):
        desmezcla("separate", "-m", "tiny", path, "-o", tmp_path / name, "--shifts", "2", "--flac")
        folder = folder_of(tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 5


def test_two_stems(desmezcla: Any, song: Any, out: Path) -> None:
    desmezcla("separate", "-m", "tiny", song(), "-o", out, "--two-stems", "vocals")
    names = {p.name for p in folder_of(out).iterdir()}
    assert names == {"vocals.wav", "no_vocals.wav", "separation.json"}


def test_chosen_stems_and_the_residual(desmezcla: Any, song: Any, out: Path) -> None:
    desmezcla("separate", "-m", "tiny", song(), "-o", out, "--stems", "bass,drums", "--residual")
    names = {p.name for p in folder_of(out).iterdir()}
    assert names == {"bass.wav", "drums.wav", "residual.wav", "separation.json"}


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_an_exact_sum_is_the_song_to_the_last_bit(
    desmezcla: Any, song: Any, out: Path, subtype: str, bits: int, rate: int
) -> None:
    path = song(subtype=subtype, rate=rate)
    desmezcla("separate", "-m", "tiny", path, "-o", out, "--exact-sum", "--flac")
    total = sum(
        soundfile.read(folder_of(out) / f"{stem}.flac", dtype="int32")[0].astype(np.int64)
        for stem in STEMS
    )
    np.testing.assert_array_equal(total, soundfile.read(path, dtype="int32")[0])


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        (["--format", "flac"], "flac"),
        (["--mp3"], "mp3"),
        (["--format", "ogg"], "ogg"),
        (["--format", "opus"], "opus"),
        (["--format", "m4a", "--bitrate", "192k"], "m4a"),
        (["--format", "alac"], "m4a"),
        (["--bit-depth", "32f"], "wav"),
    ],
)
def test_every_format_is_written(
    desmezcla: Any, song: Any, out: Path, options: list[str], ending: str
) -> None:
    done = desmezcla("separate", "-m", "tiny", song(rate=48000), "-o", out, *options)
    assert done.code == 0, done.err
    assert {p.suffix for p in folder_of(out).iterdir()} == {f".{ending}", ".json"}


def test_a_stem_file_holds_the_mixture_and_all_stems(desmezcla: Any, song: Any, out: Path) -> None:
    from desmezcla.audio.reader import AudioReader

    path = song()
    options = ["--format", "stem.mp4", "--bit-depth", "16"]
    done = desmezcla("separate", "-m", "tiny", path, "-o", out, *options)
    assert done.code == 0, done.err
    with AudioReader(folder_of(out) / "song.stem.mp4") as reader:
        assert reader.info.titles[1:] == ("drums", "bass", "other", "vocals")
        mixture = np.concatenate(list(reader.blocks()), axis=1)
    np.testing.assert_array_equal(mixture.T, soundfile.read(path, dtype="float32")[0])


def test_a_rate_that_a_format_cannot_hold_is_changed_and_said(
    desmezcla: Any, song: Any, out: Path
) -> None:
    done = desmezcla("separate", "-m", "tiny", song(), "-o", out, "--format", "opus")
    assert done.code == 0
    assert "48000 Hz" in done.err


def test_start_and_duration(desmezcla: Any, song: Any, out: Path) -> None:
    desmezcla("separate", "-m", "tiny", song(), "-o", out, "--start", "0.1", "--duration", "0.25")
    assert soundfile.info(folder_of(out) / "bass.wav").frames == round(0.25 * 44100)


@pytest.mark.parametrize(
    ("option", "rate", "frames"), [("model", 44100, 22050), ("16000", 16000, 8000)]
)
def test_the_rate_of_the_stems_can_be_chosen(
    desmezcla: Any, song: Any, out: Path, option: str, rate: int, frames: int
) -> None:
    path = song(rate=48000, samples=24_000)
    desmezcla("separate", "-m", "tiny", path, "-o", out, "--sample-rate", option)
    info = soundfile.info(folder_of(out) / "bass.wav")
    assert (info.samplerate, info.frames) == (rate, frames)


def test_folders_are_searched_and_their_tree_is_kept(
    desmezcla: Any, song: Any, tmp_path: Path
) -> None:
    for name in ("a/song.wav", "b/song.wav", "b/c/other.flac"):
        song(f"music/{name}", samples=500)
    (tmp_path / "music/notes.txt").write_text("not a song")
    (tmp_path / "music/.hidden.wav").write_text("not a song")
    loop = tmp_path / "music/b/again"
    loop.symlink_to(tmp_path / "music")
    out = tmp_path / "music/out"
    for _ in range(2):  # the second time, the stems of the first are there and are no songs
        done = desmezcla("separate", "-m", "tiny", tmp_path / "music", "-o", out)
        assert done.code == 0, done.err
        tracks = {p.parent.relative_to(out / "tiny").as_posix() for p in out.rglob("bass.wav")}
        assert tracks == {"a/song", "b/song", "b/c/other"}


def test_patterns_are_expanded(desmezcla: Any, song: Any, tmp_path: Path, out: Path) -> None:
    for name in ("one.wav", "two.wav", "three.flac"):
        song(name, samples=500)
    done = desmezcla("separate", "-m", "tiny", tmp_path / "*.wav", "-o", out)
    assert done.code == 0, done.err
    assert {p.name for p in (out / "tiny").iterdir()} == {"one", "two"}


def test_a_file_whose_name_looks_like_a_pattern(desmezcla: Any, song: Any, out: Path) -> None:
    assert desmezcla("separate", "-m", "tiny", song("[live] song?.wav"), "-o", out).code == 0
    assert (folder_of(out, "[live] song?") / "bass.wav").exists()


@pytest.mark.parametrize(
    "name", ["with space.wav", 'quote\'s "here".wav', "line\nbreak.wav", "🎵🎶.wav", "...wav"]
)
def test_any_name_will_do(desmezcla: Any, song: Any, tmp_path: Path, out: Path, name: str) -> None:
    done = desmezcla("separate", "-m", "tiny", song(name, samples=500), "-o", out, "--json")
    assert done.code == 0, done.err
    assert [json.loads(line)["event"] for line in done.out.splitlines()][-1] == "done"
    assert len(list(out.rglob("*.wav"))) == 4
    assert len(list(tmp_path.rglob("*.wav"))) == 5  # nothing beside the output folder


def test_events_are_told_as_json(desmezcla: Any, song: Any, out: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    done = desmezcla("separate", "-m", "tiny", song(samples=90_000), missing, "-o", out, "--json")
    assert done.code == 1
    events = [json.loads(line) for line in done.out.splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["start", "file", "start", "error", "done"]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(fractions) > 2
    finished = next(event for event in events if event["event"] == "file")
    assert all(Path(path).exists() for path in finished["outputs"].values())
    assert (events[-1]["done"], events[-1]["failed"]) == (1, 1)


def test_what_is_done_is_skipped_and_what_changed_is_not(
    desmezcla: Any, song: Any, out: Path
) -> None:
    def run(*options: str) -> bool:
        done = desmezcla("separate", "-m", "tiny", path, "-o", out, "--skip-existing", *options)
        assert done.code == 0, done.err
        return "there already" in done.err

    path = song()
    assert not run()
    assert run()
    assert not run("--overlap", "0.5")
    song(seed=1)
    assert not run("--overlap", "0.5")
    (folder_of(out) / "bass.wav").unlink()
    assert not run("--overlap", "0.5")
    assert run("--overlap", "0.5")


def test_several_processes_give_the_same_files(desmezcla: Any, song: Any, tmp_path: Path) -> None:
    paths = [song(f"{name}.wav", samples=5000, seed=i) for i, name in enumerate("abc")]
    paths.append(tmp_path / "missing.wav")
    contents = []
    for jobs in ("1", "2"):
        out = tmp_path / f"out{jobs}"
        done = desmezcla("separate", "-m", "tiny", *paths, "-o", out, "-j", jobs)
        assert done.code == 1
        assert "missing.wav" in done.err
        contents.append({name: (out / name).read_bytes() for name in files_in(out)})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 15


def test_quiet_is_quiet(desmezcla: Any, song: Any, out: Path) -> None:
    done = desmezcla("separate", "-m", "tiny", song(), "-o", out, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_an_input_named_by_its_own_output_is_refused(
    desmezcla: Any, song: Any, tmp_path: Path
) -> None:
    path = song("vocals.wav")
    before = path.read_bytes()
    done = desmezcla("separate", "-m", "tiny", path, "-o", tmp_path, "--filename", "{stem}.{ext}")
    assert done.code == 1
    assert "is the input itself" in done.err
    assert path.read_bytes() == before


def test_of_two_inputs_with_one_output_name_the_first_is_done(
    desmezcla: Any, song: Any, out: Path
) -> None:
    first, second = song("song.wav", samples=700), song("song.flac", samples=800)
    done = desmezcla("separate", "-m", "tiny", first, second, "-o", out)
    assert done.code == 1
    assert "would replace those of" in done.err
    assert soundfile.info(folder_of(out) / "bass.wav").frames == 700
    both = ["--filename", "{model}/{track}.{trackext}/{stem}.{ext}"]
    assert desmezcla("separate", "-m", "tiny", first, second, "-o", out, *both).code == 0


def test_a_template_without_a_folder_per_track_gets_a_record_per_track(
    desmezcla: Any, song: Any, out: Path
) -> None:
    paths = [song("one.wav", samples=500), song("two.wav", samples=500)]
    name = "{track}_{stem}.{ext}"
    assert desmezcla("separate", "-m", "tiny", *paths, "-o", out, "--filename", name).code == 0
    assert len(files_in(out)) == 10
    assert {"one.separation.json", "two_vocals.wav"} <= set(files_in(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--overlap", "1"], "overlap=1.0"),
        (["--segment", "long"], "--segment='long'"),
        (["--format", "wma"], "format='wma'"),
        (["--mp3", "--bit-depth", "24"], "bit_depth=24"),
        (["--mp3", "--flac"], "only one format"),
        (["--bitrate", "loud"], "--bitrate='loud'"),
        (["--stems", "piano"], "'piano'"),
        (["--sample-rate", "cd"], "--sample-rate='cd'"),
        (["--filename", "{stem}/{who}"], "{who}"),
        (["--device", "abacus"], "device='abacus'"),
        (["--shifts", "-1"], "shifts=-1"),
        (["--start", "-1"], "start_s=-1"),
        (["--jobs", "0"], "--jobs"),
        (["--precision", "float8"], "float8"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    desmezcla: Any, song: Any, out: Path, arguments: list[str], message: str
) -> None:
    done = desmezcla("separate", "-m", "tiny", song(), "-o", out, *arguments)
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.code == 2
    assert not out.exists()


def test_an_unknown_release_is_told(desmezcla: Any, song: Any, out: Path) -> None:
    done = desmezcla("separate", "-m", "tinny", song(), "-o", out)
    assert done.code == 1
    assert "tinny" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("samples", [1, 2, 100])
def test_tiny_songs_are_separated(desmezcla: Any, song: Any, out: Path, samples: int) -> None:
    assert desmezcla("separate", "-m", "tiny", song(samples=samples), "-o", out).code == 0
    assert soundfile.info(folder_of(out) / "bass.wav").frames == samples


def test_silence_stays_silent(desmezcla: Any, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.zeros((20_000, 2)), 44100)
    assert desmezcla("separate", "-m", "tiny", path, "-o", out).code == 0
    for stem in STEMS:
        assert not soundfile.read(folder_of(out) / f"{stem}.wav")[0].any()


@pytest.mark.parametrize("channels", [1, 6, 8])
def test_any_number_of_channels_is_kept(
    desmezcla: Any, song: Any, out: Path, channels: int
) -> None:
    assert desmezcla("separate", "-m", "tiny", song(channels=channels), "-o", out).code == 0
    assert soundfile.info(folder_of(out) / "bass.wav").channels == channels


def bad_inputs(folder: Path) -> dict[str, str]:
    """Write inputs that cannot be separated; return what the error of each must say."""
    nan = np.zeros((1000, 2), np.float32)
    nan[500] = np.nan
    soundfile.write(folder / "nan.wav", nan, 44100, subtype="FLOAT")
    soundfile.write(folder / "nothing.wav", np.zeros((0, 2)), 44100)
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("these are no notes\n" * 50)
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "a folder").mkdir()
    return {
        "nan.wav": "not finite",
        "nothing.wav": "0 samples",
        "empty.wav": "empty",
        "text.mp3": "text.mp3",
        "loop.wav": "loop.wav",
        "missing.wav": "missing.wav",
        "a folder": "no audio files",
    }


def test_bad_inputs_are_told_and_the_good_one_is_done(
    desmezcla: Any, song: Any, tmp_path: Path, out: Path
) -> None:
    reasons = bad_inputs(tmp_path)
    paths = [tmp_path / name for name in reasons]
    done = desmezcla("separate", "-m", "tiny", *paths[:4], song(), *paths[4:], "-o", out, "--json")
    assert done.code == 1
    assert "Traceback" not in done.err
    errors = {
        Path(event["input"]).name: event["message"]
        for event in map(json.loads, done.out.splitlines())
        if event["event"] == "error"
    }
    assert set(errors) == set(reasons)
    for name, reason in reasons.items():
        assert reason in errors[name], errors[name]
        assert "fault of desmezcla" not in errors[name]
    assert {Path(name).parts[1] for name in files_in(out)} == {"song"}
    assert (folder_of(out) / "bass.wav").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_truncated_song_is_separated_as_far_as_it_goes(
    desmezcla: Any, song: Any, out: Path
) -> None:
    path = song(samples=40_000)
    path.write_bytes(path.read_bytes()[:-80_000])
    done = desmezcla("separate", "-m", "tiny", path, "-o", out)
    assert done.code == 0
    assert "song.wav" in done.err
    assert soundfile.info(folder_of(out) / "bass.wav").frames == 20_000


def test_a_wrong_ending_does_not_matter(desmezcla: Any, song: Any, out: Path) -> None:
    path = song("song.flac")
    path = path.rename(path.with_suffix(".mp3"))
    assert desmezcla("separate", "-m", "tiny", path, "-o", out).code == 0


def test_an_output_folder_that_is_a_file_is_told(desmezcla: Any, song: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("in the way")
    done = desmezcla("separate", "-m", "tiny", song(), "-o", out)
    assert done.code == 1
    assert "out" in done.err
    assert "Traceback" not in done.err
    assert out.read_text() == "in the way"


def test_a_folder_that_cannot_be_read_is_told(
    desmezcla: Any, song: Any, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song("music/song.wav", samples=500)
    locked = tmp_path / "music/locked"
    locked.mkdir()
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    done = desmezcla("separate", "-m", "tiny", tmp_path / "music", "-o", out)
    assert done.code == 1
    assert "locked" in done.err
    assert "Permission denied" in done.err
    assert (folder_of(out) / "bass.wav").exists()
