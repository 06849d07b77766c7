"""Datasets as a list of tracks in a CSV or YAML file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import read_stem
from desmezcla.datasets.track import Source
from desmezcla.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for level, name in enumerate(["v.wav", "kick.wav", "snare.wav", "mix.wav"], 1):
        soundfile.write(tmp_path / name, np.full((800, 2), level / 8), 8000, subtype="FLOAT")
    return tmp_path


def write(root: Path, text: str, name: str = "songs.csv") -> Path:
    path = root / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_file_lists_tracks_and_leaves_cells_empty(root: Path) -> None:
    path = write(
        root,
        "track,split,genre,licence,mixture,vocals,Drums\n"
        '"Ça, va",valid,Pop,CC BY,mix.wav,v.wav,kick.wav\n'
        "\n"
        "Second,,,,,v.wav,\n",
    )
    dataset = open_dataset(path)
    assert (dataset.name, dataset.root, dataset.stems) == ("songs", path, ("vocals", "drums"))
    second, first = dataset.tracks
    assert (first.name, first.split, first.genre, first.licence) == (
        "Ça, va",
        "valid",
        "Pop",
        "CC BY",
    )
    assert first.mixture == Source(root / "mix.wav")
    assert (second.split, second.genre, second.mixture) == ("train", "", None)
    assert list(second.stems) == ["vocals"]


def test_a_byte_order_mark_and_spaces_do_not_matter(root: Path) -> None:
    path = write(root, "\ufefftrack, vocals\r\nSong, v.wav\r\n")
    assert open_dataset(path).tracks[0].stems == {"vocals": (Source(root / "v.wav"),)}


@pytest.mark.parametrize("name", ["songs.yaml", "songs.yml"])
def test_a_yaml_file_lists_parts_that_are_added(name: str, root: Path) -> None:
    text = (
        "- track: Song\n  split: test\n  vocals: v.wav\n  drums: [kick.wav, snare.wav]\n  bass:\n"
    )
    (track,) = open_dataset(write(root, text, name)).tracks
    assert list(track.stems) == ["vocals", "drums"]
    assert read_stem(track, "drums", sample_rate=8000, channels=2)[0, 0] == 0.625


@pytest.mark.parametrize(
    "path", ["../v.wav", "a/../../v.wav", "/etc/v.wav", "C:/v.wav", "..\\v.wav", "\\\\host\\v.wav"]
)
@pytest.mark.parametrize("kind", ["csv", "yaml"])
def test_a_path_that_leads_out_of_the_folder_is_refused(kind: str, path: str, root: Path) -> None:
    text = {"csv": f"track,vocals\nSong,{path}\n", "yaml": f"- {{track: Song, vocals: '{path}'}}"}
    with pytest.raises(DatasetError, match=r"vocals=.* leads out of the manifest's folder"):
        open_dataset(write(root, text[kind], f"m.{kind}"), skip_faulty=True)


def test_a_missing_file_is_refused_by_name_or_its_track_left_out(root: Path) -> None:
    path = write(root, "track,vocals\nGood,v.wav\nBad,gone.wav\n")
    with pytest.raises(DatasetError, match=r"track 'Bad': .*line 3, vocals: file 'gone.wav' is"):
        open_dataset(path)
    dataset = open_dataset(path, skip_faulty=True)
    assert [track.name for track in dataset.tracks] == ["Good"]
    assert "gone.wav" in dataset.problems[0]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no column 'track'"),
        ("name,vocals\nSong,v.wav\n", "no column 'track'"),
        ("track,license,vocals\nS,x,v.wav\n", "unknown column 'license'; did you mean 'licence'"),
        ("track,mix,vocals\nS,v.wav,v.wav\n", "unknown column 'mix'; did you mean 'mixture'"),
        ("track,genres,vocals\nS,x,v.wav\n", "unknown column 'genres'; did you mean 'genre'"),
        ("track,,vocals\nS,x,v.wav\n", "unknown column ''; give it a name"),
        ("track,vocals,Vocals\nS,v.wav,v.wav\n", "two columns 'vocals'"),
        ("track,vocals\nS,v.wav,x\n", "line 2 has 3 values, but there are 2 columns"),
        ('track,vocals\nS,"v.wav"x\n', "line 2 is not CSV"),
        ("track,split,vocals\nS,training,v.wav\n", "split='training' must be one of train, valid"),
        ("track,vocals\n,v.wav\n", "line 2 has no track"),
        ("track,vocals\n", "holds no track that can be used"),
        ("track,vocals\nS,v.wav\nS,v.wav\n", "track 'S' is there twice"),
        ("track,mixture\nS,mix.wav\n", "names no stem"),
    ],
)
def test_a_csv_file_that_is_no_manifest_is_refused(text: str, rule: str, root: Path) -> None:
    with pytest.raises(DatasetError, match=rule):
        open_dataset(write(root, text))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("track: Song", "must be a list with one mapping for each track"),
        ("- Song", "must be a list with one mapping for each track"),
        ("- {track: [", "is not YAML"),
        ("- {track: 1999, vocals: v.wav}", "track=1999 must be a text; put it in quotes"),
        ("- {track: S, vocals: 3}", "vocals=3 must be a path"),
        ("- {track: S, vocals: [v.wav, [v.wav]]}", r"vocals=\['v.wav'\] must be a path"),
        ("- {track: S, vocals: v.wav, mixture: [v.wav, v.wav]}", "mixture must be one path"),
        ("- {track: S, tracks: T, vocals: v.wav}", "entry 1' has an unknown column 'tracks'"),
        ("- !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_yaml_file_that_is_no_manifest_is_refused(text: str, rule: str, root: Path) -> None:
    with pytest.raises(DatasetError, match=rule):
        open_dataset(write(root, text, "songs.yaml"))


def test_a_file_that_is_not_text_is_refused(root: Path) -> None:
    (root / "songs.csv").write_bytes(b"track,vocals\n\xff\xfe,v.wav\n")
    with pytest.raises(DatasetError, match=r"cannot be read .* a manifest is a CSV or YAML file"):
        open_dataset(root / "songs.csv")
