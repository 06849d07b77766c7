"""Every layout that can be opened, on small files that are written here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.opening import KINDS, open_dataset
from desmezcla.datasets.reading import read_stem
from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.errors import DatasetError, ParameterError

Audio = NDArray[np.float32]

RATE = 8000
STEMS = ("vocals", "drums", "bass", "other")

# Tracks of MUSDB18: for training, of the usual validation part, for testing.
TRAIN = "A Classic Education - NightOwl"
VALID = "Leaf - Summerghost"
TEST = "AM Contra - Heart Peripheral"


def sound(level: float, channels: int = 2, samples: int = 800) -> Audio:
    return np.full((channels, samples), level, np.float32)


def write(path: Path, level: float = 0.1, channels: int = 2) -> None:
    with AudioWriter(path, sample_rate=RATE, channels=channels) as writer:
        writer.write(sound(level, channels))


def write_track(folder: Path, stems: tuple[str, ...] = (*STEMS, "mixture")) -> None:
    for stem in stems:
        write(folder / f"{stem}.wav")


def write_stem_file(
    path: Path, stems: tuple[str, ...] = ("drums", "bass", "other", "vocals")
) -> None:
    with StemMp4Writer(path, stems, sample_rate=RATE, channels=2, bit_depth="16") as writer:
        writer.write(np.stack([sound(0.1 * (n + 1)) for n in range(len(stems))]))


def make_musdb18(root: Path) -> None:
    write_stem_file(root / "train" / f"{TRAIN}.stem.mp4")
    write_stem_file(root / "train" / f"{VALID}.stem.mp4")
    write_stem_file(root / "test" / f"{TEST}.stem.mp4")


def make_musdb18hq(root: Path) -> None:
    write_track(root / "train" / TRAIN)
    write_track(root / "train" / VALID)
    write_track(root / "test" / TEST)


def make_dsd100(root: Path) -> None:
    for part, name in (("Dev", "051 - AM Contra - Heart Peripheral"), ("Test", "001 - ANiMAL - B")):
        write_track(root / "Sources" / part / name, STEMS)
        write(root / "Mixtures" / part / name / "mixture.wav")


def make_mir1k(root: Path) -> None:
    for name in ("abjones_1_01", "amy_2_07"):
        with AudioWriter(root / "Wavfile" / f"{name}.wav", sample_rate=RATE, channels=2) as writer:
            writer.write(np.stack([sound(0.25, 1)[0], sound(0.5, 1)[0]]))
    (root / "Lyrics").mkdir()
    (root / "Lyrics" / "abjones_1_01.txt").write_text("la", encoding="utf-8")


def make_folder(root: Path) -> None:
    for name, suffix in (("One", "flac"), ("Two", "wav")):
        write(root / name / f"Piano.{suffix}")
        write(root / name / f"violin.{suffix}")
    write(root / "One" / "mix.wav")


def make_manifest(root: Path) -> None:
    write(root / "a" / "v.wav")
    write(root / "a" / "rest.wav")
    text = "track,split,genre,vocals,accompaniment\nSong,test,Folk,a/v.wav,a/rest.wav\n"
    (root / "songs.csv").write_text(text, encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    "musdb18": make_musdb18,
    "musdb18hq": make_musdb18hq,
    "dsd100": make_dsd100,
    "mir1k": make_mir1k,
    "folder": make_folder,
    "manifest": make_manifest,
}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    kind: str = request.param
    MAKERS[kind](tmp_path)
    return kind, tmp_path / "songs.csv" if kind == "manifest" else tmp_path


def names(dataset: Dataset) -> list[tuple[str, str]]:
    return [(track.name, track.split) for track in dataset.tracks]


def by_name(dataset: Dataset, name: str) -> Track:
    (track,) = (track for track in dataset.tracks if track.name == name)
    return track


def test_every_kind_has_a_maker_in_these_tests() -> None:
    assert set(KINDS) == {"auto", *MAKERS}


def test_a_layout_is_found_out_and_read_as_if_it_were_named(made: tuple[str, Path]) -> None:
    kind, path = made
    found = open_dataset(path)
    assert found == open_dataset(str(path), kind=kind)
    assert found.root == path
    assert found.problems == ()
    if kind not in ("folder", "manifest"):
        assert found.name == kind


def test_every_stem_of_every_layout_can_be_read(made: tuple[str, Path]) -> None:
    dataset = open_dataset(made[1])
    for track in dataset.tracks:
        for stem in (*dataset.stems, "mixture"):
            audio = read_stem(track, stem, sample_rate=RATE, channels=2)
            assert audio.shape == (2, 800)
            assert 0.05 < np.abs(audio).max() < 1.1, (track.name, stem)


def test_hidden_files_and_those_without_audio_change_nothing(made: tuple[str, Path]) -> None:
    kind, path = made
    before = open_dataset(path)
    root = path.parent if path.is_file() else path
    for folder in [root, *(file.parent for track in before.tracks for file in track.files())]:
        (folder / "._vocals.wav").write_bytes(b"not audio")
        (folder / ".hidden").mkdir(exist_ok=True)
        (folder / "cover.jpg").write_bytes(b"not audio")
    assert open_dataset(path, kind=kind).tracks == before.tracks


def test_another_kind_than_the_folder_has_names_what_was_looked_for(
    made: tuple[str, Path],
) -> None:
    kind, path = made
    other = "mir1k" if kind != "mir1k" else "dsd100"
    with pytest.raises(DatasetError, match=rf"no dataset of the kind '{other}'.*looked for"):
        open_dataset(path, kind=other)


@pytest.mark.parametrize("maker", [make_musdb18, make_musdb18hq])
def test_musdb18_has_its_splits_genres_and_licences(
    maker: Callable[[Path], None], tmp_path: Path
) -> None:
    maker(tmp_path)
    dataset = open_dataset(tmp_path)
    assert names(dataset) == [(TRAIN, "train"), (VALID, "valid"), (TEST, "test")]
    assert dataset.stems == STEMS
    night_owl = by_name(dataset, TRAIN)
    assert (night_owl.genre, night_owl.licence) == ("Singer/Songwriter", "CC BY-NC-SA")
    assert by_name(dataset, TEST).licence == "Restricted"


def test_the_streams_of_musdb18_are_in_its_order(tmp_path: Path) -> None:
    make_musdb18(tmp_path)
    track = by_name(open_dataset(tmp_path), TEST)
    streams = {stem: parts[0].stream for stem, parts in track.stems.items()}
    assert streams == {"drums": 1, "bass": 2, "other": 3, "vocals": 4}
    assert track.mixture is not None
    assert track.mixture.stream == 0
    # The levels that `write_stem_file` gave them.
    levels = [read_stem(track, s, sample_rate=RATE, channels=1)[0, 400] for s in streams]
    np.testing.assert_allclose(levels, [0.1, 0.2, 0.3, 0.4], atol=1e-4)


def test_a_single_folder_of_stem_files_has_the_splits_that_are_known(tmp_path: Path) -> None:
    for name in (TEST, VALID, "My Song"):
        write_stem_file(tmp_path / f"{name}.stem.mp4")
    expected = [("My Song", "train"), (VALID, "valid"), (TEST, "test")]
    assert names(open_dataset(tmp_path)) == expected


def test_stem_files_of_other_songs_name_their_stems_themselves(tmp_path: Path) -> None:
    write_stem_file(tmp_path / "My Song.stem.mp4", ("vocals", "guitar", "piano"))
    dataset = open_dataset(tmp_path)
    assert dataset.name == tmp_path.name
    assert {s: p[0].stream for s, p in dataset.tracks[0].stems.items()} == {
        "vocals": 1,
        "guitar": 2,
        "piano": 3,
    }


def test_stem_files_and_folders_side_by_side_are_both_tracks(tmp_path: Path) -> None:
    write_stem_file(tmp_path / f"{TEST}.stem.mp4")
    write_track(tmp_path / "Mine")
    dataset = open_dataset(tmp_path)
    assert names(dataset) == [("Mine", "train"), (TEST, "test")]
    assert by_name(dataset, TEST).genre


def test_the_layout_of_musdb18hq_with_other_songs_keeps_further_stems(tmp_path: Path) -> None:
    write_track(tmp_path / "train" / "Mine", ("mixture", "vocals", "drums", "piano"))
    write_track(tmp_path / "valid" / "Yours", ("mixture", "vocals"))
    dataset = open_dataset(tmp_path)
    assert dataset.stems == ("vocals", "drums", "piano")
    assert names(dataset) == [("Mine", "train"), ("Yours", "valid")]


def test_dsd100_takes_dev_for_training(tmp_path: Path) -> None:
    make_dsd100(tmp_path)
    dataset = open_dataset(tmp_path)
    assert names(dataset) == [
        ("051 - AM Contra - Heart Peripheral", "train"),
        ("001 - ANiMAL - B", "test"),
    ]
    assert dataset.tracks[0].mixture is not None


def test_mir1k_has_the_voice_on_the_right(tmp_path: Path) -> None:
    make_mir1k(tmp_path)
    track = open_dataset(tmp_path).tracks[0]
    stems = {s: read_stem(track, s, sample_rate=RATE, channels=1) for s in track.stems}
    assert stems["vocals"][0, 0] == 0.5
    assert stems["accompaniment"][0, 0] == 0.25
    assert read_stem(track, "mixture", sample_rate=RATE, channels=1)[0, 0] == 0.75


def test_a_folder_names_its_stems_and_takes_mix_for_the_mixture(tmp_path: Path) -> None:
    make_folder(tmp_path)
    one, two = open_dataset(tmp_path).tracks
    assert list(one.stems) == ["piano", "violin"]
    assert one.mixture == Source(tmp_path / "One" / "mix.wav")
    assert two.mixture is None


@pytest.mark.parametrize("splits", [["train"], ["valid", "test"], ["test"]])
def test_splits_can_be_chosen(splits: list[str], tmp_path: Path) -> None:
    make_musdb18hq(tmp_path)
    chosen = open_dataset(tmp_path, splits=splits)  # type: ignore[arg-type]
    assert [split for _, split in names(chosen)] == splits


def test_a_split_without_tracks_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(DatasetError, match="no track of the split valid or test; it has train"):
        open_dataset(tmp_path, splits=["valid", "test"])


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"kind": "musdb"}, "kind='musdb' must be one of auto, "),
        ({"splits": ["training"]}, r"splits=\['training'\] must be"),
        ({"splits": []}, r"splits=\[\] must be one or more"),
    ],
)
def test_unknown_options_are_refused(option: dict[str, object], rule: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=rule):
        open_dataset(tmp_path, **option)  # type: ignore[arg-type]


def test_what_is_no_dataset_names_every_layout(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    for kind in MAKERS:
        assert f"({kind})" in str(caught.value)
    with pytest.raises(DatasetError, match="does not exist; check the path"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="is no dataset: looked for"):
        open_dataset(tmp_path / "readme.txt")


def test_a_track_without_audio_is_refused_by_name_or_left_out_on_purpose(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "Empty").mkdir()
    with pytest.raises(DatasetError, match=r"1 track.*'Empty'.*holds no stems.*leave them out"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, skip_faulty=True)
    assert names(dataset) == [("One", "train"), ("Two", "train")]
    assert len(dataset.problems) == 1
    assert "Empty" in dataset.problems[0]


@pytest.mark.parametrize("missing", ["mixture.wav", "*.wav"])
def test_an_incomplete_track_of_musdb18hq_is_named(missing: str, tmp_path: Path) -> None:
    make_musdb18hq(tmp_path)
    for path in (tmp_path / "train" / TRAIN).glob(missing):
        path.unlink()
    with pytest.raises(DatasetError, match=f"{TRAIN}.*lacks mixture.wav"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("half", ["Mixtures", "Sources"])
def test_an_incomplete_track_of_dsd100_is_named(half: str, tmp_path: Path) -> None:
    make_dsd100(tmp_path)
    folder = tmp_path / half / "Test" / "001 - ANiMAL - B"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(DatasetError, match=r"'001 - ANiMAL - B'.* is missing; copy it again"):
        open_dataset(tmp_path)


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    write(tmp_path / "One" / "piano.wav")
    with pytest.raises(
        DatasetError, match=r"'One'.*'Piano.flac' and 'piano.wav' are both its piano"
    ):
        open_dataset(tmp_path)


def test_two_tracks_of_one_name_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_track(tmp_path / split / "Same")
    with pytest.raises(
        DatasetError, match=r"track 'Same' is there twice, as .*train.* and as .*test"
    ):
        open_dataset(tmp_path)


def test_opening_reads_no_audio(tmp_path: Path) -> None:
    make_musdb18hq(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.write_bytes(b"not audio at all")
    assert len(open_dataset(tmp_path).tracks) == 3


@pytest.mark.parametrize(
    ("text", "genre"),
    [("seed: 3\nstyle: funk\n", "funk"), ("style: [a, b]\n", ""), ("- x\n", ""), ("{", "")],
)
def test_the_style_of_a_rendered_song_is_its_genre(tmp_path: Path, text: str, genre: str) -> None:
    write(tmp_path / "song-1" / "vocals.wav")
    (tmp_path / "song-1" / "song.yaml").write_text(text)
    assert open_dataset(tmp_path).tracks[0].genre == genre
