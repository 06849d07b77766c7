"""A dataset of rendered songs: exact sums, the same bytes however it is made, and going on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.render import library
from desmezcla.datasets.render.library import SongDone, render_dataset
from desmezcla.datasets.render.library_files import write_song
from desmezcla.datasets.render.score import Song
from desmezcla.datasets.render.song import RenderedSong
from desmezcla.errors import AudioFileError, DatasetError, ParameterError

STEMS = ("vocals", "drums", "bass", "other")
SHORT: dict[str, Any] = {"duration_s": 4.0, "sample_rate": 16000, "seed": 7, "style": "techno"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of three songs, rendered by two processes, the last for validation."""
    folder = tmp_path_factory.mktemp("rendered") / "songs"
    render_dataset(folder, songs=3, jobs=2, valid_share=0.34, **SHORT)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def integers(path: Path) -> Any:
    return soundfile.read(path, dtype="int32", always_2d=True)[0]


def test_the_layout_is_that_of_musdb18_hq(dataset: Path) -> None:
    names = ["train/rendered-7-00000", "train/rendered-7-00001", "valid/rendered-7-00002"]
    files = [*(f"{name}.wav" for name in ("mixture", *STEMS)), "song.yaml"]
    expected = {f"{name}/{file}" for name in names for file in files} | {"dataset.yaml"}
    assert set(contents(dataset)) == expected
    opened = open_dataset(dataset)
    assert [(track.name, track.split) for track in opened.tracks] == [
        ("rendered-7-00000", "train"),
        ("rendered-7-00001", "train"),
        ("rendered-7-00002", "valid"),
    ]
    assert opened.stems == STEMS


def test_the_stems_add_up_to_the_mixture_to_the_integer(dataset: Path) -> None:
    for mixture in dataset.glob("*/*/mixture.wav"):
        total = sum(integers(mixture.with_name(f"{stem}.wav")).astype(np.int64) for stem in STEMS)
        np.testing.assert_array_equal(total, integers(mixture))
        assert np.abs(total >> 16).max() < 2**15 - 1
        assert soundfile.info(mixture).subtype == "PCM_16"
        assert soundfile.info(mixture).samplerate == 16000


def test_one_process_gives_the_bytes_of_two_and_more_songs_go_on(
    dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "songs"
    render_dataset(folder, songs=1, jobs=1, valid_share=0.34, **SHORT)
    first = contents(folder)
    done: list[SongDone] = []
    render_dataset(folder, songs=3, jobs=1, valid_share=0.34, progress=done.append, **SHORT)
    assert contents(folder) == contents(dataset)
    assert {name: contents(folder)[name] for name in first if name != "dataset.yaml"} == {
        name: content for name, content in first.items() if name != "dataset.yaml"
    }
    assert [song.skipped for song in done] == [True, False, False]
    assert [(song.done, song.songs) for song in done] == [(1, 3), (2, 3), (3, 3)]
    assert done[0].eta_s is None
    assert done[-1].eta_s == 0


def test_an_interrupted_call_leaves_whole_songs_only_and_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "songs"
    rendered = iter(range(9))

    def failing(target: Path, song: RenderedSong, **options: Any) -> None:
        write_song(target, song, **options)
        if next(rendered) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(library, "write_song", failing)
        with pytest.raises(KeyboardInterrupt):
            render_dataset(folder, songs=3, jobs=1, valid_share=0.34, **SHORT)
    assert [path.name for path in folder.glob("*/*")] == ["rendered-7-00000"]
    before = (folder / "train/rendered-7-00000/mixture.wav").stat().st_mtime_ns
    render_dataset(folder, songs=3, jobs=1, valid_share=0.34, **SHORT)
    assert contents(folder) == contents(dataset)
    assert (folder / "train/rendered-7-00000/mixture.wav").stat().st_mtime_ns == before


def test_facts_of_songs_and_dataset_are_written(dataset: Path) -> None:
    facts = yaml.safe_load((dataset / "train/rendered-7-00000/song.yaml").read_text())
    assert facts["style"] == "techno"
    assert facts["duration_s"] == pytest.approx(4.0, abs=0.1)
    assert set(facts["loudness_lufs"]) == {"mixture", *STEMS}
    assert facts["parts"]
    about = yaml.safe_load((dataset / "dataset.yaml").read_text())
    assert about["songs"] == 3
    assert about["settings"]["seed"] == 7
    assert about["sources"] == []


def test_24_bits_hold_the_sum_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stems = {s: (0.2 * rng.uniform(-1, 1, (2, 500))).astype(np.float32) for s in STEMS}
    song = RenderedSong(
        Song("pop", 100.0, 4, 0, "major", 500 / 16000, (), (), ()),
        stems,  # type: ignore[arg-type]
        1,
        16000,
        (),
    )
    write_song(tmp_path / "song", song, bit_depth="24")
    parts = {stem: integers(tmp_path / "song" / f"{stem}.wav") for stem in STEMS}
    np.testing.assert_array_equal(sum(parts.values()), integers(tmp_path / "song" / "mixture.wav"))
    for stem in STEMS:
        levels = np.rint(stems[stem].T.astype(np.float64) * 2**23)
        np.testing.assert_array_equal(parts[stem] >> 8, levels)


def test_every_tenth_song_is_for_validation_however_many_there_are(tmp_path: Path) -> None:
    settings = library.Settings(7, None, None, 44100, "16", 0.1, (), (), None, False)
    splits = [library.Task(tmp_path, index, settings).split for index in range(40)]
    assert [i for i, split in enumerate(splits) if split == "valid"] == [9, 19, 29, 39]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"songs": 0}, "songs=0"),
        ({"jobs": 0}, "jobs=0"),
        ({"valid_share": 1.0}, "valid_share=1.0"),
        ({"bit_depth": "8"}, "bit_depth='8'"),
        ({"material": Path("nowhere")}, "material='nowhere'"),
        ({"style": "nothing"}, "style='nothing'"),
        ({"duration_s": 0.0}, "duration_s=0.0"),
        ({"sample_rate": 1}, "sample_rate=1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(
    wrong: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=named):
        render_dataset(tmp_path / "songs", **({"songs": 1} | SHORT | wrong))
    assert not (tmp_path / "songs").exists()


def test_a_folder_of_other_settings_or_of_something_else_is_refused(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"valid_share=0\.0, not 0\.34"):
        render_dataset(dataset, songs=3, **SHORT)
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(DatasetError, match="something else"):
        render_dataset(tmp_path, songs=1, **SHORT)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="file"):
        render_dataset(tmp_path / "file" / "songs", songs=1, **SHORT)


def test_what_goes_wrong_in_a_process_ends_the_call(tmp_path: Path) -> None:
    folder = tmp_path / "songs"
    render_dataset(folder, songs=1, jobs=1, valid_share=0.5, **SHORT)
    (folder / "valid").write_text("in the way")
    with pytest.raises(AudioFileError, match="valid"):
        render_dataset(folder, songs=3, jobs=2, valid_share=0.5, **SHORT)
    assert [path.name for path in folder.glob("train/.*")] == []


def test_what_a_killed_call_has_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "songs" / "train" / ".rendered-7-00000-abc" / "song"
    render_dataset(tmp_path / "songs", songs=1, jobs=1, **SHORT)
    (tmp_path / "songs/train/rendered-7-00000").rename(left.parent.with_name("kept"))
    left.mkdir(parents=True)
    (left / "vocals.wav").write_bytes(b"half")
    render_dataset(tmp_path / "songs", songs=1, jobs=1, **SHORT)
    names = sorted(path.name for path in (tmp_path / "songs/train").iterdir())
    assert names == ["kept", "rendered-7-00000"]
